from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.events import InvalidEvent, TimestampInFuture, check_timestamp, exact_value
from metering.models import UsageDay, UsageEvent
from metering.services.attribute_events import attribute_events
from metering.services.record_events import record_events
from tests.factories import CustomerFactory, MetricFactory
from tests.pro_plan import event

AT = datetime(2026, 3, 10, 12, tzinfo=UTC)


def days(metric):
    rows = UsageDay.objects.filter(version__metric=metric)
    return {(row.customer_id, row.day): (row.events, row.total) for row in rows}


def send(*events, at=AT):
    return record_events(events=events, at=at)


@pytest.mark.django_db
class TestRecording:
    def test_counts_an_event_in_the_statement_that_records_it(self):
        customer, metric = CustomerFactory(), MetricFactory()

        (outcome,) = send(event(metric.event_name, "2.5", AT, "k", customer=customer.public_id))

        assert (outcome.deduplicated, outcome.unknown_customer, outcome.conflicts) == (False, False, [])
        assert UsageEvent.objects.get(pk=outcome.event_id).value == Decimal("2.5")
        assert days(metric) == {(customer.pk, date(2026, 3, 10)): (1, Decimal("2.5"))}

    def test_keeps_the_instant_of_arrival_when_the_client_gave_none(self):
        customer, metric = CustomerFactory(), MetricFactory()

        (outcome,) = send(event(metric.event_name, 1, None, "k", customer=customer.public_id))

        stored = UsageEvent.objects.get(pk=outcome.event_id)
        assert (stored.occurred_at, stored.received_at, stored.timestamp_given) == (AT, AT, False)

    def test_sums_exactly_what_no_float_can_hold(self):
        customer, metric = CustomerFactory(), MetricFactory()
        values = ["0.1"] * 3 + ["999999999999999999.999999", "-999999999999999999.999999", "0.000001"]

        send(*(event(metric.event_name, v, AT, f"k{n}", customer=customer.public_id) for n, v in enumerate(values)))

        assert days(metric) == {(customer.pk, date(2026, 3, 10)): (6, Decimal("0.300001"))}

    def test_keeps_properties_as_they_were_sent(self):
        customer = CustomerFactory()

        (outcome,) = send(event("x", 1, AT, "k", customer=customer.public_id, properties='{"a": "ü\\"", "n": 1.10}'))

        assert UsageEvent.objects.get(pk=outcome.event_id).properties["a"] == 'ü"'

    def test_an_event_belongs_to_the_day_of_its_timestamp(self):
        customer, metric = CustomerFactory(), MetricFactory()
        midnight = datetime(2026, 3, 1, tzinfo=UTC)

        send(
            event(metric.event_name, 1, midnight, "a", customer=customer.public_id),
            event(metric.event_name, 2, midnight - timedelta(microseconds=1), "b", customer=customer.public_id),
        )

        assert days(metric) == {
            (customer.pk, date(2026, 3, 1)): (1, 1),
            (customer.pk, date(2026, 2, 28)): (1, 2),
        }

    def test_counts_for_every_metric_of_the_name_and_for_no_other(self):
        customer = CustomerFactory()
        one = MetricFactory(event_name="call")
        other = MetricFactory(event_name="call", aggregation_type="COUNT")
        third = MetricFactory(event_name="calls")

        send(event("call", 7, AT, "k", customer=customer.public_id))

        assert list(days(one).values()) == list(days(other).values()) == [(1, 7)]
        assert days(third) == {}

    def test_a_deleted_metric_counts_no_more(self):
        customer, metric = CustomerFactory(), MetricFactory()
        metric.deleted_at = AT
        metric.save()

        (outcome,) = send(event(metric.event_name, 7, AT, "k", customer=customer.public_id))

        assert outcome.event_id is not None
        assert days(metric) == {}

    def test_keeps_an_event_of_an_unknown_name(self):
        (outcome,) = send(event("nobody-counts-this", 1, AT, "k", customer=CustomerFactory().public_id))

        assert UsageEvent.objects.filter(pk=outcome.event_id).exists()

    def test_adds_to_the_day_that_is_there(self):
        customer, metric = CustomerFactory(), MetricFactory()
        send(event(metric.event_name, 5, AT, "a", customer=customer.public_id))

        send(event(metric.event_name, -2, AT, "b", customer=customer.public_id))

        assert days(metric) == {(customer.pk, date(2026, 3, 10)): (2, 3)}


