"""The plan of the worked numbers, 29.00 a month with 10,000 calls and 5 cents a call beyond, and what happens to it."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing.books import check_books
from billing.models import Invoice
from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.finalize import drafts_to_finalize, finalize
from credits.models import CreditDefinition, SubscriptionCredit
from credits.services.definitions import create_definition
from credits.services.end_grants import withdraw_grants
from credits.services.positions import read_positions
from credits.services.refill import due_refills, refill_credits
from credits.services.renew import grant_for_periods
from metering.events import NewEvent
from metering.services.record_events import Outcome, record_events
from plans.models import Customer, Feature, Metric, Plan, Price, Subscription, SubscriptionPeriod
from tests.factories import (
    START,
    FeatureFactory,
    FixedComponentFactory,
    MetricFactory,
    PlanFactory,
    PlanFeatureFactory,
    PriceFactory,
    UsageComponentFactory,
)


@dataclass(frozen=True)
class ProPlan:
    """A plan with all that hangs on it; `quota` is None when it gives no units."""

    plan: Plan
    price: Price
    metric: Metric
    feature: Feature
    quota: CreditDefinition | None


def make_pro_plan(
    *,
    base_cents: int | None = 2900,
    unit_cost_cents: str | None = "5",
    quota: int | None = 10_000,
    shown: bool = True,
    frequency: str = "MONTHLY",
    base_frequency: str | None = None,
    currency: str = "USD",
    beside: ProPlan | None = None,
    **definition: Any,
) -> ProPlan:
    """Make the plan; None leaves out the base fee, the unit price (then the quota is a hard cap) or the quota. One
    `beside` another has its metric and feature."""
    metric = MetricFactory() if beside is None else beside.metric
    feature = FeatureFactory(value="usage_based", metrics=[metric]) if beside is None else beside.feature
    plan = PlanFactory()
    PlanFeatureFactory(plan=plan, feature=feature)
    price = PriceFactory(plan=plan, fee=None, currency=currency)
    if base_cents is not None:
        FixedComponentFactory(price=price, amount_cents=base_cents, frequency=base_frequency or frequency)
    if unit_cost_cents is not None:
        UsageComponentFactory(
            price=price, metric=metric, unit_cost_cents=Decimal(unit_cost_cents), frequency=frequency, label="Calls"
        )
    return ProPlan(
        plan=plan,
        price=price,
        metric=metric,
        feature=feature,
        quota=None
        if quota is None
        else create_definition(
            at=START,
            name="Included calls",
            scope="plan",
            application_type="usage",
            default_amount=Decimal(quota),
            plan=plan,
            feature=feature,
            billing_visible=shown,
            **{"renew_on_billing": True} | definition,
        ),
    )


def event(
    name: str, units: Any, occurred_at: datetime | None, key: str, *, customer: str | None = None,
    external: str | None = None, properties: str = "{}",
) -> NewEvent:  # fmt: skip
    """An event of a customer's public or external id."""
    return NewEvent(
        event_name=name,
        customer_id=customer,
        external_customer_id=external,
        value=Decimal(units),
        text_value=None,
        occurred_at=occurred_at,
        idempotency_key=key,
        properties=properties,
    )


def use(customer: Customer, metric: Metric, units: Any, at: datetime, *, key: str | None = None) -> Outcome:
    """Record one event that happened at `at` and arrived at once."""
    sent = event(metric.event_name, units, at, key or f"{metric.pk}/{at}/{units}", customer=customer.public_id)
    (outcome,) = record_events(events=[sent], at=at)
    return outcome


def renew_by_the_shortest_clock(subscription: Subscription) -> None:
    """Let a subscription's quotas be as they were sold before these renewed with the clock of their metric."""
    at = subscription.started_at
    withdraw_grants(subscription=subscription, at=at)
    SubscriptionCredit.objects.filter(subscription=subscription).update(renews_by_shortest_clock=True)
    periods = SubscriptionPeriod.objects.filter(subscription=subscription)
    grant_for_periods(at=at, periods=periods.select_related("item"))


def remaining(customer: Customer, metric: Metric, at: datetime) -> Decimal:
    """The live balance."""
    return read_positions([(customer.pk, metric.pk)], at=at)[customer.pk, metric.pk].remaining(at)


def sweep(at: datetime) -> None:
    """Refill, close and finalize until nothing is due at `at`."""
    while (
        refill_credits(credits=due_refills(at), at=at)
        or close_periods(subscriptions=due_subscriptions(at), at=at)
        or finalize(invoices=drafts_to_finalize(at), at=at)
    ):
        pass


def bills(customer: Customer) -> list[tuple[str, int, list[tuple[str, Decimal, int]]]]:
    """A customer's invoices by close: status, total, and `(type, quantity, amount)` of each line."""
    return [
        (
            invoice.status,
            invoice.total_cents,
            [(line.type, line.quantity, line.amount_cents) for line in invoice.lines.all()],
        )
        for invoice in Invoice.objects.filter(customer=customer).order_by("closes_at", "pk")
    ]


def assert_books_add_up(at: datetime) -> None:
    """Run every check of the books, and show what breaks one."""
    assert [(finding.invariant, finding.offenders) for finding in check_books(at=at) if finding.offenders] == []
