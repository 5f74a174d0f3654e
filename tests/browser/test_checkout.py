"""The checkout in a real browser: good cards, bad cards, two tabs, doubled clicks, and what is not sold any more."""

from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.utils import timezone
from playwright.sync_api import expect

from billing.checkout_sessions import CheckoutSession, sign_session
from billing.models import Invoice, Payment
from credits.services.publish_plan import QuotaTerms, UsageTerms, publish_plan
from plans.models import Customer, Plan, Subscription
from plans.services.plans import delete_plan
from tests.browser.checkout_form import (
    DECLINED,
    GOOD,
    WITH_BANK,
    WITHOUT_FUNDS,
    expect_welcome,
    fill_buyer,
    fill_card,
    subscribe,
)
from tests.browser.conftest import DESKTOP, PHONE, barriers, overflow
from tests.factories import CustomerFactory

CALLS = {"slug": "api-calls", "name": "API calls", "event_name": "api_calls", "unit_label": "call"}
REFUSED_BY_THE_BANK = "402 (Payment Required)"


def publish(name="Pro", *, fee_cents=2_900, unit_cost_cents=Decimal(5)) -> Plan:
    return publish_plan(
        at=timezone.now(),
        name=name,
        currency="USD",
        monthly_amount_cents=fee_cents,
        usage_components=[
            UsageTerms(**CALLS, unit_cost_cents=unit_cost_cents, quota=QuotaTerms(units=Decimal(10_000)))
        ],
        is_visible_in_pricing_table=True,
        on_pricing_table=True,
    )


@pytest.fixture
def pro(site) -> Plan:
    """$29 a month with 10,000 calls, then 5 cents each."""
    return publish()


def path_of(plan, **query):
    price = plan.prices.get()
    return f"/checkout?price={price.public_id}" + "".join(f"&{name}={value}" for name, value in query.items())


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("dark", [False, True])
def test_says_what_is_due_and_shuts_nobody_out(pro, open_page, width, dark):
    page = open_page(path_of(pro), width=width, dark=dark)
    page.get_by_label("Card number").wait_for()

    expect(page.get_by_text("10,000 API calls included each month")).to_be_visible()
    expect(page.get_by_text("then $0.05 per call")).to_be_visible()
    expect(page.get_by_role("button", name="Subscribe and pay $29.00")).to_be_visible()
    expect(page.get_by_role("note")).to_contain_text("not Stripe")
    assert barriers(page) == []
    assert overflow(page) <= 0


def test_subscribes_with_a_good_card_and_shows_what_was_bought(pro, open_page):
    page = open_page(path_of(pro))
    fill_buyer(page)
    fill_card(page)

    subscribe(page)

    expect_welcome(page)
    expect(page.get_by_text("You paid $29.00 with Visa")).to_be_visible()
    customer = Customer.objects.get()
    expect(page.get_by_text(f"Your customer id is {customer.public_id}")).to_be_visible()
    expect(page.get_by_text(f'"customerId": "{customer.public_id}"')).to_be_visible()
    assert barriers(page) == []
    page.get_by_role("link", name="See the invoice").click()
    expect(page.get_by_role("heading", name=f"Invoice {Invoice.objects.get().number}")).to_be_visible()
    expect(page.get_by_text("Paid on")).to_be_visible()


@pytest.mark.parametrize(
    ("card", "sentence"),
    [
        (DECLINED, "Your card was declined. Nothing was charged. Try another card, or ask your bank."),
        (WITHOUT_FUNDS, "Your card has insufficient funds. Nothing was charged. Try another card, or ask your bank."),
    ],
)
def test_a_declined_card_is_said_and_a_good_one_then_works(pro, open_page, complaints, card, sentence):
    page = open_page(path_of(pro))
    fill_buyer(page)
    fill_card(page, card)
    subscribe(page)
    expect(page.get_by_role("alert")).to_have_text(sentence)
    assert not Customer.objects.exists()
    assert page.get_by_label("Name", exact=True).input_value() == "Acme Ltd"

    fill_card(page, GOOD)
    subscribe(page)

    expect_welcome(page)
    assert Payment.objects.get().status == "succeeded"
    complaints.expect(REFUSED_BY_THE_BANK)


def test_a_card_that_asks_the_bank_goes_there_and_back(pro, open_page):
    page = open_page(path_of(pro))
    fill_buyer(page)
    fill_card(page, WITH_BANK)
    subscribe(page)

    page.get_by_role("button", name="Approve").click()

    expect_welcome(page)
    # The secret with which the bank led back is not left in the address.
    assert "secret" not in page.url


