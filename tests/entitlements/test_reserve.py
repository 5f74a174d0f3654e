"""Reserve, commit and release. Quota 10, subscribed on 1 January, reserved on 20 January at noon for a minute."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction

from billing.services.subscribe import subscribe
from credits.models import Reservation
from entitlements.services.balances import NotConsumable
from entitlements.services.check import check
from entitlements.services.consume import Consumption, consume
from entitlements.services.reserve import (
    ReservationCommitted,
    ReservationConflict,
    ReservationExpired,
    ReservationNotFound,
    ReservationReleased,
    commit_reservation,
    find_reservation,
    release_reservation,
    reserve,
)
from metering.models import UsageEvent
from metering.services.record_events import EventConflict, record_events
from plans.models import PlanFeature, Seat
from plans.refusals import InvalidInput
from tests.factories import CustomerFactory, FeatureFactory, MetricFactory, PlanFeatureFactory
from tests.pro_plan import bills, event, make_pro_plan, sweep

pytestmark = pytest.mark.django_db

JAN_1 = datetime(2025, 1, 1, tzinfo=UTC)
NOON = datetime(2025, 1, 20, 12, tzinfo=UTC)
FEB_1 = datetime(2025, 2, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def pro():
    return make_pro_plan(quota=10)


def subscribed(pro, **customer):
    made = CustomerFactory(**customer)
    subscribe(at=JAN_1, customer=made, plan=pro.plan)
    return made


@pytest.fixture
def ada(pro):
    return subscribed(pro)


@pytest.fixture
def keep(ada, pro):
    """Reserve units of Ada's quota."""

    def keep_back(units, *, at=NOON, hold=MINUTE, customer=ada, slug=pro.feature.slug, **more):
        return reserve(customer=customer.public_id, slug=slug, units=Decimal(units), hold=hold, at=at, **more)

    return keep_back


@pytest.fixture
def rest(ada, pro):
    """What the check says remains."""
    return lambda at=NOON: check(customer=ada.public_id, slug=pro.feature.slug, at=at).remaining


def commit(reserved, units=None, at=NOON + SECOND, **more):
    return commit_reservation(
        identifier=reserved.reservation.public_id, units=None if units is None else Decimal(units), at=at, **more
    )


def release(reserved, at=NOON + SECOND):
    return release_reservation(identifier=reserved.reservation.public_id, at=at)


def state(reserved, at):
    return find_reservation(reserved.reservation.public_id).state(at)


def is_consumed(ada, pro, units, at):
    wanted = Consumption(units=Decimal(units), idempotency_key=f"{units}/{at}", key_given=True)
    return consume(customer=ada.public_id, slug=pro.feature.slug, wanted=wanted, at=at).event is not None


class TestReserving:
    def test_reserved_units_count_as_used(self, keep, rest):
        reserved = keep(4)

        assert (reserved.reservation.units, reserved.reservation.expires_at) == (4, NOON + MINUTE)
        assert (reserved.decision.usage, reserved.decision.limit, reserved.decision.remaining) == (4, 10, 6)
        assert rest() == 6
        assert UsageEvent.objects.count() == 0

    def test_more_than_remains_is_not_reserved(self, keep):
        keep(7)

        refused = keep(4)

        assert refused.reservation is None
        assert refused.decision.remaining == 3
        assert Reservation.objects.count() == 1

    def test_what_is_reserved_cannot_be_consumed(self, keep, ada, pro):
        keep(7)

        assert not is_consumed(ada, pro, 4, NOON)
        assert is_consumed(ada, pro, 3, NOON)

    def test_steps_of_a_tenth_against_five_admit_fifty_and_each_released_one_admits_another(self):
        pro = make_pro_plan(quota=5)
        ada = subscribed(pro)

        def keep_tenths(count):
            made = [
                reserve(customer=ada.public_id, slug=pro.feature.slug, units=Decimal("0.10"), hold=HOUR, at=NOON)
                for _ in range(count)
            ]
            return [one for one in made if one.reservation]

        first = keep_tenths(55)
        for reserved in first[::2]:
            release(reserved)
        second = keep_tenths(30)

        assert (len(first), len(second)) == (50, 25)

    def test_overage_and_the_wish_to_stay_within_the_quota(self, pro):
        PlanFeature.objects.filter(plan=pro.plan).update(overage="allow")
        bob = subscribed(pro)
        asked = {"customer": bob.public_id, "slug": pro.feature.slug, "units": Decimal(12), "hold": MINUTE, "at": NOON}

        assert reserve(**asked, past_limit=False).reservation is None
        assert reserve(**asked).decision.remaining == 0

    def test_a_feature_without_one_metric_that_adds_up_is_refused(self, keep, pro):
        PlanFeatureFactory(plan=pro.plan, feature=FeatureFactory(slug="support"))

        with pytest.raises(NotConsumable):
            keep(1, slug="support")

    def test_a_count_can_only_be_reserved_one_by_one(self, keep, pro):
        pro.feature.metrics.set([MetricFactory(aggregation_type="COUNT")])

        with pytest.raises(InvalidInput, match="value: must be 1"):
            keep(2)

    def test_a_members_reservation_holds_the_organizations_units(self, pro, keep):
        organization = subscribed(pro, customer_organization_id="acme", org_role="primary")
        member = CustomerFactory(customer_organization_id="acme", org_role="member")
        Seat.objects.get_or_create(member=member, organization_id="acme")

        reserved = keep(4, customer=member)
        committed = commit(reserved, 3)

        assert reserved.reservation.customer_id == organization.pk
        recorded = UsageEvent.objects.get(pk=committed.outcome.event_id)
        assert (recorded.customer, recorded.member) == (organization, member)
        assert check(customer=organization.public_id, slug=pro.feature.slug, at=NOON).remaining == 7


