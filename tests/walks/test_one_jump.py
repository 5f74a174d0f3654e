"""One jump of the clock over six periods makes the bills of many small ones: the same numbers, lines, amounts, tax,
ledger, grants and periods. Usage, quota, rollover, seats, money and tax at once."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db.models import Case, F, Sum, Value, When
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.models import Invoice, InvoiceLine
from billing.services.subscribe import subscribe
from billing.services.tax_settings import update_settings
from credits.models import CreditGrant, CreditTransaction
from credits.services.definitions import create_definition
from credits.services.grants import grant_credits
from plans.models import AddedUnits, Customer, SubscriptionPeriod
from plans.services.customers import create_customer, update_customer
from tests.billing.lives import run_sweeps
from tests.database import taken_back
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
from tests.pro_plan import assert_books_add_up, use
from tests.seat_plan import make_organization

# The boundaries are 28 February, 31 March, 30 April, 31 May, 30 June and 31 July.
JANUARY_31 = datetime(2026, 1, 31, 10, tzinfo=UTC)
END = datetime(2026, 7, 31, 1, tzinfo=UTC)
DAY = timedelta(days=1)

pytestmark = pytest.mark.django_db


class Life:
    """An organization that pays a fee, its seats and its calls, with what happens to it in half a year."""

    def __init__(self, *, quota=1_000, rollover=None, per_seat=False, minimum=None, money=0, included=False):
        update_settings({"default_tax_rate": Decimal("0.19"), "prices_include_tax": included})
        self.metric = MetricFactory()
        plan, feature = PlanFactory(), FeatureFactory(value="usage_based", metrics=[self.metric])
        PlanFeatureFactory(plan=plan, feature=feature)
        price = PriceFactory(plan=plan, fee=None)
        FixedComponentFactory(price=price)
        FixedComponentFactory(
            price=price, kind="per_unit", label="Seats", amount_cents=1_000, position=1, bill_immediately=False
        )
        UsageComponentFactory(price=price, metric=self.metric, position=2, minimum_cents=minimum)
        if quota:
            terms = {} if rollover is None else {
                "rolls_over": True, "rollover_cap": rollover[0], "rollover_days": rollover[1],
            }  # fmt: skip
            create_definition(
                at=START, name="Included calls", scope="plan", application_type="usage", plan=plan, feature=feature,
                default_amount=Decimal(quota), renew_on_billing=True, billing_visible=True, per_seat=per_seat, **terms,
            )  # fmt: skip
        self.customer = make_organization(seats=2, since=JANUARY_31)
        self.customer.invoice_prefix = "ONE"
        self.customer.save()
        if money:
            self._give_money(money)
        subscribe(at=JANUARY_31, customer=self.customer, plan=plan)

    def _give_money(self, cents):
        definition = create_definition(
            at=START, name="Goodwill", scope="merchant", application_type="monetary", currency="USD",
            default_amount=Decimal(cents),
        )  # fmt: skip
        grant_credits(at=JANUARY_31, customer=self.customer, definition=definition)

    def call(self, at, units):
        """Somebody uses so many units."""
        use(self.customer, self.metric, units, at, key=f"{at}/{units}")

    def join(self, at, member):
        """Somebody becomes a member, of which the next invoice tells."""
        create_customer(
            at=at, name=member, email=f"{member}@x.io", external_customer_id=member, customer_organization_id="acme",
            org_role="member",
        )  # fmt: skip

    def leave(self, at, member):
        """A member of the first day goes."""
        seat = Customer.objects.get(external_customer_id=member)
        update_customer(at=at, customer=seat, customer_organization_id=None, org_role=None)

    def outcome(self):
        """All that was written about the organization, without keys and without the instants of the sweeps."""
        invoices = list(Invoice.objects.filter(customer=self.customer).order_by("closes_at", "pk"))
        number_of = {invoice.pk: invoice.number for invoice in invoices}
        lines = InvoiceLine.objects.filter(invoice__in=invoices).order_by(
            "invoice__closes_at", "invoice_id", "position"
        )
        grants = CreditGrant.objects.filter(customer=self.customer)
        ledger = CreditTransaction.objects.filter(customer=self.customer)
        periods = SubscriptionPeriod.objects.filter(customer=self.customer, closed_at__isnull=False)
        return {
            "invoices": [
                (
                    one.number, one.kind, one.status, one.closes_at, one.period_start_at, one.period_end_at,
                    one.subtotal_cents, one.tax_cents, one.total_cents, number_of.get(one.carried_into_id),
                )
                for one in invoices
            ],
            "lines": list(
                lines.values_list(
                    "invoice__number", "type", "description", "quantity", "amount_cents", "monetary_credit_cents",
                    "taxable_cents", "tax_cents", "effective_at", "billing_period_start_at", "billing_period_end_at",
                    "usage_period_start_at", "usage_period_end_at",
                )
            ),
            "periods": list(
                periods.order_by("start_at", "item__component__position").values_list(
                    "number", "start_at", "end_at", "quantity", "settled_usage", "settled_included", "settled_credited",
                    "settled_net_cents",
                )
            ),
            # A quota per seat that is written ahead follows the seats later, so what was given counts together.
            "grants": sorted(
                grants.annotate(given=F("initial_amount") + F("adjusted_amount")).values_list(
                    "source", "starts_at", "expires_at", "given", "ledger_remaining", "seats"
                ),
                key=str,
            ),
            "ledger": sorted(
                ledger.annotate(
                    what=Case(When(kind__in=("granted", "adjusted"), then=Value("given")), default=F("kind"))
                )
                .values_list("grant__source", "grant__starts_at", "period__start_at", "what")
                .annotate(units=Sum("amount"))
                .order_by(),
                key=str,
            ),
            "units": list(
                AddedUnits.objects.filter(period__customer=self.customer)
                .order_by("needed_at", "from_quantity")
                .values_list("period__start_at", "needed_at", "from_quantity", "to_quantity")
            ),
        }  # fmt: skip


def lived(steps, events, **terms):
    """Live through the events with sweeps at these instants, and give the outcome; nothing of it is kept."""
    with taken_back():
        life = Life(**terms)
        # At one instant the sweep comes first: what happens then is seen by the next one.
        for at, _, act in sorted(
            [(at, 0, None) for at in steps] + [(at, 1, act) for at, act in events], key=lambda step: step[:2]
        ):
            if act is None:
                run_sweeps(at)
            else:
                getattr(life, act[0])(at, act[1])
        assert_books_add_up(END)
        return life.outcome()


def every(days):
    """Instants so many days apart, and the end."""
    count = (END - JANUARY_31).days // days
    return [JANUARY_31 + number * days * DAY for number in range(1, count + 1)] + [END]


def at_noon(month, day):
    return datetime(2026, month, day, 12, tzinfo=UTC)


# 1,300, 200, 2,150, none, 1,650 and 900 calls in the six months, and who comes and goes.
HALF_A_YEAR = [
    (at_noon(2, 3), ("call", 1_300)),
    (datetime(2026, 2, 28, tzinfo=UTC) - timedelta(microseconds=1), ("call", 0)),
    (at_noon(3, 30), ("call", 200)),
    (at_noon(4, 2), ("call", 2_000)),
    (datetime(2026, 4, 30, tzinfo=UTC) - timedelta(microseconds=1), ("call", 150)),
    (datetime(2026, 5, 31, tzinfo=UTC), ("call", 1_650)),
    (at_noon(7, 4), ("call", 900)),
    (at_noon(3, 10), ("join", "ann")),
    (at_noon(5, 12), ("leave", "acme-0")),
    (at_noon(6, 15), ("join", "bob")),
    (at_noon(6, 15), ("join", "cid")),
]
TERMS = [
    {},
    {"rollover": (300, None), "money": 5_000},
    {"rollover": (None, 20), "minimum": 2_000, "included": True},
    {"per_seat": True, "money": 60_000},
    {"quota": None, "minimum": 2_000},
]


@pytest.mark.parametrize("terms", TERMS)
def test_one_jump_over_six_periods_makes_the_bills_of_many_small_ones(terms):
    jumped = lived([END], HALF_A_YEAR, **terms)

    assert jumped == lived(every(17), HALF_A_YEAR, **terms)
    assert len([one for one in jumped["invoices"] if one[2] != "skipped"]) == 7


def test_the_bills_of_one_jump_worked_by_hand():
    """Fee 2,900 and seats of 1,000 in advance, calls at 5 beyond 1,000, 19 % on each line."""
    jumped = lived([END], HALF_A_YEAR)

    assert [(closes_at.strftime("%m-%d"), net) for _, _, _, closes_at, _, _, net, _, _, _ in jumped["invoices"]] == [
        ("01-31", 4_900),
        ("02-28", 4_900 + 300 * 5),
        # Ann since 10 March: 21 of 31 days up to 31 March, 677.42, and three seats from then on.
        ("03-31", 5_900 + 677),
        ("04-30", 5_900 + 1_150 * 5),
        # One of three seats went on 12 May: two from 31 May on.
        ("05-31", 4_900),
        # Bob and Cid since 15 June: 15 of 30 days, 2 × 500, and four seats from then on.
        ("06-30", 6_900 + 1_000 + 650 * 5),
        ("07-31", 6_900),
    ]


CALLS = st.tuples(
    st.integers(0, 180 * 24).map(lambda hours: JANUARY_31 + timedelta(hours=hours)),
    st.tuples(st.just("call"), st.integers(-200, 2_500)),
)
JOINS = st.tuples(
    st.integers(0, 180 * 24).map(lambda hours: JANUARY_31 + timedelta(hours=hours)),
    st.tuples(st.just("join"), st.sampled_from(["ann", "bob", "cid"])),
)


@settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    calls=st.lists(CALLS, max_size=8),
    joins=st.lists(JOINS, max_size=3, unique_by=lambda one: one[1][1]),
    terms=st.sampled_from(TERMS),
    days=st.integers(5, 60),
)
def test_one_jump_is_many_small_ones_whatever_happens(calls, joins, terms, days):
    assert lived([END], calls + joins, **terms) == lived(every(days), calls + joins, **terms)
