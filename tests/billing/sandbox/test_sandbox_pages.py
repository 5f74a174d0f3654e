"""The sandbox's own pages and script: what a person or a browser gets from them."""

import json
from urllib.parse import urlencode, urlsplit

import pytest

from billing.sandbox.amounts import readable

from .conftest import call, draft_of

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def waiting(remote):
    """Return a function that makes an intent for 2,900 cents which waits for its cardholder."""
    return lambda **more: remote.v1.payment_intents.create(
        {
            "amount": 2_900,
            "currency": "usd",
            "confirm": True,
            "payment_method": "pm_card_authenticationRequired",
            "payment_method_types": ["card"],
            **more,
        }
    )


def bank_page(intent):
    return f"/_sandbox/authenticate/{intent.id}?{urlencode({'client_secret': intent.client_secret})}"


def answer(server, intent, word):
    form = urlencode({"client_secret": intent.client_secret, "answer": word})
    return call(server, "POST", f"/_sandbox/authenticate/{intent.id}", form, FORM)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (2_900, "usd", "$29.00"),
        (1, "eur", "€0.01"),
        (500, "jpy", "¥500"),
        (1_234_567, "usd", "$12,345.67"),
        (29_500, "kwd", "KWD29.500"),
        (-300, "usd", "-$3.00"),
    ],
)
def test_writes_amounts_as_people_read_them(amount, currency, text):
    assert readable(amount, currency) == text


@pytest.mark.parametrize(
    ("capture", "question"), [("automatic", "Pay $29.00?"), ("manual", "Hold $29.00 on your card?")]
)
def test_the_bank_asks_for_a_readable_amount(server, waiting, capture, question):
    intent = waiting(capture_method=capture)

    status, headers, text = call(server, "GET", bank_page(intent))

    assert status == 200
    assert f"<h1>{question}</h1>" in text
    assert "It is not Stripe" in text
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_the_bank_asks_about_a_card_to_be_saved(server, remote):
    intent = remote.v1.setup_intents.create({"payment_method": "pm_card_authenticationRequired", "confirm": True})

    assert "<h1>Save your card for later payments?</h1>" in call(server, "GET", bank_page(intent))[2]


def test_leads_back_with_success_once_the_amount_is_held(server, remote, waiting):
    intent = waiting(capture_method="manual", return_url="http://127.0.0.1/done#order")

    code, headers, _ = answer(server, intent, "approve")

    assert code == 303
    way_back = urlsplit(headers["Location"])
    assert (way_back.path, way_back.fragment) == ("/done", "order")
    assert way_back.query.endswith("redirect_status=succeeded")
    assert remote.v1.payment_intents.retrieve(intent.id).status == "requires_capture"


def test_a_second_click_is_led_back_and_changes_nothing(server, remote, waiting):
    intent = waiting(return_url="http://127.0.0.1/done")
    first = answer(server, intent, "approve")

    again, shown = answer(server, intent, "refuse"), call(server, "GET", bank_page(intent))

    assert [one[0] for one in (first, again, shown)] == [303, 303, 303]
    assert first[1]["Location"] == again[1]["Location"] == shown[1]["Location"]
    assert remote.v1.payment_intents.retrieve(intent.id).status == "succeeded"


def test_without_a_way_back_the_bank_says_how_it_ended(server, waiting):
    intent = waiting()

    status, _, text = answer(server, intent, "approve")

    assert status == 200
    assert "The status is succeeded. You can close this page." in text


def test_the_overview_shows_totals_with_their_currency(server, remote):
    customer = remote.v1.customers.create({})
    draft_of(remote, customer, 15_400)

    assert '<td class="number">$154.00</td>' in call(server, "GET", "/")[2]


def test_serves_the_stand_in_for_stripes_script_to_any_page(server):
    status, headers, text = call(server, "GET", "/stripe.js", headers={"Origin": "http://127.0.0.1:8000"})

    assert (status, headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert "It is not Stripe" in text


def test_shows_a_browser_no_more_of_an_intent_than_stripe_does(server, remote):
    intent = remote.v1.payment_intents.create({"amount": 2_900, "currency": "usd", "metadata": {"user": "u_1"}})
    browser = {"Authorization": "Bearer pk_test_x", **FORM}
    path, secret = f"/v1/payment_intents/{intent.id}", urlencode({"client_secret": intent.client_secret})

    seen = json.loads(call(server, "GET", f"{path}?{secret}&expand[]=customer", headers=browser)[2])
    declined = urlencode({"client_secret": intent.client_secret, "payment_method": "pm_card_chargeDeclined"})
    refused = json.loads(call(server, "POST", f"{path}/confirm", declined, browser)[2])

    for shown in (seen, refused["error"]["payment_intent"]):
        assert (shown["id"], shown["amount"]) == (intent.id, 2_900)
        assert not {"metadata", "customer", "latest_charge", "amount_received"} & shown.keys()
    assert refused["error"]["payment_intent"]["status"] == "requires_payment_method"


@pytest.mark.parametrize("key", ["pk_live_candela", "pk_test_a-b"])
def test_says_which_keys_it_takes(server, key):
    status, _, text = call(server, "GET", "/v1/payment_intents/pi_1", headers={"Authorization": f"Bearer {key}"})

    assert status == 401
    assert "from a browser one that starts with pk_test_" in json.loads(text)["error"]["message"]
