"""Ruling 31: a trial is a period of its own, rated at 0, with grants that end with it."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.models import Invoice
from billing.services.cancel import cancel_now
from billing.services.change import change_now
from billing.services.subscribe import subscribe
from plans.models import SubscriptionPeriod
from plans.refusals import InvalidInput
from tests.billing.lives import invoices, lines_of, run_sweeps
from tests.credits.conftest import in_billing_zone  # noqa: F401 fixture
from tests.factories import CustomerFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, remaining, use

pytestmark = pytest.mark.django_db

MAY_1 = datetime(2026, 5, 1, 14, 30, tzinfo=UTC)
# 14 full days from the next midnight on
END = datetime(2026, 5, 16, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def customer():
    return CustomerFactory()


@pytest.fixture
def trial(pro, customer):
    return subscribe(at=MAY_1, customer=customer, plan=pro.plan, trial_days=14)


@pytest.fixture(autouse=True)
def books_add_up(in_billing_zone):  # noqa: F811 the zone is set back after the books were looked at
    yield
    run_sweeps(END + 70 * DAY)
    assert_books_add_up(at=END + 70 * DAY)


def test_ruling_31_a_trial_has_full_days_up_to_local_midnight(trial):
    assert trial.trial_ends_at == END
    assert set(SubscriptionPeriod.objects.filter(kind="trial").values_list("start_at", "end_at")) == {(MAY_1, END)}


def test_a_trial_from_midnight_is_no_day_longer(pro, customer):
    trial = subscribe(at=datetime(2026, 5, 1, tzinfo=UTC), customer=customer, plan=pro.plan, trial_days=14)

    assert trial.trial_ends_at == datetime(2026, 5, 15, tzinfo=UTC)


def test_a_trial_ends_at_midnight_in_the_billing_time_zone(pro, customer, in_billing_zone):  # noqa: F811
    in_billing_zone("Europe/Berlin")
    # 22:30 UTC is 0:30 of the next day there
    trial = subscribe(at=datetime(2026, 5, 1, 22, 30, tzinfo=UTC), customer=customer, plan=pro.plan, trial_days=1)

    assert trial.trial_ends_at == datetime(2026, 5, 3, 22, tzinfo=UTC)


def test_ruling_31_usage_of_a_trial_costs_nothing_even_beyond_the_quota(pro, customer, trial):
    use(customer, pro.metric, 25_000, MAY_1 + DAY)

    run_sweeps(END)

    assert invoices(customer) == [("cycle", END, 2_900)]


def test_ruling_31_grants_of_a_trial_end_with_it(pro, customer, trial):
    use(customer, pro.metric, 4_000, MAY_1 + DAY)
    assert remaining(customer, pro.metric, MAY_1 + 2 * DAY) == 6_000

    run_sweeps(END + HOUR)

    assert remaining(customer, pro.metric, END + HOUR) == 10_000


def test_ruling_31_the_paid_anchor_is_the_end_of_the_trial(pro, customer, trial):
    run_sweeps(END + 31 * DAY)

    assert [closes_at for _, closes_at, _ in invoices(customer)] == [END, datetime(2026, 6, 16, tzinfo=UTC)]


def test_the_first_fee_waits_for_no_late_usage(pro, customer, trial):
    use(customer, pro.metric, 4_000, MAY_1 + DAY)

    run_sweeps(END)

    assert Invoice.objects.get(customer=customer).finalized_at == END


def test_late_usage_of_a_trial_is_never_billed(pro, customer, trial):
    run_sweeps(END)
    use(customer, pro.metric, 50_000, MAY_1 + DAY, key="late")

    run_sweeps(END + 70 * DAY)

    assert {total for _, _, total in invoices(customer)} == {2_900}
    assert [lines_of(invoice) for invoice in Invoice.objects.shown()] == [[("fixed", 2_900)]] * 3


def test_a_change_in_a_trial_keeps_its_end_and_shares_its_allowance(pro, customer, trial):
    big = make_pro_plan(base_cents=9_900, quota=21_000, beside=pro)
    use(customer, pro.metric, 4_000, MAY_1 + DAY)

    change = change_now(subscription=trial, price=big.price, at=datetime(2026, 5, 6, 9, tzinfo=UTC))

    assert change.subscription.trial_ends_at == END
    assert change.lines == []
    # 5 of 15 days of 10,000 and 10 of 21,000 less 4,000, rounded up to what is stored
    left = remaining(customer, pro.metric, datetime(2026, 5, 7, tzinfo=UTC))
    assert 13_333 < left < 13_334
    run_sweeps(END)
    assert invoices(customer) == [("cycle", END, 9_900)]
    assert remaining(customer, pro.metric, END + HOUR) == 21_000


def test_a_trial_that_is_cancelled_costs_nothing(pro, customer, trial):
    use(customer, pro.metric, 25_000, MAY_1 + DAY)

    cancel_now(subscription=trial, at=MAY_1 + 3 * DAY)
    run_sweeps(END + 35 * DAY)

    assert invoices(customer) == []


@pytest.mark.parametrize("days", [-1, 731])
def test_a_length_that_cannot_be_is_refused(pro, customer, days):
    with pytest.raises(InvalidInput, match="trialDays"):
        subscribe(at=MAY_1, customer=customer, plan=pro.plan, trial_days=days)