class TestRepetitions:
    def test_the_same_key_gives_the_first_reservation_again(self, keep, rest):
        first = keep(4, idempotency_key="k")
        again = keep(4, idempotency_key="k", at=NOON + SECOND)

        assert again.deduplicated
        assert again.reservation == first.reservation
        assert rest() == 6

    def test_also_when_nothing_remains_or_it_has_ended(self, keep):
        first = keep(10, idempotency_key="k")
        release(first)

        assert keep(10, idempotency_key="k").reservation == first.reservation

    @pytest.mark.parametrize(
        ("other", "named"),
        [({"units": 3}, "value"), ({"hold": 2 * MINUTE}, "ttlSeconds")],
    )
    def test_other_content_is_a_conflict_that_names_it(self, keep, other, named):
        keep(4, idempotency_key="k")

        with pytest.raises(ReservationConflict, match=f"{named} differ"):
            keep(**{"units": 4, "idempotency_key": "k"} | other)

    def test_a_key_of_another_feature_is_a_conflict(self, keep, pro):
        other = FeatureFactory(value="usage_based", metrics=[MetricFactory()])
        PlanFeatureFactory(plan=pro.plan, feature=other)
        keep(4, idempotency_key="k")

        with pytest.raises(ReservationConflict, match="feature differ"):
            keep(4, idempotency_key="k", slug=other.slug)

    def test_a_refused_key_may_be_tried_again(self, keep):
        blocking = keep(8)
        assert keep(4, idempotency_key="k").reservation is None

        release(blocking)

        assert keep(4, idempotency_key="k").reservation is not None


class TestExpiry:
    def test_units_are_free_at_the_instant_of_expiry_without_any_job(self, keep, rest):
        keep(4)

        assert rest(NOON + MINUTE - timedelta(microseconds=1)) == 6
        assert rest(NOON + MINUTE) == 10

    def test_a_commit_at_the_expiry_is_too_late(self, keep):
        reserved = keep(4)

        with pytest.raises(ReservationExpired):
            commit(reserved, at=NOON + MINUTE)

        assert UsageEvent.objects.count() == 0
        assert state(reserved, NOON + MINUTE) == "expired"

    def test_a_commit_just_before_it_is_in_time(self, keep, rest):
        reserved = keep(4)

        commit(reserved, at=NOON + MINUTE - timedelta(microseconds=1))

        assert rest(NOON + HOUR) == 6

    def test_a_commit_that_waited_while_the_units_were_given_to_another_is_too_late(self, keep, ada, pro, rest):
        reserved = keep(10)
        assert is_consumed(ada, pro, 10, NOON + MINUTE)

        # Its door read the clock before the expiry, but it comes after the one that got the units.
        with pytest.raises(ReservationExpired):
            commit(reserved, at=NOON + MINUTE - timedelta(microseconds=1))

        assert rest(NOON + MINUTE) == 0
        assert UsageEvent.objects.count() == 1
        assert state(reserved, NOON) == "expired"

    def test_a_consume_that_read_the_clock_before_a_reservation_was_made_sees_it(self, keep, ada, pro):
        keep(10)

        assert not is_consumed(ada, pro, 1, NOON - SECOND)

    def test_releasing_what_has_expired_changes_nothing(self, keep):
        reserved = keep(4)

        assert release(reserved, at=NOON + MINUTE).released_at is None
        assert state(reserved, NOON + MINUTE) == "expired"


