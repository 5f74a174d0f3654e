"""Public ids: a prefix that names the kind of object, and 22 characters of [A-Za-z0-9]."""

import secrets
import string
from functools import partial

from django.db import models

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
LENGTH = 22
_IDS = len(ALPHABET) ** LENGTH
# Two digits at a time take half as long.
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
_SPACE = 1 << 128
# An odd multiplier has an inverse modulo 2**128, so numbering and scrambling are one-to-one.
_MULTIPLIER = 0x9E3779B97F4A7C15F39CC0605CEDC835
_INVERSE = pow(_MULTIPLIER, -1, _SPACE)


def new_public_id(prefix: str) -> str:
    """Make a new random public id with 131 bits of randomness."""
    return prefix + _digits(secrets.randbelow(_IDS))


def public_id_of(prefix: str, key: int) -> str:
    """Derive the public id of a row from its primary key, for tables too hot to store and index a second key."""
    return prefix + _digits(key * _MULTIPLIER % _SPACE)


def _digits(number: int) -> str:
    pairs = []
    for _ in range(LENGTH // 2):
        number, pair = divmod(number, len(_PAIRS))
        pairs.append(_PAIRS[pair])
    return "".join(reversed(pairs))


def key_of(prefix: str, public_id: str) -> int | None:
    """Find the primary key behind a derived public id; None for any text that `public_id_of` does not give."""
    text = public_id.removeprefix(prefix)
    if len(text) != LENGTH or not text.isascii() or not text.isalnum():
        return None
    number = 0
    for character in text:
        number = number * len(ALPHABET) + ALPHABET.index(character)
    key = number * _INVERSE % _SPACE
    return key if number < _SPACE and key < 1 << 63 else None


def public_id_field(prefix: str) -> models.CharField:
    """Make the model field that holds a stored public id."""
    return models.CharField("id", max_length=48, unique=True, editable=False, default=partial(new_public_id, prefix))
