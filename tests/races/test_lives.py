"""Changes, cancels, closes and finalizes at once: one outcome, nothing billed twice, nothing lost."""

from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count

import pytest

from billing.books import check_books
from billing.models import Invoice
from billing.services.cancel import cancel_now
from billing.services.change import change_at_period_end, change_now
from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.credit_notes import credit_invoice
from billing.services.finalize import drafts_to_finalize, finalize
from billing.services.pause import pause
from billing.services.scheduled_changes import apply_changes, due_changes
from billing.services.seats import add_seat
from billing.services.subscribe import subscribe
from plans.models import Subscription
from tests.billing.lives import invoices, run_sweeps
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan, use
from tests.races.test_billing import is_killed_before, outcome_of
from tests.seat_plan import make_seat_plan
from tests.seat_plan import subscribed as subscribed_seats

MAY = datetime(2026, 5, 1, tzinfo=UTC)
MAY_16 = datetime(2026, 5, 16, 12, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
JULY = datetime(2026, 7, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def big(pro):
    return make_pro_plan(base_cents=9_900, quota=20_000, unit_cost_cents="4", beside=pro)


def subscribed(pro):
    subscription = subscribe(at=MAY, customer=CustomerFactory(), plan=pro.plan)
    use(subscription.customer, pro.metric, 12_000, MAY + HOUR)
    return subscription


def offenders(at):
    return [offender for finding in check_books(at=at) for offender in finding.offenders]


def test_two_changes_at_once_make_one_version(at_once, pro, big):
    subscription = subscribed(pro)

    outcomes = at_once([partial(change_now, subscription=subscription, price=big.price, at=MAY_16)] * 4)

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Change"] + ["SubscriptionEnded"] * 3
    assert Subscription.objects.filter(customer=subscription.customer).count() == 2
    assert invoices(subscription.customer)[1:] == [("change", MAY_16, 5_110 - 1_497 + 10_000)]
    assert offenders(MAY_16) == []


def test_a_close_and_a_change_at_once_bill_the_boundary_once(at_once, pro, big):
    subscription = subscribed(pro)
    at = JUNE + 2 * HOUR

    at_once(
        [
            partial(close_periods, subscriptions=due_subscriptions(at), at=at),
            partial(change_now, subscription=subscription, price=big.price, at=at),
            partial(close_periods, subscriptions=due_subscriptions(at), at=at),
        ]
    )
    run_sweeps(at + HOUR)

    # The day of the change belongs to the new plan: all of June is credited.
    assert invoices(subscription.customer) == [
        ("cycle", MAY, 2_900),
        ("cycle", JUNE, 2_900 + 10_000),
        ("change", at, 9_900 - 2_900),
    ]
    assert offenders(at + HOUR) == []


def test_a_finalize_and_a_cancel_at_once_settle_each_period_once(at_once, pro):
    subscription = subscribed(pro)
    close_periods(subscriptions=due_subscriptions(JUNE), at=JUNE)
    at = JUNE + HOUR
    drafts = drafts_to_finalize(at)

    outcomes = at_once(
        [
            partial(finalize, invoices=drafts, at=at),
            partial(cancel_now, subscription=subscription, at=at),
            partial(finalize, invoices=drafts, at=at),
        ]
    )
    run_sweeps(at + 2 * HOUR)

    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert invoices(subscription.customer) == [("cycle", MAY, 2_900), ("cycle", JUNE, 12_900)]
    assert offenders(at + 2 * HOUR) == []


def test_of_a_change_a_pause_and_a_cancel_at_once_the_books_add_up(at_once, pro, big):
    subscription = subscribed(pro)

    outcomes = at_once(
        [
            partial(change_now, subscription=subscription, price=big.price, at=MAY_16),
            partial(pause, subscription=subscription, at=MAY_16),
            partial(cancel_now, subscription=subscription, at=MAY_16),
        ]
    )
    run_sweeps(JUNE + HOUR)

    # A cancel after the pause has nothing left to bill.
    assert {type(outcome).__name__ for outcome in outcomes} <= {
        "Change", "Invoice", "NoneType", "SubscriptionEnded", "SubscriptionNotActive"
    }  # fmt: skip
    assert offenders(JUNE + HOUR) == []


def test_two_sweeps_apply_a_scheduled_change_once(at_once, pro, big):
    subscription = subscribed(pro)
    change_at_period_end(subscription=subscription, price=big.price, at=MAY_16)
    due = due_changes(JUNE)

    applied = at_once([partial(apply_changes, changes=due, at=JUNE)] * 4)

    assert sum(applied) == 1
    assert Invoice.objects.filter(kind="change").count() == 1
    assert offenders(JUNE) == []


@pytest.mark.parametrize("attempt", range(3))
def test_late_events_against_a_finalize_are_billed_once_by_it_or_by_the_next_invoice(at_once, pro, attempt):
    subscription = subscribed(pro)
    customer = subscription.customer
    close_periods(subscriptions=due_subscriptions(JUNE), at=JUNE)
    at = JUNE + HOUR
    drafts = drafts_to_finalize(at)

    def send(sender):
        for number in range(10):
            use(customer, pro.metric, 1, JUNE - HOUR, key=f"{sender}/{number}")

    at_once([partial(finalize, invoices=drafts, at=at), *(partial(send, sender) for sender in range(3))])
    run_sweeps(JULY + HOUR)

    # 2,030 beyond the quota, at 5: whatever the first invoice did not see is on the second.
    (_, _, june), (_, _, july) = invoices(customer)[1:]
    assert 12_900 <= june <= 13_050
    assert june + july == 2 * 2_900 + 2_030 * 5
    assert offenders(JULY + HOUR) == []


@pytest.mark.parametrize("attempt", range(3))
def test_a_cancel_and_a_close_at_once_bill_the_boundary_once(at_once, pro, attempt):
    subscription = subscribed(pro)
    due = due_subscriptions(JUNE)

    outcomes = at_once(
        [
            partial(close_periods, subscriptions=due, at=JUNE),
            partial(cancel_now, subscription=subscription, at=JUNE, prorate=True),
            partial(close_periods, subscriptions=due, at=JUNE),
        ]
    )
    run_sweeps(JUNE + HOUR)

    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    # Usage is billed once. If June's fee was billed before the end came, all of its days are given back.
    billed = invoices(subscription.customer)[1:]
    assert sum(cents for _, _, cents in billed) - credited(subscription.customer) == 10_000
    assert offenders(JUNE + HOUR) == []


def credited(customer):
    return sum(Invoice.objects.filter(customer=customer).values_list("credited_cents", flat=True))


@pytest.mark.parametrize("attempt", range(3))
def test_a_finalize_and_a_change_at_once_settle_each_period_once(at_once, pro, big, attempt):
    subscription = subscribed(pro)
    close_periods(subscriptions=due_subscriptions(JUNE), at=JUNE)
    at = JUNE + HOUR
    drafts = drafts_to_finalize(at)

    outcomes = at_once(
        [
            partial(finalize, invoices=drafts, at=at),
            partial(change_now, subscription=subscription, price=big.price, at=at),
            partial(finalize, invoices=drafts, at=at),
        ]
    )

    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert invoices(subscription.customer)[1:] == [("cycle", JUNE, 12_900), ("change", at, 9_900 - 2_900)]
    assert offenders(at) == []


@pytest.mark.parametrize("attempt", range(3))
def test_a_credit_note_and_a_cancel_take_back_no_more_than_the_fee(at_once, pro, attempt):
    subscription = subscribe(at=MAY, customer=CustomerFactory(), plan=pro.plan)
    fee = Invoice.objects.get(customer=subscription.customer)

    at_once(
        [
            partial(credit_invoice, invoice=fee, reason="Sorry", amount_cents=2_000, at=MAY_16),
            partial(cancel_now, subscription=subscription, at=MAY_16, prorate=True),
            partial(credit_invoice, invoice=fee, reason="Sorry", amount_cents=2_000, at=MAY_16),
        ]
    )

    # 16 of 31 days are 1,497: whoever comes first leaves 900 or 1,403.
    fee.refresh_from_db()
    assert fee.credited_cents <= 2_900
    assert fee.credited_cents in (2_900, 2_000 + 900, 1_497)
    assert offenders(MAY_16) == []


@pytest.mark.parametrize("attempt", range(3))
def test_a_seat_and_a_change_at_once_pay_for_each_seat_once(at_once, attempt):
    sold, dear = make_seat_plan(), make_seat_plan(amount_cents=1_500)
    subscription = subscribed_seats(sold, at=MAY, seats=2)
    acme = subscription.customer

    outcomes = at_once(
        [
            partial(add_seat, at=MAY_16, organization=acme, member_id="ann"),
            partial(change_now, subscription=subscription, price=dear.price, at=MAY_16),
            partial(add_seat, at=MAY_16, organization=acme, member_id="ann"),
        ]
    )
    run_sweeps(JUNE)

    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    # The seat first: 516, and 2,323 less 1,032 and 516 for the change. The change first: 1,548 less 1,032, and 774.
    # Then three seats for June.
    assert sum(cents for _, _, cents in invoices(acme)) - 2_000 - 4_500 in (1_291, 1_290)
    assert offenders(JUNE) == []


def outcome(customer):
    """What became of a customer; parts of one turn have the same number, so periods go by their start."""
    billed, granted, periods = outcome_of(customer)
    return billed, granted, sorted(periods, key=lambda period: (period[1], period[2], period[4] is None))


def _kill_all_along(pro, act):
    """Let an act die before every ninth of its statements, do it then, and compare with one that was not disturbed."""
    undisturbed = subscribed(pro)
    act(undisturbed)
    run_sweeps(JUNE + HOUR)
    expected = outcome(undisturbed.customer)
    for number in count(1, 9):
        victim = subscribed(pro)
        killed = is_killed_before(number, partial(act, victim))
        if killed:
            act(victim)
        run_sweeps(JUNE + HOUR)
        assert outcome(victim.customer) == expected, f"killed before statement {number}"
        if not killed:
            break
    assert number > 20
    assert offenders(JUNE + HOUR) == []


def test_a_change_killed_all_along_its_statements_leaves_nothing_behind(pro, big):
    _kill_all_along(pro, lambda victim: change_now(subscription=victim, price=big.price, at=MAY_16))


def test_a_cancel_killed_all_along_its_statements_leaves_nothing_behind(pro):
    _kill_all_along(pro, lambda victim: cancel_now(subscription=victim, at=MAY_16, prorate=True))


def test_a_sweep_killed_while_it_applies_a_change_is_made_up_for_by_the_next(pro, big):
    def act(victim):
        if not victim.scheduled_changes.exists():
            change_at_period_end(subscription=victim, price=big.price, at=MAY_16)
        apply_changes(changes=due_changes(JUNE), at=JUNE)

    _kill_all_along(pro, act)
