"""Concurrent consuming, reserving, revoking and settling: nothing is sold twice, and every call gets its own answer."""

import http.client
import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from threading import Barrier, Event
from urllib.parse import quote, urlencode

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from billing.books import check_books
from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.finalize import drafts_to_finalize, finalize
from billing.services.subscribe import subscribe
from config.keys import create_api_key
from config.management.commands.up import await_ok, free_port, web_command
from config.processes import Family
from credits.models import CreditTransaction, Reservation
from credits.services.grants import grant_credits, revoke_grant
from credits.services.positions import lock_balances
from entitlements.services.check import check
from entitlements.services.consume import Consumed, Consumption, consume
from entitlements.services.reserve import (
    Committed,
    ReservationCommitted,
    ReservationExpired,
    ReservationReleased,
    commit_reservation,
    release_reservation,
    reserve,
)
from metering.models import UsageDay, UsageEvent
from metering.services.record_events import EventConflict
from tests.factories import CreditDefinitionFactory, CustomerFactory, MetricFactory
from tests.pro_plan import bills, make_pro_plan, use

JAN_31 = datetime(2026, 1, 31, 10, tzinfo=UTC)
FEB_10 = datetime(2026, 2, 10, 10, tzinfo=UTC)
FEB_28 = datetime(2026, 2, 28, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db(transaction=True)


def subscribed(quota, at=JAN_31):
    pro, customer = make_pro_plan(quota=quota), CustomerFactory()
    subscribe(at=at, customer=customer, plan=pro.plan)
    return pro, customer


def wanted(units, key, **more):
    return Consumption(units=Decimal(units), idempotency_key=key, key_given=True, **more)


def consuming(customer, pro, units, key, at=FEB_10, **more):
    return partial(
        consume, customer=customer.public_id, slug=pro.feature.slug, wanted=wanted(units, key, **more), at=at
    )


def reserving(customer, pro, units, at=FEB_10, **more):
    asked = {"units": Decimal(units), "hold": MINUTE, "at": at} | more
    return partial(reserve, customer=customer.public_id, slug=pro.feature.slug, **asked)


def allowed(outcomes):
    return [outcome for outcome in outcomes if isinstance(outcome, Consumed) and outcome.event]


def errors(outcomes):
    return [outcome for outcome in outcomes if isinstance(outcome, Exception)]


def offenders(at):
    return [offender for finding in check_books(at=at) for offender in finding.offenders]


def test_steps_of_a_tenth_by_many_threads_admit_exactly_fifty_and_each_is_told_another_rest(at_once):
    pro, customer = subscribed(5)

    outcomes = at_once([consuming(customer, pro, "0.10", f"k{number}") for number in range(80)])

    assert errors(outcomes) == []
    given = allowed(outcomes)
    assert len(given) == UsageEvent.objects.count() == 50
    assert UsageDay.objects.get().total == 5
    # As if one had come after the other: 4.9, 4.8, … 0.1, 0.
    assert sorted(one.decision.remaining for one in given) == [Decimal(tenths) / 10 for tenths in range(50)]
    assert {one.decision.remaining for one in outcomes if not one.event} == {0}


@pytest.fixture
def while_locked(at_once):
    """Run calls while somebody holds the lock of a balance until one of them waits for it, or all are done; tell
    whether one did."""

    def run(customer, metric, calls):
        locked, done = Event(), Barrier(len(calls) + 1)

        def hold():
            waiting = 0
            with transaction.atomic(), connection.cursor() as cursor:
                lock_balances([(customer.pk, metric.pk)])
                locked.set()
                while waiting == 0 and done.n_waiting < len(calls):
                    cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'")
                    (waiting,) = cursor.fetchone()
            done.wait()
            return waiting > 0

        def after_lock(call):
            assert locked.wait(20)
            try:
                return call()
            finally:
                connection.close()
                done.wait()

        return at_once([hold, *(partial(after_lock, call) for call in calls)])[0]

    return run


def test_callers_that_wait_for_the_lock_are_decided_in_one_transaction(while_locked):
    pro, customer = subscribed(100)

    waited = while_locked(customer, pro.metric, [consuming(customer, pro, 1, f"k{number}") for number in range(30)])

    transactions = UsageEvent.objects.extra(select={"xid": "xmin::text"}).values_list("xid", flat=True)
    assert waited
    assert len(transactions) == 30
    assert len(set(transactions)) < 15


def test_a_feature_that_is_measured_anew_waits_for_the_lock_of_its_new_balance(while_locked):
    pro, customer = subscribed(100)
    consuming(customer, pro, 1, "before")()
    metric = MetricFactory()
    pro.feature.metrics.set([metric])

    assert while_locked(customer, metric, [consuming(customer, pro, 1, "after")])


def test_one_callers_mistake_does_not_fail_those_who_wait_with_it(at_once):
    pro, customer = subscribed(100)
    use(customer, pro.metric, 1, FEB_10, key="taken")

    good = [consuming(customer, pro, 1, f"k{number}") for number in range(20)]
    outcomes = at_once([*good, *[consuming(customer, pro, 2, "taken")] * 5])

    assert len(allowed(outcomes[:20])) == 20
    assert [type(outcome) for outcome in outcomes[20:]] == [EventConflict] * 5
    assert UsageDay.objects.get().total == 21


def test_the_same_key_by_many_threads_is_recorded_and_taken_once(at_once):
    pro, customer = subscribed(5)

    outcomes = at_once([consuming(customer, pro, 3, "k")] * 20)

    assert sorted(one.outcome.deduplicated for one in allowed(outcomes)) == [False] + [True] * 19
    assert {one.decision.remaining for one in outcomes} == {2}
    assert UsageDay.objects.get().total == 3


def test_calls_with_timestamps_and_by_other_addresses_take_from_the_same_rest(at_once):
    pro, customer = subscribed(50)
    by_external = partial(
        consume, customer=customer.external_customer_id, external=True, slug=pro.feature.slug, at=FEB_10
    )

    outcomes = at_once(
        [
            *(consuming(customer, pro, 1, f"a{n}") for n in range(30)),
            *(consuming(customer, pro, 1, f"b{n}", occurred_at=FEB_10 - HOUR) for n in range(20)),
            *(partial(by_external, wanted=wanted(1, f"c{n}")) for n in range(20)),
            *(reserving(customer, pro, 1) for n in range(10)),
        ]
    )

    assert errors(outcomes) == []
    reserved = Reservation.objects.count()
    assert len(allowed(outcomes)) + reserved == 50
    assert UsageDay.objects.get().total == 50 - reserved
    assert check(customer=customer.public_id, slug=pro.feature.slug, at=FEB_10).remaining == 0


def test_reserving_by_many_threads_keeps_back_exactly_what_there_is(at_once):
    pro, customer = subscribed(5)

    outcomes = at_once([reserving(customer, pro, "0.10", hold=HOUR) for _ in range(60)])
    made = [outcome.reservation for outcome in outcomes if outcome.reservation]
    at_once([partial(release_reservation, identifier=one.public_id, at=FEB_10) for one in made[::2]])
    again = at_once([reserving(customer, pro, "0.10", hold=HOUR) for _ in range(40)])

    assert len(made) == 50
    assert len([outcome for outcome in again if outcome.reservation]) == 25


@pytest.mark.parametrize("attempt", range(3))
def test_a_reservation_is_committed_released_or_expired_by_exactly_one(at_once, attempt):
    pro, customer = subscribed(10)
    reservation = reserving(customer, pro, 10)().reservation
    named = {"identifier": reservation.public_id}
    just_before = reservation.expires_at - timedelta(microseconds=1)

    outcomes = at_once(
        [
            *[partial(commit_reservation, **named, at=just_before)] * 4,
            *[partial(release_reservation, **named, at=just_before)] * 2,
            consuming(customer, pro, 10, "other", at=reservation.expires_at),
        ]
    )

    # Whoever comes first decides; the units are used at most once.
    commits, releases, other = outcomes[:4], outcomes[4:6], outcomes[6]
    too_late = [type(one) for one in commits if not isinstance(one, Committed)]
    committed = [one for one in commits if isinstance(one, Committed)]
    assert set(too_late) <= {ReservationExpired, ReservationReleased}
    assert len(committed) in (0, 4)
    assert len({one.outcome.event_id for one in committed}) == min(len(committed), 1)
    if committed:
        assert [type(one) for one in releases] == [ReservationCommitted] * 2
    assert bool(committed) + bool(other.event) <= 1
    assert UsageEvent.objects.count() == bool(committed) + bool(other.event)


def test_a_double_commit_of_two_values_records_one(at_once):
    pro, customer = subscribed(10)
    reservation = reserving(customer, pro, 10)().reservation

    outcomes = at_once(
        [partial(commit_reservation, identifier=reservation.public_id, units=Decimal(n), at=FEB_10) for n in (3, 4) * 4]
    )

    assert len([one for one in outcomes if isinstance(one, Committed)]) == 4
    assert len([one for one in outcomes if isinstance(one, EventConflict)]) == 4
    assert UsageDay.objects.get().total == UsageEvent.objects.get().value


@pytest.mark.parametrize("attempt", range(3))
def test_a_revoke_takes_only_what_consuming_left(at_once, attempt):
    pro, customer = subscribed(10)
    definition = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
    extra = grant_credits(at=JAN_31, customer=customer, definition=definition, amount=Decimal(10))

    outcomes = at_once(
        [
            *(consuming(customer, pro, 1, f"k{number}") for number in range(30)),
            partial(revoke_grant, grant=extra, at=FEB_10),
        ]
    )

    revoked = -sum(CreditTransaction.objects.filter(grant=extra, kind="revoked").values_list("amount", flat=True))
    assert len(allowed(outcomes)) == 20 - revoked
    assert offenders(FEB_10) == []


def test_consuming_while_the_last_period_is_settled_takes_from_the_new_one_only(at_once):
    pro, customer = subscribed(10)
    use(customer, pro.metric, 12, FEB_10)
    close_periods(subscriptions=due_subscriptions(FEB_28), at=FEB_28)
    drafts = drafts_to_finalize(FEB_28 + HOUR)

    outcomes = at_once(
        [
            partial(finalize, invoices=drafts, at=FEB_28 + HOUR),
            *(consuming(customer, pro, 1, f"k{number}", at=FEB_28 + HOUR) for number in range(25)),
        ]
    )

    assert len(allowed(outcomes)) == 10
    # 29.00 and 2 units past February's quota at 5 cents.
    assert bills(customer)[-1][1] == 2_910
    assert offenders(FEB_28 + HOUR) == []


class Application:
    """Calls a running server with a secret key, 50 threads at a time, each over a connection of its own."""

    def __init__(self, port):
        self.port = port
        _, key = create_api_key(name="The application", key_type="secret", at=timezone.now())
        self.headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def post_all(self, requests):
        with ThreadPoolExecutor(50) as pool:
            return list(pool.map(self._post, requests))

    def _post(self, request):
        path, body = request
        caller = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            caller.request("POST", path, json.dumps(body), self.headers)
            response = caller.getresponse()
            answer = json.loads(response.read(), parse_float=Decimal)
            assert response.status == 200, answer
            return answer
        finally:
            caller.close()


def database_url():
    """The address of the tests' database, for another process."""
    connection.ensure_connection()
    info = connection.connection.info
    # Beside the name, since the host may be a folder with a socket.
    where = urlencode({"host": info.host, "port": info.port})
    return f"postgres://{info.user}:{quote(info.password)}@/{info.dbname}?{where}"


@pytest.fixture
def application(tmp_path):
    """An application in front of the server that `up` starts, with all its processes and threads."""
    port = free_port(None)
    family = Family(logs=tmp_path, environment=os.environ | {"DATABASE_URL": database_url()}, cwd=settings.BASE_DIR)
    family.start("web", web_command(port))
    try:
        await_ok(family, f"http://127.0.0.1:{port}/healthz", what="the web server")
        yield Application(port)
    finally:
        family.stop()


@pytest.fixture
def hot():
    """A customer with an allowance of 5.00, and the path of its feature."""
    pro, customer = subscribed(5, at=timezone.now())
    return pro, customer, f"/v1/entitlements/{customer.public_id}/feature/{pro.feature.slug}"


def test_1000_concurrent_consumes_of_a_tenth_over_http_admit_exactly_50(application, hot):
    pro, customer, path = hot

    answers = application.post_all([(f"{path}/consume", {"value": "0.10"})] * 1000)

    assert [answer["allowed"] for answer in answers].count(True) == 50
    assert UsageEvent.objects.filter(customer=customer).count() == 50
    assert check(customer=customer.public_id, slug=pro.feature.slug, at=timezone.now()).usage == 5


def test_1000_concurrent_reserves_of_a_tenth_over_http_admit_50_and_25_more_for_half_of_them_released(application, hot):
    pro, customer, path = hot
    request = (f"{path}/reserve", {"value": "0.10", "ttlSeconds": 3600})

    first = [answer["reservation"] for answer in application.post_all([request] * 1000) if answer["allowed"]]
    application.post_all([(f"/v1/reservations/{one['id']}/release", {}) for one in first[::2]])
    second = [answer["reservation"] for answer in application.post_all([request] * 200) if answer["allowed"]]
    application.post_all([(f"/v1/reservations/{one['id']}/commit", {}) for one in first[1::2] + second])

    assert (len(first), len(second)) == (50, 25)
    assert UsageEvent.objects.filter(customer=customer).count() == 50
    assert check(customer=customer.public_id, slug=pro.feature.slug, at=timezone.now()).usage == 5
