"""Whatever is used, granted and sold: a settlement books exactly what was said live before it, and the books add up.

Three months of a quota that may roll over, beside other grants, with days of usage above and below zero.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db.models import Sum
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.books import check_books
from billing.services.close_periods import close_periods
from billing.services.subscribe import subscribe
from credits.models import CreditDefinition, CreditGrant, CreditTransaction
from credits.services.grants import grant_credits
from credits.services.positions import read_positions
from credits.services.settle import settle_periods
from metering.services.record_events import record_events
from plans.models import PriceComponent, SubscriptionPeriod
from tests.database import taken_back
from tests.factories import CreditDefinitionFactory, CustomerFactory
from tests.pro_plan import event, make_pro_plan, sweep

START = datetime(2026, 1, 1, 14, 30, tzinfo=UTC)
BOUNDARIES = [datetime(2026, month, 1, tzinfo=UTC) for month in (2, 3, 4)]
NOW = BOUNDARIES[-1] + timedelta(minutes=90)
MINUTES = int((NOW - START).total_seconds()) // 60

TERMS = st.fixed_dictionaries(
    {
        "quota": st.integers(1, 60),
        "rolls_over": st.booleans(),
        "cap": st.none() | st.integers(0, 80),
        "days": st.none() | st.integers(1, 70),
        "priority": st.none() | st.integers(0, 2),
        "included": st.sampled_from([0, 0, 5]),
        # With the usage billed by the year all the months' quotas end in one open period.
        "yearly": st.booleans(),
    }
)
USAGE = st.lists(
    st.tuples(st.integers(-3 * 24 * 60, MINUTES), st.decimals(min_value=-30, max_value=60, places=1)), max_size=12
)
# Units, start and end in days from the start, priority.
GRANTS = st.lists(
    st.tuples(
        st.integers(1, 50),
        st.integers(-5, 60),
        st.none() | st.integers(1, 60),
        st.none() | st.integers(0, 2),
    ),
    max_size=3,
)


def lived(terms, usage, grants):
    """Let a customer live through three months that are closed and not settled."""
    plan = {"frequency": "YEARLY", "base_frequency": "MONTHLY"} if terms["yearly"] else {}
    pro, customer = make_pro_plan(quota=terms["quota"], priority=terms["priority"], **plan), CustomerFactory()
    if terms["rolls_over"]:
        CreditDefinition.objects.filter(pk=pro.quota.pk).update(
            rolls_over=True, rollover_cap=terms["cap"], rollover_days=terms["days"]
        )
    PriceComponent.objects.filter(price=pro.price, metric=pro.metric).update(included_units=terms["included"])
    subscription = subscribe(at=START, customer=customer, plan=pro.plan)
    for units, begin, length, priority in grants:
        definition = CreditDefinitionFactory(
            scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature, priority=priority
        )
        starts_at = START + timedelta(days=begin)
        grant_credits(
            at=START,
            customer=customer,
            definition=definition,
            amount=Decimal(units),
            starts_at=starts_at,
            expires_at=None if length is None else starts_at + timedelta(days=length),
        )
    for at in BOUNDARIES:
        close_periods(subscriptions=[subscription.pk], at=at)
    send(pro, customer, usage)
    return pro, customer


def send(pro, customer, usage):
    record_events(
        events=[
            event(
                pro.metric.event_name,
                value,
                START + timedelta(minutes=minute),
                f"k{number}",
                customer=customer.public_id,
            )
            for number, (minute, value) in enumerate(usage)
        ],
        at=NOW,
    )


def position_of(pro, customer):
    pair = (customer.pk, pro.metric.pk)
    return read_positions([pair], at=NOW)[pair]


def live(pro, customer):
    """What is live: the rest in all, and of each active grant with something left, by the grant that a provisional one
    is left of."""
    position = position_of(pro, customer)
    rests = {
        (grant.rolled_from or grant.key, grant.rolled_from is not None, grant.ends_at): position.burn.remaining[
            grant.key
        ]
        for grant in position.active_grants(NOW)
        if position.burn.remaining[grant.key]
    }
    return position.remaining(NOW), rests


def ended_periods(customer):
    metered = SubscriptionPeriod.objects.filter(customer=customer, metric__isnull=False, end_at__lte=NOW)
    return list(metered.select_related("item__component").order_by("end_at"))


@pytest.mark.django_db
@settings(max_examples=25, deadline=None)
@given(terms=TERMS, usage=USAGE, grants=GRANTS, batches=st.sampled_from([[3], [1, 1, 1], [1, 2], [2, 1]]))
def test_settlement_books_what_was_live_before_it(terms, usage, grants, batches):
    with taken_back():
        pro, customer = lived(terms, usage, grants)
        before, ended = live(pro, customer), ended_periods(customer)

        for size in batches if ended else []:
            batch, ended = ended[:size], ended[size:]
            settle_periods(at=NOW, periods=batch)
            assert live(pro, customer) == before

        # Once no open usage burns them, what is live of the ended and the active grants is what the ledger has.
        open_shares = {share.grant for share in position_of(pro, customer).burn.shares}
        for grant in position_of(pro, customer).grants:
            if grant.key not in open_shares and grant.ends_at is not None and grant.ends_at <= NOW:
                assert grant.ledger_remaining == 0 or terms["yearly"]
            if grant.key not in open_shares and grant.is_active(NOW):
                assert grant.ledger_remaining == position_of(pro, customer).burn.remaining[grant.key]


@pytest.mark.django_db
@settings(max_examples=12, deadline=None)
@given(terms=TERMS, usage=USAGE, grants=GRANTS)
def test_units_and_ledger_add_up(terms, usage, grants):
    with taken_back():
        _, customer = lived(terms, usage, grants)

        settled = settle_periods(at=NOW, periods=ended_periods(customer))

        for key, outcome in settled.items():
            period = SubscriptionPeriod.objects.get(pk=key)
            sent = sum(
                value for minute, value in usage if period.start_at <= START + timedelta(minutes=minute) < period.end_at
            )
            charged = outcome.used - outcome.included - sum(outcome.by_grant.values())
            assert outcome.used == max(sent, 0)
            assert 0 <= outcome.included <= terms["included"]
            assert charged >= 0
            burned = CreditTransaction.objects.filter(period=period, kind="burned")
            assert {row.grant_id: -row.amount for row in burned} == outcome.by_grant
        for grant in CreditGrant.objects.annotate(moved=Sum("transactions__amount")):
            assert grant.moved == grant.ledger_remaining
            assert 0 <= grant.ledger_remaining <= grant.initial_amount + grant.adjusted_amount


@pytest.mark.django_db
@settings(max_examples=12, deadline=None)
@given(terms=TERMS, usage=USAGE, grants=GRANTS, random=st.randoms(use_true_random=False))
def test_the_order_in_which_events_arrive_does_not_matter(terms, usage, grants, random):
    with taken_back():
        pro, customer = lived(terms, usage, grants)
        other_pro, other = lived(terms, random.sample(usage, len(usage)), grants)

        outcomes = [
            [
                (one.used, one.included, list(one.by_grant.values()))
                for one in settle_periods(at=NOW, periods=ended).values()
            ]
            for ended in (ended_periods(customer), ended_periods(other))
        ]

        assert outcomes[0] == outcomes[1]
        assert live(pro, customer)[0] == live(other_pro, other)[0]


@pytest.mark.django_db
@settings(max_examples=12, deadline=None)
@given(terms=TERMS, usage=USAGE, grants=GRANTS)
def test_the_sweep_changes_nothing_live_and_the_books_add_up(terms, usage, grants):
    with taken_back():
        pro, customer = lived(terms, usage, grants)
        before = live(pro, customer)

        sweep(NOW)

        assert live(pro, customer) == before
        assert [offender for finding in check_books(at=NOW) for offender in finding.offenders] == []
