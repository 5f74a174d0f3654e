from datetime import UTC, date, datetime
from threading import Barrier, Thread

import pytest
from django.db import connection

from metering.models import UsageDay
from metering.services.metrics import MetricNotFound, create_metric, find_metric
from metering.services.record_events import record_events
from tests.factories import CustomerFactory, MetricFactory
from tests.pro_plan import event

AT = datetime(2026, 3, 10, 12, tzinfo=UTC)


def make(name, aggregation="SUM"):
    return create_metric(at=AT, name=name, event_name=name, aggregation_type=aggregation, value_type="NUMERIC")


@pytest.mark.django_db
def test_counts_the_events_that_are_there_already():
    customer = CustomerFactory()
    record_events(
        events=[
            event("call", 3, AT, "a", customer=customer.public_id),
            event("call", 4, datetime(2025, 1, 1, tzinfo=UTC), "b", customer=customer.public_id),
            event("other", 9, AT, "c", customer=customer.public_id),
            event("call", 9, AT, "d", external="nobody"),
        ],
        at=AT,
    )

    metric = make("call")

    days = UsageDay.objects.filter(version__metric=metric).order_by("day")
    assert list(days.values_list("day", "events", "total")) == [
        (date(2025, 1, 1), 1, 4),
        (date(2026, 3, 10), 1, 3),
    ]


@pytest.mark.django_db
def test_finds_live_metrics_only():
    metric = MetricFactory()
    assert find_metric(metric.public_id) == metric

    metric.deleted_at = AT
    metric.save()

    with pytest.raises(MetricNotFound):
        find_metric(metric.public_id)


@pytest.mark.django_db(transaction=True)
def test_a_metric_made_while_events_arrive_counts_each_of_them_once():
    customers = [CustomerFactory() for _ in range(3)]
    senders, batches = 4, 30
    barrier = Barrier(senders + 1)

    def send(sender):
        try:
            barrier.wait()
            for batch in range(batches):
                record_events(
                    events=[
                        event("call", 1, AT, f"{sender}/{batch}", customer=customer.public_id) for customer in customers
                    ],
                    at=AT,
                )
        finally:
            connection.close()

    threads = [Thread(target=send, args=(number,)) for number in range(senders)]
    for thread in threads:
        thread.start()
    barrier.wait()
    metrics = [make("call", aggregation) for aggregation in ("SUM", "COUNT", "SUM", "COUNT")]
    for thread in threads:
        thread.join()

    for metric in metrics:
        counted = UsageDay.objects.filter(version__metric=metric).values_list("events", "total")
        assert list(counted) == [(senders * batches, senders * batches)] * len(customers)
