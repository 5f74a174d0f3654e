"""How many events a fee per event is taken for: those that the period's metric counts, above zero and not voided."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.services.subscribe import subscribe
from credits.services.settle import settle_periods
from metering.services.count_positive_events import count_positive_events
from metering.services.metrics import update_metric
from metering.services.record_events import record_events
from metering.services.void_event import void_event
from plans.models import PriceComponent, SubscriptionPeriod
from tests.factories import CustomerFactory, SeatFactory
from tests.pro_plan import event, make_pro_plan, use

START = datetime(2026, 1, 10, 14, tzinfo=UTC)
END, LATER_END = datetime(2026, 2, 10, tzinfo=UTC), datetime(2026, 3, 10, tzinfo=UTC)
HOUR, INSTANT = timedelta(hours=1), timedelta(microseconds=1)

pytestmark = pytest.mark.django_db


def subscribed(**customer):
    pro, buyer = make_pro_plan(quota=None), CustomerFactory(**customer)
    subscribe(at=START, customer=buyer, plan=pro.plan)
    return pro, buyer


def periods(customer):
    metered = SubscriptionPeriod.objects.filter(customer=customer, metric__isnull=False)
    return list(metered.select_related("item__component").order_by("number"))


def counts(customer):
    found = count_positive_events(periods(customer))
    return [found[period.pk] for period in periods(customer)]


def test_events_of_positive_value_within_the_period_count():
    pro, customer = subscribed()
    for at in (START - INSTANT, START, START + HOUR, END - INSTANT, END):
        use(customer, pro.metric, 5, at)

    assert counts(customer) == [3, 1]


def test_zero_and_corrections_do_not_count():
    pro, customer = subscribed()
    for value in ("0", "-5", "0.000001"):
        use(customer, pro.metric, value, START)

    assert counts(customer) == [1, 0]


def test_a_voided_event_does_not_count():
    pro, customer = subscribed()
    use(customer, pro.metric, 1, START)
    mistake = use(customer, pro.metric, 2, START)
    void_event(event_id=mistake.event_id, reason="sent twice", by="operator", at=START + HOUR)

    assert counts(customer) == [1, 0]


def test_events_of_others_and_of_other_names_do_not_count():
    pro, customer = subscribed()
    other_plan, other = subscribed()
    use(other, pro.metric, 1, START)
    use(customer, other_plan.metric, 1, START)

    assert (counts(customer), counts(other)) == ([0, 0], [0, 0])


def test_events_of_members_count_for_their_organization():
    pro, customer = subscribed(customer_organization_id="acme", org_role="primary")
    member = SeatFactory().member
    use(member, pro.metric, 1, START)

    assert counts(customer) == [1, 0]


def test_each_period_goes_by_its_own_version_of_the_metric():
    # The version that asks for a card became the current one within the second period.
    pro, customer = subscribed()
    for at, properties in (
        (START, "{}"),
        (END, "{}"),
        (END + HOUR, '{"by": "card", "sum": 7}'),
        (END, '{"by": "card"}'),
    ):
        sent = event(
            pro.metric.event_name, 1, at, f"{at}{properties}", customer=customer.public_id, properties=properties
        )
        record_events(events=[sent], at=at)

    update_metric(metric=pro.metric, at=END + 2 * HOUR, property_filter={"by": "card"}, value_property="sum")
    pro.metric.versions.update(built_at=END + 2 * HOUR)
    pro.metric.versions.filter(number=2).update(effective_at=END + 2 * HOUR)

    assert counts(customer) == [1, 1]


def test_is_one_statement_for_all_periods_and_none_for_no_period(django_assert_num_queries):
    several = [period for _ in range(3) for period in periods(subscribed()[1])]

    with django_assert_num_queries(1):
        assert count_positive_events(several) == {period.pk: 0 for period in several}
    with django_assert_num_queries(0):
        assert count_positive_events([]) == {}


def test_settlement_keeps_the_number_where_the_price_has_a_fee_per_event():
    (pro, customer), (_, without_fee) = subscribed(), subscribed()
    PriceComponent.objects.filter(price=pro.price, kind="usage").update(
        model="percentage", unit_cost_cents=None, rate_percent=Decimal("2.9"), fixed_cost_cents=30
    )
    use(customer, pro.metric, 100, START)
    use(customer, pro.metric, 50, START + HOUR)
    first, other = periods(customer)[0], periods(without_fee)[0]

    settled = settle_periods(at=END + HOUR, periods=[first, other])

    first.refresh_from_db()
    other.refresh_from_db()
    assert (settled[first.pk].events, first.settled_events) == (2, 2)
    assert (settled[other.pk].events, other.settled_events) == (0, None)
