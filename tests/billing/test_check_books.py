"""The books are clean after real work, and each way to spoil them is found and named."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.core.management import call_command
from django.db import connection
from django_q.models import OrmQ

from billing import jobs
from billing.books import INVARIANTS, check_books
from billing.exchange import ChargeToMake, Declined, Paid
from billing.jobs import top_up
from billing.models import AutoTopUp, Checkout, Dispute, Invoice, Payment, PaymentMethod
from billing.services.auto_top_up import create_auto_top_up
from billing.services.collect import record_declined, record_payment
from billing.services.credit_notes import credit_invoice
from billing.services.subscribe import subscribe
from billing.services.tax_settings import create_rate
from billing.services.top_up import buy_pack
from billing.services.void import void_invoice
from credits.services.definitions import create_definition
from credits.services.grants import adjust_grant, grant_credits
from credits.services.packs import create_pack
from metering.services.record_events import record_events
from plans.models import Customer
from tests.database import taken_back
from tests.factories import CreditDefinitionFactory, CreditGrantFactory, CustomerFactory
from tests.pro_plan import event, make_pro_plan, sweep, use
from tests.seat_plan import give_seat, make_seat_plan, subscribed

AT = datetime(2026, 1, 31, 14, 46, tzinfo=UTC)
NOW = datetime(2026, 4, 1, tzinfo=UTC)
DAY = timedelta(days=1)

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def business(django_db_setup, django_db_blocker):
    """Make the business once; what a test does to it is taken back after each."""
    with django_db_blocker.unblock(), taken_back():
        do_business()
        # Foreign keys are checked here, and not again for each test.
        connection.check_constraints()
        yield


@pytest.fixture(autouse=True)
def _business(business, db):
    """It stands before the transaction of a test begins."""


def do_business():
    """Two months of two customers: shown and hidden credits, overage, late usage, a free plan, a paid invoice, a draft
    ahead."""
    pro, hidden = make_pro_plan(), make_pro_plan(shown=False, unit_cost_cents="0.1", quota=98)
    customers = [CustomerFactory() for _ in range(4)]
    plans = [pro, hidden, make_pro_plan(base_cents=0, unit_cost_cents=None), make_pro_plan(base_frequency="YEARLY")]
    for customer, sold in zip(customers, plans, strict=True):
        subscribe(at=AT, customer=customer, plan=sold.plan)
        for month in range(2):
            use(customer, sold.metric, 12_500 - 9_000 * month, AT + DAY + month * 30 * DAY)
    record_events(events=[event("unknown", 5, AT, "k", external="nobody")], at=AT)
    CreditGrantFactory(customer=customers[0], at=AT)
    sweep(datetime(2026, 2, 28, 1, tzinfo=UTC))
    use(customers[0], pro.metric, 100, AT + DAY, key="late")
    sweep(datetime(2026, 3, 31, 1, tzinfo=UTC))
    paid = Invoice.objects.filter(status="issued").earliest("pk")
    paid.status, paid.paid_at = "paid", NOW
    paid.save()
    Payment.objects.create(
        customer=paid.customer, invoice=paid, status="succeeded", amount_cents=paid.total_cents, currency="USD",
        external_id="pi_1", created_at=NOW,
    )  # fmt: skip
    Checkout.objects.create(
        buyer="visitor:1", customer=paid.customer, customer_public_id=paid.customer.public_id, name="Ada",
        price=paid.subscription.price, due_cents=paid.total_cents, intent_type="payment", intent_id="pi_1",
        status="subscribed", subscription=paid.subscription, invoice=paid, created_at=AT, expires_at=AT + DAY,
        settled_at=AT,
    )  # fmt: skip
    buy_packs(customers[0], pro)
    deal_in_money()
    take_back()
    give_seats()
    charge_tax()
    use_without_a_subscription(pro)
    decline_a_charge()


def decline_a_charge():
    """A card that is declined, so that its subscription is past due."""
    sold, customer = make_pro_plan(quota=None), CustomerFactory()
    subscribe(at=NOW - DAY, customer=customer, plan=sold.plan)
    invoice = Invoice.objects.get(customer=customer)
    charge = ChargeToMake(invoice=invoice.public_id, stripe_invoice_id="in_9", payment_method="pm_9", attempt=1)
    record_declined(charge=charge, declined=Declined("pi_9", "card_declined", "No."), at=NOW)


def take_back():
    """A credit note of a paid invoice that credits of money had paid in part, a void invoice with its replacement, and
    a balance that was carried."""
    sold, customer = make_pro_plan(base_cents=1_000, quota=None), CustomerFactory()
    definition = create_definition(
        at=AT, name="Voucher", scope="merchant", application_type="monetary", default_amount=Decimal(1_600),
        currency="USD",
    )  # fmt: skip
    grant_credits(at=AT, customer=customer, definition=definition)
    subscribe(at=AT, customer=customer, plan=sold.plan)
    use(customer, sold.metric, 400, AT + DAY)
    sweep(datetime(2026, 2, 28, 1, tzinfo=UTC))
    partly = Invoice.objects.get(customer=customer, status="issued")
    record_payment(invoice=partly.public_id, paid=Paid(reference="in_7", amount_cents=2_400), at=NOW)
    credit_invoice(invoice=partly, amount_cents=500, reason="x", at=NOW)
    Dispute.objects.create(
        customer=customer, invoice=partly, payment=Payment.objects.get(external_id="in_7"), external_id="du_1",
        amount_cents=2_400, currency="USD", status="lost", opened_at=NOW + DAY, closed_at=NOW + DAY, told_at=NOW + DAY,
    )  # fmt: skip
    credit_invoice(invoice=partly, amount_cents=500, reason="x", to="credit", at=NOW)
    small, other = make_pro_plan(base_cents=None, quota=None), CustomerFactory()
    grant_credits(at=AT, customer=other, definition=definition, amount=Decimal(100))
    subscribe(at=AT, customer=other, plan=small.plan)
    use(other, small.metric, 26, AT + DAY)
    sweep(datetime(2026, 2, 28, 1, tzinfo=UTC))
    use(other, small.metric, 100, AT + 30 * DAY)
    sweep(datetime(2026, 3, 31, 1, tzinfo=UTC))
    grant_credits(at=AT, customer=other, definition=definition, amount=Decimal(100))
    wrong = Invoice.objects.get(customer=other, status="issued")
    second = void_invoice(invoice=wrong, reason="x", rebill=True, at=NOW)
    void_invoice(invoice=second, reason="x", rebill=True, at=NOW)


def deal_in_money():
    """A credit of money that pays part of an invoice, a minimum, and an invoice that late corrections take below 0."""
    sold = make_pro_plan(base_cents=None, quota=None)
    sold.price.components.update(minimum_cents=700)
    customer = CustomerFactory()
    subscribe(at=AT, customer=customer, plan=sold.plan)
    definition = create_definition(
        at=AT,
        name="Goodwill",
        scope="merchant",
        application_type="monetary",
        default_amount=Decimal(600),
        currency="USD",
    )
    adjust_grant(at=AT, grant=grant_credits(at=AT, customer=customer, definition=definition), amount=Decimal(-200))
    use(customer, sold.metric, 1_000, AT + DAY)
    sweep(datetime(2026, 2, 28, 1, tzinfo=UTC))
    use(customer, sold.metric, -900, AT + DAY)
    sweep(NOW)


def use_without_a_subscription(pro):
    """Two calendar months of bought units; some of the first month's come back later."""
    customer, january = CustomerFactory(), datetime(2026, 1, 1, tzinfo=UTC)
    definition = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
    grant_credits(at=january, customer=customer, definition=definition, amount=Decimal(500), source="topup")
    use(customer, pro.metric, 300, january + DAY)
    use(customer, pro.metric, 100, january + 40 * DAY)
    jobs.settle_months(datetime(2026, 3, 1, 1, tzinfo=UTC))
    use(customer, pro.metric, -50, january + DAY)
    jobs.look_for_late_usage(january + 70 * DAY)


