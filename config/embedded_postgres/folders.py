"""As root only: the way for PostgreSQL's own account to its data and programs, opened while it runs and no longer.

That account has to pass through every folder above them. So each that others may not pass gets that one permission (x,
nothing to read or list) and is written down in a record of root's, with the data folders that need it, as a home folder
may be on the way of several servers. Whoever stops the last of these takes the permission back.
"""

import json
import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path

from config.embedded_postgres.cluster import serving_socket_folder
from config.locks import change_lock, exclusive, is_held

Record = dict[str, list[str]]


def record_path() -> Path:
    """Name the file that says which folders are open, and for whom."""
    return Path(pwd.getpwuid(0).pw_dir) / ".local/state/candela/opened_folders.json"


def open_way(data: Path, *, to: Iterable[Path]) -> list[Path]:
    """Let others pass the folders above each of `to` while the server of `data` runs; returns those opened for it."""
    ways = {folder for end in to for folder in end.parents}
    path = record_path()
    if not path.exists() and not any(_is_closed(folder) for folder in ways):
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(path.with_suffix(".lock")):
        record = _read(path)
        opened = sorted(folder for folder in ways if _is_closed(folder) or str(folder) in record)
        for folder in opened:
            record[str(folder)] = sorted({*record.get(str(folder), []), str(data)})
        # Written first: whatever happens next, it is known what to take back.
        _write(path, record)
        for folder in opened:
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IXOTH)
    return opened


def close_way(data: Path) -> None:
    """Take back what `open_way` gave for `data`, and for servers that ended without, where no running one needs it."""
    path = record_path()
    if not path.exists():
        return
    with exclusive(path.with_suffix(".lock")):
        record = _read(path)
        still_needed: Record = {}
        for folder, needed_by in record.items():
            others = [other for other in needed_by if other != str(data) and _is_in_use(Path(other))]
            if others:
                still_needed[folder] = others
            elif os.path.isdir(folder):
                os.chmod(folder, stat.S_IMODE(os.stat(folder).st_mode) & ~stat.S_IXOTH)
        _write(path, still_needed)


def _is_closed(folder: Path) -> bool:
    """Tell whether accounts that neither own the folder nor share its group are kept from passing it."""
    return not folder.stat().st_mode & stat.S_IXOTH


def _is_in_use(data: Path) -> bool:
    """Tell whether the server of `data` runs, or is on its way up or down."""
    return is_held(change_lock(data)) or serving_socket_folder(data) is not None


def _read(path: Path) -> Record:
    """Read the record; a missing one is empty."""
    record: Record = json.loads(path.read_text()) if path.exists() else {}
    return record


def _write(path: Path, record: Record) -> None:
    """Replace the record in one step; an empty one is removed."""
    if not record:
        path.unlink(missing_ok=True)
        return
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(record, indent=1))
    draft.replace(path)
