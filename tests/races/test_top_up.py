"""The news of a payment comes from several sides at once: what was bought is granted once."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

import pytest

from billing import jobs
from billing.books import check_books
from billing.exchange import Card, Paid
from billing.models import Invoice, Payment
from billing.services.collect import record_payment, record_payment_method
from billing.services.send import record_sent
from billing.services.top_up import bought_grants, buy_pack
from credits.models import CreditGrant
from credits.services.packs import PackNotOffered, create_pack, update_pack
from tests.billing.conftest import give_card  # noqa: F401 a fixture
from tests.factories import CreditDefinitionFactory, CustomerFactory

AT = datetime(2026, 3, 10, 15, 30, tzinfo=UTC)
DAY = timedelta(days=1)

pytestmark = pytest.mark.django_db(transaction=True)


def offer():
    definition = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False)
    return create_pack(
        at=AT, name="Pack", definition=definition, amount=Decimal(1_000), price_cents=900, currency="USD"
    )


def pay(invoice):
    return record_payment(invoice=invoice.public_id, paid=Paid(reference="in_1", amount_cents=900), at=AT)


def offenders(at):
    return [offender for finding in check_books(at=at) for offender in finding.offenders]


def test_the_same_payment_told_four_times_at_once_makes_one_grant(at_once):
    invoice = buy_pack(customer=CustomerFactory(), pack=offer(), at=AT)

    outcomes = at_once([partial(pay, invoice)] * 4)

    assert sorted(outcomes) == [False, False, False, True]
    assert (CreditGrant.objects.count(), Payment.objects.count()) == (1, 1)
    assert offenders(AT) == []


def test_webhook_and_sweep_at_once_make_one_grant(stripe_sandbox, at_once, give_card):  # noqa: F811 a fixture
    customer = CustomerFactory()
    give_card(customer)
    invoice = buy_pack(customer=customer, pack=offer(), at=AT)
    jobs.send_invoices(AT)

    at_once([partial(jobs.collect_invoices, AT), partial(pay, invoice), partial(pay, invoice)])

    assert [grant.initial_amount for grant in bought_grants(invoice)] == [1_000]
    assert Payment.objects.filter(status="succeeded").count() == 1
    assert offenders(AT) == []


def test_a_payment_and_a_new_card_at_once_do_not_wait_for_each_other(at_once):
    customer, pack = CustomerFactory(), offer()
    invoices = [buy_pack(customer=customer, pack=pack, at=AT) for _ in range(6)]
    for invoice in invoices:
        # A new card is tried on what Stripe has.
        record_sent(invoice=invoice.public_id, stripe_invoice_id=f"in_{invoice.pk}", at=AT)
    cards = [Card(f"pm_{number}", "card", "visa", "4242", 1, 2040) for number in range(6)]

    outcomes = at_once(
        [partial(pay, invoice) for invoice in invoices]
        + [partial(record_payment_method, customer=customer, card=card, at=AT) for card in cards]
    )

    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    assert CreditGrant.objects.count() == 6


def test_purchases_at_once_take_a_number_each(at_once):
    customer, pack = CustomerFactory(invoice_prefix="ADA"), offer()

    at_once([partial(buy_pack, customer=customer, pack=pack, at=AT)] * 5)

    numbers = sorted(Invoice.objects.values_list("number", flat=True))
    assert numbers == ["ADA-001", "ADA-002", "ADA-003", "ADA-004", "ADA-005"]
    assert offenders(AT) == []


def test_a_pack_that_is_retired_while_it_is_bought_is_sold_before_or_not_at_all(at_once):
    pack, customers = offer(), [CustomerFactory() for _ in range(4)]

    outcomes = at_once(
        [partial(buy_pack, customer=customer, pack=pack, at=AT) for customer in customers]
        + [partial(update_pack, pack=pack, is_active=False)]
    )

    sold = [outcome for outcome in outcomes if isinstance(outcome, Invoice)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, PackNotOffered)]
    assert len(sold) + len(refused) == 4
    assert Invoice.objects.count() == len(sold)
