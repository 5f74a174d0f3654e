"""Two invoices of a customer finalized at once spend a credit of money once."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.books import check_books
from billing.models import Invoice
from billing.services.close_periods import close_periods
from billing.services.finalize import finalize
from billing.services.subscribe import subscribe
from credits.models import CreditDefinition, CreditGrant
from credits.services.definitions import create_definition
from credits.services.grants import grant_credits
from tests.factories import START, CustomerFactory
from tests.pro_plan import make_pro_plan, sweep, use

AT = datetime(2026, 3, 1, tzinfo=UTC)
APRIL, MAY = (datetime(2026, month, 1, tzinfo=UTC) for month in (4, 5))
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db(transaction=True)


def finalize_at_once(at_once, at):
    drafts = Invoice.objects.filter(status="draft").values_list("pk", flat=True)
    return at_once([lambda key=key: finalize(invoices=[key], at=at) for key in drafts])


def test_a_credit_is_spent_once(at_once):
    customer = CustomerFactory()
    for _ in range(4):
        subscribe(at=AT, customer=customer, plan=make_pro_plan().plan, beside_others=True)
    definition = create_definition(
        at=START, name="Goodwill", scope="merchant", application_type="monetary", default_amount=Decimal(4_000),
        currency="USD",
    )  # fmt: skip
    grant_credits(at=AT, customer=customer, definition=definition)
    close_periods(subscriptions=customer.subscriptions.values_list("pk", flat=True), at=APRIL)

    outcomes = finalize_at_once(at_once, APRIL + HOUR)

    assert outcomes == [1] * 4
    totals = Invoice.objects.filter(closes_at=APRIL).values_list("total_cents", flat=True)
    assert sorted(totals) == [0, 1_800, 2_900, 2_900]
    assert CreditGrant.objects.get(definition=definition).ledger_remaining == 0


def test_what_several_invoices_keep_is_of_one_definition(at_once):
    for _ in range(3):
        pro, customer = make_pro_plan(base_cents=None, quota=None), CustomerFactory()
        subscription = subscribe(at=AT, customer=customer, plan=pro.plan)
        use(customer, pro.metric, 100, AT + HOUR)
        sweep(APRIL + HOUR)
        use(customer, pro.metric, -60, AT + HOUR)
        close_periods(subscriptions=[subscription.pk], at=MAY)

    outcomes = finalize_at_once(at_once, MAY + HOUR)

    assert outcomes == [1] * 3
    assert sorted(CreditGrant.objects.values_list("initial_amount", flat=True)) == [300] * 3
    assert CreditDefinition.objects.count() == 1
    assert [finding for finding in check_books(at=MAY) if finding.offenders] == []
