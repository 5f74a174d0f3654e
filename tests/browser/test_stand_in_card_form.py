"""The sandbox's stand-in for Stripe.js in a real browser, on a page with a strict content security policy."""

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlencode

import pytest
import stripe
from playwright.sync_api import Locator, Page, expect

from billing.sandbox import Sandbox
from billing.sandbox.http_client import SandboxClient
from billing.sandbox.server import SandboxServer

PUBLISHABLE_KEY = "pk_test_candela"

HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Checkout</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body><h1>Checkout</h1>
<form id="form"><div id="card"></div><button>Pay</button></form>
<p id="message" role="alert"></p><p id="status" role="status"></p>
<script src="{sandbox}/stripe.js"></script><script src="/page.js"></script></body></html>"""

SCRIPT = """
document.addEventListener("securitypolicyviolation", (refused) => {
  throw new Error(`The content security policy refused ${refused.violatedDirective}: ${refused.blockedURI}`);
});
const given = new URLSearchParams(location.search);
const say = (id, text) => { document.getElementById(id).textContent = text; };
const stripe = Stripe(given.get("key"));
const setup = given.get("mode") === "setup";
const options = setup
  ? { mode: "setup", currency: "usd", setupFutureUsage: "off_session", paymentMethodTypes: ["card"] }
  : { mode: "payment", amount: Number(given.get("amount")), currency: "usd", setupFutureUsage: "off_session",
      captureMethod: "manual", paymentMethodTypes: ["card"] };
const elements = stripe.elements({ ...options, appearance: { variables: { colorPrimary: "rgb(0, 90, 60)" } } });
const card = elements.create("payment", { fields: { billingDetails: { name: "never", email: "never" } } });
const heard = [];
card.on("ready", () => heard.push("ready")).on("change", (event) => heard.push(event));
card.mount("#card");
const show = ({ error, paymentIntent, setupIntent }) => {
  window.answered = error ?? paymentIntent ?? setupIntent;
  say("message", error ? error.message : "");
  say("status", error ? "" : (paymentIntent ?? setupIntent).status);
};
document.getElementById("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { error } = await elements.submit();
  if (error) { show({ error }); return; }
  const confirm = (given_) => (setup ? stripe.confirmSetup(given_) : stripe.confirmPayment(given_));
  show(await confirm({
    elements, clientSecret: given.get("secret"), redirect: given.get("redirect") ?? "if_required",
    confirmParams: {
      return_url: location.href,
      payment_method_data: { billing_details: { name: "Ada", email: "ada@example.com" } },
    },
  }));
});
const back = given.get("payment_intent_client_secret") ?? given.get("setup_intent_client_secret");
if (back) (setup ? stripe.retrieveSetupIntent(back) : stripe.retrievePaymentIntent(back)).then(show);
"""


def containing(text: str) -> re.Pattern[str]:
    """Return a pattern that finds this text anywhere."""
    return re.compile(re.escape(text))


@dataclass
class Checkout:
    """A page of a seller with a card form, the sandbox behind it, and what the seller's server was asked."""

    sandbox_url: str
    stripe_api: stripe.StripeClient
    page: Page
    page_url: str
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, intent: stripe.PaymentIntent | stripe.SetupIntent, **more: str) -> None:
        """Open the page for an intent that the seller's server has made; `more` goes into the address."""
        amount = getattr(intent, "amount", "")
        mode = "setup" if intent.object == "setup_intent" else "payment"
        query = {"secret": intent.client_secret, "amount": amount, "mode": mode, "key": PUBLISHABLE_KEY, **more}
        self.page.goto(f"{self.page_url}/?{urlencode(query)}")

    def hold(self, amount: int = 2_900) -> stripe.PaymentIntent:
        """Make a customer and an intent that holds `amount` cents, and open the page for it."""
        customer = self.stripe_api.v1.customers.create({"name": "Ada"})
        intent = self.stripe_api.v1.payment_intents.create(
            {
                "amount": amount,
                "currency": "usd",
                "customer": customer.id,
                "capture_method": "manual",
                "setup_future_usage": "off_session",
                "payment_method_types": ["card"],
            }
        )
        self.open(intent)
        return intent

    def type_card(self, number: str, expiry: str = "1240", cvc: str = "123") -> None:
        """Type a card into the form, key by key."""
        for label, text in (("Card number", number), ("Expiry date (MM / YY)", expiry), ("Security code (CVC)", cvc)):
            self.field(label).fill("")
            self.field(label).press_sequentially(text)

    def pay(self) -> None:
        """Press the page's button."""
        self.page.get_by_role("button", name="Pay").click()

    def field(self, label: str) -> Locator:
        """Return the field with this label."""
        return self.page.get_by_label(label)

    def says(self, text: str) -> None:
        """Wait until the page shows this error."""
        expect(self.page.locator("#message")).to_have_text(text)

    def has_status(self, status: str) -> None:
        """Wait until the page shows this status of the intent."""
        expect(self.page.locator("#status")).to_have_text(status)


