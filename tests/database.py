"""The database of the tests: migrated once, emptied quickly, and filled once for all tests of a module."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connection, transaction
from pytest_django import DjangoDbBlocker

from config.locks import change_lock, exclusive, open_lock, try_lock
from plans.first_rows import make_merchant

# Made when the database is, and the same for all tests.
KEPT = {"django_content_type", "auth_permission"}


@contextmanager
def migrated_template(shared: Path, blocker: DjangoDbBlocker) -> Iterator[str]:
    """Give the name of a database that one worker of a run migrates for all: who comes first does, the others wait, and
    the last to leave drops it. `shared` is a folder of that run.

    To copy a database takes a second, to migrate one half a minute.
    """
    made = shared / "template"
    users = open_lock(made.with_suffix(".users"))
    name = f"test_{connection.settings_dict['NAME']}_template"
    try:
        with exclusive(change_lock(made)):
            fcntl.flock(users, fcntl.LOCK_SH)
            if not made.exists():
                with blocker.unblock():
                    _migrate(name)
                made.touch()
        yield name
        with exclusive(change_lock(made)):
            if try_lock(users, fcntl.LOCK_EX):
                made.unlink()
                with blocker.unblock():
                    _drop(name)
    finally:
        os.close(users)


def _migrate(template: str) -> None:
    database = connection.settings_dict
    name, of_worker = database["NAME"], database["TEST"]["NAME"]
    database["TEST"]["NAME"] = template
    try:
        connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    finally:
        # Nobody can copy a database in which somebody is.
        connection.close()
        database["NAME"], database["TEST"]["NAME"] = name, of_worker


def _drop(template: str) -> None:
    name, connection.settings_dict["NAME"] = connection.settings_dict["NAME"], template
    connection.creation.destroy_test_db(name, verbosity=0)


def delete_rows(_test_case: Any) -> None:
    """Delete what a test with transactions of its own committed. Most tables are empty then, and to truncate them all
    takes longer than most tests do."""
    tables = _tables_with_rows()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT usesuper FROM pg_user WHERE usename = current_user")
        if cursor.fetchone() == (True,):
            # Neither foreign keys nor the triggers that freeze what is issued.
            cursor.execute("SET LOCAL session_replication_role = replica")
            for table in tables:
                cursor.execute(f'DELETE FROM "{table}"')
        elif tables:
            # Slower, but nobody else may let the triggers be.
            cursor.execute("TRUNCATE " + ", ".join(f'"{table}"' for table in tables) + " CASCADE")
    make_merchant(connection.alias)


def _tables_with_rows() -> list[str]:
    tables = sorted(set(connection.introspection.django_table_names(only_existing=True, include_views=False)) - KEPT)
    with connection.cursor() as cursor:
        cursor.execute("SELECT " + ", ".join(f'EXISTS (SELECT FROM "{table}")' for table in tables))
        return [table for table, has_rows in zip(tables, cursor.fetchone(), strict=True) if has_rows]


@contextmanager
def taken_back() -> Iterator[None]:
    """Take back whatever is written inside, at its end; also around many tests, each of which takes back its own."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
