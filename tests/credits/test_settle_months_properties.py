"""Whenever a customer has subscriptions, and whatever is used and granted: settlement changes no live number, a second
one changes nothing, and one jump writes the rows of many steps."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import transaction
from django.db.models import Sum
from hypothesis import given, settings
from hypothesis import strategies as st

from billing import jobs
from billing.services.close_periods import close_periods
from billing.services.subscribe import subscribe
from credits.models import CalendarMonth, CreditGrant, CreditTransaction
from credits.services.grants import grant_credits
from credits.services.positions import read_positions
from credits.services.settle import settle_periods
from metering.services.record_events import record_events
from plans.models import Subscription, SubscriptionItem, SubscriptionPeriod
from tests.factories import CreditDefinitionFactory, CustomerFactory
from tests.pro_plan import event, make_pro_plan

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 4, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)
HOURS = int((NOW - START).total_seconds()) // 3600

# Hours of a start, and how many days until the end; several never overlap, since each is put after the one before.
SUBSCRIPTIONS = st.lists(st.tuples(st.integers(0, 900), st.integers(1, 45)), max_size=3)
USAGE = st.lists(
    st.tuples(st.integers(0, HOURS), st.decimals(min_value=-30, max_value=60, places=1)), min_size=1, max_size=14
)
# Units, start and length in days, priority.
GRANTS = st.lists(
    st.tuples(st.integers(1, 90), st.integers(0, 80), st.none() | st.integers(1, 60), st.none() | st.integers(0, 2)),
    min_size=1,
    max_size=3,
)


class TakenBack:
    """A savepoint per example."""

    def __enter__(self):
        self.block = transaction.atomic()
        self.block.__enter__()

    def __exit__(self, *raised):
        transaction.set_rollback(True)
        self.block.__exit__(*raised)


def sold(aggregation):
    pro = make_pro_plan(quota=None, base_cents=None, frequency="WEEKLY")
    pro.metric.aggregation_type = aggregation
    pro.metric.save()
    return pro


def lived(pro, subscriptions, usage, grants):
    """Let a customer live through three months with nothing settled."""
    customer = CustomerFactory()
    begins_at = START
    for wait, length in subscriptions:
        begins_at += timedelta(hours=wait)
        if begins_at + length * DAY < NOW:
            subscribed_for(customer, pro, begins_at, begins_at + length * DAY)
        begins_at += length * DAY
    for units, begin, length, priority in grants:
        definition = CreditDefinitionFactory(
            scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature, priority=priority
        )
        starts_at = START + begin * DAY
        grant_credits(
            at=START,
            customer=customer,
            definition=definition,
            amount=Decimal(units),
            starts_at=starts_at,
            expires_at=None if length is None else starts_at + length * DAY,
        )
    record_events(
        events=[
            event(
                pro.metric.event_name,
                value,
                START + timedelta(hours=hour),
                f"{customer.pk}/{number}",
                customer=customer.public_id,
            )
            for number, (hour, value) in enumerate(usage)
        ],
        at=NOW,
    )
    return customer


def subscribed_for(customer, pro, start_at, end_at):
    """A subscription as a cancel leaves it: its last period ends with it, and none is settled."""
    subscription = subscribe(at=start_at, customer=customer, plan=pro.plan)
    while close_periods(subscriptions=[subscription.pk], at=end_at):
        pass
    periods = SubscriptionPeriod.objects.filter(subscription=subscription)
    periods.filter(start_at__gte=end_at).delete()
    periods.filter(end_at__gt=end_at).update(end_at=end_at, bill_at=end_at)
    SubscriptionItem.objects.filter(subscription=subscription).update(ended_at=end_at)
    Subscription.objects.filter(pk=subscription.pk).update(ended_at=end_at)


def live(pro, customer):
    position = read_positions([(customer.pk, pro.metric.pk)], at=NOW)[customer.pk, pro.metric.pk]
    rests = {grant.key: position.burn.remaining[grant.key] for grant in position.active_grants(NOW)}
    return position.remaining(NOW), {grant: rest for grant, rest in rests.items() if rest}


def settle_until(customer, at):
    """Settle as the sweeps do: periods that have ended one after the other, and months as far as they may."""
    jobs.settle_months(at)
    unsettled = SubscriptionPeriod.objects.filter(customer=customer, settled_at=None, metric__isnull=False)
    for period in unsettled.filter(end_at__lte=at).select_related("item__component").order_by("end_at"):
        settle_periods(at=at, periods=[period])
        jobs.settle_months(at)


def rows(customer):
    """The ledger of a customer by the order of his grants, and his settled months."""
    grants = list(CreditGrant.objects.filter(customer=customer).order_by("pk").values_list("pk", flat=True))
    moved = CreditTransaction.objects.filter(customer=customer).values_list(
        "grant_id", "kind", "amount", "period__end_at", "month__start_at", "month__end_at"
    )
    months = CalendarMonth.objects.filter(customer=customer, settled_at__isnull=False)
    return (
        sorted((grants.index(grant), *(str(one) for one in row)) for grant, *row in moved),
        sorted(months.values_list("start_at", "end_at", "usage", "credited")),
    )


@pytest.mark.django_db
@settings(max_examples=30, deadline=None)
@given(
    aggregation=st.sampled_from(["SUM", "SUM", "MAX", "UNIQUE_COUNT"]),
    subscriptions=SUBSCRIPTIONS,
    usage=USAGE,
    grants=GRANTS,
)
def test_settlement_changes_no_live_number_and_once_is_enough(aggregation, subscriptions, usage, grants):
    with TakenBack():
        pro = sold(aggregation)
        customer = lived(pro, subscriptions, usage, grants)
        before = live(pro, customer)

        settle_until(customer, NOW)
        settled = rows(customer)
        settle_until(customer, NOW)

        assert live(pro, customer) == before
        assert rows(customer) == settled
        assert not SubscriptionPeriod.objects.filter(customer=customer, settled_at=None, metric__isnull=False).exists()
        for grant in CreditGrant.objects.annotate(moved=Sum("transactions__amount")):
            assert grant.moved == grant.ledger_remaining
            # What ended before the last month did is spent or expired.
            if grant.expires_at is not None and grant.expires_at <= NOW - timedelta(hours=2):
                assert grant.ledger_remaining == 0


@pytest.mark.django_db
@settings(max_examples=15, deadline=None)
@given(subscriptions=SUBSCRIPTIONS, usage=USAGE, grants=GRANTS)
def test_one_jump_writes_the_rows_of_many_steps(subscriptions, usage, grants):
    with TakenBack():
        pro = sold("SUM")
        stepping, jumping = (lived(pro, subscriptions, usage, grants) for _ in range(2))

        for day in range(1, 91):
            if (START + day * DAY).day in (1, 8, 15, 22):
                type(jumping).objects.filter(pk=jumping.pk).update(parked_at=NOW)
                settle_until(stepping, START + day * DAY + timedelta(hours=1))
        type(jumping).objects.filter(pk=jumping.pk).update(parked_at=None)
        settle_until(stepping, NOW)
        settle_until(jumping, NOW)

        assert rows(stepping) == rows(jumping)
