"""How usage that was found after its period was settled goes over the wire."""

from collections.abc import Collection
from typing import Any

from rest_framework import serializers

from credits.models import UsageDifference
from credits.services.late_usage import LateUsage
from plans.models import SubscriptionPeriod


class ListLateUsage(serializers.Serializer):
    """The query of GET /v1/late-usage."""

    customerId = serializers.CharField()


def difference_body(difference: UsageDifference, ended: Collection[int]) -> dict[str, Any]:
    """Shape what was found and is kept: `billed`, or how it will be while it waits for that. `ended` are the keys of
    subscriptions for which no invoice is to come."""
    line = getattr(difference, "invoice_line", None)
    return _body(difference.period, difference) | {
        "status": "billed" if difference.billed_at is not None else _way(difference, ended),
        "number": difference.number,
        "foundAt": difference.found_at,
        "billedAt": difference.billed_at,
        "invoiceId": line and line.invoice.public_id,
    }


def late_usage_body(late: LateUsage, ended: Collection[int]) -> dict[str, Any]:
    """Shape what would be found now: how it will be billed while it is by itself, `operator` when that time is over."""
    closed_at = late.period.late_usage_closed_at
    return _body(late.period, late) | {
        "status": "operator" if closed_at is not None else _way(late, ended),
        "number": None,
        "foundAt": None,
        "billedAt": None,
        "invoiceId": None,
    }


def _way(found: UsageDifference | LateUsage, ended: Collection[int]) -> str:
    """With the `next_invoice`; where none is to come by an `own_invoice`, or where less was used as `credit`."""
    if found.period.subscription_id not in ended:
        return "next_invoice"
    return "credit" if found.net_cents < 0 else "own_invoice"


def _body(period: SubscriptionPeriod, found: UsageDifference | LateUsage) -> dict[str, Any]:
    component = period.item.component
    assert component is not None
    return {
        "subscriptionId": period.subscription.public_id,
        "componentId": component.component_id,
        "metricId": period.metric and period.metric.public_id,
        "usagePeriodStart": period.start_at,
        "usagePeriodEnd": period.end_at,
        "usage": found.usage,
        "included": found.included,
        "credited": found.credited,
        "netCents": found.net_cents,
        "currency": component.price.currency,
    }
