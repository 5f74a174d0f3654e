"""A voided event counts for nothing; it stays, with its key."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from billing.services.subscribe import subscribe
from metering.models import EventVoid, UsageDay, UsageDayValue, UsageEvent
from metering.services.attribute_events import attribute_events
from metering.services.record_events import record_events
from metering.services.void_event import EventNotFound, void_event
from tests.factories import CustomerFactory, MetricFactory
from tests.pro_plan import event, make_pro_plan, remaining, use

AT = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db


def void(outcome, reason="sent twice"):
    return void_event(event_id=outcome.event_id, reason=reason, by="key sk_test", at=AT + HOUR)


def test_takes_the_event_out_of_its_day_and_keeps_the_others():
    customer, metric = CustomerFactory(), MetricFactory()
    use(customer, metric, 3, AT)
    mistake = use(customer, metric, "0.25", AT + HOUR)

    void(mistake)

    day = UsageDay.objects.get()
    assert (day.events, day.total) == (1, 3)


def test_a_day_without_other_events_has_no_row_left():
    customer, metric = CustomerFactory(), MetricFactory()

    void(use(customer, metric, 3, AT))

    assert not UsageDay.objects.exists()


@pytest.mark.parametrize(
    ("aggregation", "column", "left"), [("MAX", "maximum", 3), ("MIN", "minimum", 2), ("LAST", "last_value", 2)]
)
def test_what_was_the_greatest_least_or_latest_gives_way_to_the_next(aggregation, column, left):
    customer, metric = CustomerFactory(), MetricFactory(aggregation_type=aggregation)
    use(customer, metric, 3, AT)
    use(customer, metric, 2, AT + HOUR)
    mistake = use(customer, metric, {"MAX": 9, "MIN": -9, "LAST": 5}[aggregation], AT + 2 * HOUR)

    void(mistake)

    assert getattr(UsageDay.objects.get(), column) == left


def test_a_value_is_different_no_longer_when_its_only_event_is_void():
    customer, metric = CustomerFactory(), MetricFactory(aggregation_type="UNIQUE_COUNT")
    use(customer, metric, 1, AT)
    use(customer, metric, 1, AT + HOUR)
    mistake = use(customer, metric, 2, AT + HOUR)
    assert UsageDayValue.objects.count() == 2

    void(mistake)

    assert UsageDayValue.objects.count() == 1


def test_gives_the_quota_back_at_once():
    pro, customer = make_pro_plan(), CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)
    mistake = use(customer, pro.metric, 10_000, AT + HOUR)
    assert remaining(customer, pro.metric, AT + HOUR) == 0

    void(mistake)

    assert remaining(customer, pro.metric, AT + HOUR) == 10_000


def test_the_key_stays_taken():
    customer, metric = CustomerFactory(), MetricFactory()
    void(use(customer, metric, 3, AT, key="k"))

    again = use(customer, metric, 3, AT, key="k")

    assert again.deduplicated
    assert not UsageDay.objects.exists()


def test_a_second_void_keeps_the_word_of_the_first():
    customer, metric = CustomerFactory(), MetricFactory()
    mistake = use(customer, metric, 3, AT)

    void(mistake)
    second = void(mistake, reason="another reason")

    assert (second.reason, EventVoid.objects.get().reason) == ("sent twice", "sent twice")


def test_an_unattributed_event_counts_for_nothing_when_it_gets_its_customer():
    metric = MetricFactory()
    sent = event(metric.event_name, 3, AT, "k", external="u1")
    (mistake,) = record_events(events=[sent], at=AT)
    void(mistake)
    customer = CustomerFactory(external_customer_id="u1")

    attribute_events()

    assert UsageEvent.objects.get().customer == customer
    assert not UsageDay.objects.exists()


def test_other_days_and_other_customers_are_left_alone():
    customer, other, metric = CustomerFactory(), CustomerFactory(), MetricFactory()
    use(customer, metric, 3, AT - timedelta(days=1))
    use(other, metric, 4, AT)

    void(use(customer, metric, 5, AT))

    assert list(UsageDay.objects.order_by("day").values_list("customer", "day", "total")) == [
        (customer.pk, date(2026, 3, 9), Decimal(3)),
        (other.pk, date(2026, 3, 10), Decimal(4)),
    ]


def test_an_event_that_is_not_there_is_refused():
    with pytest.raises(EventNotFound):
        void_event(event_id=1, reason="x", by="x", at=AT)
