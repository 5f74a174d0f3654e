"""Preview, upcoming invoice and invoice price a month the same, whatever the model, the usage and the credits."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.books import check_books
from billing.models import Invoice, InvoiceLine
from billing.services.subscribe import subscribe
from billing.services.upcoming import upcoming_invoice
from credits.preview import PreviewedComponent, Quantity, preview
from credits.services.definitions import create_definition
from credits.services.grants import grant_credits
from plans.models import SubscriptionPeriod
from plans.pricing import OF_AMOUNTS, TIERED
from tests.factories import (
    START,
    CustomerFactory,
    FeatureFactory,
    MetricFactory,
    PlanFactory,
    PlanFeatureFactory,
    PriceFactory,
    UsageComponentFactory,
)
from tests.pro_plan import sweep, use

AT = datetime(2026, 3, 1, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
MODELS = ("per_unit", "graduated", "volume", "package", "percentage", "graduated_percentage")

pytestmark = pytest.mark.django_db

costs = st.decimals(min_value=0, max_value=50, places=3)


@st.composite
def prices(draw):
    """The terms of a usage component of any model."""
    model = draw(st.sampled_from(MODELS))
    terms = {"model": model, "unit_cost_cents": None}
    if model == "per_unit":
        terms["unit_cost_cents"] = draw(costs)
    if model in TIERED:
        cost = "rate_percent" if model in OF_AMOUNTS else "unit_cost_cents"
        bounds = sorted(draw(st.lists(st.integers(1, 300), max_size=2, unique=True)))
        terms["tiers"] = [
            {"up_to": up_to, cost: str(draw(costs)), "flat_cost_cents": str(draw(st.integers(0, 90)))}
            for up_to in [*map(str, bounds), None]
        ]
        terms["first_tier_flat_at_zero"] = draw(st.booleans())
    if model == "package":
        terms |= {
            "package_size": draw(st.integers(1, 90)),
            "package_cost_cents": draw(costs),
            "package_round": draw(st.sampled_from(["up", "down"])),
        }
    if model == "percentage":
        terms["rate_percent"] = draw(costs)
    if model not in OF_AMOUNTS and draw(st.booleans()):
        terms |= {
            "divide_by": draw(st.integers(2, 40)),
            "divide_round": draw(st.sampled_from(["none", "up", "half_up"])),
        }
    terms["included_units"] = draw(st.integers(0, 3))
    terms["minimum_cents"] = draw(st.none() | st.integers(0, 800))
    terms["maximum_cents"] = draw(st.none() | st.integers(800, 9_000))
    return terms


months = st.lists(st.tuples(st.decimals(min_value=-50, max_value=200, places=2), st.integers(0, 29)), max_size=4)
credits = st.lists(st.tuples(st.integers(1, 150), st.booleans()), max_size=3)


def make_plan(terms):
    metric = MetricFactory()
    feature = FeatureFactory(value="usage_based", metrics=[metric])
    plan = PlanFactory()
    PlanFeatureFactory(plan=plan, feature=feature)
    component = UsageComponentFactory(
        price=PriceFactory(plan=plan, fee=None), metric=metric, label="Calls", position=0, **terms
    )
    return plan, feature, component


def bill_month(plan, feature, component, month, given_credits):
    """Use and bill a month; give the lines of the upcoming invoice at its end, and the invoice."""
    customer = CustomerFactory()
    subscribe(at=AT, customer=customer, plan=plan)
    for units, shown in given_credits:
        definition = create_definition(
            at=START, name="Goodwill", scope="merchant", application_type="usage", default_amount=Decimal(units),
            feature=feature, billing_visible=shown,
        )  # fmt: skip
        grant_credits(at=AT, customer=customer, definition=definition)
    for number, (units, day) in enumerate(month):
        use(customer, component.metric, units, AT + day * DAY, key=str(number))
    upcoming = upcoming_invoice(customer=customer, at=APRIL - HOUR)
    sweep(APRIL + HOUR)
    return upcoming, Invoice.objects.get(customer=customer, closes_at=APRIL)


def seen(lines):
    return [
        (line.type, line.description, line.quantity, line.unit_amount_cents, line.amount_cents, line.grant_id)
        for line in lines
    ]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prices(), months, credits, st.booleans())
def test_preview_upcoming_and_invoice_agree_and_the_books_add_up(terms, month, given_credits, flip):
    with transaction.atomic():
        plan, feature, component = make_plan(terms)

        upcoming, invoice = bill_month(plan, feature, component, month, given_credits)

        lines = list(InvoiceLine.objects.filter(invoice=invoice))
        assert (seen(upcoming.lines), upcoming.invoice.total_cents) == (seen(lines), invoice.total_cents)
        period = SubscriptionPeriod.objects.get(customer=invoice.customer, settled_at__isnull=False)
        assert previewed_cents(component, period) == invoice.total_cents
        units = period.settled_included + period.settled_credited
        assert units + charged_units(lines, period) == max(sum((units for units, _ in month), Decimal(0)), 0)
        assert [finding for finding in check_books(at=APRIL) if finding.offenders] == []
        unlike = [(units, not shown) for units, shown in given_credits] if flip else []
        _, other = bill_month(plan, feature, component, month, unlike)
        # Shown or hidden comes to the same; without any credits it costs no less.
        assert other.total_cents == invoice.total_cents if flip else other.total_cents >= invoice.total_cents
        transaction.set_rollback(True)


def previewed_cents(component, period):
    priced = PreviewedComponent("calls", "usage", "Calls", component.charge("USD"))
    lines = preview(
        [priced],
        quantities={"calls": Quantity(period.settled_usage)},
        credits={"calls": period.settled_credited} if period.settled_credited else {},
    )
    return sum(line.amount_cents for line in lines)


def charged_units(lines, period):
    """What the lines charge; an invoice that came to nothing has none, and charged all that was neither included nor
    credited at 0."""
    if not lines:
        return period.settled_usage - period.settled_included - period.settled_credited
    sign = {"usage": 1, "credit": -1}
    return sum((sign.get(line.type, 0) * line.quantity for line in lines), Decimal(0))