class TestCommitting:
    def test_records_the_units_at_the_instant_of_the_reservation(self, keep, rest):
        committed = commit(keep(4), at=NOON + 30 * SECOND)

        recorded = UsageEvent.objects.get()
        assert (recorded.value, recorded.occurred_at, recorded.received_at) == (4, NOON, NOON + 30 * SECOND)
        assert (committed.reservation.event_id, committed.reservation.committed_units) == (recorded.pk, 4)
        assert committed.decision.remaining == rest() == 6
        assert not committed.is_over_quota

    def test_fewer_units_free_the_rest(self, keep, rest):
        commit(keep(4), "2.5")

        assert rest() == Decimal("7.5")

    def test_more_units_are_recorded_too_and_said_to_be_over(self, keep, rest):
        committed = commit(keep(4), 12)

        assert committed.is_over_quota
        assert (committed.decision.usage, committed.decision.remaining) == (12, 0)

    def test_the_second_commit_gives_the_first_one_again(self, keep, rest):
        reserved = keep(4)
        first = commit(reserved, 3)
        again = commit(reserved, 3, at=NOON + HOUR)

        assert (first.outcome.deduplicated, again.outcome.deduplicated) == (False, True)
        assert again.outcome.event_id == first.outcome.event_id
        assert again.reservation.committed_at == NOON + SECOND
        assert rest(NOON + HOUR) == 7

    def test_a_second_commit_of_another_value_is_a_conflict(self, keep, rest):
        reserved = keep(4)
        commit(reserved)

        with pytest.raises(EventConflict, match="eventValue differ"):
            commit(reserved, 3)

        assert rest() == 6

    def test_the_period_of_the_reservation_is_the_one_that_pays(self, keep, ada):
        reserved = keep(10, at=FEB_1 - 30 * SECOND)
        committed = commit(reserved, 12, at=FEB_1 + 10 * SECOND)

        assert committed.decision.remaining == 10
        sweep(FEB_1 + 2 * HOUR)
        # 29.00 and 2 units past January's quota at 5 cents.
        assert bills(ada)[-1][1] == 2_910

    def test_what_is_only_reserved_is_not_billed(self, keep, ada):
        PlanFeature.objects.update(overage="allow")
        keep(10, at=FEB_1 - 30 * SECOND, hold=HOUR)

        sweep(FEB_1 + 2 * HOUR)

        assert bills(ada)[-1][1] == 2_900

    def test_properties_must_be_what_the_metric_counts(self, keep, pro):
        pro.feature.metrics.set([MetricFactory(property_filter={"region": ["eu"]})])
        PlanFeature.objects.filter(plan=pro.plan).update(value=5)
        bob = subscribed(pro)
        reserved = keep(4, customer=bob)

        with pytest.raises(InvalidInput, match=r"properties\.region"):
            commit(reserved)
        commit(reserved, properties='{"region": "eu"}')

        assert check(customer=bob.public_id, slug=pro.feature.slug, at=NOON).remaining == 1

    def test_an_event_that_bears_its_key_already_is_not_taken_for_it(self, keep, ada, pro):
        reserved = keep(4)
        key = f"reservation:{reserved.reservation.public_id}"
        sent = event(pro.metric.event_name, 1, NOON, key, customer=ada.public_id)
        record_events(events=[sent], at=NOON)

        with pytest.raises(EventConflict):
            commit(reserved)

        assert state(reserved, NOON) == "held"


class TestReleasing:
    def test_gives_the_units_back(self, keep, rest):
        release(keep(4))

        assert rest(NOON + SECOND) == 10

    def test_twice_is_once(self, keep):
        reserved = keep(4)
        release(reserved)

        assert release(reserved, at=NOON + 2 * SECOND).released_at == NOON + SECOND

    def test_a_committed_one_cannot_be_released(self, keep, rest):
        reserved = keep(4)
        commit(reserved)

        with pytest.raises(ReservationCommitted):
            release(reserved)

        assert rest() == 6

    def test_a_released_one_cannot_be_committed(self, keep, rest):
        reserved = keep(4)
        release(reserved)

        with pytest.raises(ReservationReleased):
            commit(reserved)

        assert UsageEvent.objects.count() == 0

    def test_an_unknown_id_is_named(self):
        for call in (find_reservation, lambda id: release_reservation(identifier=id, at=NOON)):
            with pytest.raises(ReservationNotFound):
                call("rsv_unknown")


@pytest.mark.parametrize(
    ("constraint", "wrong"),
    [
        ("reservation_holds_positive_units", {"units": 0}),
        ("reservation_expires_after_its_start", {"expires_at": NOON}),
        (
            "reservation_ends_in_one_way",
            {"released_at": NOON, "committed_at": NOON, "committed_units": 1, "event_id": 1},
        ),
        ("committed_reservation_says_what_it_recorded", {"committed_at": NOON}),
    ],
)
def test_the_database_refuses_a_reservation_that_makes_no_sense(keep, constraint, wrong):
    reserved = keep(4)

    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Reservation.objects.filter(pk=reserved.reservation.pk).update(**wrong)
