"""Locks that the kernel gives back when a process ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_lock(path: Path) -> int:
    """Open a lock file, made where it is missing. Reading is enough to lock it, so accounts may share it."""
    return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)


def try_lock(handle: int, operation: int) -> bool:
    """Take `LOCK_SH` or `LOCK_EX` on an open lock file if that is possible at once, and tell whether it was."""
    try:
        fcntl.flock(handle, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(path: Path) -> bool:
    """Tell whether somebody holds the lock file `path` alone; a missing one is not held."""
    if not path.exists():
        return False
    handle = open_lock(path)
    try:
        return not try_lock(handle, fcntl.LOCK_SH)
    finally:
        os.close(handle)


def change_lock(data: Path) -> Path:
    """Name the lock that is held while the server of `data` is started or stopped."""
    return data.with_suffix(".lock")


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path` alone for the block, waiting for it as long as it takes."""
    handle = open_lock(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        # Said aloud: a process forked meanwhile has the same open file, and closing ours alone would not let go of it.
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)
