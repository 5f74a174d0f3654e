"""Several drafts of one customer in one turn are finalized as they would be one by one."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from billing.models import Invoice, InvoiceLine
from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.finalize import drafts_to_finalize, finalize
from billing.services.subscribe import subscribe
from credits.models import CreditDefinition, CreditGrant, CreditTransaction
from credits.services.definitions import create_definition
from credits.services.grants import grant_credits
from plans.models import SubscriptionPeriod
from tests.factories import START, CustomerFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, use

AT = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = 8
NOW = AT + DAYS * DAY + timedelta(hours=2)

pytestmark = pytest.mark.django_db


def close_all():
    while close_periods(subscriptions=due_subscriptions(NOW), at=NOW):
        pass


def finalize_all(*, at_once):
    """Finalize everything, so many drafts a turn; return how many each turn did."""
    turns = []
    while drafts := drafts_to_finalize(NOW, limit=at_once):
        turns.append(finalize(invoices=drafts, at=NOW))
    return turns


def subscribed(usage, *, prefix="ONE", rollover=None, money=0, **plan):
    """Subscribe to a daily plan, with some money that lasts a few days, and use so much on its days."""
    pro, customer = make_pro_plan(frequency="DAILY", **plan), CustomerFactory(invoice_prefix=prefix)
    if rollover:
        CreditDefinition.objects.filter(pk=pro.quota.pk).update(**rollover)
    if money:
        give(customer, money)
    subscribe(at=AT, customer=customer, plan=pro.plan)
    for day, units in enumerate(usage):
        if units:
            use(customer, pro.metric, units, AT + day * DAY + timedelta(hours=1))
    close_all()
    return customer


def give(customer, cents):
    definition = create_definition(
        at=START, name="Goodwill", scope="merchant", application_type="monetary", currency="USD",
        default_amount=Decimal(cents),
    )  # fmt: skip
    grant_credits(at=AT, customer=customer, definition=definition, amount=Decimal(cents), expires_at=AT + 5 * DAY)


def outcome(customer):
    """All that was written about a customer, without keys."""
    invoices = Invoice.objects.filter(customer=customer).order_by("closes_at", "pk")
    order = {invoice.pk: place for place, invoice in enumerate(invoices)}
    lines = InvoiceLine.objects.filter(invoice__in=order).order_by("invoice__closes_at", "invoice_id", "position")
    ledger = CreditTransaction.objects.filter(customer=customer)
    return {
        "invoices": [
            (_same(one.number), one.status, one.total_cents, order.get(one.carried_into_id)) for one in invoices
        ],
        "lines": [
            (order[one.invoice_id], one.type, _same(one.description), one.quantity, one.amount_cents) for one in lines
        ],
        "periods": list(
            SubscriptionPeriod.objects.filter(customer=customer, settled_at__isnull=False)
            .order_by("start_at")
            .values_list("start_at", "settled_usage", "settled_included", "settled_credited", "settled_net_cents")
        ),
        "ledger": sorted(
            ledger.values_list("grant__starts_at", "grant__rolled_from__starts_at", "kind", "amount").order_by(),
            key=str,
        ),
        "grants": sorted(
            CreditGrant.objects.filter(customer=customer)
            .order_by()
            .values_list("starts_at", "expires_at", "initial_amount", "ledger_remaining"),
            key=str,
        ),
    }


def _same(text):
    return (text or "").replace("TWO", "ONE")


class TestOneTurn(TestCase):
    @settings(max_examples=10, deadline=None)
    @given(
        usage=st.lists(st.integers(0, 40), min_size=DAYS, max_size=DAYS),
        quota=st.sampled_from([None, 10]),
        base_cents=st.sampled_from([None, 10, 2900]),
        rolls_over=st.booleans(),
        money=st.sampled_from([0, 60, 3000]),
        at_once=st.integers(2, 20),
    )
    def test_comes_to_the_same_as_one_by_one(self, usage, quota, base_cents, rolls_over, money, at_once):
        rollover = {"rolls_over": True, "rollover_cap": 15, "rollover_days": 3} if quota and rolls_over else None
        plan = {"quota": quota, "base_cents": base_cents, "unit_cost_cents": "1", "rollover": rollover, "money": money}
        outcomes = []
        for prefix, limit in (("ONE", 1), ("TWO", at_once)):
            customer = subscribed(usage, prefix=prefix, **plan)
            finalize_all(at_once=limit)
            outcomes.append(outcome(customer))
            assert_books_add_up(NOW)

        assert outcomes[0] == outcomes[1]


def test_a_customer_who_is_far_behind_takes_one_turn():
    subscribed([5] * DAYS, base_cents=100)

    # The first fee was billed at once.
    assert finalize_all(at_once=100) == [DAYS]


def test_what_is_carried_goes_along_with_the_next_draft_of_the_turn():
    customer = subscribed([20, 20, 20], base_cents=None, quota=None, unit_cost_cents="1")

    finalize_all(at_once=100)

    written = outcome(customer)
    shown = [one for one in written["invoices"] if one[1] != "skipped"]
    assert [(number, status, total) for number, status, total, _ in shown] == [
        ("ONE-001", "carried", 20),
        ("ONE-002", "carried", 40),
        ("ONE-003", "issued", 60),
    ]
    assert [line[2] for line in written["lines"] if line[1] == "brought_forward"] == [
        "Balance brought forward from ONE-001",
        "Balance brought forward from ONE-002",
    ]
