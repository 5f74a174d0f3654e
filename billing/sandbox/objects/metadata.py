"""Metadata: up to 50 pairs of text on an object."""

from collections.abc import Mapping
from typing import Any

from billing.sandbox.errors import Refusal

MOST_KEYS = 50
LONGEST_KEY = 40
LONGEST_VALUE = 500


def merged(old: Mapping[str, str], given: Any) -> dict[str, str]:
    """Return the old pairs with the given ones over them; an empty value removes its key, empty metadata all keys.

    Raises Refusal (400) past Stripe's limits: 50 keys, 40 characters a key, 500 a value.
    """
    if given == "":
        return {}
    pairs = {**old, **(given or {})}
    for key, value in pairs.items():
        _check_length("keys", key, LONGEST_KEY, "metadata")
        _check_length("values", value, LONGEST_VALUE, f"metadata[{key}]")
    kept = {key: value for key, value in pairs.items() if value != ""}
    if len(kept) > MOST_KEYS:
        raise Refusal(f"You can have up to {MOST_KEYS} metadata keys, but you passed {len(kept)}.", param="metadata")
    return kept


def _check_length(what: str, text: str, longest: int, param: str) -> None:
    if len(text) > longest:
        message = f"Metadata {what} can have up to {longest} characters, but you passed one with {len(text)}."
        raise Refusal(message, param=param)
