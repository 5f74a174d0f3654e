"""API keys: made, found, revoked."""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256

from django.db import connection, transaction
from django.db.models import Q

from config.models import ADMIN, PUBLIC, ApiKey, Environment, KeyType
from plans.refusals import InvalidInput, NotFound, Refusal

ALPHABET = string.ascii_letters + string.digits
RANDOM_CHARACTERS = 24
PREFIX_LENGTH = 12
USE_IS_NOTED_EVERY = timedelta(minutes=1)

_SCOPE = re.compile(r"[a-z][a-z0-9_-]*:(read|write)")
_KIND = {KeyType.SECRET: "sk", KeyType.PUBLISHABLE: "pk"}


class MissingApiKey(Refusal):
    """The request carries no API key where one is needed."""

    code = "missing_api_key"
    status = 401


class InvalidApiKey(Refusal):
    """What the request carries is not a key of this installation, or not one of the needed type."""

    code = "invalid_api_key"
    status = 401


class RevokedApiKey(Refusal):
    """The API key was revoked."""

    code = "revoked_api_key"
    status = 401


class ExpiredApiKey(Refusal):
    """The API key's time is over."""

    code = "expired_api_key"
    status = 401


class InsufficientScope(Refusal):
    """The API key does not open this; `details` names the scopes needed."""

    code = "insufficient_scope"
    status = 403


class SecretKeyNeedsScope(Refusal):
    """A secret key would open nothing. The texts are the contract's, whose secret keys are all `admin`."""

    code = "invalid_request"

    def __init__(self) -> None:
        super().__init__("Bad Request", details="Secret keys must include the 'admin' permission.")


def create_api_key(
    *,
    name: str,
    key_type: str,
    environment: str = Environment.LIVE,
    scopes: Sequence[str] | None = None,
    expires_at: datetime | None = None,
    made_by: ApiKey | None = None,
    at: datetime,
) -> tuple[ApiKey, str]:
    """Make an API key and return its row and its text, which for a secret key cannot be had again.

    Without `scopes` a secret key gets `admin`, which opens everything; a publishable key always gets `public`. A new
    publishable key revokes the previous one of its environment. `made_by` is the key that asks, None for the operator.

    Raises InvalidInput, SecretKeyNeedsScope, or InsufficientScope where `made_by` lacks a scope it would give away.
    """
    _check_words(name=name, key_type=key_type, environment=environment)
    if expires_at is not None and expires_at <= at:
        raise InvalidInput.at("expiresAt", "must be in the future.")
    granted = _checked_scopes(scopes, key_type=KeyType(key_type))
    if made_by is not None and key_type == KeyType.SECRET:
        lacking = [scope for scope in granted if not made_by.allows(scope)]
        if lacking:
            raise InsufficientScope(
                f"This API key cannot give away the scope {lacking[0]}, because it does not have it.",
                details={"required": lacking},
            )
    text = _new_text(key_type=KeyType(key_type), environment=environment)
    with transaction.atomic():
        if key_type == KeyType.PUBLISHABLE:
            _revoke_publishable_keys(environment=environment, at=at)
        key = ApiKey.objects.create(
            name=name.strip(),
            key_type=key_type,
            environment=environment,
            scopes=granted,
            key_hash=hash_of(text),
            prefix=text[:PREFIX_LENGTH],
            publishable_value=text if key_type == KeyType.PUBLISHABLE else "",
            created_at=at,
            expires_at=expires_at,
        )
    return key, text


def revoke_api_key(*, public_id: str, at: datetime) -> ApiKey:
    """Revoke an API key from this moment on; a key that is revoked already keeps its moment. Raises NotFound."""
    ApiKey.objects.filter(public_id=public_id, revoked_at=None).update(revoked_at=at)
    key = ApiKey.objects.filter(public_id=public_id).first()
    if key is None:
        raise NotFound("API key not found")
    return key


def find_active_key(*, text: str, at: datetime) -> ApiKey:
    """Find the key with this text by one indexed query. Raises InvalidApiKey, RevokedApiKey or ExpiredApiKey."""
    key = ApiKey.objects.by_hash(hash_of(text))
    if key is None:
        # The sentence about a publishable key is the contract's.
        raise InvalidApiKey("Invalid Lumen publishable key" if text.startswith("pk_") else "This API key is unknown.")
    if key.revoked_at is not None:
        raise RevokedApiKey("This API key was revoked.")
    if key.expires_at is not None and key.expires_at <= at:
        raise ExpiredApiKey("This API key has expired.")
    return key


def note_use(*, key: ApiKey, at: datetime) -> None:
    """Store on the key that it is in use, at most once a minute, and never waiting for another request."""
    not_since = at - USE_IS_NOTED_EVERY
    if key.last_used_at is not None and key.last_used_at > not_since:
        return
    with transaction.atomic():
        # Of requests that find the minute over at once, one writes; the others skip the row that it has locked.
        due = (
            ApiKey.objects.filter(pk=key.pk)
            .filter(Q(last_used_at=None) | Q(last_used_at__lte=not_since))
            .select_for_update(skip_locked=True, no_key=True)
        )
        ApiKey.objects.filter(pk__in=due.values("pk")).update(last_used_at=at)


def hash_of(text: str) -> bytes:
    """Hash a key's text. Plain SHA-256 is enough: 24 random characters cannot be guessed from a hash."""
    return sha256(text.encode("utf-8", "surrogateescape")).digest()


def _check_words(*, name: str, key_type: str, environment: str) -> None:
    if not 1 <= len(name.strip()) <= 100:
        raise InvalidInput.at("name", "must have 1 to 100 characters.")
    if key_type not in KeyType.values:
        raise InvalidInput.at("keyType", "must be secret or publishable.")
    if environment not in Environment.values:
        raise InvalidInput.at("environment", "must be live or test.")


def _checked_scopes(scopes: Sequence[str] | None, *, key_type: KeyType) -> list[str]:
    if key_type == KeyType.PUBLISHABLE:
        if scopes is not None and list(scopes) != [PUBLIC]:
            raise InvalidInput.at("scopes", 'a publishable key has exactly the scope "public".')
        return [PUBLIC]
    if scopes is None:
        return [ADMIN]
    if not scopes or PUBLIC in scopes:
        raise SecretKeyNeedsScope
    for index, scope in enumerate(scopes):
        if scope != ADMIN and not _SCOPE.fullmatch(scope):
            raise InvalidInput.at(f"scopes[{index}]", 'must be "admin" or like "customers:read" or "customers:write".')
    return sorted(set(scopes))


def _new_text(*, key_type: KeyType, environment: str) -> str:
    characters = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_CHARACTERS))
    return f"{_KIND[key_type]}_{environment}_{characters}"


def _revoke_publishable_keys(*, environment: str, at: datetime) -> None:
    # A row lock would not do: the row of a concurrent creation is not there to be locked, and two would insert.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"publishable key {environment}"])
    ApiKey.objects.filter(key_type=KeyType.PUBLISHABLE, environment=environment, revoked_at=None).update(revoked_at=at)
