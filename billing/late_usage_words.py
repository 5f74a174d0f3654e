"""How usage that was found after its period was settled goes over the wire."""

from typing import Any

from rest_framework import serializers

from credits.models import UsageDifference
from credits.services.late_usage import LateUsage
from plans.models import SubscriptionPeriod


class ListLateUsage(serializers.Serializer):
    """The query of GET /v1/late-usage."""

    customerId = serializers.CharField()


def difference_body(difference: UsageDifference) -> dict[str, Any]:
    """Shape what was found and is kept: `billed`, or `next_invoice` while it waits for one."""
    line = getattr(difference, "invoice_line", None)
    return _body(difference.period, difference) | {
        "status": "next_invoice" if difference.billed_at is None else "billed",
        "number": difference.number,
        "foundAt": difference.found_at,
        "billedAt": difference.billed_at,
        "invoiceId": line and line.invoice.public_id,
    }


def late_usage_body(late: LateUsage) -> dict[str, Any]:
    """Shape what would be found now: `next_invoice` while it is billed by itself, `operator` when that time is over."""
    closed_at = late.period.late_usage_closed_at
    return _body(late.period, late) | {
        "status": "next_invoice" if closed_at is None else "operator",
        "number": None,
        "foundAt": None,
        "billedAt": None,
        "invoiceId": None,
    }


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