def test_a_refusal_at_the_bank_leads_back_to_the_form(pro, open_page):
    page = open_page(path_of(pro))
    fill_buyer(page)
    fill_card(page, WITH_BANK)
    subscribe(page)
    page.get_by_role("button", name="Refuse").click()
    expect(page.get_by_role("heading", name="Not subscribed yet")).to_be_visible()
    expect(page.get_by_text("Your bank did not confirm the payment.")).to_be_visible()
    expect(page.get_by_text("Your card was not charged.")).to_be_visible()

    page.get_by_role("link", name="Try again").click()
    expect(page.get_by_label("Name", exact=True)).to_have_value("Acme Ltd")
    expect(page.get_by_label("E-mail")).to_have_value("billing@acme.example")
    fill_card(page)
    subscribe(page)

    expect_welcome(page)
    assert Subscription.objects.count() == 1


def test_a_double_click_asks_subscribes_and_charges_once(pro, open_page):
    page = open_page(path_of(pro))
    fill_buyer(page)
    fill_card(page)
    asked = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)

    # Two presses in one turn of the page's loop, before any of its answers can come.
    page.get_by_role("button", name="Subscribe and pay $29.00").evaluate(
        "button => { button.click(); button.click(); }"
    )

    expect_welcome(page)
    assert len([url for url in asked if "/checkout?" in url]) == 1
    assert (Subscription.objects.count(), Payment.objects.count()) == (1, 1)


def test_two_tabs_that_are_pressed_together_subscribe_and_charge_once(pro, open_page, complaints):
    first = open_page(path_of(pro))
    second = first.context.new_page()
    second.goto(path_of(pro))
    for tab in (first, second):
        fill_buyer(tab)
        fill_card(tab)

    for tab in (first, second):
        tab.get_by_role("button", name="Subscribe and pay $29.00").click(no_wait_after=True)

    # Whichever tab came second may be told by Stripe that it is done already; its page shows the same end.
    for tab in (first, second):
        tab.wait_for_url("**/checkout/chk_*")
        expect_welcome(tab)
    complaints.tolerate("400 (Bad Request)")
    assert (Customer.objects.count(), Subscription.objects.count(), Payment.objects.count()) == (1, 1, 1)


def test_the_way_through_the_form_needs_a_keyboard_only(pro, open_page):
    page = open_page(path_of(pro))
    page.get_by_label("Card number").wait_for()
    page.get_by_label("Name", exact=True).focus()
    for typed in ("Acme Ltd", "billing@acme.example", "4242424242424242", "1234", "123"):
        page.keyboard.type(typed)
        page.keyboard.press("Tab")

    expect(page.get_by_role("button", name="Subscribe and pay $29.00")).to_be_focused()
    page.keyboard.press("Enter")

    expect_welcome(page)


def test_a_declined_card_brings_the_focus_to_what_happened(pro, open_page, complaints):
    page = open_page(path_of(pro))
    fill_buyer(page)
    fill_card(page, DECLINED)

    subscribe(page)

    expect(page.get_by_role("alert")).to_be_focused()
    complaints.expect(REFUSED_BY_THE_BANK)


def test_a_card_form_that_cannot_be_loaded_says_what_to_do(pro, open_page, complaints):
    page = open_page("/pricing")
    page.route("**/stripe.js", lambda route: route.abort())

    page.goto(path_of(pro))

    expect(page.get_by_role("alert")).to_contain_text("The card form could not be loaded.")
    expect(page.get_by_role("button", name="Subscribe and pay $29.00")).to_be_disabled()
    complaints.expect("stripe.js")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"status": 502, "body": "<h1>Bad gateway</h1>"}, "The fault is ours, and it has been logged."),
        ({"status": 403, "body": "<h1>Forbidden</h1>"}, "This page is too old"),
    ],
)
def test_an_answer_that_is_no_answer_is_put_into_words(pro, open_page, complaints, answer, sentence):
    page = open_page(path_of(pro))
    page.route("**/checkout?*", lambda route: route.fulfill(**answer))
    fill_buyer(page)
    fill_card(page)

    subscribe(page)

    expect(page.get_by_role("alert")).to_contain_text(sentence)
    complaints.expect(str(answer["status"]))


def test_a_lost_connection_is_put_into_words_and_the_next_press_works(pro, open_page, complaints):
    page = open_page(path_of(pro))
    page.route("**/checkout?*", lambda route: route.abort())
    fill_buyer(page)
    fill_card(page)
    subscribe(page)
    expect(page.get_by_role("alert")).to_contain_text("The connection failed.")
    page.unroute("**/checkout?*")

    subscribe(page)

    expect_welcome(page)
    complaints.expect("/checkout?")


