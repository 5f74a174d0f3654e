"""What comes with a plan, on its card."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from credits.services.definitions import create_definition
from credits.services.offered_plans import read_card
from plans.offered_lines import feature_lines
from plans.periods import Clock
from tests.factories import UsageComponentFactory
from tests.pro_plan import make_pro_plan
from tests.seat_plan import make_seat_plan

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def test_a_quota_with_a_calendar_comes_each_turn_of_it():
    pro = make_pro_plan(
        quota=1_000, renew_on_billing=False, refill_rrule="FREQ=MONTHLY", frequency="YEARLY", unit_cost_cents=None
    )
    pro.feature.display_name = "API calls"
    pro.feature.save()

    card = read_card(pro.price)

    assert card.given[0].quotas[0].clock == Clock(frequency="MONTHLY")
    assert "1,000 API calls included each month" in [line.text for line in feature_lines(card)]


def test_units_of_seats_are_said_to_come_with_each():
    sold = make_seat_plan(unit_label="user")
    UsageComponentFactory(price=sold.price, label="API calls", position=1, component_id="comp_calls")
    create_definition(
        at=AT, name="Calls per seat", scope="plan", application_type="usage", plan=sold.plan, price=sold.price,
        price_component_id="comp_calls", per_seat=True, renew_on_billing=True, default_amount=Decimal(1_000),
    )  # fmt: skip

    lines = [line.text for line in feature_lines(read_card(sold.price))]

    assert "1,000 API calls per user included each month" in lines


def test_money_is_no_quota():
    pro = make_pro_plan(quota=None)
    create_definition(
        at=AT, name="Credit", scope="plan", application_type="monetary", plan=pro.plan, currency="USD",
        default_amount=Decimal(500), renew_on_billing=True,
    )  # fmt: skip

    assert [given.quotas for given in read_card(pro.price).given] == [()]
