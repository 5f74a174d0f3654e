"""The benchmark's own installation: data folder, databases and web servers, never the developer's."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils import timezone

from config.keys import create_api_key
from config.management.commands.up import await_ok, free_port, web_command
from config.processes import Family


@dataclass(frozen=True, slots=True)
class Server:
    """A running web server, the database it serves, and a secret key for it."""

    port: int
    database: str
    key: str


class Servers:
    """The web servers of a run, started as `up` starts its own."""

    def __init__(self) -> None:
        self._families: list[Family] = []

    def start(self, name: str, *, database: str, settings_module: str, key: str) -> Server:
        """Start a web server on a free port; returns when it answers."""
        environment = os.environ | {
            "BENCH_DATABASE": database,
            "DJANGO_SETTINGS_MODULE": settings_module,
            "PYTHONUNBUFFERED": "1",
        }
        # Whitenoise warns where there is none.
        Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
        family = Family(logs=settings.CANDELA_DATA / "logs", environment=environment, cwd=settings.BASE_DIR)
        self._families.append(family)
        port = free_port(None)
        family.start(name, web_command(port))
        await_ok(family, f"http://127.0.0.1:{port}/healthz", what=f"the web server {name}")
        return Server(port=port, database=database, key=key)

    def stop(self) -> None:
        """End all that were started."""
        while self._families:
            self._families.pop().stop()


@contextmanager
def connected_to(database: str) -> Iterator[None]:
    """Let Django's connection lead to this database meanwhile."""
    before = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = database
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = before


def execute(statement: str, parameters: Any = None) -> None:
    """Run a statement for what it does."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def rows_of(statement: str, parameters: Any = None) -> list[tuple]:
    """Run a statement and return its rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()


def address() -> dict[str, Any]:
    """Say how psycopg reaches the database that Django's connection leads to, with the same options."""
    parts = connection.get_connection_params()
    return {name: parts[name] for name in ("host", "port", "user", "password", "dbname", "options") if name in parts}


def create_database(name: str) -> None:
    """Make an empty database in the place of whatever has its name."""
    execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    execute(f'CREATE DATABASE "{name}"')


def database_exists(name: str) -> bool:
    """Tell whether a database of this name is there."""
    return bool(rows_of("SELECT 1 FROM pg_database WHERE datname = %s", [name]))


def new_key() -> str:
    """Make a secret key in the database that Django's connection leads to."""
    _, text = create_api_key(name="Benchmark", key_type="secret", environment="test", at=timezone.now())
    return text
