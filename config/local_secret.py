"""The secret key of an installation that names none: made once and kept in the data folder."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from django.core.management.utils import get_random_secret_key


def local_secret_key(data: Path) -> str:
    """Read the key kept in `data`, making folder and key first where there is none. Safe when several start at once."""
    path = data / "secret_key"
    if not path.exists():
        data.mkdir(parents=True, exist_ok=True)
        _keep_new_key(path)
    return path.read_text().strip()


def _keep_new_key(path: Path) -> None:
    """Put a new key at `path` unless another process was faster: linked in one step, so nobody reads half a key."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".secret_key-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(get_random_secret_key())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.unlink(draft)
