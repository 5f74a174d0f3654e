from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from billing.services.close_periods import close_subscriptions
from billing.services.finalize import finalize_invoices
from credits.models import CreditDefinition
from credits.services.definitions import hold_definitions
from credits.services.late_months import uncover_months
from credits.services.renew import grant_with_subscription
from credits.services.shared_allowances import owe_from_before
from plans.models import Customer, Plan, Price, Subscription
from plans.periods import local_day, local_midnight, midnight_after
from plans.refusals import InvalidInput, Refusal
from plans.services.subscriptions import open_subscription
from plans.services.time_zone import billing_zone

MOST_TRIAL_DAYS = 730


class PlanHasNoPrice(Refusal):
    """The plan version has no price yet, so nobody can subscribe to it."""

    code = "plan_has_no_price"


class PlanNoLongerOffered(Refusal):
    """The plan version was deleted; those who have it keep it, and nobody else gets it."""

    code = "plan_no_longer_offered"
    status = 409


@transaction.atomic
def subscribe(
    *,
    at: datetime,
    customer: Customer,
    plan: Plan,
    price: Price | None = None,
    started_at: datetime | None = None,
    trial_days: int = 0,
    beside_others: bool = False,
    metadata: dict[str, Any] | None = None,
) -> Subscription:
    """Subscribe a customer to a plan version: its rows, its first grants, and the invoice of its first fees.

    With `trial_days` a trial of so many full days comes first, rounded up to local midnight; nothing is charged for it,
    and the first fees fall due at its end. Without `price` the plan's only one is taken. Units that were taken of turns
    which an end cut short, beyond the days that were paid for, are withheld. Raises PlanHasNoPrice,
    PlanNoLongerOffered, InvalidInput for a price of another plan or a choice left open, and whatever open_subscription
    refuses.
    """
    price = _price_of(plan, price)
    started_at = at if started_at is None else started_at
    # A definition of this plan is made either before, and granted here, or after, and finds this subscription.
    hold_definitions(plan)
    # Read under that lock, which deleting a plan waits for.
    if not Price.objects.live().filter(pk=price.pk, plan__deleted_at__isnull=True).exists():
        raise PlanNoLongerOffered("This plan is no longer offered.")
    quotas = CreditDefinition.objects.granted_with(plan, price)
    subscription = open_subscription(
        at=at,
        customer=customer,
        price=price,
        started_at=started_at,
        trial_ends_at=trial_end(started_at, trial_days) if trial_days else None,
        beside_others=beside_others,
        metadata=metadata,
        metrics_with_quota=set(quotas.values_list("metric_id", flat=True)),
    )
    owe_from_before(subscription=subscription, at=at)
    grant_with_subscription(at=at, subscription=subscription)
    if started_at < at:
        metered = subscription.items.exclude(metric=None).values_list("metric_id", flat=True)
        uncover_months(customer=customer.pk, metrics=metered, since=started_at, at=at)
    if started_at <= at:
        # The first fees alone. Periods that have ended since a start in the past are left to the next sweep, so that
        # their usage can still be sent.
        invoices = close_subscriptions([subscription], at=at, before=started_at + timedelta(microseconds=1))
        finalize_invoices([invoice for invoice in invoices if invoice.finalize_at <= at], at=at)
    return subscription


def trial_end(started_at: datetime, days: int) -> datetime:
    """The local midnight at which a trial of so many full days ends. Raises InvalidInput for a length beyond a year."""
    if not 0 < days <= MOST_TRIAL_DAYS:
        raise InvalidInput.at("trialDays", f"must be a whole number from 0 to {MOST_TRIAL_DAYS}.")
    zone = billing_zone()
    first_midnight = midnight_after(started_at, zone)
    return local_midnight(local_day(first_midnight, zone) + timedelta(days=days), zone)


def _price_of(plan: Plan, price: Price | None) -> Price:
    if price is not None:
        if price.plan_id != plan.pk:
            raise InvalidInput.at("priceId", "is a price of another plan.")
        return price
    prices = list(Price.objects.live().filter(plan=plan, is_override_price=False)[:2])
    if not prices:
        raise PlanHasNoPrice("This plan has no price. Create one with POST /v1/prices, then subscribe.")
    if len(prices) > 1:
        raise InvalidInput.at("priceId", "is required, since this plan has several prices.")
    return prices[0]
