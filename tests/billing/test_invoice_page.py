"""The customer's page of an invoice, at its signed address."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape

import pytest
from django.core.signing import Signer
from django.test import override_settings

from billing.models import Invoice, InvoiceLine, InvoiceStatus, Payment, PaymentMethod
from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.subscribe import subscribe
from billing.services.tax_settings import create_rate, register, update_settings
from billing.signed_links import InvoiceLinkInvalid, absolute, invoice_page_path, read_invoice_token
from plans.models import Merchant
from plans.page_words import period_text
from plans.services.time_zone import billing_zone
from tests.factories import CustomerFactory, FixedComponentFactory, UsageComponentFactory
from tests.pro_plan import make_pro_plan, sweep, use

JANUARY = datetime(2027, 1, 1, tzinfo=UTC)
FEBRUARY = datetime(2027, 2, 1, 2, tzinfo=UTC)


@pytest.fixture
def customer(db):
    """A customer who is known by name and e-mail alone."""
    return CustomerFactory(name="Acme Ltd", email="accounts@acme.example", invoice_prefix="ACME")


def words(response):
    text = re.sub(r"<(script|style|title)\b.*?</\1>", "", response.content.decode(), flags=re.DOTALL)
    return unescape(" ".join(re.sub(r"<[^>]+>", " ", text).split()))


def bill(customer, used=12_500, **terms):
    """The invoice that closes January with this usage."""
    pro = make_pro_plan(**terms)
    subscribe(at=JANUARY, customer=customer, plan=pro.plan, price=pro.price)
    if used:
        use(customer, pro.metric, used, JANUARY + timedelta(days=10))
    sweep(FEBRUARY)
    return Invoice.objects.filter(customer=customer).latest("closes_at")


def pay(invoice, at=FEBRUARY, status="succeeded", card_brand="visa", **details):
    method = PaymentMethod.objects.create(
        customer=invoice.customer, card_brand=card_brand, card_last_four="4242", external_id="pm_1", created_at=at
    )
    Payment.objects.create(
        customer=invoice.customer,
        invoice=invoice,
        payment_method=method,
        status=status,
        amount_cents=invoice.total_cents,
        currency=invoice.currency,
        external_id="in_1",
        created_at=at,
        **details,
    )
    if status == "succeeded":
        Invoice.objects.filter(pk=invoice.pk).update(status=InvoiceStatus.PAID, paid_at=at)


@pytest.fixture
def read(client):
    """Reads the page of an invoice as its text."""

    def reading(invoice):
        response = client.get(invoice_page_path(invoice))
        assert response.status_code == 200
        return words(response)

    return reading


def test_shows_the_three_lines_and_what_they_come_to(read, customer):
    invoice = bill(customer)
    pay(invoice)

    text = read(invoice)

    assert "Invoice ACME-002" in text
    assert "Base fee 1–28 February 2027 1 $29.00 $29.00" in text
    assert "Calls 1–31 January 2027 12,500 calls $0.05 $625.00" in text
    assert "Included calls 1–31 January 2027 10,000 calls −$0.05 −$500.00" in text
    assert "Subtotal $154.00 Total $154.00 Amount paid $154.00 Amount due $0.00" in text
    assert "12,500 calls used. 10,000 were included, 2,500 cost $125.00." in text


def test_says_with_which_card_it_was_paid_and_when(read, customer):
    invoice = bill(customer)
    pay(invoice)

    assert "Paid on 1 February 2027 with Visa •••• 4242." in read(invoice)


def test_an_open_invoice_says_what_is_due_when(read, customer):
    text = read(bill(customer))

    assert "Open. $154.00 is due on 1 February 2027." in text
    assert "Amount paid $0.00 Amount due $154.00" in text
    assert "Issued 1 February 2027 Due 1 February 2027 Period 1–28 February 2027" in text


def test_a_failed_charge_is_told_until_one_succeeds(read, customer):
    invoice = bill(customer)
    pay(invoice, status="failed", card_brand="mastercard", error_message="Your card was declined.", attempt=1)

    text = read(invoice)

    assert "Open. $154.00 is due" in text
    assert "The attempt to charge Mastercard •••• 4242 on 1 February 2027 failed: Your card was declined." in text
    assert "Amount due $154.00" in text

    Payment.objects.update(status="succeeded")
    Invoice.objects.filter(pk=invoice.pk).update(status="paid", paid_at=FEBRUARY)

    assert "failed" not in read(invoice)


def test_a_draft_is_not_final_and_has_no_total(read, customer):
    pro = make_pro_plan()
    subscribe(at=JANUARY, customer=customer, plan=pro.plan, price=pro.price)
    midnight = datetime(2027, 2, 1, tzinfo=UTC)
    close_periods(subscriptions=due_subscriptions(midnight), at=midnight)

    text = read(Invoice.objects.get(customer=customer, status="draft"))

    assert "Draft invoice" in text
    # The grace time is one hour.
    assert "Not final yet. Usage that arrives late is counted until 1 February 2027, 01:00;" in text
    assert "Total" not in text
    assert "$" not in text


@pytest.mark.parametrize(
    ("status", "sentence", "due"),
    [
        ("void", "Void. This invoice was withdrawn; there is nothing to pay for it.", "$0.00"),
        ("uncollectible", "Written off. $154.00 of it was not paid.", "$154.00"),
        ("unpaid", "Unpaid. $154.00 was due on 1 February 2027.", "$154.00"),
    ],
)
def test_every_other_state_is_told_in_words(read, customer, status, sentence, due):
    invoice = bill(customer)
    Invoice.objects.filter(pk=invoice.pk).update(status=status, voided_at=FEBRUARY if status == "void" else None)

    text = read(invoice)

    assert sentence in text
    assert f"Amount due {due}" in text


def test_an_invoice_that_credits_cover_has_nothing_to_pay(read, customer):
    text = read(bill(customer, used=8000, base_cents=None))

    assert "Nothing to pay: what was used is covered." in text
    assert "8,000 calls used, all included." in text


def test_usage_without_a_quota_is_explained_by_its_cost(read, customer):
    text = read(bill(customer, used=3, quota=None, unit_cost_cents="0.5"))

    # 3 × 0.5 cents, rounded half up.
    assert "3 calls $0.005 $0.02" in text
    assert "3 calls used, which cost $0.02." in text


def test_a_quota_that_has_no_line_is_told_in_the_sentence(read, customer):
    text = read(bill(customer, shown=False))

    assert "2,500 calls $0.05 $125.00" in text
    assert "−$" not in text
    assert "10,000 were included, 2,500 cost $125.00." in text


def test_an_invoice_without_usage_explains_nothing(read, customer):
    assert " used" not in read(bill(customer, used=0))


def test_each_usage_has_a_sentence_of_its_own(read, customer):
    pro = make_pro_plan()
    storage = UsageComponentFactory(
        price=pro.price, position=2, label="Storage usage", unit_label="GB", unit_cost_cents=Decimal(10)
    )
    subscribe(at=JANUARY, customer=customer, plan=pro.plan, price=pro.price)
    use(customer, pro.metric, 12_500, JANUARY + timedelta(days=1))
    use(customer, storage.metric, 7, JANUARY + timedelta(days=1))
    sweep(FEBRUARY)

    text = read(Invoice.objects.latest("closes_at"))

    assert "2,500 cost $125.00." in text
    assert "Storage: 7 GB used, which cost $0.70." in text


def test_shows_the_terms_of_tiers_and_no_price_of_each(read, customer):
    pro = make_pro_plan(quota=None)
    tiers = [{"up_to": "1000", "unit_cost_cents": "5"}, {"up_to": None, "unit_cost_cents": "4"}]
    pro.price.components.filter(kind="usage").update(model="graduated", unit_cost_cents=None, tiers=tiers)
    subscribe(at=JANUARY, customer=customer, plan=pro.plan, price=pro.price)
    use(customer, pro.metric, 2_500, JANUARY + timedelta(days=1))
    sweep(FEBRUARY)

    text = read(Invoice.objects.latest("closes_at"))

    assert "Calls 1–31 January 2027 $0.05 per call for the first 1,000, then $0.04 per call 2,500 calls $110.00" in text


def test_a_minimum_is_an_amount_alone(read, customer):
    pro = make_pro_plan(quota=None)
    pro.price.components.filter(kind="usage").update(minimum_cents=2_000)
    subscribe(at=JANUARY, customer=customer, plan=pro.plan, price=pro.price)
    use(customer, pro.metric, 10, JANUARY + timedelta(days=1))
    sweep(FEBRUARY)

    text = read(Invoice.objects.latest("closes_at"))

    assert "Minimum charge: Calls 1–31 January 2027 $19.50 How this was computed" in text
    assert "10 calls used, which cost $20.00." in text


def test_amounts_of_a_percentage_are_written_as_money(read, customer):
    pro = make_pro_plan(quota=None)
    pro.price.components.filter(kind="usage").update(model="percentage", unit_cost_cents=None, rate_percent="2.5")
    subscribe(at=JANUARY, customer=customer, plan=pro.plan, price=pro.price)
    use(customer, pro.metric, "1234.5", JANUARY + timedelta(days=1))
    sweep(FEBRUARY)

    text = read(Invoice.objects.latest("closes_at"))

    assert "Calls 1–31 January 2027 2.5% of the amount $1,234.50 $30.86" in text
    assert "Calls: $1,234.50 used, which cost $30.86." in text


def test_how_lines_of_a_period_were_computed_is_told_once_below_them(client, customer):
    page = client.get(invoice_page_path(bill(customer))).content.decode()

    (how,) = re.findall(r"<details.*?</details>", page, flags=re.DOTALL)
    told = unescape(" ".join(re.sub(r"<[^>]+>", " ", how).split()))
    assert told == (
        "How this was computed 12,500 calls × $0.05 = $625.00. Included calls (from 1 January 2027) paid for 10,000 "
        "calls. Without it the price is $625.00, with it $125.00: −$500.00. Usage by day 11 January 2027 12,500 calls "
        "1 event Counted from 1 event. Recomputed from the events of today: the same."
    )
    assert page.index("Included calls") < page.index("<details")


def test_a_customer_reads_of_late_events_and_no_address_of_the_api(read, customer):
    invoice = bill(customer)
    usage = invoice.lines.get(type="usage")
    use(customer, usage.metric, 500, JANUARY + timedelta(days=20))

    text = read(invoice)

    assert "The events of today come to 13,000 calls and not 12,500 calls." in text
    assert "/v1/" not in text


def test_tax_stands_between_subtotal_and_total(read, customer):
    invoice = bill(customer)
    draft = Invoice.objects.create(
        customer=customer,
        kind="cycle",
        status="issued",
        number="ACME-009",
        currency="USD",
        closes_at=FEBRUARY,
        finalize_at=FEBRUARY,
        finalized_at=FEBRUARY,
        due_at=FEBRUARY,
        subtotal_cents=10_000,
        tax_cents=1900,
        total_cents=11_900,
        created_at=FEBRUARY,
    )

    assert "Subtotal $100.00 Tax $19.00 Total $119.00" in read(draft)
    assert "Tax" not in read(invoice)


def test_tax_is_told_with_its_rate_and_what_it_is_of(read, customer):
    create_rate(at=FEBRUARY, name="German VAT", rate=Decimal("0.19"), jurisdiction="DE")
    type(customer).objects.update(billing_country="DE")

    text = read(bill(customer))

    # 551 on the fee and 2,375 on 12,500.
    assert "Subtotal $154.00 Tax (19%) on $154.00 $29.26 Total $183.26" in text
    assert "Tax: German VAT, DE." in text


def test_tax_that_prices_include_is_told(read, customer):
    update_settings({"default_tax_rate": Decimal("0.19"), "prices_include_tax": True})

    text = read(bill(customer))

    # 463 of 2,900 and 1,996 of 12,500.
    assert "Subtotal without tax $129.41 Tax (19%) on $129.41 $24.59 Total $154.00" in text
    assert "The amounts of the lines include the tax." in text


def test_why_somebody_pays_no_tax_is_told(read, customer):
    type(customer).objects.update(tax_exempt=True, tax_exemption_reason="Reverse charge")

    assert "No tax is charged: Reverse charge." in read(bill(customer))


def test_the_seller_is_named_with_address_and_the_tax_numbers_of_the_place(read, customer):
    Merchant.objects.update(
        legal_name="Northwind GmbH", address_line1="Hafen 1", postal_code="10115", city="Berlin", country="DE",
        tax_id="12/345",
    )  # fmt: skip
    create_rate(at=FEBRUARY, name="VAT", rate=Decimal("0.19"), jurisdiction="DE")
    register(at=FEBRUARY, jurisdiction="Germany", registration_number="DE123", tax_type="VAT")
    register(at=FEBRUARY, jurisdiction="FR", registration_number="FR999", tax_type="TVA")
    type(customer).objects.update(billing_country="DE")

    text = read(bill(customer))

    assert "From Northwind GmbH Hafen 1 10115 Berlin Germany Tax ID 12/345 VAT DE123 To" in text
    assert "FR999" not in text


def test_buyer_and_seller_are_named_with_what_is_known_of_them(read, customer):
    Merchant.objects.update(display_name="Northwind", legal_name="Northwind Ltd", support_email="help@example.com")
    assert "From Northwind Ltd help@example.com To Acme Ltd accounts@acme.example Details" in read(bill(customer))


def test_a_buyer_is_named_as_on_a_letter(read, customer):
    type(customer).objects.update(
        name="Ada",
        business_name="Acme Ltd",
        billing_address_line1="12 Harbour Road",
        billing_address_line2="Dock 3",
        billing_postal_code="BS1 5TY",
        billing_city="Bristol",
        billing_state_province="Avon",
        billing_country="GB",
        tax_id="GB123",
    )

    assert (
        "To Acme Ltd Ada 12 Harbour Road Dock 3 BS1 5TY Bristol, Avon United Kingdom accounts@acme.example "
        "Tax ID GB123 Details" in read(bill(customer))
    )


def test_days_are_those_of_the_billing_time_zone_which_is_named(read, customer, settings):
    settings.BILLING_TIME_ZONE = "America/New_York"
    Merchant.objects.update(billing_time_zone="America/New_York")
    billing_zone.cache_clear()
    try:
        # It is the first of February in UTC, and still January in New York.
        pro = make_pro_plan()
        subscribe(at=FEBRUARY, customer=customer, plan=pro.plan, price=pro.price)

        text = read(Invoice.objects.get(customer=customer))
    finally:
        billing_zone.cache_clear()

    assert "Issued 31 January 2027" in text
    assert "All dates on this page are in the time zone America/New_York." in text


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        ((2027, 1, 1), (2027, 2, 1), "1–31 January 2027"),
        ((2027, 1, 15), (2027, 2, 15), "15 January – 14 February 2027"),
        ((2026, 12, 31), (2027, 1, 31), "31 December 2026 – 30 January 2027"),
        ((2027, 1, 1), (2027, 1, 2), "1 January 2027"),
        ((2028, 2, 29, 23), (2028, 3, 1), "29 February 2028"),
        ((2027, 1, 1, 5), (2027, 1, 1, 9), "1 January 2027"),
    ],
)
def test_a_period_ends_with_its_last_day(start, end, text, db):
    assert period_text(datetime(*start, tzinfo=UTC), datetime(*end, tzinfo=UTC), billing_zone()) == text


def test_a_forged_or_foreign_token_opens_nothing(client, customer):
    invoice = bill(customer)
    path = invoice_page_path(invoice)
    other_kind = f"/invoices/{Signer(salt='candela.checkout-session', sep='.').sign(invoice.public_id)}"
    unsigned = f"/invoices/{invoice.public_id}"
    with override_settings(SECRET_KEY="of another installation"):
        foreign = invoice_page_path(invoice)

    for address in (
        path[:-1],
        f"{path}x",
        path.replace("inv_", "inv_a"),
        other_kind,
        unsigned,
        foreign,
        "/invoices/x.",
    ):
        response = client.get(address)
        assert response.status_code == 404, address
        assert "This address opens no invoice" in words(response)
        assert "ask for a new one" in words(response)
        assert "ACME" not in words(response)
        assert "no-store" in response["Cache-Control"]


@pytest.mark.parametrize("token", ["", "inv_1", "inv_1.", ".", "inv_1.é", "\x00", "x" * 5000])
def test_a_text_that_is_no_token_is_refused(token):
    with pytest.raises(InvoiceLinkInvalid):
        read_invoice_token(token)


def test_a_token_is_read_back_as_the_id_that_it_was_made_of(customer):
    invoice = bill(customer)

    assert read_invoice_token(invoice_page_path(invoice).removeprefix("/invoices/")) == invoice.public_id


def test_an_address_for_an_e_mail_is_whole(settings):
    settings.PUBLIC_URL = "https://bills.example/"

    assert absolute("/invoices/x") == "https://bills.example/invoices/x"


def test_an_invoice_that_does_not_exist_is_not_found(client, db):
    response = client.get(invoice_page_path(Invoice(public_id="inv_never")))

    assert response.status_code == 404
    assert "This invoice does not exist" in words(response)


def test_a_skipped_draft_is_never_shown(client, customer):
    invoice = bill(customer, used=0, base_cents=None)
    assert invoice.status == "skipped"

    response = client.get(invoice_page_path(invoice))

    assert response.status_code == 404


def test_hostile_texts_stay_texts(client, customer):
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    Merchant.objects.update(display_name=evil, legal_name=evil)
    type(customer).objects.update(name=evil, business_name=f"{evil}!", billing_city=evil, tax_id="<b>x</b>")
    pro = make_pro_plan(billing_description=evil)
    type(pro.plan).objects.update(name=evil)
    FixedComponentFactory(price=pro.price, position=2, label=evil)
    pro.price.components.filter(kind="usage").update(label=evil, unit_label="<s>x</s>")
    subscribe(at=JANUARY, customer=customer, plan=pro.plan, price=pro.price)
    use(customer, pro.metric, 12_500, JANUARY + timedelta(days=1))
    sweep(FEBRUARY)
    invoice = Invoice.objects.latest("closes_at")
    pay(invoice, status="failed", error_message=evil, card_brand="<b>x</b>", attempt=1)

    page = client.get(invoice_page_path(invoice)).content.decode()

    assert not re.search(r"<(img|b|s)\b|<script(?! src=\"/static/)", page)
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 8


def test_nothing_is_inline_and_nobody_keeps_a_copy(client, customer):
    response = client.get(invoice_page_path(bill(customer)))

    page = response.content.decode()
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\sstyle=|\son\w+=|javascript:", page)
    assert "script-src 'self'" in response["Content-Security-Policy"]
    assert response["Cache-Control"] == "no-store"
    assert response["Referrer-Policy"] == "same-origin"
    assert '<meta name="robots" content="noindex">' in page


def test_the_print_button_waits_for_its_script(client, customer):
    page = client.get(invoice_page_path(bill(customer))).content.decode()

    assert re.search(r"<button[^>]* data-print hidden>", page)
    assert '<script src="/static/pages/print.js" defer></script>' in page


def test_it_is_only_read(client, customer):
    assert client.post(invoice_page_path(bill(customer))).status_code == 405


@pytest.mark.parametrize("count", [1, 6])
def test_needs_the_same_number_of_queries_for_any_number_of_lines(client, customer, count, django_assert_num_queries):
    pro = make_pro_plan()
    for position in range(count):
        FixedComponentFactory(price=pro.price, position=2 + position)
    subscribe(at=JANUARY, customer=customer, plan=pro.plan, price=pro.price)
    use(customer, pro.metric, 12_500, JANUARY + timedelta(days=1))
    sweep(FEBRUARY)
    invoice = Invoice.objects.latest("closes_at")
    pay(invoice)
    billing_zone()

    # The invoice, its lines, its payments, and the name of the site: seller and buyer stand on the invoice. What
    # explains usage is read for all periods together: what was booked (2), what today's events would book (3) and the
    # grants; and of each period its metric's version and days.
    with django_assert_num_queries(4 + 6 + 2):
        text = words(client.get(invoice_page_path(invoice)))

    assert InvoiceLine.objects.filter(invoice=invoice).count() == 3 + count
    assert text.count("Base fee") == 1 + count
