"""A process that dies at a commit, before it or after it: the next sweep, or the same call again, makes the books that
nobody disturbed.

Dying is what PostgreSQL sees of it: the connection is gone, and nobody takes anything back.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import count

import pytest
import time_machine
from django.db import connection

from billing import jobs
from billing.books import check_books
from billing.models import CreditNote, Invoice, InvoiceLine
from billing.services.cancel import cancel_at_period_end, cancel_now
from billing.services.change import change_at_period_end, change_now
from billing.services.pause import pause, resume
from billing.services.seats import add_seat
from billing.services.subscribe import subscribe
from billing.services.tax_settings import update_settings
from billing.services.void import void_invoice
from credits.models import CreditDefinition, CreditGrant, CreditTransaction
from plans.models import AddedUnits, Subscription, SubscriptionPeriod
from plans.refusals import Refusal
from tests.billing.lives import run_sweeps
from tests.factories import FixedComponentFactory
from tests.pro_plan import make_pro_plan, use
from tests.seat_plan import make_organization

MAY, JUNE, JULY, AUGUST = (datetime(2026, month, 1, tzinfo=UTC) for month in (5, 6, 7, 8))
MAY_16 = datetime(2026, 5, 16, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# After what happens in July nobody looks at June any more.
ONE_SWEEP = (JULY + HOUR,)

pytestmark = pytest.mark.django_db(transaction=True)


class Killed(BaseException):
    """The process is gone, as by SIGKILL: nothing that catches exceptions catches this."""


@contextmanager
def dying_at(number: int, moment: str) -> Iterator[list[int]]:
    """Let the connection be lost, and the caller die, at the commit with this number, `before` it is made or `after`.
    Gives a list that has the number of each commit that was reached."""
    commit, reached = connection._commit, []

    def commit_or_die() -> None:
        reached.append(len(reached) + 1)
        if reached[-1] != number or moment == "after":
            commit()
        if reached[-1] == number:
            process = connection.connection.info.backend_pid
            connection.close()
            wait_for_the_end_of(process)
            raise Killed

    connection._commit = commit_or_die
    try:
        yield reached
    finally:
        connection._commit = commit


def wait_for_the_end_of(process: int) -> None:
    """Wait until PostgreSQL has noticed that nobody is there: up to then it keeps the locks of who has died."""
    is_there = True
    while is_there:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [process])
            is_there = bool(cursor.fetchone()[0])
    connection.close()


def dies(number, moment, work):
    """Tell whether `work` died at this commit."""
    try:
        with dying_at(number, moment):
            work()
    except Killed:
        return True
    return False


@pytest.fixture
def pro():
    """29.00 a month and 10.00 a seat in advance, calls at 5 cents beyond 10,000, of which 400 go over to the next
    month; 19 % tax."""
    update_settings({"default_tax_rate": Decimal("0.19")})
    sold = make_pro_plan()
    CreditDefinition.objects.filter(pk=sold.quota.pk).update(rolls_over=True, rollover_cap=400)
    FixedComponentFactory(price=sold.price, component_id="comp_seats", position=5, **SEATS)
    return sold


SEATS = {"kind": "per_unit", "label": "Seats", "unit_label": "seat", "amount_cents": 1_000}


@pytest.fixture
def big(pro):
    sold = make_pro_plan(base_cents=9_900, quota=20_000, unit_cost_cents="4", beside=pro)
    FixedComponentFactory(price=sold.price, component_id="comp_seats", position=5, **SEATS)
    return sold


class Victims:
    """Customers with the same life, one after the other."""

    def __init__(self, pro):
        self.pro = pro
        self.made = 0

    def next(self):
        self.made += 1
        customer = make_organization(f"org-{self.made}", seats=2, since=MAY)
        subscription = subscribe(at=MAY, customer=customer, plan=self.pro.plan)
        use(customer, self.pro.metric, 9_700, MAY + HOUR)
        use(customer, self.pro.metric, 12_000, JUNE + HOUR)
        return subscription


@pytest.fixture
def victims(pro):
    return Victims(pro)


def outcome(subscription):
    """All that was written about a customer, without keys and without the instants of the sweeps."""
    customer = subscription.customer
    invoices = Invoice.objects.filter(customer=customer).order_by("number", "pk")
    lines = InvoiceLine.objects.filter(invoice__customer=customer)
    grants = CreditGrant.objects.filter(customer=customer)
    ledger = CreditTransaction.objects.filter(customer=customer)
    periods = SubscriptionPeriod.objects.filter(customer=customer)
    return {
        "versions": list(
            Subscription.objects.filter(customer=customer)
            .order_by("version_number")
            .values_list("version_number", "price", "status", "started_at", "ended_at", "cancel_at_period_end")
        ),
        "invoices": [
            (one.number and one.number[-3:], one.kind, one.status, one.closes_at, one.finalized_at, one.subtotal_cents,
             one.tax_cents, one.total_cents, one.credited_cents)
            for one in invoices
        ],
        "lines": list(
            lines.order_by("invoice__number", "position").values_list(
                "type", "quantity", "amount_cents", "tax_cents", "period__start_at", "effective_at"
            )
        ),
        "grants": sorted(
            grants.values_list("source", "starts_at", "expires_at", "revoked_at", "initial_amount", "ledger_remaining"),
            key=str,
        ),
        "ledger": sorted(
            ledger.values_list("grant__source", "grant__starts_at", "kind", "amount"), key=str
        ),
        "periods": sorted(
            periods.values_list(
                "metric", "number", "kind", "start_at", "end_at", "quantity",
                "settled_usage", "settled_credited", "settled_net_cents",
            ),
            key=str,
        ),
        "units": list(
            AddedUnits.objects.filter(period__customer=customer)
            .order_by("from_quantity", "needed_at")
            .values_list("from_quantity", "to_quantity", "needed_at")
        ),
        "notes": list(
            CreditNote.objects.filter(invoice__customer=customer).order_by("pk").values_list("total_cents", "tax_cents")
        ),
    }  # fmt: skip


def offenders(at):
    return [offender for finding in check_books(at=at) for offender in finding.offenders]


def kill_at_each_commit(victims, moment, act, *, again=None, before=None, sweeps=(JUNE + HOUR, JULY + HOUR)):
    """Let `act` die at its first commit, at its second one, and so on, and do `again` what a caller without an answer
    does; then let the sweeps run, and compare with a life that was not disturbed. Return how often it died."""

    def live_on(victim):
        for at in sweeps:
            run_sweeps(at)
        return outcome(victim)

    def begin():
        victim = victims.next()
        if before is not None:
            before(victim)
        return victim

    undisturbed = begin()
    act(undisturbed)
    expected = live_on(undisturbed)
    for number in count(1):
        victim = begin()
        killed = dies(number, moment, partial(act, victim))
        if killed and again is not None:
            again(victim)
        assert live_on(victim) == expected, f"killed {moment} commit {number}"
        if not killed:
            break
    assert offenders(sweeps[-1]) == []
    return number - 1


def unless_done(act):
    """Call again, where the first call may have done all of it: then it is refused by name."""

    def again(victim):
        try:
            act(victim)
        except Refusal:
            pass

    return again


both_moments = pytest.mark.parametrize("moment", ["before", "after"])


@both_moments
def test_the_close_of_a_period(victims, moment):
    assert kill_at_each_commit(victims, moment, lambda _: jobs.close(JUNE)) >= 1


@both_moments
def test_the_close_of_two_boundaries_at_once(victims, moment):
    assert kill_at_each_commit(victims, moment, lambda _: jobs.close(JULY), sweeps=ONE_SWEEP) >= 2


@both_moments
def test_the_finalization_of_a_draft(victims, moment):
    def act(_):
        jobs.finalize_drafts(JUNE + HOUR)

    assert kill_at_each_commit(victims, moment, act, before=lambda _: jobs.close(JUNE)) >= 1


@both_moments
def test_the_finalization_of_two_drafts_at_once(victims, moment):
    def act(_):
        jobs.finalize_drafts(JULY + HOUR)

    assert kill_at_each_commit(victims, moment, act, before=lambda _: jobs.close(JULY), sweeps=ONE_SWEEP) >= 1


@both_moments
def test_a_whole_run_of_the_sweeps(victims, moment):
    assert kill_at_each_commit(victims, moment, lambda _: run_sweeps(JUNE + HOUR), sweeps=(JUNE + HOUR,)) >= 2


@both_moments
def test_a_change(victims, big, moment):
    def act(victim):
        change_now(subscription=victim, price=big.price, at=MAY_16)

    assert kill_at_each_commit(victims, moment, act, again=unless_done(act)) == 1


@both_moments
def test_a_change_in_the_grace_time(victims, big, moment):
    """It closes June and finalizes the draft, too."""

    def act(victim):
        change_now(subscription=victim, price=big.price, at=JUNE + HOUR / 2)

    assert kill_at_each_commit(victims, moment, act, again=unless_done(act)) == 1


@both_moments
def test_a_change_that_was_scheduled(victims, big, moment):
    def schedule(victim):
        change_at_period_end(subscription=victim, price=big.price, at=MAY_16)

    assert kill_at_each_commit(
        victims, moment, lambda _: jobs.apply_scheduled_changes(JUNE), before=schedule
    ) >= 1  # fmt: skip


@both_moments
@pytest.mark.parametrize("prorate", [False, True])
def test_a_cancel(victims, moment, prorate):
    def act(victim):
        cancel_now(subscription=victim, at=MAY_16, prorate=prorate)

    assert kill_at_each_commit(victims, moment, act, again=unless_done(act)) == 1


def end_with_the_period(victim):
    cancel_at_period_end(subscription=victim, at=MAY_16)


@both_moments
def test_a_cancel_at_the_end_of_the_period(victims, moment):
    assert kill_at_each_commit(victims, moment, end_with_the_period, again=end_with_the_period) == 1


@both_moments
def test_the_sweep_that_ends_a_subscription(victims, moment):
    def act(_):
        jobs.apply_scheduled_changes(JUNE)

    assert kill_at_each_commit(victims, moment, act, before=end_with_the_period) >= 1


def pause_in_may(victim):
    pause(subscription=victim, at=MAY_16)


@both_moments
def test_a_pause(victims, moment):
    assert kill_at_each_commit(victims, moment, pause_in_may, again=unless_done(pause_in_may)) == 1


@both_moments
def test_a_resume(victims, moment):
    def act(victim):
        resume(subscription=victim, at=MAY_16 + DAY)

    assert kill_at_each_commit(victims, moment, act, again=unless_done(act), before=pause_in_may) == 1


@both_moments
def test_a_seat(victims, moment):
    def act(victim):
        number = victim.customer.customer_organization_id
        add_seat(at=MAY_16, organization=victim.customer, member_id=f"ann-{number}", idempotency_key="k")

    assert kill_at_each_commit(victims, moment, act, again=act) == 1


@both_moments
def test_a_void_with_a_replacement(victims, moment):
    def bill(_):
        run_sweeps(JUNE + HOUR)

    def act(victim):
        june = Invoice.objects.get(customer=victim.customer, closes_at=JUNE, replaces=None)
        void_invoice(invoice=june, reason="Wrong", at=JUNE + DAY, rebill=True)

    assert kill_at_each_commit(victims, moment, act, again=unless_done(act), before=bill) == 1


@both_moments
def test_a_change_by_the_api_that_is_sent_again_with_its_key(api, victims, big, moment):
    def act(victim):
        path = f"/v1/subscriptions/{victim.stable_subscription_id}/change"
        with time_machine.travel(MAY_16, tick=False):
            answer = api.post(
                path, {"priceId": big.price.public_id}, idempotency_key=f"change {victim.stable_subscription_id}"
            )
        assert answer.status == 200, answer

    assert kill_at_each_commit(victims, moment, act, again=act) >= 1
