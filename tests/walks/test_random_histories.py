"""Random lives of several customers against a model that knows nothing of ledgers, segments or sweeps.

The model rates each month from its list of events: of the grants active on a day, the one that ends soonest pays first.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.books import check_books
from billing.models import Invoice
from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.finalize import drafts_to_finalize, finalize
from billing.services.subscribe import subscribe
from credits.models import CreditGrant
from credits.services.grants import grant_credits, revoke_grant
from metering.services.record_events import record_events
from plans.models import Customer, SubscriptionPeriod
from tests.database import taken_back
from tests.factories import CreditDefinitionFactory, CustomerFactory
from tests.pro_plan import ProPlan, event, make_pro_plan, remaining, sweep

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
LAST_DAY = 100
QUOTA, UNIT_COST, BASE = 10, Decimal("0.7"), 2_900
MINUTES = st.integers(0, LAST_DAY * 24 * 60)
VALUES = st.decimals(min_value=-10, max_value=40, places=2)

# (what, customer, minute since the first day, …); histories are played in the order of their minutes.
STEPS = st.one_of(
    st.tuples(
        st.just("events"),
        st.integers(0, 2),
        MINUTES,
        st.lists(
            # key, value, minutes into the past (also into closed months), by external id
            st.tuples(st.integers(0, 15), VALUES, st.integers(0, 40 * 24 * 60), st.booleans()),
            min_size=1,
            max_size=5,
        ),
    ),
    st.tuples(st.just("subscribe"), st.just(2), MINUTES, st.integers(0, 20)),
    st.tuples(st.just("grant"), st.integers(0, 2), MINUTES, st.integers(1, 60), st.none() | st.integers(1, 60)),
    st.tuples(st.just("revoke"), st.integers(0, 2), MINUTES, st.integers(0, 5)),
    st.tuples(st.just("close"), st.just(0), MINUTES),
    st.tuples(st.just("finalize"), st.just(0), MINUTES),
    st.tuples(st.just("sweep"), st.just(0), MINUTES),
)
# The first two customers subscribe early, so that most histories have months to bill.
HISTORIES = st.builds(
    lambda starts, steps: [("subscribe", who, minute, days) for who, (minute, days) in enumerate(starts)] + steps,
    st.tuples(*[st.tuples(st.integers(0, 10 * 24 * 60), st.integers(0, 20))] * 2),
    st.lists(STEPS, min_size=3, max_size=25),
)


@dataclass
class Told:
    """What the outside world knows of a customer: the first event of each key, with the instant of its arrival."""

    customer: Customer
    events: dict[str, tuple[Decimal, datetime, datetime]] = field(default_factory=dict)
    started_at: datetime | None = None


@dataclass
class History:
    """Plays steps against the services and remembers what was told to them."""

    pro: ProPlan
    people: list[Told]

    def play(self, step, at):
        what, who, _, *details = step
        getattr(self, what)(self.people[who], at, *details)

    def events(self, told, at, batch):
        sent = []
        for key, value, age, by_external in batch:
            occurred_at = at - timedelta(minutes=age)
            known = told.events.setdefault(f"k{key}", (value, occurred_at, at))
            address = (
                {"external": told.customer.external_customer_id}
                if by_external
                else {"customer": told.customer.public_id}
            )
            repeated = known[2] != at or known[:2] != (value, occurred_at)
            sent.append(
                event(
                    self.pro.metric.event_name,
                    known[0] if repeated else value,
                    known[1] if repeated else occurred_at,
                    f"k{key}",
                    **address,
                )
            )
        assert not any(outcome.conflicts or outcome.unknown_customer for outcome in record_events(events=sent, at=at))

    def subscribe(self, told, at, days_back):
        if told.started_at is None:
            told.started_at = at - timedelta(days=days_back)
            subscribe(at=at, customer=told.customer, plan=self.pro.plan, started_at=told.started_at)

    def grant(self, told, at, units, days):
        if told.started_at is not None:
            definition = CreditDefinitionFactory(
                scope="merchant", plan=None, renew_on_billing=False, feature=self.pro.feature, expiry_days=days
            )
            grant_credits(at=at, customer=told.customer, definition=definition, amount=Decimal(units))

    def revoke(self, told, at, number):
        grants = list(CreditGrant.objects.filter(customer=told.customer, source="manual").order_by("pk"))
        if grants:
            revoke_grant(at=at, grant=grants[number % len(grants)])

    def close(self, told, at):
        close_periods(subscriptions=due_subscriptions(at), at=at)

    def finalize(self, told, at):
        finalize(invoices=drafts_to_finalize(at), at=at)

    def sweep(self, told, at):
        sweep(at)


def rounded(amount):
    return int(amount.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def expected_total(told, period, finalized_at):
    """The price of a month without manual grants: quota first, a fee for the next month, in one rounding."""
    usage = sum(
        (
            value
            for value, occurred_at, arrived_at in told.events.values()
            if period.start_at <= occurred_at < period.end_at and arrived_at <= finalized_at
        ),
        Decimal(0),
    )
    return BASE + rounded(max(max(usage, Decimal(0)) - QUOTA, Decimal(0)) * UNIT_COST)


def played(steps):
    """Play a history to its end and give it; the caller takes it back."""
    history = History(
        pro=make_pro_plan(quota=QUOTA, unit_cost_cents=str(UNIT_COST), base_cents=BASE),
        people=[Told(CustomerFactory()) for _ in range(3)],
    )
    for step in sorted(steps, key=lambda step: step[2]):
        history.play(step, FIRST_DAY + timedelta(minutes=step[2]))
    sweep(FIRST_DAY + timedelta(days=LAST_DAY + 1))
    return history


@pytest.mark.django_db
@settings(max_examples=18, deadline=None)
@given(steps=HISTORIES)
def test_the_books_stay_clean_and_tell_what_a_naive_model_tells(steps):
    with taken_back():
        history = played(steps)

        at = FIRST_DAY + timedelta(days=LAST_DAY + 1)
        assert [offender for finding in check_books(at=at) for offender in finding.offenders] == []
        for told in history.people:
            if not CreditGrant.objects.filter(customer=told.customer, source="manual").exists():
                assert_totals_are_those_of_the_naive_model(told)
            assert_grants_paid_for_exactly_what_they_lost(told)


def assert_totals_are_those_of_the_naive_model(told):
    for period in SubscriptionPeriod.objects.filter(
        customer=told.customer, settled_at__isnull=False, metric__isnull=False
    ):
        invoice = Invoice.objects.get(customer=told.customer, closes_at=period.end_at)
        assert invoice.total_cents == expected_total(told, period, period.settled_at)


def assert_grants_paid_for_exactly_what_they_lost(told):
    credited: dict[int, Decimal] = defaultdict(Decimal)
    for grant in CreditGrant.objects.filter(customer=told.customer).prefetch_related("transactions"):
        moved = {movement.kind: movement.amount for movement in grant.transactions.all()}
        assert grant.ledger_remaining == sum(movement.amount for movement in grant.transactions.all())
        assert moved["granted"] == grant.initial_amount
        for movement in grant.transactions.all():
            if movement.kind == "burned":
                credited[movement.period_id] -= movement.amount
    for period in SubscriptionPeriod.objects.filter(customer=told.customer, settled_usage__isnull=False):
        invoice = Invoice.objects.get(customer=told.customer, closes_at=period.end_at)
        charged = (period.settled_usage - credited[period.pk]) * UNIT_COST
        assert period.settled_usage >= credited[period.pk] >= min(period.settled_usage, QUOTA)
        assert invoice.total_cents == BASE + rounded(charged)


@pytest.mark.django_db
@settings(max_examples=15, deadline=None)
@given(steps=HISTORIES, minute=MINUTES)
def test_a_sweep_changes_no_live_balance(steps, minute):
    at = FIRST_DAY + timedelta(minutes=minute)
    # Only one period lies ahead of the last close: whoever sweeps less than once a period has none in store.
    sweeps = [("sweep", 0, earlier) for earlier in range(0, minute, 10 * 24 * 60)]
    with taken_back():
        history = History(
            pro=make_pro_plan(quota=QUOTA, unit_cost_cents=str(UNIT_COST), base_cents=BASE),
            people=[Told(CustomerFactory()) for _ in range(3)],
        )
        for step in sorted(steps + sweeps, key=lambda step: step[2]):
            if step[2] <= minute:
                history.play(step, FIRST_DAY + timedelta(minutes=step[2]))
        before = [remaining(told.customer, history.pro.metric, at) for told in history.people]

        sweep(at)

        assert [remaining(told.customer, history.pro.metric, at) for told in history.people] == before