def test_the_form_opened_again_says_that_it_is_done(pro, open_page):
    page = open_page(path_of(pro))
    fill_buyer(page)
    fill_card(page)
    subscribe(page)
    expect_welcome(page)

    page.goto(path_of(pro))

    expect(page.get_by_role("heading", name="You are subscribed to Pro")).to_be_visible()
    page.get_by_role("button", name="Subscribe for somebody else").click()
    expect(page.get_by_label("Name", exact=True)).to_have_value("")


def test_what_is_missing_is_said_at_its_field(pro, open_page):
    page = open_page(path_of(pro))
    page.get_by_label("Card number").wait_for()
    page.get_by_label("E-mail").fill("acme")

    subscribe(page)

    expect(page.get_by_text("Type your name or that of your company: it stands on your invoices.")).to_be_visible()
    expect(page.get_by_text("This is no e-mail address. It looks like name@example.com.")).to_be_visible()
    expect(page.get_by_text("Type your card number.")).to_be_visible()
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    assert page.get_by_label("E-mail").input_value() == "acme"


@pytest.mark.parametrize("scripts", [True, False])
def test_a_free_plan_needs_no_card_and_no_scripts(site, open_page, scripts):
    free = publish("Free", fee_cents=0, unit_cost_cents=None)
    page = open_page(path_of(free), java_script_enabled=scripts)
    expect(page.get_by_text("No card is needed.")).to_be_visible()
    fill_buyer(page)

    subscribe(page)

    expect_welcome(page, "Free")
    expect(page.get_by_text("Nothing was charged at the start.")).to_be_visible()


def test_without_scripts_a_card_plan_says_what_it_needs(pro, open_page):
    page = open_page(path_of(pro), java_script_enabled=False)

    expect(page.get_by_text("It needs JavaScript.")).to_be_visible()


def test_pay_as_you_go_keeps_the_card_and_charges_nothing(site, open_page):
    metered = publish("Metered", fee_cents=None)
    page = open_page(path_of(metered))
    fill_buyer(page)
    fill_card(page)

    subscribe(page)

    expect_welcome(page, "Metered")
    assert not Payment.objects.exists()
    assert Customer.objects.get().payment_methods.get().card_last_four == "4242"


def test_a_known_customer_subscribes_with_a_signed_link(pro, open_page):
    customer = CustomerFactory(name="Globex GmbH", email="billing@globex.example")
    token, _ = sign_session(CheckoutSession(customer=customer.public_id), at=timezone.now())
    page = open_page(f"/pricing?session={token}")
    page.get_by_role("link", name="Get started").click()
    expect(page.get_by_text("Globex GmbH")).to_be_visible()
    fill_card(page)

    subscribe(page)

    expect_welcome(page)
    assert Subscription.objects.get().customer == customer


def test_an_expired_link_is_refused_with_what_to_do(pro, open_page, complaints):
    with time_machine.travel(timezone.now() - timedelta(days=2), tick=False):
        token, _ = sign_session(CheckoutSession(customer=CustomerFactory().public_id), at=timezone.now())

    page = open_page(path_of(pro, session=token))

    expect(page.get_by_text("This checkout link has expired. Open the checkout again from the app")).to_be_visible()
    # He would buy as a stranger there.
    expect(page.get_by_role("link", name="See plans and prices")).to_have_count(0)
    complaints.expect("403")


def test_a_forged_link_is_refused(pro, open_page, complaints):
    page = open_page(path_of(pro, session="forged.token"))

    expect(page.get_by_text("This checkout link is not valid.")).to_be_visible()
    complaints.expect("403")


def test_a_plan_deleted_while_the_form_was_open_is_refused_and_nothing_is_charged(pro, open_page, complaints):
    page = open_page(path_of(pro))
    fill_buyer(page)
    fill_card(page)
    delete_plan(plan=pro, at=timezone.now())

    subscribe(page)

    expect(page.get_by_role("alert")).to_contain_text("not offered at this price any more")
    assert not Customer.objects.exists()
    complaints.expect("404")


def test_a_price_that_is_not_sold_leads_back_to_the_pricing_page(site, open_page, complaints):
    page = open_page("/checkout?price=price_unknown")

    expect(page.get_by_role("link", name="See plans and prices")).to_be_visible()
    complaints.expect("404")