def charge_tax():
    """A customer who pays 19 %."""
    rate = create_rate(at=AT, name="VAT", rate=Decimal("0.19"), jurisdiction="DE")
    customer = CustomerFactory(tax_rate_definition_id=rate.public_id)
    subscribe(at=AT, customer=customer, plan=make_pro_plan().plan)


def give_seats():
    """Three seats beyond those that a period began with; the last one waits for the next invoice."""
    subscription = subscribed(make_seat_plan(), at=AT, seats=1)
    for day in range(2):
        give_seat(subscription, f"new-{day}", AT + DAY * day)
    subscription.price.components.update(bill_immediately=False)
    give_seat(subscription, "last", AT + DAY * 3)
    sweep(NOW)


def buy_packs(customer, pro):
    """One paid, one waiting for its payment."""
    definition = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
    pack = create_pack(at=AT, name="Pack", definition=definition, amount=Decimal(500), price_cents=900, currency="USD")
    bought, _ = (buy_pack(customer=customer, pack=pack, quantity=quantity, at=NOW) for quantity in (2, 3))
    record_payment(invoice=bought.public_id, paid=Paid(reference="in_2", amount_cents=1_800), at=NOW)
    buy_automatically_once(CustomerFactory(), pack)


def buy_automatically_once(customer, pack):
    PaymentMethod.objects.create(customer=customer, external_id="pm_auto", is_default=True, created_at=AT)
    terms = AutoTopUp(customer=customer, pack=pack, threshold=Decimal(100), monthly_limit_cents=900)
    create_auto_top_up(auto_top_up=terms, at=NOW)
    top_up(NOW)
    create_pack(at=AT, name="Other", definition=pack.definition, amount=Decimal(5), price_cents=900, currency="USD")


