"""Random identifiers in the manner of Stripe's."""

import secrets
import string

ALPHABET = string.ascii_letters + string.digits


def random_text(length: int) -> str:
    """Return `length` random letters and digits."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def new_id(prefix: str) -> str:
    """Return a fresh id such as `in_4kT…`: the prefix, an underscore, 24 random characters."""
    return f"{prefix}_{random_text(24)}"


def new_client_secret(intent_id: str) -> str:
    """Return the secret that lets a browser see and confirm one intent."""
    return f"{intent_id}_secret_{random_text(25)}"
