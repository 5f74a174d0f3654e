"""What lists of credits can be narrowed down to."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone


class StateFilter(admin.SimpleListFilter):
    """Grants by where they stand in time; whether one is used up shows in its row."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """From first to last."""
        return [("now", "Running now"), ("later", "Not begun"), ("expired", "Expired"), ("revoked", "Revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The grants in the chosen state."""
        now = timezone.now()
        ended = Q(expires_at__isnull=False, expires_at__lte=now)
        chosen = {
            "now": ~ended & Q(revoked_at=None, starts_at__lte=now),
            "later": Q(revoked_at=None, starts_at__gt=now),
            "expired": ended & Q(revoked_at=None),
            "revoked": Q(revoked_at__isnull=False),
        }
        return queryset.filter(chosen.get(self.value() or "", Q()))


class HoldsFilter(admin.SimpleListFilter):
    """Units or money."""

    title = "holds"
    parameter_name = "holds"
    metric = "metric"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The two kinds of credits."""
        return [("units", "Units"), ("money", "Money")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The grants, or their movements, of the chosen kind."""
        if self.value() not in ("units", "money"):
            return queryset
        return queryset.filter(**{f"{self.metric}__isnull": self.value() == "money"})


class TransactionHoldsFilter(HoldsFilter):
    """Movements of units or of money."""

    metric = "grant__metric"