def spoil(*statements):
    """Run statements behind the backs of the triggers; the last one must hit something."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table, trigger in (
            ("billing_invoice", "issued_invoice_is_frozen"),
            ("billing_invoiceline", "issued_line_is_frozen"),
            ("credits_credittransaction", "ledger_is_append_only"),
            ("credits_credittransaction", "ledger_rows_go_with_their_grant"),
            ("billing_creditnote", "credit_note_is_frozen"),
            ("billing_creditnoteline", "credit_note_line_is_frozen"),
        ):
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
        for statement in statements:
            cursor.execute(statement)
        assert cursor.rowcount > 0


def broken():
    return {finding.invariant for finding in check_books(at=NOW) if finding.offenders}


def latest(table, where="true"):
    return f"(SELECT max(id) FROM {table} WHERE {where})"


METERED = "metric_id IS NOT NULL"
UNSETTLED = "settled_at = NULL, settled_usage = NULL, settled_included = NULL, settled_credited = NULL"

WAYS_TO_SPOIL = [
    ("a day of usage is the sum of its events", "UPDATE metering_usageday SET total = total + 1"),
    ("a day of usage is the sum of its events", "UPDATE metering_usageday SET events = events + 1"),
    (
        "a day of usage is the sum of its events",
        f"DELETE FROM metering_usageday WHERE id = {latest('metering_usageday')}",
    ),
    ("a day of usage is the sum of its events", "UPDATE metering_usageday SET day = day + 100"),
    ("a day of usage is the sum of its events", "DELETE FROM metering_usageevent WHERE customer_id IS NOT NULL"),
    ("a day of usage is the sum of its events", "UPDATE metering_usageevent SET value = value + 0.000001"),
    (
        "a grant is the sum of its transactions",
        "UPDATE credits_creditgrant SET ledger_remaining = ledger_remaining / 2",
    ),
    (
        "a grant is the sum of its transactions",
        "DELETE FROM credits_credittransaction WHERE kind = 'granted' AND id NOT IN"
        " (SELECT credit_transaction_id FROM billing_invoiceline WHERE credit_transaction_id IS NOT NULL)",
    ),
    ("a grant is the sum of its transactions", "UPDATE credits_credittransaction SET amount = amount * 2"),
    (
        "a transaction moves a grant of its own customer",
        f"UPDATE credits_credittransaction SET customer_id = {latest('plans_customer')}",
    ),
    (
        "a settled period burned what it credited",
        "UPDATE plans_subscriptionperiod SET settled_credited = 1 WHERE settled_credited > 0",
    ),
    (
        "a settled period burned what it credited",
        "ALTER TABLE plans_subscriptionperiod DROP CONSTRAINT settled_period_says_with_what;"
        "UPDATE plans_subscriptionperiod SET settled_usage = settled_credited - 1 WHERE settled_credited > 0",
    ),
    (
        "a settled period burned what it credited",
        "DELETE FROM credits_credittransaction WHERE kind = 'burned' AND period_id IS NOT NULL",
    ),
    (
        "settled usage is included, credited or charged",
        "UPDATE plans_subscriptionperiod SET settled_usage = settled_usage + 1 WHERE settled_usage > 0",
    ),
    (
        "settled usage is included, credited or charged",
        "UPDATE billing_invoiceline SET quantity = quantity + 1 WHERE type = 'usage'",
    ),
    (
        "a transaction moves a grant of its own customer",
        "UPDATE credits_credittransaction SET month_id = NULL WHERE month_id IS NOT NULL",
    ),
    (
        "a transaction moves a grant of its own customer",
        f"UPDATE credits_calendarmonth SET metric_id = {latest('plans_metric')} WHERE settled_at IS NOT NULL",
    ),
    (
        "a settled month burned what it credited",
        "UPDATE credits_calendarmonth SET credited = credited - 1 WHERE number = 0 AND credited > 0",
    ),
    ("a settled month burned what it credited", "UPDATE credits_calendarmonth SET number = 2 WHERE number = 1"),
    (
        "a settled month burned what it credited",
        "UPDATE credits_credittransaction SET amount = amount + 1 WHERE kind = 'returned' AND month_id IS NOT NULL",
    ),
    (
        "months are settled in order",
        "UPDATE credits_calendarmonth SET end_at = end_at + interval '1 hour' WHERE settled_at IS NOT NULL",
    ),
    (
        "months are settled in order",
        "UPDATE plans_subscriptionperiod period SET settled_at = NULL, settled_usage = NULL, settled_included = NULL,"
        " settled_credited = NULL, customer_id = month.customer_id, start_at = month.start_at - interval '9 days',"
        " end_at = month.start_at - interval '1 day' FROM credits_calendarmonth month WHERE month.number = 0"
        " AND month.settled_at IS NOT NULL AND period.metric_id = month.metric_id AND period.number = 0",
    ),
    ("units found later cost their price", "UPDATE credits_usagedifference SET net_cents = net_cents + 1"),
    ("units found later cost their price", "UPDATE credits_usagedifference SET number = 2"),
    ("usage found later is billed once", "UPDATE credits_usagedifference SET billed_at = NULL"),
    ("usage found later is billed once", "UPDATE billing_invoiceline SET amount_cents = 1 WHERE type = 'late_usage'"),
    ("a settled period burned what it credited", "UPDATE credits_usagedifference SET credited = credited + 1"),
    (
        "charged units cost their price",
        "UPDATE billing_invoiceline SET amount_cents = amount_cents - 1 WHERE type = 'credit'",
    ),
    ("charged units cost their price", "UPDATE billing_invoiceline SET amount_cents = 1 WHERE type = 'minimum'"),
    (
        "settled usage is included, credited or charged",
        "DELETE FROM billing_invoiceline WHERE id = (SELECT min(id) FROM billing_invoiceline WHERE type = 'usage')",
    ),
    (
        "a settled period came to the sum of its lines",
        "UPDATE plans_subscriptionperiod SET settled_net_cents = settled_net_cents + 1",
    ),
    ("a settled period came to the sum of its lines", "UPDATE plans_subscriptionperiod SET settled_net_cents = NULL"),
    ("a grant is the sum of its transactions", "UPDATE credits_creditgrant SET adjusted_amount = adjusted_amount + 1"),
    (
        "burned money is on an invoice",
        "UPDATE billing_invoiceline SET credit_transaction_id = NULL WHERE type = 'credit' AND period_id IS NULL",
    ),
    (
        "burned money is on an invoice",
        "UPDATE billing_invoiceline SET amount_cents = -1 WHERE type = 'credit' AND period_id IS NULL",
    ),
    (
        "burned money is on an invoice",
        "DELETE FROM billing_invoiceline WHERE type = 'credit'"
        " AND period_id IS NULL AND id NOT IN (SELECT line_id FROM billing_returnedcredit)",
    ),
    ("burned money is on an invoice", "UPDATE credits_creditgrant SET currency = 'EUR' WHERE metric_id IS NULL"),
    (
        "what credits of money pay is spread over lines",
        "UPDATE billing_invoiceline SET monetary_credit_cents = 1 WHERE monetary_credit_cents > 0",
    ),
    (
        "what an invoice keeps is granted",
        "UPDATE credits_creditgrant SET initial_amount = initial_amount + 1 WHERE source = 'refund'",
    ),
    ("what an invoice keeps is granted", "DELETE FROM billing_invoiceline WHERE type = 'refund'"),
    (
        "what an invoice keeps is granted",
        "UPDATE credits_creditgrant SET reference_code = 'refund:x' WHERE source = 'refund'",
    ),
    (
        "a closed period is settled with its invoice",
        f"UPDATE plans_subscriptionperiod SET {UNSETTLED}"
        f" WHERE id = {latest('plans_subscriptionperiod', 'settled_at IS NOT NULL')}",
    ),
    (
        "a closed period is settled with its invoice",
        f"UPDATE plans_subscriptionperiod SET closed_at = NULL WHERE {METERED}",
    ),
    ("a closed period is settled with its invoice", "UPDATE plans_subscriptionperiod SET closed_at = now()"),
    (
        "periods are settled in order",
        f"UPDATE plans_subscriptionperiod SET {UNSETTLED} WHERE number = 0",
    ),
    (
        "an invoice is the sum of its lines",
        "UPDATE billing_invoiceline SET amount_cents = amount_cents + 1 WHERE type = 'fixed'",
    ),
    (
        "an invoice is the sum of its lines",
        "UPDATE billing_invoice SET subtotal_cents = 1, total_cents = 1"
        " WHERE number IS NOT NULL AND credited_cents = 0 AND tax_cents = 0",
    ),
    (
        "an invoice is the sum of its lines",
        "ALTER TABLE billing_invoice DROP CONSTRAINT invoice_total_adds_up;"
        "UPDATE billing_invoice SET tax_cents = 1 WHERE number IS NOT NULL",
    ),
    (
        "tax is that of its lines",
        "UPDATE billing_invoice SET tax_cents = tax_cents + 1, total_cents = total_cents + 1 WHERE tax_cents > 0",
    ),
    ("tax is that of its lines", "UPDATE billing_invoiceline SET tax_rate = 0.2 WHERE tax_rate > 0"),
    (
        "tax is that of its lines",
        "UPDATE billing_invoiceline SET taxable_cents = taxable_cents - 1 WHERE tax_rate > 0 AND taxable_cents > 99",
    ),
    (
        "tax is that of its lines",
        "UPDATE billing_invoiceline SET tax_cents = 0 WHERE tax_cents > 0;"
        "UPDATE billing_invoice SET tax_cents = 0, subtotal_cents = total_cents WHERE tax_cents > 0",
    ),
    (
        "only issued invoices have lines",
        "UPDATE billing_invoice SET status = 'draft', number = NULL, finalized_at = NULL WHERE status = 'issued'",
    ),
    ("only issued invoices have lines", "DELETE FROM billing_invoiceline WHERE type = 'top_up'"),
    (
        "a close has one invoice",
        "DROP INDEX one_invoice_per_subscription_kind_and_close;UPDATE billing_invoice SET closes_at = '2026-03-31'",
    ),
    (
        "periods of an item follow each other",
        "UPDATE plans_subscriptionperiod SET start_at = start_at + interval '1 hour' WHERE number = 1",
    ),
    (
        "periods of an item follow each other",
        "ALTER TABLE plans_subscriptionperiod DROP CONSTRAINT periods_of_an_item_do_not_overlap;"
        "UPDATE plans_subscriptionperiod SET end_at = end_at + interval '1 hour'",
    ),
    (
        "periods of an item follow each other",
        "UPDATE plans_subscriptionperiod SET number = number + 7 WHERE number > 0",
    ),
    (
        "a live item has a period ahead",
        "ALTER TABLE plans_subscriptionperiod DROP CONSTRAINT periods_of_an_item_do_not_overlap;"
        "UPDATE plans_subscriptionperiod SET start_at = '2026-04-01' WHERE start_at > '2026-04-01'",
    ),
    ("units that were added are billed once", "UPDATE plans_addedunits SET billed_at = NULL"),
    ("units that were added are billed once", "UPDATE billing_invoiceline SET quantity = quantity + 1"),
    ("units that were added are billed once", "DELETE FROM billing_invoiceline WHERE effective_at IS NOT NULL"),
    (
        "units that were added follow each other",
        f"DELETE FROM plans_addedunits WHERE id < {latest('plans_addedunits')}",
    ),
    ("units that were added follow each other", "UPDATE plans_subscriptionperiod SET quantity = quantity + 1"),
    ("invoice numbers have no gaps", "UPDATE plans_customer SET last_invoice_number = last_invoice_number + 1"),
    ("invoice numbers have no gaps", "UPDATE billing_invoice SET number = number || '7' WHERE number LIKE '%-001'"),
    (
        "a paid invoice has its payment",
        "UPDATE billing_invoice SET status = 'paid', paid_at = now() WHERE status = 'issued'",
    ),
    ("a paid invoice has its payment", "UPDATE billing_payment SET amount_cents = amount_cents + 1"),
    ("a paid invoice has its payment", "UPDATE billing_payment SET currency = 'EUR'"),
    ("a paid invoice has its payment", "UPDATE billing_payment SET status = 'failed'"),
    ("a paid invoice has its payment", "UPDATE billing_invoice SET status = 'issued' WHERE status = 'paid'"),
    (
        "a bought pack is granted when it is paid",
        "UPDATE credits_creditgrant SET reference_code = NULL WHERE source = 'topup'",
    ),
    (
        "a bought pack is granted when it is paid",
        "UPDATE credits_creditgrant SET initial_amount = 1500 WHERE source = 'topup'",
    ),
    (
        "a bought pack is granted when it is paid",
        "UPDATE credits_creditgrant SET source = 'manual' WHERE source = 'topup'",
    ),
    (
        "a bought pack is granted when it is paid",
        "UPDATE billing_invoice SET status = 'issued' WHERE status = 'paid' AND kind = 'top_up'",
    ),
    (
        "an automatic purchase follows its top-up",
        "UPDATE billing_invoice SET auto_top_up_number = 2 WHERE auto_top_up_id IS NOT NULL",
    ),
    (
        "an automatic purchase follows its top-up",
        f"UPDATE billing_autotopup SET pack_id = {latest('credits_topuppack')}",
    ),
    (
        "an automatic purchase follows its top-up",
        f"UPDATE billing_autotopup SET customer_id = {latest('plans_customer')} - 1",
    ),
    ("a credit note is the sum of its lines", "UPDATE billing_creditnote SET tax_cents = 1, subtotal_cents = 499"),
    ("a credit note is the sum of its lines", "UPDATE billing_creditnoteline SET amount_cents = amount_cents + 1"),
    (
        "credit notes do not exceed their invoice",
        "UPDATE billing_invoice SET credited_cents = 0 WHERE credited_cents > 0",
    ),
    ("credit notes do not exceed their invoice", "UPDATE billing_creditnote SET currency = 'EUR'"),
    ("credit notes do not exceed their invoice", "UPDATE billing_creditnoteline SET tax_cents = 1"),
    (
        "credit notes do not exceed their invoice",
        f"UPDATE billing_creditnoteline SET line_id = {latest('billing_invoiceline')}"
        f" WHERE id = {latest('billing_creditnoteline')}",
    ),
    ("credit note numbers have no gaps", "UPDATE billing_creditnote SET sequence = sequence + 5"),
    ("credit note numbers have no gaps", "UPDATE billing_creditnote SET number = number || '7'"),
    ("what a credit note takes back went somewhere", "DELETE FROM billing_refund"),
    ("what a credit note takes back went somewhere", "DELETE FROM billing_returnedcredit"),
    (
        "what a credit note takes back went somewhere",
        "UPDATE credits_creditgrant SET reference_code = NULL WHERE reference_code LIKE 'credit_note:%'",
    ),
    ("no payment is given back more than once", "UPDATE billing_refund SET amount_cents = 2400"),
    (
        "what was charged back is not refunded too",
        "UPDATE billing_refund SET external_id = 're_1', created_at = created_at + interval '2 days'",
    ),
    ("what a void invoice took is returned", "DELETE FROM billing_returnedcredit WHERE credit_note_id IS NULL"),
    (
        "what a void invoice took is returned",
        "UPDATE billing_invoice SET status = 'issued', voided_at = NULL WHERE status = 'void'",
    ),
    (
        "a replacement repeats what is void",
        "UPDATE billing_invoiceline SET amount_cents = amount_cents + 1 WHERE replaced_line_id IS NOT NULL",
    ),
    (
        "a replacement repeats what is void",
        "UPDATE billing_invoice SET status = 'issued', voided_at = NULL WHERE status = 'void'",
    ),
    (
        "a carried balance is on one later invoice",
        "UPDATE billing_invoice SET carried_into_id = NULL WHERE status = 'carried'",
    ),
    (
        "a carried balance is on one later invoice",
        "UPDATE billing_invoiceline SET amount_cents = amount_cents + 1 WHERE type = 'brought_forward'",
    ),
    (
        "a subscription is past due while it is dunned",
        "UPDATE plans_subscription SET status = 'active', grace_period_ends_at = NULL WHERE status = 'past_due'",
    ),
    (
        "a subscription is past due while it is dunned",
        "UPDATE plans_subscription SET grace_period_ends_at = now() WHERE status = 'past_due'",
    ),
    ("a subscription is past due while it is dunned", "UPDATE billing_dunning SET ended_at = now(), outcome = 'paid'"),
    (
        "dunning ends with its invoice",
        "UPDATE billing_dunning SET ended_at = now(), outcome = 'paid', next_retry_at = NULL, settled_at = now()",
    ),
    ("dunning counts declined charges", "UPDATE billing_dunning SET attempts = 2"),
    ("dunning counts declined charges", "DELETE FROM billing_payment WHERE status = 'failed'"),
    ("who is dunned was told", "DELETE FROM billing_mail"),
    (
        "who is dunned was told",
        "UPDATE billing_dunning SET ended_at = now(), outcome = 'paused', next_retry_at = NULL",
    ),
    ("a checkout comes to its end", "UPDATE billing_checkout SET settled_at = NULL"),
    ("a checkout comes to its end", "UPDATE billing_checkout SET settled_at = NULL, step_at = now()"),
    (
        "a checkout comes to its end",
        "UPDATE billing_invoice SET status = 'issued', send_at = NULL WHERE status = 'paid'",
    ),
]


def test_the_books_of_real_work_are_clean():
    findings = check_books(at=NOW)

    assert [finding.offenders for finding in findings] == [[]] * len(INVARIANTS)
    assert all(finding.rows_checked > 0 for finding in findings), findings


def test_each_invariant_is_one_statement(django_assert_num_queries):
    check_books(at=NOW)

    with django_assert_num_queries(len(INVARIANTS)):
        check_books(at=NOW)


@pytest.mark.parametrize(("invariant", "statement"), WAYS_TO_SPOIL)
def test_a_breach_is_found_and_named(invariant, statement):
    spoil(*statement.split(";"))

    assert invariant in broken()


def test_every_invariant_is_spoilt_once():
    assert {invariant for invariant, _ in WAYS_TO_SPOIL} == set(INVARIANTS)


def test_an_empty_database_has_clean_books():
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE plans_customer, plans_metric, plans_plan CASCADE")

    assert broken() == set()


def test_the_command_prints_a_table_and_ends_with_success(capsys):
    call_command("check_books", no_color=True)

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(INVARIANTS)
    assert all(line.endswith("  ok") for line in lines)
    assert len({line.index(" rows  ") for line in lines}) == 1


def test_the_command_prints_what_is_wrong_and_ends_with_1(capsys):
    spoil("UPDATE metering_usageday SET total = 0, events = 0")

    with pytest.raises(SystemExit) as ended:
        call_command("check_books", no_color=True)

    out = capsys.readouterr().out
    assert ended.value.code == 1
    assert "14 broken" in out
    assert "the events make (1, 12500.000000, 0), but the day holds (0, 0.000000, 0)" in out


@pytest.mark.usefixtures("in_time")
def test_the_daily_job_queues_each_invariant_and_logs_what_breaks_it(caplog):
    assert jobs.prove_books() == len(INVARIANTS)
    assert OrmQ.objects.count() == len(INVARIANTS)
    assert [jobs.prove_invariant(name) for name in INVARIANTS] == [0] * len(INVARIANTS)
    Customer.objects.filter(pk=Customer.objects.earliest("pk").pk).update(last_invoice_number=7)

    broken = jobs.prove_invariant("invoice numbers have no gaps")

    assert broken == 1
    assert "books: invoice numbers have no gaps: " in caplog.text


@pytest.fixture
def in_time():
    """The clock says NOW, so that the closing is up to date."""
    with time_machine.travel(NOW, tick=False):
        yield
