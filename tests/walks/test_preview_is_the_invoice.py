"""What a preview says of quantities and credits is what the invoice of such a period says, whatever the model."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.books import INVARIANTS
from billing.models import Invoice
from billing.services.subscribe import subscribe
from credits.services.definitions import create_definition
from plans.models import Price
from tests.factories import CustomerFactory, MetricFactory, PlanFactory
from tests.pro_plan import sweep, use

pytestmark = pytest.mark.django_db
AT = datetime(2026, 1, 10, 14, 46, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 10, tzinfo=UTC)
MONTHLY = "RRULE:FREQ=MONTHLY;INTERVAL=1"
TIERS = [
    {"up_to": "100", "unit_cost_cents": "5.5", "flat_cost_cents": "10.5"},
    {"up_to": "1000.5", "unit_cost_cents": "4.25"},
    {"up_to": None, "unit_cost_cents": "0.3", "flat_cost_cents": "7"},
]
RATES = [{"up_to": "100", "rate_percent": "2.9"}, {"up_to": None, "rate_percent": "0.5", "flat_cost_cents": 30}]
MODELS = {
    "per unit": {"unit_cost_cents": "0.1"},
    "divided": {"unit_cost_cents": "3.7", "divide_by": "100", "divide_round": "up", "included_units": 1},
    "divided without an end": {"unit_cost_cents": "10", "divide_by": "7", "divide_round": "none"},
    "graduated": {"model": "graduated", "tiers": TIERS},
    "graduated from zero": {"model": "graduated", "tiers": TIERS, "first_tier_flat_at_zero": True},
    "volume": {"model": "volume", "tiers": TIERS, "included_units": 20},
    "packages": {"model": "package", "package_size": 100, "package_cost_cents": "33.3"},
    "full packages": {"model": "package", "package_size": 100, "package_cost_cents": "33.3", "package_round": "down"},
    "percentage": {"model": "percentage", "rate_percent": "2.9", "included_units": "10.5"},
    "percentage and fee": {"model": "percentage", "rate_percent": "2.9", "fixed_cost_cents": "30.5"},
    "percentage by tiers": {"model": "graduated_percentage", "tiers": RATES},
    "minimum": {"unit_cost_cents": "0.1", "minimum_cents": 5000},
    "maximum": {"unit_cost_cents": "50", "maximum_cents": 400},
}


USED = {"none": ["0"], "some": ["98", "26.25"], "much": ["1000", "0.75", "700"]}
CASES = [(model, "USD", used) for model in MODELS for used in USED]
CASES += [(model, currency, "much") for model in MODELS if "percentage" in model for currency in ("JPY", "KWD")]


@pytest.mark.parametrize(("model", "currency", "usage"), CASES)
def test_of_usage_less_a_quota(api, model, currency, usage):
    terms, used = MODELS[model], USED[usage]
    plan, metric, customer = PlanFactory(), MetricFactory(), CustomerFactory()
    component = {
        "type": "usage", "component_id": "calls", "metric_id": metric.public_id, "recurrence_rule": MONTHLY,
    } | terms  # fmt: skip
    seats = {
        "type": "per_unit", "component_id": "seats", "model": "volume", "tiers": TIERS, "minimum_quantity": 3,
        "recurrence_rule": MONTHLY,
    }  # fmt: skip
    created = api.post(
        "/v1/prices",
        {
            "planId": plan.public_id,
            "currency": currency,
            "pricingData": {"dsl_version": 1, "components": [component, seats]},
        },
    )
    price = Price.objects.get(public_id=created.body["price"]["id"])
    total = sum((Decimal(units) for units in used), Decimal(0))
    takes_credits = "fixed_cost_cents" not in terms
    if takes_credits:
        create_definition(
            at=AT, name="Included", scope="component", application_type="usage", default_amount=Decimal(50), plan=plan,
            price=price, price_component_id="calls", renew_on_billing=True, billing_visible=True,
        )  # fmt: skip
    quantity = {"amount": total, "events": len([units for units in used if units != "0"])}
    preview = api.post(
        "/v1/prices/preview",
        {
            "priceId": price.public_id,
            "quantities": {"calls": quantity if "percentage" in terms.get("model", "") else total},
            "credits": {"calls": 50} if takes_credits else {},
        },
    ).body

    subscribe(at=AT, customer=customer, plan=plan)
    for number, units in enumerate(used):
        use(customer, metric, units, AT + timedelta(days=number + 1))
    sweep(FEBRUARY + timedelta(hours=1))

    first, second = Invoice.objects.filter(customer=customer).order_by("closes_at")
    by_type = {line.type: line for line in second.lines.all()}
    shown = {line["type"]: line["amountCents"] for line in preview["lines"]}
    # A first invoice below the smallest charge is brought forward, and a total is rounded to what can be charged; here
    # the second one's own lines are compared.
    others = sum(by_type[kind].amount_cents for kind in ("brought_forward", "rounding") if kind in by_type)
    assert second.total_cents - others == preview["subtotalCents"]
    assert first.lines.get(type="per_unit").amount_cents == by_type["per_unit"].amount_cents == shown["per_unit"]
    if "credit" in by_type:
        assert by_type["credit"].amount_cents == shown["credit"]
    later = FEBRUARY + timedelta(hours=1)
    assert not [offender for check in INVARIANTS.values() for offender in check(later).offenders]
