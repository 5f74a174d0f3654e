"""What the figures were measured on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil

from config.management.commands.up import WEB_THREADS, WEB_WORKERS
from tests.bench.installation import rows_of

LIBRARIES = ("django", "psycopg", "granian", "msgspec", "djangorestframework")
DATABASE_SETTINGS = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_compression",
    "max_wal_size",
    "checkpoint_timeout",
    "shared_buffers",
)


def description() -> dict[str, object]:
    """Describe processor, memory, versions, and the settings of the database that matter."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memoryGigabytes": round(psutil.virtual_memory().total / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
        "webWorkers": WEB_WORKERS,
        "webThreadsEach": WEB_THREADS,
        "postgresql": {name: rows_of("SELECT current_setting(%s)", [name])[0][0] for name in DATABASE_SETTINGS},
    }


def _processor() -> str:
    """Name the processor as the system does."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def sentence(described: dict[str, object]) -> str:
    """Put the description into words."""
    postgresql = described["postgresql"]
    assert isinstance(postgresql, dict)
    libraries = ", ".join(f"{library} {described[library]}" for library in LIBRARIES)
    settings = ", ".join(f"{name} {value}" for name, value in postgresql.items() if name != "server_version")
    return (
        f"{described['cores']} cores ({described['processor']}), {described['memoryGigabytes']} GB memory, "
        f"{described['system']}. Python {described['python']}, {libraries}; {described['webWorkers']} web workers "
        f"with {described['webThreadsEach']} threads each. PostgreSQL {postgresql['server_version']}: {settings}. "
        "The load comes from the same machine."
    )
