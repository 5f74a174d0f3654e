"""An end or a change that a sweep carries out long after its instant, such as when a customer was parked meanwhile."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.services.cancel import cancel_at_period_end
from billing.services.change import change_at_period_end
from billing.services.close_periods import due_subscriptions
from billing.services.park import park_customer, unpark_customer
from billing.services.subscribe import subscribe
from billing.services.wind_down import ScheduledChangeIsDue
from credits.models import CreditGrant
from credits.services.definitions import update_definition
from credits.services.grants import adjust_grant, revoke_grant
from credits.services.refill import due_refills
from plans.models import SubscriptionPeriod
from tests.billing.lives import invoices, live, run_sweeps
from tests.factories import CustomerFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, remaining, use

pytestmark = pytest.mark.django_db

MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
UNPARKED = datetime(2026, 8, 3, 10, tzinfo=UTC)
MAY_2027 = datetime(2027, 5, 1, tzinfo=UTC)
JULY_2027 = datetime(2027, 7, 9, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def customer():
    return CustomerFactory()


def park(customer, at):
    park_customer(customers=[customer.pk], reason="It does not add up.", at=at)


def unpark(customer, at):
    unpark_customer(customer=customer)
    run_sweeps(at)
    assert_billed(customer, at)


def assert_billed(customer, at):
    customer.refresh_from_db()
    assert (customer.parked_at, customer.parked_reason) == (None, "")
    assert_books_add_up(at=at)


def ended_at(customer):
    return customer.subscriptions.order_by("pk").last().ended_at


def after(at):
    """What a plan granted, or has stored, from an instant on, and may still be used."""
    grants = CreditGrant.objects.filter(starts_at__gte=at, source="subscription", ledger_remaining__gt=0)
    return [*grants, *SubscriptionPeriod.objects.filter(start_at__gte=at)]


def test_a_quota_of_each_period_ends_as_of_its_date(customer):
    pro = make_pro_plan()
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 10_400, MAY + DAY)
    cancel_at_period_end(subscription=subscription, at=MAY + 2 * DAY)
    park(customer, MAY + 20 * DAY)
    use(customer, pro.metric, 700, JUNE + 5 * DAY)
    run_sweeps(JUNE + 30 * DAY)

    unpark(customer, UNPARKED)

    # 400 × 5; what was used after the end costs nothing
    assert invoices(customer) == [("cycle", MAY, 2_900), ("final", JUNE, 2_000)]
    assert ended_at(customer) == JUNE
    assert after(JUNE) == []


def test_a_calendar_of_refills_ends_as_of_its_date(customer):
    pro = make_pro_plan(quota=100, renew_on_billing=False, refill_rrule="RRULE:FREQ=WEEKLY;INTERVAL=1")
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 150, MAY + DAY)
    use(customer, pro.metric, 130, MAY + 25 * DAY)
    cancel_at_period_end(subscription=subscription, at=MAY + 2 * DAY)
    park(customer, MAY + 3 * DAY)

    unpark(customer, UNPARKED)

    # 50 beyond the first week's 100, 30 beyond the fourth's
    assert invoices(customer) == [("cycle", MAY, 2_900), ("final", JUNE, 400)]
    assert ended_at(customer) == JUNE
    assert after(JUNE) == []
    # Of 1, 8, 15, 22 and 29 May; the last one ends on 1 June.
    assert CreditGrant.objects.filter(customer=customer).count() == 5


def test_months_before_the_end_of_a_year_are_billed_first(customer):
    pro = make_pro_plan(base_frequency="YEARLY", frequency="MONTHLY", quota=100)
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    cancel_at_period_end(subscription=subscription, at=MAY + DAY)
    february, april = datetime(2027, 2, 1, tzinfo=UTC), datetime(2027, 4, 1, tzinfo=UTC)
    run_sweeps(february + DAY)
    park(customer, february + DAY)
    for at, units in [(february + 3 * DAY, 110), (april + 3 * DAY, 120), (MAY_2027 + 3 * DAY, 500)]:
        use(customer, pro.metric, units, at)

    unpark(customer, JULY_2027)

    assert invoices(customer) == [
        ("cycle", MAY, 2_900),
        ("cycle", datetime(2027, 3, 1, tzinfo=UTC), 50),
        ("final", MAY_2027, 100),
    ]
    assert ended_at(customer) == MAY_2027
    assert after(MAY_2027) == []


def test_nothing_is_closed_or_refilled_before_what_is_overdue(customer):
    pro = make_pro_plan(base_frequency="YEARLY", frequency="MONTHLY", quota=100, renew_on_billing=False,
        refill_rrule="RRULE:FREQ=MONTHLY;INTERVAL=1")  # fmt: skip
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    cancel_at_period_end(subscription=subscription, at=MAY + DAY)

    assert (due_subscriptions(MAY_2027 - HOUR), len(due_refills(MAY_2027 - HOUR))) == ([subscription.pk], 1)
    assert (due_subscriptions(MAY_2027), due_refills(MAY_2027)) == ([], [])


class TestWhatWasMovedAfterTheEnd:
    """An operator moves the June quota of a customer whose subscription ended with May, but is parked."""

    @pytest.fixture
    def pro(self):
        return make_pro_plan()

    @pytest.fixture(params=["cancel", "change"])
    def subscription(self, request, customer, pro):
        subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
        if request.param == "cancel":
            cancel_at_period_end(subscription=subscription, at=MAY + 2 * DAY)
        else:
            big = make_pro_plan(base_cents=9_900, quota=20_000, beside=pro)
            change_at_period_end(subscription=subscription, price=big.price, at=MAY + 2 * DAY)
        park(customer, MAY + 20 * DAY)
        return subscription

    def june(self):
        return CreditGrant.objects.get(starts_at=JUNE)

    @pytest.mark.parametrize("amount", [500, -500])
    def test_an_adjusted_quota_goes(self, customer, pro, subscription, amount):
        adjusted = adjust_grant(at=JUNE + 15 * DAY, grant=self.june(), amount=Decimal(amount)).grant

        unpark(customer, UNPARKED)

        self.assert_withdrawn(adjusted, subscription)
        assert customer.subscriptions.get(pk=subscription.pk).ended_at == JUNE

    def test_a_revoked_quota_goes(self, customer, pro, subscription):
        revoked = revoke_grant(at=JUNE + 15 * DAY, grant=self.june()).grant

        unpark(customer, UNPARKED)

        self.assert_withdrawn(revoked, subscription)

    def assert_withdrawn(self, grant, subscription):
        grant.refresh_from_db()
        assert (grant.ledger_remaining, grant.revoked_at, grant.period, grant.subscription) == (0, JUNE, None, None)
        assert grant.notes.endswith(f"Withdrawn: {subscription.public_id} ended before it began.")
        kinds = [row.kind for row in grant.transactions.order_by("pk")]
        assert (kinds[0], kinds[-1]) == ("granted", "revoked")


def test_a_definition_that_is_changed_for_all_after_the_end_changes_nothing(customer):
    pro = make_pro_plan(quota=100)
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    cancel_at_period_end(subscription=subscription, at=MAY + 2 * DAY)
    park(customer, MAY + 20 * DAY)
    changes = {"default_amount": Decimal(300)}
    update_definition(at=JUNE + 15 * DAY, definition=pro.quota, changes=changes, apply_to_existing=True)

    unpark(customer, UNPARKED)

    assert ended_at(customer) == JUNE
    assert after(JUNE) == []


def test_a_change_that_is_due_is_not_overtaken_by_an_end_with_the_next_period(customer):
    pro = make_pro_plan()
    big = make_pro_plan(base_cents=9_900, beside=pro)
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    change_at_period_end(subscription=subscription, price=big.price, at=MAY + 2 * DAY)

    with pytest.raises(ScheduledChangeIsDue):
        cancel_at_period_end(subscription=subscription, at=JUNE + HOUR)

    run_sweeps(JUNE + HOUR)
    assert live(customer).price == big.price


def test_a_change_comes_as_of_its_date_with_what_its_calendar_gave_since(customer):
    weekly = {"renew_on_billing": False, "refill_rrule": "RRULE:FREQ=WEEKLY;INTERVAL=1"}
    pro = make_pro_plan(quota=100, **weekly)
    big = make_pro_plan(base_cents=9_900, quota=300, beside=pro, **weekly)
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    change_at_period_end(subscription=subscription, price=big.price, at=MAY + 2 * DAY)
    park(customer, MAY + 3 * DAY)
    use(customer, pro.metric, 320, JUNE + 10 * DAY)

    unpark(customer, UNPARKED)

    # 20 of June beyond the second week's 300
    assert invoices(customer)[:3] == [
        ("cycle", MAY, 2_900),
        ("change", JUNE, 9_900),
        ("cycle", JUNE + 30 * DAY, 9_900 + 100),
    ]
    assert live(customer).started_at == JUNE
    assert remaining(customer, pro.metric, UNPARKED) == 300
