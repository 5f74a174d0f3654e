from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from metering.models import UsageDay, UsageEvent
from metering.services.attribute_events import attribute_events, register_customer
from metering.services.record_events import record_events
from plans.models import Customer
from plans.services.customers import DuplicateCustomer
from tests.factories import CustomerFactory, MetricFactory
from tests.pro_plan import event

AT = datetime(2026, 3, 10, 12, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def days(metric):
    rows = UsageDay.objects.filter(version__metric=metric).order_by("day")
    return list(rows.values_list("customer", "day", "events", "total"))


def test_creating_a_customer_gives_it_the_events_of_its_external_id_and_counts_them():
    metric = MetricFactory()
    record_events(
        events=[
            event(metric.event_name, 3, AT, "a", external="u1"),
            event(metric.event_name, "4.5", AT, "b", external="u1"),
            event(metric.event_name, 9, AT, "a", external="u2"),
        ],
        at=AT,
    )

    customer = register_customer(at=AT, name="One", email="one@example.com", external_customer_id="u1")

    assert days(metric) == [(customer.pk, date(2026, 3, 10), 2, Decimal("7.5"))]
    assert UsageEvent.objects.get(customer=None).external_customer_id == "u2"


def test_a_customer_without_external_id_gets_nothing():
    record_events(events=[event("x", 3, AT, "a", external="u1")], at=AT)

    register_customer(at=AT, name="One", email="one@example.com")

    assert UsageEvent.objects.filter(customer=None).count() == 1


def test_a_customer_that_is_refused_gets_nothing():
    CustomerFactory(email="one@example.com")
    record_events(events=[event("x", 3, AT, "a", external="u1")], at=AT)

    with pytest.raises(DuplicateCustomer):
        register_customer(at=AT, name="One", email="ONE@example.com", external_customer_id="u1")

    assert UsageEvent.objects.filter(customer=None).count() == 1


def test_the_sweep_catches_what_was_committed_while_the_customer_was_created():
    metric = MetricFactory()
    record_events(events=[event(metric.event_name, 3, AT, "a", external="u1")], at=AT)
    customer = CustomerFactory(external_customer_id="u1")

    assert attribute_events() == 1

    assert days(metric) == [(customer.pk, date(2026, 3, 10), 1, 3)]


def test_sweeping_again_counts_nothing_again():
    metric = MetricFactory()
    record_events(events=[event(metric.event_name, 3, AT, "a", external="u1")], at=AT)
    CustomerFactory(external_customer_id="u1")
    attribute_events()

    assert attribute_events() == 0

    assert [total for *_, total in days(metric)] == [3]


def test_a_repetition_of_a_key_that_the_customer_has_used_stays_unattributed():
    metric = MetricFactory()
    record_events(events=[event(metric.event_name, 3, AT, "a", external="u1")], at=AT)
    customer = CustomerFactory(external_customer_id="u1")
    record_events(events=[event(metric.event_name, 5, AT, "a", customer=customer.public_id)], at=AT)

    assert attribute_events() == 0

    assert [total for *_, total in days(metric)] == [5]


def test_takes_at_most_its_limit_and_the_rest_the_next_time():
    metric = MetricFactory()
    record_events(events=[event(metric.event_name, 1, AT, f"k{n}", external="u1") for n in range(5)], at=AT)
    customer = CustomerFactory(external_customer_id="u1")

    assert [attribute_events(customer=customer, limit=2) for _ in range(4)] == [2, 2, 1, 0]

    assert [total for *_, total in days(metric)] == [5]


def test_one_customers_attribution_leaves_the_others_alone():
    record_events(events=[event("x", 1, AT, "k", external=external) for external in ("u1", "u2")], at=AT)
    one, _ = CustomerFactory(external_customer_id="u1"), CustomerFactory(external_customer_id="u2")

    attribute_events(customer=one)

    assert UsageEvent.objects.get(customer=None).external_customer_id == "u2"


def test_a_deleted_customer_gets_nothing():
    record_events(events=[event("x", 1, AT, "k", external="u1")], at=AT)
    CustomerFactory(external_customer_id="u1", deleted_at=AT)

    assert attribute_events() == 0
    assert Customer.objects.live().count() == 0
