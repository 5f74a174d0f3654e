from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from credits.models import CreditGrant, CreditTransaction, GrantSource, GrantTerms, SubscriptionCredit, TransactionKind
from plans.bulk_rows import insert_rows, new_row
from plans.periods import local_day, local_midnight, midnight_after
from plans.services.time_zone import billing_zone


def write_grants(grants: Sequence[CreditGrant], *, at: datetime) -> list[CreditGrant]:
    """Store new grants together with the ledger rows that give them their units."""
    for grant in grants:
        grant.ledger_remaining = grant.initial_amount
    written = insert_rows(grants)
    insert_rows(
        new_row(
            CreditTransaction,
            customer_id=grant.customer_id,
            grant_id=grant.pk,
            kind=TransactionKind.GRANTED,
            amount=grant.initial_amount,
            occurred_at=at,
        )
        for grant in written
    )
    return written


def grant_of(credit: SubscriptionCredit, customer_id: int, **fields: Any) -> CreditGrant:
    """Make the grant, not stored yet, of what was sold with a subscription; without an amount the first one."""
    definition = credit.definition
    return new_row(
        CreditGrant,
        **{
            "customer_id": customer_id,
            "subscription_id": credit.subscription_id,
            "definition": definition,
            "metric_id": definition.metric_id,
            "currency": definition.currency,
            "source": GrantSource.SUBSCRIPTION,
            "initial_amount": credit.default_amount,
            "priority": credit.priority,
        }
        | fields,
    )


def expiry_of(terms: GrantTerms, granted_at: datetime) -> datetime | None:
    """When a grant expires that does not follow a period: after its `expiry_days`; None for never."""
    return expiry_after(terms.expiry_days, granted_at)


def expiry_after(days: int | None, granted_at: datetime) -> datetime | None:
    """When that many local days after an instant are over, widened to the next local midnight; None for never."""
    if days is None:
        return None
    zone = billing_zone()
    # Counted in days, not hours: where clocks change, a day has 23 or 25 of them.
    return local_midnight(local_day(midnight_after(granted_at, zone), zone) + timedelta(days=days), zone)