@pytest.mark.django_db
class TestAddressing:
    def test_by_external_id_finds_the_customer(self):
        customer, metric = CustomerFactory(), MetricFactory()

        (outcome,) = send(event(metric.event_name, 5, AT, "k", external=customer.external_customer_id))

        assert UsageEvent.objects.get(pk=outcome.event_id).customer_id == customer.pk
        assert days(metric) == {(customer.pk, date(2026, 3, 10)): (1, 5)}

    def test_by_an_external_id_that_nobody_has_keeps_it_unattributed_and_uncounted(self):
        metric = MetricFactory()

        (outcome,) = send(event(metric.event_name, 5, AT, "k", external="who"))

        stored = UsageEvent.objects.get(pk=outcome.event_id)
        assert (stored.customer_id, stored.external_customer_id) == (None, "who")
        assert days(metric) == {}

    def test_by_an_unknown_id_of_ours_records_nothing_and_hurts_no_neighbour(self):
        customer = CustomerFactory()

        outcomes = send(
            event("x", 1, AT, "a", customer="cus_nobody"), event("x", 1, AT, "b", customer=customer.public_id)
        )

        assert [outcome.unknown_customer for outcome in outcomes] == [True, False]
        assert UsageEvent.objects.count() == 1

    def test_a_deleted_customer_is_unknown(self):
        customer = CustomerFactory(deleted_at=AT)

        by_id, by_external = send(
            event("x", 1, AT, "a", customer=customer.public_id),
            event("x", 1, AT, "b", external=customer.external_customer_id),
        )

        assert by_id.unknown_customer
        assert UsageEvent.objects.get(pk=by_external.event_id).customer_id is None


@pytest.mark.django_db
class TestRepetition:
    def test_the_same_event_again_is_the_first_one_and_counts_once(self):
        customer, metric = CustomerFactory(), MetricFactory()
        sent = event(metric.event_name, "1.0", AT, "k", customer=customer.public_id, properties='{"x": 1.10, "y": 2}')
        again = event(metric.event_name, "1", AT, "k", customer=customer.public_id, properties='{"y": 2, "x": 1.1}')
        (first,) = send(sent)

        (second,) = send(again, at=AT + timedelta(days=400))

        assert (second.event_id, second.deduplicated, second.conflicts) == (first.event_id, True, [])
        assert days(metric) == {(customer.pk, date(2026, 3, 10)): (1, 1)}

    def test_by_external_id_and_by_id_is_the_same_customer(self):
        customer, metric = CustomerFactory(), MetricFactory()
        (first,) = send(event(metric.event_name, 1, AT, "k", customer=customer.public_id))

        (second,) = send(event(metric.event_name, 1, AT, "k", external=customer.external_customer_id))

        assert (second.event_id, second.deduplicated) == (first.event_id, True)
        assert days(metric) == {(customer.pk, date(2026, 3, 10)): (1, 1)}

    def test_the_same_key_of_two_customers_is_two_events(self):
        metric, one, other = MetricFactory(), CustomerFactory(), CustomerFactory()

        outcomes = send(*(event(metric.event_name, 1, AT, "k", customer=who.public_id) for who in (one, other)))

        assert [outcome.deduplicated for outcome in outcomes] == [False, False]
        assert len(days(metric)) == 2

    def test_unattributed_events_repeat_per_external_id(self):
        first, repeated, of_another = send(
            event("x", 1, AT, "k", external="a"),
            event("x", 1, AT, "k", external="a"),
            event("x", 1, AT, "k", external="b"),
        )

        assert [one.deduplicated for one in (first, repeated, of_another)] == [False, True, False]
        assert repeated.event_id == first.event_id

    @pytest.mark.parametrize(
        ("change", "fields"),
        [
            ({"name": "other"}, ["eventName"]),
            ({"units": 2}, ["eventValue"]),
            ({"properties": '{"x": 2}'}, ["properties"]),
            ({"occurred_at": AT - timedelta(seconds=1)}, ["eventTimestamp"]),
            ({"occurred_at": None}, ["eventTimestamp"]),
            ({"name": "other", "units": 2}, ["eventName", "eventValue"]),
        ],
    )
    def test_with_other_content_names_the_fields_and_records_nothing(self, change, fields):
        sent = {"name": "x", "units": 1, "occurred_at": AT, "key": "k", "customer": CustomerFactory().public_id}
        send(event(**sent))

        (second,) = send(event(**sent | change))

        assert second.conflicts == fields
        assert UsageEvent.objects.count() == 1

    def test_without_timestamps_the_instant_of_arrival_is_no_content(self):
        customer = CustomerFactory()
        send(event("x", 1, None, "k", customer=customer.public_id))

        (second,) = send(event("x", 1, None, "k", customer=customer.public_id), at=AT + timedelta(hours=3))

        assert (second.deduplicated, second.conflicts) == (True, [])

    def test_in_one_batch_the_first_one_counts_and_the_others_are_judged_by_it(self):
        customer, metric = CustomerFactory(), MetricFactory()

        first, same, other = send(
            *(event(metric.event_name, units, AT, "k", customer=customer.public_id) for units in (1, 1, 2))
        )

        assert (first.deduplicated, same.deduplicated, same.conflicts) == (False, True, [])
        assert other.conflicts == ["eventValue"]
        assert days(metric) == {(customer.pk, date(2026, 3, 10)): (1, 1)}

    def test_in_one_batch_the_first_one_counts_however_the_customer_is_addressed(self):
        customer, metric = CustomerFactory(), MetricFactory()

        first, other = send(
            event(metric.event_name, 1, AT, "k", customer=customer.public_id),
            event(metric.event_name, 2, AT, "k", external=customer.external_customer_id),
        )

        assert (first.deduplicated, first.conflicts) == (False, [])
        assert other.conflicts == ["eventValue"]
        assert days(metric) == {(customer.pk, date(2026, 3, 10)): (1, 1)}

    def test_of_an_event_that_came_before_its_customer_is_counted_once(self):
        metric = MetricFactory()
        send(event(metric.event_name, 3, AT, "k", external="late"))
        customer = CustomerFactory(external_customer_id="late")

        send(event(metric.event_name, 3, AT, "k", external="late"))
        attribute_events()

        assert days(metric) == {(customer.pk, date(2026, 3, 10)): (1, 3)}


