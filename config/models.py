"""API keys, and the answers kept for requests that carry an idempotency key."""

from __future__ import annotations

import json
from datetime import datetime

from django.db import models
from django.db.models import Q

from plans.ids import public_id_field
from plans.prepared import run_prepared

ADMIN = "admin"
PUBLIC = "public"


class KeyType(models.TextChoices):
    SECRET = "secret"
    PUBLISHABLE = "publishable"


class Environment(models.TextChoices):
    LIVE = "live"
    TEST = "test"


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def active(self, at: datetime) -> ApiKeyQuerySet:
        """Keep the keys that open something at `at`: neither revoked nor expired."""
        return self.filter(revoked_at=None).exclude(expires_at__lte=at)

    def by_hash(self, key_hash: bytes) -> ApiKey | None:
        """Find the one key with this hash, in whatever state it is, by one query on the unique index."""
        # Every request pays for this look-up; through the ORM it takes three times as long.
        row = next(iter(run_prepared(_SELECT_BY_HASH, {"key_hash": key_hash})), None)
        if row is None:
            return None
        key = ApiKey.from_db(self.db, _LOADED_FIELDS, row)
        key.scopes = json.loads(key.scopes)
        return key


class ApiKey(models.Model):
    """A key of the v1 API. Only the hash of a secret key is stored; its text is shown once, when it is made."""

    public_id = public_id_field("key_")
    name = models.CharField(max_length=100)
    key_type = models.CharField(max_length=11, choices=KeyType.choices)
    environment = models.CharField(max_length=4, choices=Environment.choices, default=Environment.LIVE)
    scopes = models.JSONField(help_text='A list such as ["customers:read", "events:write"]; "admin" opens everything.')
    key_hash = models.BinaryField(max_length=32, unique=True, editable=False)
    prefix = models.CharField(max_length=12, editable=False)
    publishable_value = models.CharField(max_length=32, blank=True, editable=False)
    created_at = models.DateTimeField(editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        verbose_name = "API key"
        constraints = [
            models.CheckConstraint(name="api_key_has_a_name", condition=~Q(name="")),
            models.CheckConstraint(name="api_key_type_is_known", condition=Q(key_type__in=KeyType.values)),
            models.CheckConstraint(
                name="api_key_environment_is_known", condition=Q(environment__in=Environment.values)
            ),
            models.CheckConstraint(
                name="api_key_text_is_kept_only_when_publishable",
                condition=Q(key_type=KeyType.SECRET, publishable_value="")
                | Q(key_type=KeyType.PUBLISHABLE) & ~Q(publishable_value=""),
            ),
            models.UniqueConstraint(
                name="one_active_publishable_key_per_environment",
                fields=["environment"],
                condition=Q(key_type=KeyType.PUBLISHABLE, revoked_at=None),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def allows(self, scope: str) -> bool:
        """Tell whether the key opens `scope`: `admin` opens everything but public pages, `x:write` opens `x:read`."""
        if scope in self.scopes:
            return True
        if scope == PUBLIC:
            return False
        if ADMIN in self.scopes:
            return True
        resource, _, action = scope.partition(":")
        return action == "read" and f"{resource}:write" in self.scopes


# Everything but the hash, in the order of the fields.
_LOADED_FIELDS = [field.attname for field in ApiKey._meta.concrete_fields if field.attname != "key_hash"]
_SELECT_BY_HASH = f"SELECT {', '.join(_LOADED_FIELDS)} FROM {ApiKey._meta.db_table} WHERE key_hash = %(key_hash)s"


class IdempotencyRecord(models.Model):
    """The one answer to a request sent with an `Idempotency-Key`; kept for ever and replayed to every repetition."""

    class State(models.TextChoices):
        IN_PROGRESS = "in_progress"
        ANSWERED = "answered"

    api_key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, related_name="+", db_index=False)
    key = models.CharField(max_length=255)
    method = models.CharField(max_length=7)
    path = models.TextField(help_text="With its query string.")
    body_hash = models.BinaryField(max_length=32)
    state = models.CharField(max_length=11, choices=State.choices, default=State.IN_PROGRESS)
    response_status = models.PositiveSmallIntegerField(null=True)
    response_headers = models.JSONField(default=dict)
    response_body = models.BinaryField(default=b"")
    created_at = models.DateTimeField()
    claimed_at = models.DateTimeField(help_text="When the request now working on it began.")

    class Meta:
        constraints = [
            models.UniqueConstraint(name="one_answer_per_idempotency_key", fields=["api_key", "key"]),
            models.CheckConstraint(
                name="idempotency_record_has_its_answer",
                condition=Q(state="in_progress", response_status=None)
                | Q(state="answered", response_status__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.path} ({self.key})"
