"""Many rows of a model stored by one statement, which gets them as one JSON text. Django's `bulk_create` and
`bulk_update` make an expression of each value, which costs several times as much as storing it."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from operator import attrgetter
from typing import TypeVar

import msgspec
from django.db import connection
from django.db.models import Field, ForeignKey, Model

Row = TypeVar("Row", bound=Model)
# A text of a few megabytes at most.
ROWS_A_STATEMENT = 5_000


def insert_rows(rows: Iterable[Row]) -> list[Row]:
    """Store new rows of one model in their order, give them their keys, and return them, as `bulk_create` does.

    The key is a number that the database gives; the values are texts, numbers, booleans and instants.
    """
    new = list(rows)
    for batch in _batches(new):
        fields = _inserted(type(batch[0]))
        _note_related_keys(batch, fields)
        for row in batch:
            _note_when_stored(row)
        with connection.cursor() as cursor:
            cursor.execute(_insert(type(batch[0])), [_as_json(batch, fields)])
            keys = [key for (key,) in cursor.fetchall()]
        for row, key in zip(batch, keys, strict=True):
            row.pk = key
            row._state.adding, row._state.db = False, connection.alias
    return new


def update_rows(rows: Iterable[Model], names: Sequence[str]) -> None:
    """Store the named fields of stored rows of one model, as `bulk_update` does."""
    for batch in _batches(list(rows)):
        model = type(batch[0])
        fields = _updated(model, tuple(names))
        _note_related_keys(batch, fields)
        with connection.cursor() as cursor:
            cursor.execute(_update(model, tuple(names)), [_as_json(batch, fields)])


def _batches(rows: list[Row]) -> Iterator[list[Row]]:
    for start in range(0, len(rows), ROWS_A_STATEMENT):
        yield rows[start : start + ROWS_A_STATEMENT]


@cache
def _inserted(model: type[Model]) -> tuple[Field, ...]:
    return tuple(field for field in model._meta.concrete_fields if not field.primary_key)


@cache
def _updated(model: type[Model], names: tuple[str, ...]) -> tuple[Field, ...]:
    by_name = {field.name: field for field in model._meta.concrete_fields}
    return (model._meta.pk, *(by_name[name] for name in names))


@cache
def _insert(model: type[Model]) -> str:
    table, key = _quoted(model._meta.db_table), _quoted(model._meta.pk.column)
    columns = ", ".join(_quoted(field.column) for field in _inserted(model))
    return f"INSERT INTO {table} ({columns}) SELECT {columns} {_source(_inserted(model))} RETURNING {key}"


@cache
def _update(model: type[Model], names: tuple[str, ...]) -> str:
    table, (key, *changed) = _quoted(model._meta.db_table), _updated(model, names)
    values = ", ".join(f"{_quoted(field.column)} = given.{_quoted(field.column)}" for field in changed)
    of_row = f"{table}.{_quoted(key.column)} = given.{_quoted(key.column)}"
    return f"UPDATE {table} SET {values} {_source((key, *changed))} WHERE {of_row}"


def _source(fields: Iterable[Field]) -> str:
    columns = ", ".join(f"{_quoted(field.column)} {field.db_type(connection)}" for field in fields)
    return f"FROM json_to_recordset(%s) AS given({columns})"


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)


def _as_json(rows: Iterable[Model], fields: Iterable[Field]) -> str:
    columns = [field.column for field in fields]
    # With two names or more it gives a tuple.
    values_of = attrgetter(*(field.attname for field in fields))
    return msgspec.json.encode([dict(zip(columns, values_of(row), strict=True)) for row in rows]).decode()


def _note_related_keys(rows: Iterable[Model], fields: Iterable[Field]) -> None:
    """Set the keys of related rows that had none yet when they were given to these."""
    related = [field for field in fields if isinstance(field, ForeignKey)]
    for row in rows:
        for field in related:
            if getattr(row, field.attname) is None and field.is_cached(row):
                other = field.get_cached_value(row)
                setattr(row, field.attname, None if other is None else other.pk)


@cache
def _stamped(model: type[Model]) -> tuple[Field, ...]:
    return tuple(field for field in _inserted(model) if getattr(field, "auto_now", False))


def _note_when_stored(row: Model) -> None:
    for field in _stamped(type(row)):
        field.pre_save(row, add=True)
