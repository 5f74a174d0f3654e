"""The database of the tests: emptied quickly, and filled once for all tests of a module."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction

from plans.first_rows import make_merchant

# Made when the database is, and the same for all tests.
KEPT = {"django_content_type", "auth_permission"}


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
