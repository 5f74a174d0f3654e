"""Organizations under concurrency: one primary customer, one seat at a time, and every event counted once."""

from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Thread

import pytest
from django.db import connection, transaction

from metering.models import UsageDay, UsageEvent
from metering.services.record_events import record_events
from plans.models import Customer, Seat, Subscription, SubscriptionFeature
from plans.services.customers import create_customer, update_customer
from plans.services.overrides import SubscriptionEnded, override_feature
from plans.services.seats import OrganizationHasPrimary
from tests.factories import (
    CustomerFactory,
    FeatureFactory,
    MetricFactory,
    PlanFeatureFactory,
    SeatFactory,
    SubscriptionFactory,
)
from tests.pro_plan import event

AT = datetime(2026, 3, 10, 12, tzinfo=UTC)

pytestmark = pytest.mark.django_db(transaction=True)


def failures(outcomes):
    return [outcome for outcome in outcomes if isinstance(outcome, Exception)]


def test_of_eight_primary_customers_made_at_once_one_remains(at_once):
    calls = [
        partial(
            create_customer,
            at=AT,
            name="A",
            email=f"a{number}@x.io",
            customer_organization_id="acme",
            org_role="primary",
        )
        for number in range(8)
    ]

    outcomes = at_once(calls)

    assert [type(failure) for failure in failures(outcomes)] == [OrganizationHasPrimary] * 7
    assert Customer.objects.filter(customer_organization_id="acme").count() == 1


def test_of_members_that_all_become_primary_at_once_one_does_and_the_others_keep_their_seats(at_once):
    members = [SeatFactory().member for _ in range(6)]

    outcomes = at_once([partial(update_customer, at=AT, customer=member, org_role="primary") for member in members])

    assert [type(failure) for failure in failures(outcomes)] == [OrganizationHasPrimary] * 5
    assert Seat.objects.filter(ended_at=None).count() == 5


def test_moves_of_one_member_at_once_leave_one_seat_without_gap_or_overlap(at_once):
    member = SeatFactory().member

    outcomes = at_once(
        [
            partial(
                update_customer,
                at=AT + timedelta(seconds=number),
                customer=member,
                customer_organization_id=f"org-{number}",
            )
            for number in range(8)
        ]
    )

    assert failures(outcomes) == []
    seats = list(Seat.objects.filter(member=member).order_by("started_at"))
    open_seats = [seat for seat in seats if seat.ended_at is None]
    member.refresh_from_db()
    assert [seat.organization_id for seat in open_seats] == [member.customer_organization_id]
    ends = {seat.ended_at for seat in seats} - {None}
    assert ends == {seat.started_at for seat in seats} - {None}


def test_a_move_beside_other_changes_is_not_undone_by_them(at_once):
    members = [SeatFactory().member for _ in range(4)]

    calls = [
        partial(update_customer, at=AT, customer=member, **change)
        for member in members
        for change in ({"customer_organization_id": "globex"}, {"name": "New"}, {"phone_number": "1"})
    ]
    outcomes = at_once(calls)

    assert failures(outcomes) == []
    assert list(Seat.objects.filter(ended_at=None).values_list("organization_id", flat=True)) == ["globex"] * 4


def test_a_move_while_events_arrive_leaves_each_of_them_counted_once(at_once):
    metric = MetricFactory()
    for organization in ("acme", "globex"):
        CustomerFactory(customer_organization_id=organization, org_role="primary")
    member = SeatFactory().member
    senders, batches = 5, 12

    def send(sender):
        for batch in range(batches):
            # Before and after the instant of the move.
            moments = [AT - timedelta(seconds=1), AT + timedelta(seconds=1)]
            sent = [
                event(metric.event_name, 1, moment, f"{sender}/{batch}/{moment}", customer=member.public_id)
                for moment in moments
            ]
            record_events(events=sent, at=AT + timedelta(seconds=2))

    move = partial(update_customer, at=AT, customer=member, customer_organization_id="globex")
    outcomes = at_once([*(partial(send, sender) for sender in range(senders)), move])

    assert failures(outcomes) == []
    days = dict(UsageDay.objects.filter(version__metric=metric).values_list("customer_id", "events"))
    events = UsageEvent.objects.all()
    assert {key: events.filter(customer=key).count() for key in days} == days
    assert sum(days.values()) == senders * batches * 2
    # What happened before the move is never the new organization's.
    acme = Customer.objects.get(customer_organization_id="acme")
    assert not events.filter(occurred_at__lt=AT).exclude(customer=acme).exists()


def test_overrides_of_one_feature_put_at_once_leave_one_of_them(at_once):
    metric = MetricFactory()
    given = PlanFeatureFactory(value=100)
    given.feature.metrics.set([metric])
    subscription = SubscriptionFactory(price__plan=given.plan)

    calls = [
        partial(override_feature, at=AT, subscription=subscription, feature=given.feature, reason="r", value=number)
        for number in range(8)
    ]
    outcomes = at_once(calls)

    assert failures(outcomes) == []
    assert SubscriptionFeature.objects.filter(source="override").count() == 1


def test_overrides_of_two_subscriptions_at_once_meter_a_metric_once(at_once):
    metric = MetricFactory()
    extra = FeatureFactory(value="usage_based", metrics=[metric])
    customer = CustomerFactory()
    subscriptions = [SubscriptionFactory(customer=customer, beside_others=True) for _ in range(4)]

    outcomes = at_once(
        [
            partial(override_feature, at=AT, subscription=subscription, feature=extra, reason="r", value=5)
            for subscription in subscriptions
        ]
    )

    assert failures(outcomes) == []
    assert sum(subscription.items.filter(metric=metric).count() for subscription in subscriptions) == 1


def test_an_override_that_comes_while_its_subscription_ends_is_refused():
    subscription, feature = SubscriptionFactory(), FeatureFactory()
    outcomes = []

    def put():
        try:
            override_feature(at=AT, subscription=subscription, feature=feature, reason="r", value=True)
        except SubscriptionEnded as refusal:
            outcomes.append(refusal)
        finally:
            connection.close()

    thread = Thread(target=put)
    # Held up until this transaction, which ends the subscription, is over.
    with transaction.atomic(), connection.cursor() as cursor:
        Subscription.objects.filter(pk=subscription.pk).update(ended_at=AT)
        thread.start()
        waiting = 0
        while not waiting and thread.is_alive():
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            (waiting,) = cursor.fetchone()
    thread.join()

    assert len(outcomes) == 1
    assert not SubscriptionFeature.objects.exists()
