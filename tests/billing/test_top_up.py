"""A bought pack: its invoice, and the grant that its payment makes, once."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing import jobs
from billing.books import check_books
from billing.exchange import Declined, Paid
from billing.models import Invoice, InvoiceLine, Payment
from billing.services.collect import claim_invoice_to_collect, record_declined, record_payment
from billing.services.send import record_sent
from billing.services.subscribe import subscribe
from billing.services.top_up import TooLittleToCharge, bought_grants, buy_pack
from credits.models import CreditDefinition, CreditGrant, TopUpPack
from credits.services.definitions import update_definition
from credits.services.packs import PackNotOffered, create_pack, update_pack
from plans.refusals import InvalidInput
from tests.factories import START, CreditDefinitionFactory, CreditGrantFactory, CustomerFactory
from tests.pro_plan import bills, make_pro_plan, remaining, sweep, use

pytestmark = pytest.mark.django_db

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
FEBRUARY = datetime(2026, 2, 28, tzinfo=UTC)


def units(**terms):
    return CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, **terms)


def money(currency="USD"):
    return CreditDefinition.objects.create(
        name="Prepaid", scope="merchant", application_type="monetary", currency=currency, default_amount=Decimal(1),
        created_at=START,
    )  # fmt: skip


def offer(definition=None, **terms):
    common = {"at": AT, "name": "1,000 calls", "amount": Decimal(1_000), "price_cents": 900, "currency": "USD"}
    return create_pack(**common | {"definition": definition or units()} | terms)


def pay(invoice, at=AT + HOUR):
    paid = Paid(reference="in_1", amount_cents=invoice.total_cents)
    return record_payment(invoice=invoice.public_id, paid=paid, at=at)


def offenders(at):
    return [offender for finding in check_books(at=at) for offender in finding.offenders]


class TestInvoice:
    def test_is_issued_and_numbered_at_once(self):
        customer = CustomerFactory(invoice_prefix="ADA")

        invoice = buy_pack(customer=customer, pack=offer(), quantity=3, at=AT)

        invoice.refresh_from_db()
        assert (invoice.kind, invoice.status, invoice.number) == ("top_up", "issued", "ADA-001")
        assert (invoice.finalized_at, invoice.due_at, invoice.send_at) == (AT, AT, AT)
        # 3 × 9.00
        assert (invoice.subtotal_cents, invoice.tax_cents, invoice.total_cents) == (2_700, 0, 2_700)
        assert bills(customer) == [("issued", 2_700, [("top_up", 3, 2_700)])]
        assert offenders(AT) == []

    def test_says_what_was_sold_at_the_price_of_that_time(self):
        pack = offer()
        buy_pack(customer=CustomerFactory(), pack=pack, quantity=2, at=AT)

        update_pack(pack=pack, price_cents=5_000, name="Dearer")

        line = InvoiceLine.objects.get()
        assert (line.pack, line.description, line.unit_amount_cents) == (pack, "1,000 calls", 900)

    def test_takes_its_number_in_the_row_of_the_customers_invoices(self):
        customer = CustomerFactory(invoice_prefix="ADA")
        subscribe(at=AT, customer=customer, plan=make_pro_plan().plan)

        assert buy_pack(customer=customer, pack=offer(), at=AT).number == "ADA-002"

    def test_is_never_paid_by_credits_of_money(self):
        customer, prepaid = CustomerFactory(), money()
        CreditGrantFactory(customer=customer, definition=prepaid, at=AT - DAY, amount=Decimal(10_000))

        assert buy_pack(customer=customer, pack=offer(), at=AT).total_cents == 900


class TestRefused:
    @pytest.mark.parametrize("quantity", [0, -1, 10_001])
    def test_a_quantity_out_of_range(self, quantity):
        with pytest.raises(InvalidInput):
            buy_pack(customer=CustomerFactory(), pack=offer(), quantity=quantity, at=AT)

    @pytest.mark.parametrize("terms", [{"price_cents": 10**12}, {"amount": Decimal(10) ** 12}], ids=["price", "amount"])
    def test_more_than_can_be_sold_at_once(self, terms):
        with pytest.raises(InvalidInput, match="quantity: is more of this pack"):
            buy_pack(customer=CustomerFactory(), pack=offer(**terms), quantity=2, at=AT)

    def test_less_than_can_be_charged_at_once(self):
        pack, customer = offer(price_cents=20), CustomerFactory()

        with pytest.raises(TooLittleToCharge, match=r"\$0.40 is less than the \$0.50 that can be charged"):
            buy_pack(customer=customer, pack=pack, quantity=2, at=AT)

        assert buy_pack(customer=customer, pack=pack, quantity=3, at=AT).total_cents == 60

    def test_a_retired_pack(self):
        pack = update_pack(pack=offer(), is_active=False)

        with pytest.raises(PackNotOffered):
            buy_pack(customer=CustomerFactory(), pack=pack, at=AT)

        assert not Invoice.objects.exists()


class TestPayment:
    def test_makes_the_grant(self):
        customer, definition = CustomerFactory(), units()
        invoice = buy_pack(customer=customer, pack=offer(definition), quantity=3, at=AT)

        pay(invoice)

        (grant,) = bought_grants(invoice)
        assert (grant.customer, grant.definition, grant.initial_amount) == (customer, definition, 3_000)
        assert (grant.source, grant.starts_at) == ("topup", datetime(2026, 1, 31, tzinfo=UTC))
        assert offenders(AT + HOUR) == []

    def test_makes_no_second_grant_when_the_news_comes_twice(self):
        invoice = buy_pack(customer=CustomerFactory(), pack=offer(), at=AT)

        assert [pay(invoice), pay(invoice)] == [True, False]

        assert (CreditGrant.objects.count(), Payment.objects.count()) == (1, 1)

    def test_makes_no_grant_while_the_charge_fails_and_makes_it_when_it_succeeds_later(self, stripe_sandbox, give_card):
        customer = CustomerFactory()
        give_card(customer, "pm_card_chargeCustomerFail")
        invoice = buy_pack(customer=customer, pack=offer(), at=AT)
        jobs.send_invoices(AT)
        jobs.collect_invoices(AT)
        assert (bills(customer)[0][0], bought_grants(invoice)) == ("issued", [])
        assert Payment.objects.get().status == "failed"

        give_card(customer, "pm_card_visa", at=AT + DAY)
        Invoice.objects.update(collect_at=AT + DAY)
        jobs.collect_invoices(AT + DAY)

        assert bills(customer)[0][0] == "paid"
        assert [grant.initial_amount for grant in bought_grants(invoice)] == [1_000]
        assert bought_grants(invoice)[0].starts_at == datetime(2026, 2, 1, tzinfo=UTC)
        assert offenders(AT + DAY) == []

    def test_waits_for_a_card(self, stripe_sandbox, give_card, run_sweeps):
        customer = CustomerFactory()
        invoice = buy_pack(customer=customer, pack=offer(), at=AT)
        run_sweeps(AT + DAY)
        assert (bills(customer)[0][0], bought_grants(invoice)) == ("issued", [])

        give_card(customer, at=AT + 2 * DAY)
        run_sweeps(AT + 2 * DAY)

        assert bills(customer)[0][0] == "paid"
        assert len(bought_grants(invoice)) == 1

    def test_makes_the_grant_although_the_pack_was_retired_meanwhile(self):
        pack = offer()
        invoice = buy_pack(customer=CustomerFactory(), pack=pack, at=AT)
        update_pack(pack=pack, is_active=False)
        CreditDefinition.objects.filter(pk=pack.definition_id).update(is_active=False, deleted_at=AT)

        pay(invoice)

        assert len(bought_grants(invoice)) == 1

    def test_grants_what_was_sold_although_pack_and_definition_have_changed_since(self):
        definition = units(expiry_days=10, priority=2)
        pack = offer(definition)
        invoice = buy_pack(customer=CustomerFactory(), pack=pack, quantity=2, at=AT)
        update_definition(at=AT, definition=definition, changes={"expiry_days": 3, "priority": None})
        update_pack(pack=pack, name="Dearer", price_cents=5_000)
        # No door changes what a pack holds; the sale does not ask it again.
        TopUpPack.objects.update(amount=7)

        pay(invoice)

        (grant,) = bought_grants(invoice)
        assert (grant.initial_amount, grant.priority, grant.notes) == (2_000, 2, "Bought: 2 × 1,000 calls")
        # Ten days from the payment on, to the end of the day.
        assert grant.expires_at == datetime(2026, 2, 11, tzinfo=UTC)

    def test_grants_without_an_end_what_was_sold_without_one(self):
        definition = units()
        invoice = buy_pack(customer=CustomerFactory(), pack=offer(definition), at=AT)
        update_definition(at=AT, definition=definition, changes={"expiry_days": 3})

        pay(invoice)

        assert bought_grants(invoice)[0].expires_at is None

    def test_of_another_amount_makes_no_grant(self):
        invoice = buy_pack(customer=CustomerFactory(), pack=offer(), at=AT)

        with pytest.raises(Exception, match="899 were paid"):
            record_payment(invoice=invoice.public_id, paid=Paid(reference="in_1", amount_cents=899), at=AT)

        assert bought_grants(invoice) == []

    def test_of_a_subscriptions_invoice_makes_no_grant(self):
        customer = CustomerFactory()
        subscribe(at=AT, customer=customer, plan=make_pro_plan(quota=None).plan)

        pay(Invoice.objects.get())

        assert not CreditGrant.objects.exists()


def test_a_declined_charge_keeps_the_invoice_open_and_makes_no_grant():
    customer = CustomerFactory()
    invoice = buy_pack(customer=customer, pack=offer(), at=AT)
    record_sent(invoice=invoice.public_id, stripe_invoice_id="in_1", at=AT)
    customer.payment_methods.create(external_id="pm_1", is_default=True, created_at=AT)
    charge = claim_invoice_to_collect(at=AT, now=AT)

    record_declined(charge=charge, declined=Declined("pi_1", "card_declined", "No."), at=AT)

    assert (bills(customer)[0][0], bought_grants(invoice)) == ("issued", [])


def test_bought_units_pay_for_what_the_quota_does_not():
    """12,500 calls: 10,000 of the quota, 2,000 bought, 500 × 5 cents; with the fee of 29.00 that is 54.00."""
    pro, customer = make_pro_plan(), CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)
    pay(buy_pack(customer=customer, pack=offer(units(feature=pro.feature)), quantity=2, at=AT + DAY), AT + DAY)
    assert remaining(customer, pro.metric, AT + 2 * DAY) == 12_000
    use(customer, pro.metric, 12_500, AT + 3 * DAY)

    sweep(FEBRUARY + HOUR)

    assert bills(customer)[-1][1] == 2_900 + 2_500
    assert remaining(customer, pro.metric, FEBRUARY + 2 * HOUR) == 10_000
    assert offenders(FEBRUARY + HOUR) == []


def test_units_are_not_sold_to_who_pays_a_fee_for_each_event_of_them():
    pro = make_pro_plan(quota=None)
    pro.price.components.filter(kind="usage").update(
        model="percentage", unit_cost_cents=None, rate_percent=2, fixed_cost_cents=10
    )
    customer = CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)

    with pytest.raises(InvalidInput, match="fee per event"):
        buy_pack(customer=customer, pack=offer(units(feature=pro.feature)), at=AT)

    assert not Invoice.objects.filter(kind="top_up").exists()


def test_what_a_pack_counts_cannot_be_changed_once_it_is_offered():
    definition = units()
    offer(definition)

    with pytest.raises(InvalidInput, match="cannot be changed once"):
        update_definition(at=AT, definition=definition, changes={"feature": make_pro_plan().feature})
