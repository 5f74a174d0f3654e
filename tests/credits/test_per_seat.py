"""Credits per seat: one pool of the organization that grows and shrinks with its seats."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.books import check_books
from billing.services.subscribe import subscribe
from credits.models import CreditGrant
from credits.services.definitions import create_definition, update_definition
from plans.models import PlanFeature
from plans.refusals import InvalidInput
from tests.factories import START, FeatureFactory, MetricFactory, PlanFactory, PriceFactory, UsageComponentFactory
from tests.pro_plan import remaining, sweep, use
from tests.seat_plan import give_seat, make_organization, make_seat_plan, take_seat

MARCH, APRIL, MAY = (datetime(2026, month, 1, tzinfo=UTC) for month in (3, 4, 5))
MARCH_10 = datetime(2026, 3, 10, 15, 30, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def metric():
    return MetricFactory()


@pytest.fixture
def sold(metric):
    """10.00 a seat and month, 1,000 calls per seat, 5 cents a call beyond."""
    sold = make_seat_plan()
    UsageComponentFactory(price=sold.price, metric=metric, position=1, component_id="comp_calls")
    define(sold)
    return sold


def define(sold, **terms):
    given = {"per_seat": True, "renew_on_billing": True, "default_amount": Decimal(1_000)} | terms
    return create_definition(
        at=START, name="Calls per seat", scope="plan", application_type="usage", plan=sold.plan, price=sold.price,
        price_component_id="comp_calls", **given,
    )  # fmt: skip


def subscribed(sold, *, seats, at=MARCH):
    return subscribe(at=at, customer=make_organization(seats=seats, since=at), plan=sold.plan)


def grants(subscription):
    """Amount, seats and start of each grant."""
    rows = CreditGrant.objects.filter(subscription=subscription).order_by("starts_at", "pk")
    return [(int(grant.initial_amount + grant.adjusted_amount), grant.seats, grant.starts_at) for grant in rows]


def assert_books_are_clean(at):
    assert [finding for finding in check_books(at=at) if finding.offenders] == []


def test_a_period_grants_the_amount_times_the_seats(sold):
    subscription = subscribed(sold, seats=3)

    assert grants(subscription) == [(3_000, 3, MARCH), (3_000, 3, APRIL)]


def test_ruling_32_adding_a_seat_adds_a_tagged_grant_by_days_rounded_up(sold, metric):
    subscription = subscribed(sold, seats=3)

    give_seat(subscription, "ann", MARCH_10)

    # 1,000 × 22 / 31 = 709.68
    assert grants(subscription) == [(3_000, 3, MARCH), (710, 1, MARCH), (4_000, 4, APRIL)]
    tagged = CreditGrant.objects.get(added_units__isnull=False)
    assert (tagged.expires_at, tagged.added_units.effective_at) == (APRIL, MARCH_10)
    assert remaining(subscription.customer, metric, MARCH_10) == 3_710
    assert_books_are_clean(MARCH_10)


def test_ruling_32_renewals_grant_the_amount_times_the_seats(sold, metric):
    subscription = subscribed(sold, seats=3)
    give_seat(subscription, "ann", MARCH_10)

    sweep(APRIL + timedelta(hours=1))

    assert grants(subscription)[2:] == [(4_000, 4, APRIL), (4_000, 4, MAY)]
    assert remaining(subscription.customer, metric, APRIL + timedelta(hours=2)) == 4_000


def test_ruling_32_removing_a_seat_ends_its_credits_at_the_end_of_the_period(sold, metric):
    subscription = subscribed(sold, seats=3)

    take_seat(subscription, "acme-0", MARCH_10)

    assert grants(subscription) == [(3_000, 3, MARCH), (2_000, 2, APRIL)]
    assert remaining(subscription.customer, metric, MARCH_10) == 3_000
    assert_books_are_clean(MARCH_10)


def test_taking_and_giving_a_seat_back_and_forth_gives_no_more_credits(sold, metric):
    subscription = subscribed(sold, seats=3)

    for day in range(5):
        take_seat(subscription, "acme-0", MARCH_10 + timedelta(days=day))
        give_seat(subscription, "acme-0", MARCH_10 + timedelta(days=day, hours=1))

    assert grants(subscription) == [(3_000, 3, MARCH), (3_000, 3, APRIL)]
    assert_books_are_clean(MARCH_10 + timedelta(days=5))


def test_members_share_one_pool(sold, metric):
    subscription = subscribed(sold, seats=2)
    change = give_seat(subscription, "ann", MARCH_10)

    use(change.member, metric, 2_500, MARCH_10 + timedelta(hours=1))

    # 2,000 and 710 less what one member used alone.
    assert remaining(subscription.customer, metric, MARCH_10 + timedelta(hours=2)) == 210
    sweep(APRIL + timedelta(hours=2))
    assert_books_are_clean(APRIL + timedelta(hours=2))


def test_the_minimum_of_seats_brings_its_credits():
    metric = MetricFactory()
    sold = make_seat_plan(minimum_quantity=4)
    UsageComponentFactory(price=sold.price, metric=metric, position=1, component_id="comp_calls")
    define(sold)

    subscription = subscribed(sold, seats=1)
    give_seat(subscription, "ann", MARCH_10)

    assert grants(subscription) == [(4_000, 4, MARCH), (4_000, 4, APRIL)]


def test_the_last_seat_gone_leaves_no_credits_and_a_new_one_brings_them(sold):
    subscription = subscribed(sold, seats=1)
    take_seat(subscription, "acme-0", MARCH_10)
    sweep(APRIL + timedelta(hours=1))
    assert grants(subscription) == [(1_000, 1, MARCH), (0, 0, APRIL)]

    give_seat(subscription, "ann", datetime(2026, 4, 16, tzinfo=UTC))

    # 15 of April's 30 days.
    assert grants(subscription)[2:] == [(500, 1, APRIL), (1_000, 1, MAY)]
    assert_books_are_clean(datetime(2026, 4, 16, tzinfo=UTC))


def test_a_boundary_that_no_sweep_has_closed_is_no_other_one(sold, metric):
    subscription = subscribed(sold, seats=3)

    give_seat(subscription, "ann", datetime(2026, 4, 16, tzinfo=UTC))

    assert grants(subscription) == [(3_000, 3, MARCH), (3_000, 3, APRIL), (500, 1, APRIL), (4_000, 4, MAY)]


def test_seats_of_a_year_and_credits_of_a_month():
    metric = MetricFactory()
    sold = make_seat_plan(frequency="YEARLY", amount_cents=12_000)
    UsageComponentFactory(price=sold.price, metric=metric, position=1, component_id="comp_calls")
    define(sold)
    subscription = subscribed(sold, seats=2)

    give_seat(subscription, "ann", MARCH_10)
    assert grants(subscription) == [(2_000, 2, MARCH), (710, 1, MARCH), (3_000, 3, APRIL)]
    take_seat(subscription, "ann", MARCH_10 + timedelta(days=1))

    # The seat is paid for the year, and so are its credits.
    sweep(APRIL + timedelta(hours=1))
    assert grants(subscription)[2:] == [(3_000, 3, APRIL), (3_000, 3, MAY)]


def test_a_changed_amount_reaches_grants_ahead_per_seat(sold):
    subscription = subscribed(sold, seats=3)

    definition = CreditGrant.objects.filter(subscription=subscription).first().definition
    update_definition(
        at=MARCH_10, definition=definition, changes={"default_amount": Decimal(1_200)}, apply_to_existing=True
    )

    assert grants(subscription) == [(3_000, 3, MARCH), (3_600, 3, APRIL)]


class TestRefusals:
    def test_without_renewal(self, sold):
        with pytest.raises(InvalidInput, match="perSeat: needs renewOnBilling"):
            define(sold, renew_on_billing=False)

    def test_without_units_in_advance(self):
        price = PriceFactory(plan=PlanFactory())
        UsageComponentFactory(price=price, component_id="comp_calls")
        sold = type("Sold", (), {"plan": price.plan, "price": price})

        with pytest.raises(InvalidInput, match="perSeat: needs a per_unit component"):
            define(sold)

    def test_a_change_to_per_seat_of_what_was_sold(self, sold):
        definition = define(sold, per_seat=False, default_amount=Decimal(5))
        subscribed(sold, seats=2)

        with pytest.raises(InvalidInput, match="perSeat"):
            update_definition(at=MARCH, definition=definition, changes={"per_seat": True}, apply_to_existing=True)


def test_the_api_takes_and_shows_per_seat(api, sold):
    body = {
        "scope": "plan", "applicationType": "usage", "planId": sold.plan.public_id, "priceId": sold.price.public_id,
        "priceComponentId": "comp_calls", "name": "More", "defaultAmount": 10, "renewOnBilling": True, "perSeat": True,
    }  # fmt: skip

    answer = api.post("/v1/credits/definitions", body)

    assert (answer.status, answer.body["definition"]["perSeat"]) == (200, True)
    refused = api.post("/v1/credits/definitions", body | {"renewOnBilling": False})
    assert (refused.status, refused.body["details"][0]["path"]) == (400, "perSeat")


def test_a_new_price_of_a_plan_with_credits_per_seat_needs_units(api, sold, metric):
    feature = FeatureFactory(value="usage_based", metrics=[metric])
    PlanFeature.objects.create(plan=sold.plan, feature=feature, value="usage_based")
    create_definition(
        at=START, name="Per seat", scope="plan", application_type="usage", plan=sold.plan, feature=feature,
        per_seat=True, renew_on_billing=True, default_amount=Decimal(5),
    )  # fmt: skip

    fee = {"type": "fixed", "label": "Fee", "amount_cents": 100, "recurrence_rule": "RRULE:FREQ=MONTHLY;INTERVAL=1"}
    answer = api.post(
        "/v1/prices",
        {
            "planId": sold.plan.public_id, "currency": "USD",
            "pricingData": {"dsl_version": 1, "components": [fee]},
        },
    )  # fmt: skip

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "pricingData")
