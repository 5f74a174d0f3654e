"""How decisions go over the wire."""

from typing import Any

from entitlements.decisions import Decision
from plans.models import Customer


def entitlement_body(decision: Decision) -> dict[str, Any]:
    """Shape a decision as the contract's entitlement object, with `name`, `usage`, `limit` and `remaining` beside it.

    `creditInfo` is null when no credit applies: the vendor's badge reads anything else as "credit based".
    """
    credit = decision.credit_info
    body: dict[str, Any] = {
        "entitled": decision.entitled,
        "feature": {"slug": decision.slug, "name": decision.name, "value": decision.value},
        "source": decision.source,
        "name": decision.name,
        "usage": decision.usage,
        "limit": decision.limit,
        "remaining": decision.remaining,
        "overageAllowed": decision.overage_allowed,
        "creditInfo": credit
        and {
            "creditAllowance": credit.allowance,
            "creditsRemaining": credit.remaining,
            "nextExpiryDate": credit.next_expiry_at,
        },
    }
    if decision.usages:
        body["usages"] = [{"metricId": metric, "usage": usage} for metric, usage in decision.usages]
    return body


def seat_words(customer: Customer) -> dict[str, Any]:
    """Say whose entitlement it is, in a list of several customers'."""
    return {"customerId": customer.public_id, "externalCustomerId": customer.external_customer_id}