@pytest.fixture
def card_form_sandbox() -> Iterator[SandboxServer]:
    sandbox = Sandbox()
    with SandboxServer(sandbox) as server:
        yield server
    sandbox.close()


@pytest.fixture
def checkout(card_form_sandbox: SandboxServer, page: Page) -> Iterator[Checkout]:
    sandbox_url = card_form_sandbox.url
    asked: list[str] = []

    class Seller(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            script = self.path == "/page.js"
            body = (SCRIPT if script else HTML.format(sandbox=sandbox_url)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript" if script else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.send_header(
                "Content-Security-Policy",
                f"script-src 'self' {sandbox_url}; style-src 'self'; connect-src 'self' {sandbox_url}",
            )
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    seller = ThreadingHTTPServer(("127.0.0.1", 0), Seller)
    threading.Thread(target=seller.serve_forever, args=(0.05,), daemon=True).start()
    stripe_api = stripe.StripeClient("sk_test_candela", http_client=SandboxClient(card_form_sandbox.sandbox))
    checkout = Checkout(sandbox_url, stripe_api, page, f"http://127.0.0.1:{seller.server_port}", asked)
    page.on("pageerror", lambda error: checkout.complaints.append(str(error)))
    page.set_default_timeout(10_000)
    yield checkout
    seller.shutdown()
    seller.server_close()
    assert checkout.complaints == []


def test_holds_the_amount_on_a_good_card_and_keeps_the_card(checkout):
    intent = checkout.hold(2_900)

    checkout.type_card("4242424242424242")
    checkout.pay()

    checkout.has_status("requires_capture")
    held = checkout.stripe_api.v1.payment_intents.retrieve(intent.id, {"expand": ["payment_method"]})
    assert (held.status, held.amount_capturable) == ("requires_capture", 2_900)
    assert (held.payment_method.card.last4, held.payment_method.card.exp_year) == ("4242", 2040)
    assert held.payment_method.customer == intent.customer
    assert held.payment_method.billing_details.email == "ada@example.com"


@pytest.mark.parametrize(
    ("number", "reason", "message"),
    [
        ("4000000000000002", "generic_decline", "Your card was declined."),
        ("4000000000009995", "insufficient_funds", "Your card has insufficient funds."),
    ],
)
def test_pays_with_another_card_after_a_decline(checkout, number, reason, message):
    intent = checkout.hold()
    checkout.type_card(number)
    checkout.pay()
    checkout.says(message)
    error = checkout.page.evaluate("window.answered")
    assert (error["type"], error["code"], error["decline_code"]) == ("card_error", "card_declined", reason)
    assert error["payment_intent"]["status"] == "requires_payment_method"

    checkout.type_card("4242424242424242")
    checkout.pay()

    checkout.has_status("requires_capture")
    assert checkout.stripe_api.v1.payment_intents.retrieve(intent.id).status == "requires_capture"


def test_goes_to_the_bank_and_comes_back_when_the_holder_approves(checkout):
    intent = checkout.hold(2_900)
    checkout.type_card("4000002500003155")
    checkout.pay()
    expect(checkout.page.get_by_role("heading", name="Hold $29.00 on your card?")).to_be_visible()

    checkout.page.get_by_role("button", name="Approve").click()

    checkout.has_status("requires_capture")
    assert "redirect_status=succeeded" in checkout.page.url
    assert checkout.stripe_api.v1.payment_intents.retrieve(intent.id).amount_capturable == 2_900


def test_comes_back_from_the_bank_and_pays_otherwise_when_the_holder_refuses(checkout):
    intent = checkout.hold()
    checkout.type_card("4000002500003155")
    checkout.pay()
    checkout.page.get_by_role("button", name="Refuse").click()
    checkout.has_status("requires_payment_method")
    assert "redirect_status=failed" in checkout.page.url

    checkout.type_card("4242424242424242")
    checkout.pay()

    checkout.has_status("requires_capture")
    assert checkout.stripe_api.v1.payment_intents.retrieve(intent.id).status == "requires_capture"


def test_saves_a_card_without_a_payment(checkout):
    customer = checkout.stripe_api.v1.customers.create({})
    intent = checkout.stripe_api.v1.setup_intents.create({"customer": customer.id, "payment_method_types": ["card"]})
    checkout.open(intent)

    checkout.type_card("4000002500003155")
    checkout.pay()
    expect(checkout.page.get_by_role("heading", name="Save your card")).to_be_visible()
    checkout.page.get_by_role("button", name="Approve").click()

    checkout.has_status("succeeded")
    saved = checkout.stripe_api.v1.setup_intents.retrieve(intent.id, {"expand": ["payment_method"]})
    assert (saved.payment_method.customer, saved.payment_method.card.last4) == (customer.id, "3155")


def test_always_leads_to_the_way_back_unless_redirects_are_for_need_only(checkout):
    customer = checkout.stripe_api.v1.customers.create({})
    intent = checkout.stripe_api.v1.setup_intents.create({"customer": customer.id})
    checkout.open(intent, redirect="always")

    checkout.type_card("4242424242424242")
    checkout.pay()

    checkout.page.wait_for_url("**redirect_status=succeeded**")
    checkout.has_status("succeeded")


@pytest.mark.parametrize(
    ("card", "label", "code", "message"),
    [
        (("", "1240", "123"), "Card number", "incomplete_number", "Type your card number."),
        (("4242", "1240", "123"), "Card number", "incomplete_number", "Your card number is incomplete."),
        (("4242424242424241", "1240", "123"), "Card number", "invalid_number", "Your card number is not valid."),
        (("4242424242424242", "12", "123"), "Expiry date", "incomplete_expiry", "Your card's expiry date is incom"),
        (("4242424242424242", "1340", "123"), "Expiry date", "invalid_expiry_month", "must be between 01 and 12"),
        (("4242424242424242", "1220", "123"), "Expiry date", "invalid_expiry_year_past", "year is in the past"),
        (("4242424242424242", "1240", "12"), "Security code", "incomplete_cvc", "It has 3 digits."),
        (("378282246310005", "1240", "123"), "Security code", "incomplete_cvc", "It has 4 digits."),
    ],
)
def test_shows_what_is_wrong_at_the_field_and_goes_there(checkout, card, label, code, message):
    intent = checkout.hold()

    checkout.type_card(*card)
    checkout.pay()

    expect(checkout.field(label)).to_be_focused()
    expect(checkout.field(label)).to_have_attribute("aria-invalid", "true")
    expect(checkout.field(label)).to_have_accessible_description(containing(message))
    assert checkout.page.evaluate("window.answered.code") == code
    assert checkout.stripe_api.v1.payment_intents.retrieve(intent.id).latest_charge is None


def test_an_expiry_earlier_this_year_is_past(checkout):
    checkout.page.clock.set_fixed_time("2031-06-15T12:00:00Z")
    checkout.hold()

    checkout.type_card("4242424242424242", expiry="0531")
    checkout.pay()
    expect(checkout.field("Expiry date")).to_have_accessible_description(containing("expiry date is in the past"))
    assert checkout.page.evaluate("window.answered.code") == "invalid_expiry_month_past"

    checkout.type_card("4242424242424242", expiry="0631")
    checkout.pay()
    checkout.has_status("requires_capture")


def test_an_error_goes_away_when_its_field_is_right(checkout):
    checkout.hold()
    checkout.pay()
    expect(checkout.field("Card number")).to_have_attribute("aria-invalid", "true")

    checkout.field("Card number").press_sequentially("4242424242424242")

    expect(checkout.field("Card number")).to_have_attribute("aria-invalid", "false")
    expect(checkout.field("Card number")).to_have_accessible_description("")
    expect(checkout.field("Expiry date")).to_have_attribute("aria-invalid", "true")


def test_lists_the_test_cards_at_the_field_for_a_card_that_is_none(checkout):
    checkout.hold()

    checkout.type_card("4111111111111111")
    checkout.pay()

    expect(checkout.field("Card number")).to_be_focused()
    expect(checkout.field("Card number")).to_have_accessible_description(containing("Use 4242 4242 4242 4242"))


def test_writes_the_card_as_it_is_printed(checkout):
    checkout.hold()

    checkout.type_card("4242424242424242999999", expiry="540", cvc="12345")
    assert checkout.field("Card number").input_value() == "4242 4242 4242 4242 999"
    assert checkout.field("Expiry date").input_value() == "05 / 40"
    assert checkout.field("Security code").input_value() == "1234"

    checkout.type_card("378282246310005", expiry="12/2040")
    assert checkout.field("Card number").input_value() == "3782 822463 10005"
    assert checkout.field("Expiry date").input_value() == "12 / 20"

    checkout.field("Expiry date").fill("12/2040")
    assert checkout.field("Expiry date").input_value() == "12 / 40"


def test_a_digit_put_in_the_middle_leaves_the_caret_behind_it(checkout):
    checkout.hold()
    number = checkout.field("Card number")
    number.press_sequentially("424242424242424")

    for _ in range(14):
        number.press("ArrowLeft")
    number.press_sequentially("99")

    assert number.input_value() == "4242 9942 4242 4242 4"


def test_the_slash_of_the_expiry_can_be_deleted(checkout):
    checkout.hold()
    expiry = checkout.field("Expiry date")
    expiry.press_sequentially("123")

    for _ in range(2):
        expiry.press("Backspace")
    assert expiry.input_value() == "1"


def test_works_by_keyboard_alone(checkout):
    intent = checkout.hold()
    keyboard = checkout.page.keyboard

    keyboard.press("Tab")
    keyboard.type("4000002500003155")
    keyboard.press("Tab")
    keyboard.type("1240")
    keyboard.press("Tab")
    keyboard.type("123")
    keyboard.press("Enter")
    expect(checkout.page.get_by_role("button", name="Approve")).to_be_visible()
    keyboard.press("Tab")
    keyboard.press("Enter")

    checkout.has_status("requires_capture")
    assert checkout.stripe_api.v1.payment_intents.retrieve(intent.id).status == "requires_capture"


def test_says_that_it_is_not_stripe_and_which_card_works(checkout):
    checkout.hold()

    note = checkout.page.get_by_role("note")
    expect(note).to_contain_text("This is Candela's sandbox, not Stripe. No money moves.")
    expect(note).to_contain_text("Never type a real card number")
    expect(note).to_contain_text("4242 4242 4242 4242")


def test_sends_the_card_to_the_sandbox_and_to_nobody_else(checkout):
    sent: list[tuple[str, str]] = []
    checkout.page.on("request", lambda request: sent.append((request.url, request.post_data or "")))
    checkout.hold()

    checkout.type_card("4242424242424242")
    checkout.pay()
    checkout.has_status("requires_capture")

    with_card = [url for url, body in sent if "4242424242424242" in url + body]
    assert with_card and all(url.startswith(f"{checkout.sandbox_url}/v1/payment_intents/") for url in with_card)
    assert not any("4242" in path for path in checkout.asked)


def test_tells_the_page_when_it_is_ready_and_what_changes(checkout):
    checkout.hold()
    checkout.type_card("4242424242424242", cvc="12")
    assert checkout.page.evaluate("heard[0]") == "ready"
    assert checkout.page.evaluate("heard.at(-1).complete") is False

    checkout.field("Security code").press_sequentially("3")

    change = checkout.page.evaluate("heard.at(-1)")
    assert (change["elementType"], change["complete"], change["empty"]) == ("payment", True, False)


def test_refuses_an_intent_for_another_amount_than_the_form_was_made_for(checkout):
    intent = checkout.hold(2_900)
    checkout.open(intent, amount="2901")

    checkout.type_card("4242424242424242")
    checkout.pay()

    expect(checkout.page.locator("#message")).to_contain_text("The amount of the intent (2900)")
    assert checkout.stripe_api.v1.payment_intents.retrieve(intent.id).status == "requires_payment_method"


def test_says_what_to_do_when_the_sandbox_is_gone(checkout, card_form_sandbox):
    checkout.hold()
    checkout.type_card("4242424242424242")
    card_form_sandbox.__exit__(None, None, None)

    checkout.pay()

    expect(checkout.page.locator("#message")).to_contain_text("did not answer")
    assert checkout.page.evaluate("window.answered.type") == "api_connection_error"


@pytest.mark.parametrize("key", ["pk_live_candela", "sk_test_candela", "pk_test_", "pk_test_a-b"])
def test_takes_publishable_test_keys_only(checkout, key):
    checkout.hold()

    message = checkout.page.evaluate("key => { try { Stripe(key) } catch (refusal) { return refusal.message } }", key)

    assert "publishable test key: pk_test_" in message


@pytest.mark.parametrize("what", ["stripe.elements({mode: 'payment', currency: 'usd'})", "elements.create('card')"])
def test_refuses_what_it_does_not_imitate(checkout, what):
    checkout.hold()

    assert checkout.page.evaluate(f"() => {{ try {{ {what} }} catch (refusal) {{ return refusal.name }} }}") == (
        "IntegrationError"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_phone_with_targets_for_a_thumb_and_focus_in_the_sellers_colour(checkout, scheme):
    checkout.page.set_viewport_size({"width": 390, "height": 844})
    checkout.page.emulate_media(color_scheme=scheme)
    checkout.hold()
    checkout.pay()

    assert checkout.page.evaluate("document.documentElement.scrollWidth") <= 390
    for label in ("Card number", "Expiry date", "Security code"):
        assert checkout.field(label).bounding_box()["height"] >= 44
    outline = checkout.field("Card number").evaluate("field => getComputedStyle(field).outlineColor")
    assert outline == "rgb(0, 90, 60)"
