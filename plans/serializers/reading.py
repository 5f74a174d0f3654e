from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

from rest_framework.serializers import Serializer, ValidationError

from plans.refusals import Refusal


def read(serializer: type[Serializer[Any]], data: Any) -> dict[str, Any]:
    """Read a body or a query with a serializer. Raises its ValidationError, which names each wrong field."""
    reader = serializer(data=data)
    reader.is_valid(raise_exception=True)
    return reader.validated_data


def read_exactly(serializer: type[Serializer[Any]], data: Any) -> dict[str, Any]:
    """Read, as `read` does, a body in which nothing may stand but the serializer's fields: one that is misspelt would
    be left out in silence, and with it what it says of somebody's money. Raises ValidationError.

    For bodies whose fields are all ours, or all listed by the contract. Others may hold what we do not know.
    """
    reader = serializer(data=data)
    problems: dict[str, Any] = {name: [_refusal(name, reader.fields)] for name in data if name not in reader.fields}
    try:
        if not reader.is_valid():
            problems |= reader.errors
    except Refusal:
        # What is misspelt is told first: it may be all that is wrong.
        if not problems:
            raise
    if problems:
        raise ValidationError(problems)
    return reader.validated_data


def _refusal(name: str, fields: Collection[str]) -> str:
    meant = get_close_matches(name, fields, n=1)
    return f"is not known here. Did you mean {meant[0]}?" if meant else f"is not known here; use {', '.join(fields)}."
