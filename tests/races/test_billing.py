"""Concurrent and killed sweeps: one invoice per close, nothing lost, nothing doubled."""

from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count

import pytest
from django.db import connection

from billing.books import check_books
from billing.models import Invoice
from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.finalize import drafts_to_finalize, finalize
from billing.services.subscribe import subscribe
from credits.models import CreditGrant, CreditTransaction
from credits.services.grants import grant_credits, revoke_grant
from plans.models import Subscription, SubscriptionPeriod
from plans.services.subscriptions import AlreadySubscribed
from tests.factories import CreditDefinitionFactory, CustomerFactory
from tests.pro_plan import bills, make_pro_plan, sweep, use

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 28, tzinfo=UTC)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db(transaction=True)


def subscribed(units=12_500, customers=1):
    pro = make_pro_plan()
    made = [CustomerFactory() for _ in range(customers)]
    for customer in made:
        subscribe(at=AT, customer=customer, plan=pro.plan)
        use(customer, pro.metric, units, AT + 24 * HOUR)
    return pro, made


def offenders(at):
    return [offender for finding in check_books(at=at) for offender in finding.offenders]


def test_two_closers_make_one_invoice(at_once):
    _, customers = subscribed(customers=5)
    due = due_subscriptions(FEBRUARY)

    closed = at_once([partial(close_periods, subscriptions=due, at=FEBRUARY)] * 4)

    assert sum(closed) == 5
    assert Invoice.objects.filter(closes_at=FEBRUARY).count() == 5
    assert CreditGrant.objects.filter(customer=customers[0]).count() == 3


def test_two_finalizers_bill_once(at_once):
    _, customers = subscribed(customers=5)
    close_periods(subscriptions=due_subscriptions(FEBRUARY), at=FEBRUARY)
    drafts = drafts_to_finalize(FEBRUARY + HOUR)

    finalized = at_once([partial(finalize, invoices=drafts, at=FEBRUARY + HOUR)] * 4)

    assert sum(finalized) == 5
    assert [bills(customer)[-1][1] for customer in customers] == [15_400] * 5
    assert CreditTransaction.objects.filter(kind="burned").count() == 5
    assert offenders(FEBRUARY + HOUR) == []


def test_closers_and_finalizers_together_bill_months_once(at_once):
    _, customers = subscribed(customers=4)
    at = datetime(2026, 6, 15, tzinfo=UTC)

    at_once([partial(sweep, at)] * 4)
    sweep(at)

    assert [[total for _, total, _ in bills(customer)] for customer in customers] == [
        [2_900, 15_400, 2_900, 2_900, 2_900]
    ] * 4
    assert offenders(at) == []


def test_two_subscribes_of_one_customer_make_one_subscription(at_once):
    pro, customer = make_pro_plan(), CustomerFactory()

    outcomes = at_once([partial(subscribe, at=AT, customer=customer, plan=pro.plan)] * 4)

    assert [type(outcome) for outcome in outcomes].count(AlreadySubscribed) == 3
    assert Subscription.objects.filter(customer=customer).count() == 1
    assert bills(customer) == [("issued", 2_900, [("fixed", 1, 2_900)])]


def test_events_that_arrive_while_a_period_is_settled_are_in_it_or_after_it(at_once):
    pro, (customer,) = subscribed(units=10_000)
    close_periods(subscriptions=due_subscriptions(FEBRUARY), at=FEBRUARY)
    drafts = drafts_to_finalize(FEBRUARY + HOUR)

    def send(sender):
        for number in range(20):
            use(customer, pro.metric, 1, FEBRUARY - HOUR, key=f"{sender}/{number}")

    at_once([partial(finalize, invoices=drafts, at=FEBRUARY + HOUR), *(partial(send, sender) for sender in range(3))])

    settled = SubscriptionPeriod.objects.get(customer=customer, settled_at__isnull=False)
    assert 10_000 <= settled.settled_usage <= 10_060
    assert bills(customer)[-1][1] == 2_900 + 5 * (settled.settled_usage - 10_000)
    assert offenders(FEBRUARY + HOUR) == []


@pytest.mark.parametrize("attempt", range(4))
def test_a_revocation_during_settlement_takes_only_what_settlement_left(at_once, attempt):
    pro, (customer,) = subscribed(units=10_600)
    quota = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
    extra = grant_credits(at=AT, customer=customer, definition=quota, amount=1_000)
    close_periods(subscriptions=due_subscriptions(FEBRUARY), at=FEBRUARY)
    drafts = drafts_to_finalize(FEBRUARY + HOUR)

    at_once(
        [
            partial(finalize, invoices=drafts, at=FEBRUARY + HOUR),
            partial(revoke_grant, grant=extra, at=FEBRUARY + HOUR),
            partial(revoke_grant, grant=extra, at=FEBRUARY + HOUR),
        ]
    )

    movements = dict(CreditTransaction.objects.filter(grant=extra).values_list("kind", "amount"))
    assert movements == {"granted": 1_000, "burned": -600, "revoked": -400}
    assert bills(customer)[-1][1] == 2_900
    assert offenders(FEBRUARY + HOUR) == []


class Killed(Exception):
    """Stands for the end of a process in the middle of its work."""


def outcome_of(customer):
    grants = CreditGrant.objects.filter(customer=customer).order_by("starts_at", "pk")
    return (
        bills(customer),
        [
            (
                grant.starts_at,
                grant.ledger_remaining,
                list(grant.transactions.order_by("pk").values_list("kind", "amount")),
            )
            for grant in grants
        ],
        list(
            SubscriptionPeriod.objects.filter(customer=customer)
            .order_by("metric_id", "number")
            .values_list("number", "start_at", "end_at", "closed_at", "settled_usage", "settled_credited")
        ),
    )


class DiesBefore:
    """Lets statements through and raises before the one with this number."""

    def __init__(self, number):
        self.number = number
        self.statements = 0

    def __call__(self, execute, sql, params, many, context):
        self.statements += 1
        if self.statements == self.number:
            raise Killed
        return execute(sql, params, many, context)


def is_killed_before(number, work):
    try:
        with connection.execute_wrapper(DiesBefore(number)):
            work()
    except Killed:
        return True
    return False


def test_a_sweep_killed_all_along_its_statements_loses_and_doubles_nothing():
    pro, (undisturbed,) = subscribed()
    sweep(FEBRUARY + HOUR)
    expected = outcome_of(undisturbed)

    for number in count(1, 4):
        victim = CustomerFactory()
        subscribe(at=AT, customer=victim, plan=pro.plan)
        use(victim, pro.metric, 12_500, AT + 24 * HOUR)
        killed = is_killed_before(number, partial(sweep, FEBRUARY + HOUR))
        sweep(FEBRUARY + HOUR)

        assert outcome_of(victim) == expected, f"killed before statement {number}"
        if not killed:
            break

    assert number > 20
    assert offenders(FEBRUARY + HOUR) == []


def test_a_subscribe_killed_all_along_its_statements_leaves_nothing_behind():
    pro, customer = make_pro_plan(), CustomerFactory()

    for number in count(1, 4):
        if not is_killed_before(number, partial(subscribe, at=AT, customer=customer, plan=pro.plan)):
            break
        assert not Subscription.objects.exists()
        assert not CreditGrant.objects.exists()
        assert not Invoice.objects.exists()

    assert number > 15
    assert bills(customer) == [("issued", 2_900, [("fixed", 1, 2_900)])]
    assert offenders(AT) == []
