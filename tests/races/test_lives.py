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
from billing.services.finalize import drafts_to_finalize, finalize
from billing.services.pause import pause
from billing.services.scheduled_changes import apply_changes, due_changes
from billing.services.subscribe import subscribe
from plans.models import Subscription
from tests.billing.lives import invoices, run_sweeps
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan, use
from tests.races.test_billing import is_killed_before, outcome_of

MAY = datetime(2026, 5, 1, tzinfo=UTC)
MAY_16 = datetime(2026, 5, 16, 12, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
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


def outcome(customer):
    """What became of a customer; parts of one turn have the same number, so periods go by their start."""
    billed, granted, periods = outcome_of(customer)
    return billed, granted, sorted(periods, key=lambda period: (period[1], period[2], period[4] is None))


def _kill_everywhere(pro, act):
    """Let an act die before each of its statements in turn, do it then, and compare with one that was not disturbed."""
    undisturbed = subscribed(pro)
    act(undisturbed)
    run_sweeps(JUNE + HOUR)
    expected = outcome(undisturbed.customer)
    for number in count(1, 3):
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


def test_a_change_killed_before_any_statement_leaves_nothing_behind(pro, big):
    _kill_everywhere(pro, lambda victim: change_now(subscription=victim, price=big.price, at=MAY_16))


def test_a_cancel_killed_before_any_statement_leaves_nothing_behind(pro):
    _kill_everywhere(pro, lambda victim: cancel_now(subscription=victim, at=MAY_16, prorate=True))


def test_a_sweep_killed_while_it_applies_a_change_is_made_up_for_by_the_next(pro, big):
    def act(victim):
        if not victim.scheduled_changes.exists():
            change_at_period_end(subscription=victim, price=big.price, at=MAY_16)
        apply_changes(changes=due_changes(JUNE), at=JUNE)

    _kill_everywhere(pro, act)
