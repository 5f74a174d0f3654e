"""Concurrent senders: every event is recorded once and counted once, and nobody waits for ever."""

from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Thread

import pytest
from django.db import OperationalError, connection, transaction
from msgspec import structs

from metering.models import UsageDay, UsageEvent
from metering.services.attribute_events import attribute_events, register_customer
from metering.services.record_events import record_event, record_events
from tests.factories import CustomerFactory, MetricFactory
from tests.pro_plan import event

AT = datetime(2026, 3, 10, 12, tzinfo=UTC)

pytestmark = pytest.mark.django_db(transaction=True)


def totals(metric):
    return list(UsageDay.objects.filter(version__metric=metric).values_list("events", "total"))


def test_the_same_event_sent_by_eight_threads_is_recorded_and_counted_once(at_once):
    customer, metric = CustomerFactory(), MetricFactory()
    sent = event(metric.event_name, 5, AT, "k", customer=customer.public_id)

    outcomes = at_once([partial(record_events, events=[sent], at=AT)] * 8)

    answers = [outcome for (outcome,) in outcomes]
    assert sorted(answer.deduplicated for answer in answers) == [False] + [True] * 7
    assert {answer.event_id for answer in answers} == {UsageEvent.objects.get().pk}
    assert totals(metric) == [(1, 5)]


def test_the_same_key_with_other_values_keeps_one_and_names_the_conflict_to_the_others(at_once):
    customer, metric = CustomerFactory(), MetricFactory()

    outcomes = at_once(
        [
            partial(record_events, events=[event(metric.event_name, n, AT, "k", customer=customer.public_id)], at=AT)
            for n in range(1, 9)
        ]
    )

    answers = [outcome for (outcome,) in outcomes]
    assert sum(answer.conflicts == ["eventValue"] for answer in answers) == 7
    assert totals(metric) == [(1, UsageEvent.objects.get().value)]


def test_single_events_that_are_recorded_together_keep_their_own_answers_and_times(at_once):
    metric = MetricFactory()
    customers = [CustomerFactory() for _ in range(4)]
    came = [AT + timedelta(microseconds=sender) for sender in range(24)]

    def sent(sender):
        if sender % 6 == 5:
            return event(metric.event_name, 1, AT, f"k{sender}", customer="cus_nobody")
        if sender % 6 == 4:
            # The same key as its neighbour with another value: one of the two is the first.
            return event(metric.event_name, 2, AT, f"k{sender - 1}", customer=customers[3].public_id)
        one = event(metric.event_name, 1, AT, f"k{sender}", customer=customers[sender % 6].public_id)
        return structs.replace(one, occurred_at=None) if sender % 6 == 0 else one

    answers = at_once([partial(record_event, event=sent(n), at=came[n]) for n in range(24)])

    assert [n for n, answer in enumerate(answers) if answer.unknown_customer] == [5, 11, 17, 23]
    for n in (3, 9, 15, 21):
        assert sorted([answers[n].conflicts, answers[n + 1].conflicts]) == [[], ["eventValue"]]
        assert answers[n].event_id == answers[n + 1].event_id
    recorded = UsageEvent.objects.in_bulk()
    assert len(recorded) == 16
    # Without a timestamp an event happened when it came, not when the statement ran that took others along.
    assert all(recorded[answers[n].event_id].occurred_at == came[n] for n in (0, 6, 12, 18))
    assert sum(total for _, total in totals(metric)) == sum(one.value for one in recorded.values())


@pytest.mark.parametrize("addressing", ["by id", "by external id", "both"])
def test_overlapping_batches_in_different_orders_do_not_deadlock_and_sum_exactly(at_once, addressing):
    metric = MetricFactory()
    customers = [CustomerFactory() for _ in range(5)]
    keys, senders = 200, 8

    def batch(sender):
        events = []
        for number in range(keys):
            # Each sender starts elsewhere, every other one goes backwards, and the addresses alternate.
            key = (number * (1 if sender % 2 else -1) + 17 * sender) % keys
            customer = customers[key % len(customers)]
            external = addressing == "by external id" or (addressing == "both" and (key // 5 + sender) % 2)
            address = {"external": customer.external_customer_id} if external else {"customer": customer.public_id}
            events.append(event(metric.event_name, key, AT, f"k{key}", **address))
        return events

    for _ in range(3):
        UsageEvent.objects.all().delete()
        UsageDay.objects.all().delete()
        outcomes = at_once([partial(record_events, events=batch(sender), at=AT) for sender in range(senders)])

        assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
        assert sum(not one.deduplicated for outcome in outcomes for one in outcome) == keys
        assert UsageEvent.objects.count() == keys
        # Keys n, n + 5, n + 10, … up to 199: 40 of each customer with a sum of 40 n + 5 × (0 + … + 39).
        assert sorted(totals(metric)) == [(40, 40 * n + 5 * 780) for n in range(5)]


def test_batches_that_address_one_customer_differently_take_their_keys_in_one_order():
    customer, metric = CustomerFactory(), MetricFactory()
    by_id, by_external = {"customer": customer.public_id}, {"external": customer.external_customer_id}

    def sent(*keys):
        return [event(metric.event_name, 1, AT, key, **address) for key, address in keys]

    outcomes = []

    def send(events):
        try:
            outcomes.append(record_events(events=events, at=AT))
        except OperationalError as error:
            outcomes.append(error)
        finally:
            connection.close()

    threads = [
        Thread(target=send, args=[sent(("a", by_external), ("m1", by_external), ("b", by_id))]),
        Thread(target=send, args=[sent(("b", by_external), ("m2", by_external), ("a", by_id))]),
    ]
    # Both are held up in the middle of their keys until this transaction takes m1 and m2 back.
    with transaction.atomic(), connection.cursor() as cursor:
        record_events(events=sent(("m1", by_id), ("m2", by_id)), at=AT)
        for thread in threads:
            thread.start()
        waiting = 0
        while waiting < len(threads):
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            (waiting,) = cursor.fetchone()
        transaction.set_rollback(True)
    for thread in threads:
        thread.join()

    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    assert totals(metric) == [(4, 4)]


def test_a_customer_created_while_events_of_its_external_id_arrive_gets_each_of_them_once(at_once):
    metric = MetricFactory()
    senders, batches = 6, 10

    def send(sender):
        for batch in range(batches):
            record_events(
                events=[event(metric.event_name, 1, AT, f"{sender}/{batch}/{n}", external="late") for n in range(5)],
                at=AT,
            )

    create = partial(register_customer, at=AT, name="Late", email="late@example.com", external_customer_id="late")
    outcomes = at_once([*(partial(send, sender) for sender in range(senders)), create])
    attribute_events()

    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    assert not UsageEvent.objects.filter(customer=None).exists()
    assert totals(metric) == [(300, 300)]


def test_two_sweeps_attribute_each_event_once(at_once):
    metric = MetricFactory()
    record_events(events=[event(metric.event_name, 1, AT, f"k{n}", external="late") for n in range(200)], at=AT)
    CustomerFactory(external_customer_id="late")

    at_once([attribute_events] * 4)

    assert totals(metric) == [(200, 200)]


def test_repetitions_while_a_customer_is_created_are_counted_once(at_once):
    metric = MetricFactory()
    sent = [event(metric.event_name, 1, AT, f"k{n}", external="late") for n in range(40)]
    record_events(events=sent, at=AT)

    create = partial(register_customer, at=AT, name="Late", email="late@example.com", external_customer_id="late")
    outcomes = at_once([create, *[partial(record_events, events=sent[::-1], at=AT)] * 4])
    attribute_events()

    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    assert totals(metric) == [(40, 40)]
