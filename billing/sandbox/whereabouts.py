"""Where the sandbox of a data folder is: a file by which every process with that folder finds it."""

import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HOST = "127.0.0.1"


def state_path(folder: Path) -> Path:
    """Return where the sandbox of a data folder keeps its state."""
    return folder / "sandbox.sqlite3"


def note(folder: Path, *, url: str, pid: int) -> None:
    """Write down that a process serves the folder's sandbox at an address."""
    _file(folder).write_text(json.dumps({"url": url, "pid": pid}))


def note_end(folder: Path) -> None:
    """Write down that the folder's sandbox runs no more; its address is kept for the next start."""
    known = _read(folder)
    if known:
        _file(folder).write_text(json.dumps({**known, "pid": None}))


def last_port(folder: Path) -> int | None:
    """Return the port of the folder's sandbox when it last ran: on the same one its address stays good."""
    return urlsplit(_read(folder).get("url", "")).port


def free_port(preferred: int | None = None) -> int:
    """Return `preferred` where that port is free, else any free one. Raises OSError when there is none."""
    for port in (preferred, 0) if preferred else (0,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            number: int = probe.getsockname()[1]
            return number
    raise OSError("There is no free port on 127.0.0.1.")


def _file(folder: Path) -> Path:
    return folder / "sandbox.json"


def _read(folder: Path) -> dict[str, Any]:
    try:
        known = json.loads(_file(folder).read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
