"""Statements that PostgreSQL plans once per connection, not each time: planning the hot ones costs more than running
them."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import psycopg
from django.db import connection

_PLACEHOLDER = re.compile(r"%(?:\((\w+)\)s|%)")


def run_prepared(statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run a hot statement with parameters like `%(name)s` and return its rows.

    They are bound by the server, so types that PostgreSQL cannot infer need a cast in the statement. Django's own
    cursors write parameters into the text, which makes another statement of each call.
    """
    text, names = _numbered(statement)
    connection.ensure_connection()
    # Wrapped like Django's own cursors, for its exceptions and its log of queries.
    cursor = connection._prepare_cursor(psycopg.RawCursor(connection.connection))  # type: ignore[attr-defined]
    with cursor:
        cursor.execute(text, [parameters[name] for name in names])
        return cursor.fetchall()


@cache
def _numbered(statement: str) -> tuple[str, list[str]]:
    """Return the statement with `$1`, `$2` and so on, and the names that they stand for. Done once for each: reading a
    long statement takes longer than sending it."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return "%"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PLACEHOLDER.sub(number, statement), names