class TestValues:
    @pytest.mark.parametrize(
        ("value", "number"),
        [
            ("1", "1"), ("0.25", "0.25"), ("-3", "-3"), ("1E+3", "1000"), ("0.0000010000", "0.000001"), ("-0", "0"),
            ("999999999999999999.999999", "999999999999999999.999999"), ("0E-50", "0"), ("0E+50", "0"),
        ],
    )  # fmt: skip
    def test_of_18_digits_before_and_6_after_the_point_are_taken(self, value, number):
        assert exact_value(Decimal(value)) == Decimal(number)

    @pytest.mark.parametrize(
        "value",
        [
            "NaN", "sNaN", "-NaN", "Infinity", "-Infinity", "1000000000000000000", "-1000000000000000000",
            "999999999999999999.9999991", "0.0000001", "1E-7", "0.0000010000000000000000000000000001", "1E-999999",
            "1E+999999", "9" * 100_000,
        ],
    )  # fmt: skip
    def test_of_anything_else_are_refused(self, value):
        with pytest.raises(InvalidEvent) as refused:
            exact_value(Decimal(value))

        assert refused.value.details[0]["path"] == "eventValue"


class TestTimestamps:
    def test_up_to_five_minutes_ahead_are_taken(self):
        check_timestamp(AT + timedelta(minutes=5), at=AT)

        with pytest.raises(TimestampInFuture):
            check_timestamp(AT + timedelta(minutes=5, microseconds=1), at=AT)

    def test_of_any_age_since_1970_are_taken(self):
        check_timestamp(datetime(1970, 1, 1, tzinfo=UTC), at=AT)

        with pytest.raises(InvalidEvent):
            check_timestamp(datetime(1969, 12, 31, 23, 59, tzinfo=UTC), at=AT)


@pytest.mark.django_db
@settings(max_examples=25, deadline=None)
@given(
    batches=st.lists(
        st.lists(
            st.tuples(
                st.integers(0, 8), st.decimals(min_value=-100, max_value=100, places=6), st.integers(0, 40),
                st.booleans(),
            ),
            max_size=8,
        ),
        max_size=5,
    )
)  # fmt: skip
def test_every_day_is_the_sum_of_the_first_events_of_their_keys(batches):
    customer, metric = CustomerFactory(), MetricFactory()
    first: dict[int, tuple[Decimal, datetime]] = {}

    for batch in batches:
        events = []
        for key, value, hours, by_external in batch:
            at = AT - timedelta(hours=hours)
            first.setdefault(key, (value, at))
            address = {"external": customer.external_customer_id} if by_external else {"customer": customer.public_id}
            events.append(event(metric.event_name, value, at, f"k{key}", **address))
        send(*events)

    expected: dict[date, Decimal] = {}
    for value, at in first.values():
        expected[at.date()] = expected.get(at.date(), Decimal(0)) + value
    assert {day: total for (_, day), (_, total) in days(metric).items()} == expected
