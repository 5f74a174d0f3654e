"""Many rows of a model stored by one statement, which gets them as one JSON text. Django's `bulk_create` and
`bulk_update` make an expression of each value, which costs several times as much as storing it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, TypeVar

import msgspec
from django.db import connection
from django.db.models import Field, ForeignKey, Model

Row = TypeVar("Row", bound=Model)
# A text of a few megabytes at most.
ROWS_A_STATEMENT = 5_000


def new_row(model: type[Row], **values: Any) -> Row:
    """Make a row as `model(**values)` does, not stored yet, in half the time: by names, Django asks each of its fields
    anew. Related rows are given as rows or by their keys, such as `invoice_id`. Raises TypeError for other names."""
    given, makers, related = _defaults(model)
    if unknown := values.keys() - given.keys() - related:
        raise TypeError(f"{model.__name__} has no {', '.join(sorted(unknown))}")
    row_values = given | {name: make() for name, make in makers.items() if name not in values} | values
    row = model(*[row_values[name] for name in given])
    for name in related.intersection(values):
        setattr(row, name, values[name])
    return row


@cache
def _defaults(model: type[Model]) -> tuple[dict[str, Any], dict[str, Callable[[], Any]], frozenset[str]]:
    """What a new row has by itself: the value of each attribute, how those are made that each row has its own of, and
    the names of related rows."""
    fields = model._meta.concrete_fields
    makers = {field.attname: field.get_default for field in fields if field.has_default() and callable(field.default)}
    given = {field.attname: None if field.attname in makers else field.get_default() for field in fields}
    return given, makers, frozenset(field.name for field in fields if isinstance(field, ForeignKey))


def insert_rows(rows: Iterable[Row]) -> list[Row]:
    """Store new rows of one model in their order, give them their keys, and return them, as `bulk_create` does.

    The key is a number that the database gives; the values are texts, numbers, booleans and instants.
    """
    new = list(rows)
    for batch in _batches(new):
        model = type(batch[0])
        for row in batch:
            _note_when_stored(row)
        given, same = _columns(batch, _inserted(model))
        with connection.cursor() as cursor:
            cursor.execute(_insert(model, tuple(given), tuple(same)), [_rows_as_json(given), _as_json(same)])
            keys = [key for (key,) in cursor.fetchall()]
        for row, key in zip(batch, keys, strict=True):
            row.pk = key
            row._state.adding, row._state.db = False, connection.alias
    return new


def update_rows(rows: Iterable[Model], names: Sequence[str]) -> None:
    """Store the named fields of stored rows of one model, as `bulk_update` does."""
    for batch in _batches(list(rows)):
        model = type(batch[0])
        given, same = _columns(batch, _updated(model, tuple(names)))
        with connection.cursor() as cursor:
            cursor.execute(_update(model, tuple(given), tuple(same)), [_rows_as_json(given), _as_json(same)])


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


Values = dict[Field, list[Any]]


def _columns(rows: Sequence[Model], fields: Sequence[Field]) -> tuple[Values, dict[Field, Any]]:
    """The values of each field, and apart from them those of fields that are the same in all rows: most columns of most
    rows are empty. The first field is always one of the former."""
    given: Values = {}
    same: dict[Field, Any] = {}
    for field in fields:
        values = _values(rows, field)
        if given and values.count(values[0]) == len(values):
            same[field] = values[0]
        else:
            given[field] = values
    return given, same


def _values(rows: Iterable[Model], field: Field) -> list[Any]:
    # Read from where it stands: the attribute of a foreign key is a function of Django's.
    values = [row.__dict__[field.attname] for row in rows]
    if isinstance(field, ForeignKey) and None in values:
        for place, row in enumerate(rows):
            if values[place] is None and field.is_cached(row):
                values[place] = _note_related_key(row, field)
    return values


def _note_related_key(row: Model, field: ForeignKey) -> Any:
    """Set the key of a related row that had none yet when it was given to this one, and return it."""
    related = field.get_cached_value(row)
    key = None if related is None else related.pk
    setattr(row, field.attname, key)
    return key


@lru_cache(maxsize=500)
def _insert(model: type[Model], given: tuple[Field, ...], same: tuple[Field, ...]) -> str:
    table, key = _quoted(model._meta.db_table), _quoted(model._meta.pk.column)
    columns = ", ".join(_quoted(field.column) for field in given + same)
    return f"INSERT INTO {table} ({columns}) SELECT {columns} {_source(given, same)} RETURNING {key}"


@lru_cache(maxsize=500)
def _update(model: type[Model], given: tuple[Field, ...], same: tuple[Field, ...]) -> str:
    table, key = _quoted(model._meta.db_table), _quoted(model._meta.pk.column)
    sources = [*((field, "given") for field in given if not field.primary_key), *((field, "same") for field in same)]
    values = ", ".join(f"{_quoted(field.column)} = {source}.{_quoted(field.column)}" for field, source in sources)
    return f"UPDATE {table} SET {values} {_source(given, same)} WHERE {table}.{key} = given.{key}"


def _source(given: Iterable[Field], same: Iterable[Field]) -> str:
    return (
        f"FROM json_to_recordset(%s) AS given({_typed(given)})"
        f" CROSS JOIN json_to_record(%s) AS same({_typed(same) or 'nothing text'})"
    )


def _typed(fields: Iterable[Field]) -> str:
    return ", ".join(f"{_quoted(field.column)} {field.db_type(connection)}" for field in fields)


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)


def _rows_as_json(given: Values) -> str:
    names = [field.column for field in given]
    rows = [dict(zip(names, values, strict=True)) for values in zip(*given.values(), strict=True)]
    return msgspec.json.encode(rows).decode()


def _as_json(same: Mapping[Field, Any]) -> str:
    return msgspec.json.encode({field.column: value for field, value in same.items()}).decode()


@cache
def _stamped(model: type[Model]) -> tuple[Field, ...]:
    return tuple(field for field in _inserted(model) if getattr(field, "auto_now", False))


def _note_when_stored(row: Model) -> None:
    for field in _stamped(type(row)):
        field.pre_save(row, add=True)
