"""The checkout's pages without a browser: what is due, what is refused, who sees what, and what the answers say."""

import json
import re
from datetime import timedelta
from html import unescape

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from billing import checkouts
from billing.checkout_pages import checkout_page_path, order_summary, welcome
from billing.checkout_sessions import CheckoutSession, sign_session
from billing.models import Checkout, Invoice
from billing.services.buyers import known_buyer, new_buyer
from billing.services.first_bill import first_bill
from billing.services.subscribe import subscribe
from billing.services.tax import AppliedTax
from metering.models import UsageEvent
from metering.services.metrics import update_metric
from plans.models import Customer, Subscription
from plans.services.plans import delete_plan
from plans.services.pricing_tables import add_plan_to_default_table
from tests.factories import CustomerFactory, FixedComponentFactory, PriceFactory
from tests.pro_plan import make_pro_plan

pytestmark = pytest.mark.django_db


@pytest.fixture
def visitor(stripe_sandbox, settings):
    """A browser that has not been here before."""
    settings.STRIPE_PUBLIC_KEY = "pk_test_CandelaTests0123456789abc"
    return Client(raise_request_exception=False)


def offer(**terms):
    pro = make_pro_plan(**terms)
    add_plan_to_default_table(plan=pro.plan)
    return pro


def form_of(price, **query):
    return f"/checkout?price={price.public_id}" + "".join(f"&{name}={value}" for name, value in query.items())


def text_of(response):
    page = re.sub(r"<[^>]+>", " ", response.content.decode())
    return " ".join(unescape(page).split())


def fetch(visitor, path, **body):
    """Post the form as the page's script does."""
    return visitor.post(
        path, {"name": "Acme Ltd", "email": "a@acme.example"} | body, headers={"accept": "application/json"}
    )


def token_for(customer, **more):
    return sign_session(CheckoutSession(customer=customer.public_id, **more), at=timezone.now())[0]


@pytest.mark.parametrize(
    ("terms", "due_cents", "button", "consent"),
    [
        ({}, 2900, "Subscribe and pay $29.00", "Your card is charged once today, and kept for what is due later."),
        ({"base_cents": None}, 0, "Subscribe", "Your card is kept for what is due later. Nothing is charged today."),
        ({"base_cents": 0, "unit_cost_cents": None}, 0, "Subscribe", "No card is needed."),
        # Stripe charges 50 cents at least.
        ({"base_cents": 49}, 0, "Subscribe", "Your card is kept for what is due later. Nothing is charged today."),
        ({"base_cents": 1200, "currency": "JPY"}, 1200, "Subscribe and pay ¥1,200", None),
    ],
)
def test_the_order_says_what_is_due_today(terms, due_cents, button, consent):
    order = order_summary(make_pro_plan(**terms).price)

    assert (order.due_cents, order.button) == (due_cents, button)
    assert consent is None or order.consent == consent
    assert order.rows[-1][0] == "Due today"


@pytest.mark.parametrize("frequencies", [["MONTHLY"], ["YEARLY"], ["YEARLY", "MONTHLY"], ["WEEKLY", "WEEKLY"]])
def test_what_is_due_today_is_the_first_invoice(frequencies):
    price = PriceFactory(fee=None)
    for position, frequency in enumerate(frequencies):
        FixedComponentFactory(price=price, position=position, amount_cents=1_000 + position, frequency=frequency)
    customer = CustomerFactory()

    subscribe(at=timezone.now(), customer=customer, plan=price.plan, price=price)

    totals = [bill.total_cents for bill in Invoice.objects.filter(customer=customer)]
    assert totals == [first_bill(price, AppliedTax()).total_cents]


def test_a_yearly_fee_says_that_usage_is_billed_each_month():
    order = order_summary(make_pro_plan(base_cents=29_000, base_frequency="YEARLY").price)

    assert order.rows == [("Base fee", "$290.00 each year"), ("Due today", "$290.00")]
    assert "Usage beyond what is included is billed afterwards, each month." in order.sentences


def test_the_page_widens_its_policy_for_the_card_form_alone(visitor):
    pro, free = offer(), offer(base_cents=0, unit_cost_cents=None)

    with_card = visitor.get(form_of(pro.price))["Content-Security-Policy"]
    without = visitor.get(form_of(free.price))["Content-Security-Policy"]

    assert "https://js.stripe.com" in with_card
    assert "stripe" not in without
    for policy in (with_card, without):
        assert "unsafe" not in policy


def test_the_pages_are_kept_nowhere_and_have_nothing_inline(visitor):
    response = visitor.get(form_of(offer().price))

    assert "no-store" in response["Cache-Control"]
    assert not re.search(r"<script>|<style|style=| on\w+=", response.content.decode())


def test_the_script_is_the_one_of_the_pinned_release_of_stripe(visitor):
    assert 'src="https://js.stripe.com/dahlia/stripe.js"' in visitor.get(form_of(offer().price)).content.decode()


def test_the_form_needs_its_token_against_forged_requests(stripe_sandbox):
    free = offer(base_cents=0, unit_cost_cents=None)

    response = Client(enforce_csrf_checks=True).post(form_of(free.price), {"name": "A", "email": "a@b.example"})

    assert response.status_code == 403
    assert not Subscription.objects.exists()


def test_one_browser_is_one_buyer_in_all_its_tabs(visitor):
    path = form_of(offer().price)
    visitor.get(path)

    first, second = (fetch(visitor, path).json() for _ in range(2))

    assert first["intentId"] == second["intentId"]
    assert Checkout.objects.count() == 1


def test_what_a_browser_has_typed_stands_there_again_for_itself_alone(visitor):
    path = form_of(offer().price)
    visitor.get(path)
    fetch(visitor, path, name="Globex & Co")

    assert 'value="Globex &amp; Co"' in visitor.get(path).content.decode()
    assert "Globex" not in Client().get(path).content.decode()


def test_two_browsers_are_two_buyers(visitor):
    path = form_of(offer().price)

    first, second = (fetch(browser, path).json() for browser in (visitor, Client()))

    assert first["intentId"] != second["intentId"]


def test_the_cookie_is_for_the_checkout_and_out_of_reach_of_scripts(visitor):
    visitor.get(form_of(offer().price))

    cookie = visitor.cookies["candela_visitor"]
    assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/checkout", True, "Lax")


def test_a_cookie_of_somebody_else_making_is_replaced(visitor):
    path = form_of(offer().price)
    visitor.cookies["candela_visitor"] = token_for(CustomerFactory()) + "x"

    response = visitor.get(path)

    assert response.status_code == 200
    assert response.cookies["candela_visitor"].value


def test_a_customers_session_in_the_cookie_makes_nobody_that_customer(visitor):
    # A signed token is for the address that the seller's backend sent; a cookie only ever names a browser.
    path = form_of(offer(base_cents=0, unit_cost_cents=None).price)
    customer = CustomerFactory()
    visitor.cookies["candela_visitor"] = token_for(customer)

    visitor.post(path, {"name": "Mallory", "email": "m@b.example"})

    assert Subscription.objects.get().customer != customer


@pytest.mark.parametrize(
    ("typed", "field", "sentence"),
    [
        ({"name": ""}, "name", "Type your name or that of your company: it stands on your invoices."),
        ({"name": "x" * 201}, "name", "Ensure this value has at most 200 characters (it has 201)."),
        ({"email": ""}, "email", "Type your e-mail address: it stands on your invoices."),
        ({"email": "acme"}, "email", "This is no e-mail address. It looks like name@example.com."),
        ({"name": "Acme\x00"}, "name", "Null characters are not allowed."),
    ],
)
def test_a_wrong_field_is_named_with_and_without_scripts(visitor, typed, field, sentence):
    path = form_of(offer(base_cents=0, unit_cost_cents=None).price)
    body = {"name": "Acme Ltd", "email": "a@acme.example"} | typed

    fetched = fetch(visitor, path, **typed)
    posted = visitor.post(path, body)

    assert (fetched.status_code, fetched.json()["fields"]) == (400, {field: sentence})
    assert posted.status_code == 400
    assert sentence in text_of(posted)
    assert not Checkout.objects.exists()


def test_what_was_typed_is_kept_and_escaped_when_a_field_is_wrong(visitor):
    path = form_of(offer(base_cents=0, unit_cost_cents=None).price)

    response = visitor.post(path, {"name": '"><script>alert(1)</script>', "email": "acme"})

    page = response.content.decode()
    assert "<script>alert" not in page
    assert "&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_card_plan_without_scripts_says_what_to_do_and_begins_nothing(visitor):
    response = visitor.post(form_of(offer().price), {"name": "Acme Ltd", "email": "a@acme.example"})

    assert response.status_code == 400
    assert "Paying by card needs JavaScript. Switch it on and reload the page." in text_of(response)
    assert not Checkout.objects.exists()


def test_a_free_plan_without_scripts_leads_to_its_page(visitor):
    response = visitor.post(
        form_of(offer(base_cents=0, unit_cost_cents=None).price), {"name": "Acme Ltd", "email": "a@acme.example"}
    )

    assert response.status_code == 302
    assert response["Location"] == checkout_page_path(Checkout.objects.get())
    assert "Nothing was charged at the start." in text_of(visitor.get(response["Location"]))


@pytest.mark.parametrize("price", ["", "price_unknown", "x" * 5000, "%00"])
def test_an_unknown_price_is_refused_with_a_way_on(visitor, price):
    response = visitor.get(f"/checkout?price={price}")

    assert response.status_code == 404
    assert "See plans and prices" in text_of(response)


def test_a_deleted_plan_is_refused(visitor):
    pro = offer()
    delete_plan(plan=pro.plan, at=timezone.now())

    response = fetch(visitor, form_of(pro.price))

    assert (response.status_code, response.json()["code"]) == (404, "price_not_on_sale")


@pytest.mark.parametrize(
    ("age", "code", "sentence"),
    [
        (timedelta(hours=23), 200, "Globex"),
        (timedelta(hours=24), 403, "This checkout link has expired."),
    ],
)
def test_a_session_is_taken_for_a_day(visitor, age, code, sentence):
    pro = offer()
    with time_machine.travel(timezone.now() - age, tick=False):
        token = token_for(CustomerFactory(name="Globex"))

    response = visitor.get(form_of(pro.price, session=token))

    assert response.status_code == code
    assert sentence in text_of(response)


def test_a_customer_who_has_subscribed_otherwise_is_told(visitor):
    pro = offer()
    customer = CustomerFactory()
    subscribe(at=timezone.now(), customer=customer, plan=pro.plan)

    response = fetch(visitor, form_of(pro.price, session=token_for(customer)))

    assert (response.status_code, response.json()["code"]) == (409, "already_subscribed")


@pytest.mark.parametrize("name", ["chk_unknown", "%00", "x" * 5000])
def test_the_page_of_an_unknown_checkout_is_not_found(visitor, name):
    assert visitor.get(f"/checkout/{name}").status_code == 404


def test_the_secret_of_the_bank_is_taken_out_of_the_address(visitor):
    fetched = fetch(visitor, form_of(offer().price)).json()

    response = visitor.get(fetched["page"] + "?payment_intent=pi_1&payment_intent_client_secret=s&redirect_status=x")

    assert (response.status_code, response["Location"]) == (302, fetched["page"])


def test_a_checkout_that_nobody_paid_yet_leads_back_to_its_form(visitor):
    customer = CustomerFactory()
    pro = offer()
    token = token_for(customer)
    fetched = fetch(visitor, form_of(pro.price, session=token)).json()

    response = visitor.get(fetched["page"])

    assert "Not subscribed yet Your card was not charged. Go on" in text_of(response)
    assert f'href="/checkout?price={pro.price.public_id}&amp;session=' in response.content.decode()


def test_when_stripe_is_out_of_reach_the_page_offers_to_look_again(visitor, wire):
    fetched = fetch(visitor, form_of(offer().price)).json()
    wire.break_at(0, "timeout")

    response = visitor.get(fetched["page"])

    assert "The payment provider does not answer right now." in text_of(response)
    assert "Look again" in text_of(response)


def test_a_checkout_that_is_over_says_so_even_when_stripe_is_out_of_reach(visitor, wire):
    small, big = offer(), offer(base_cents=19_900)
    visitor.get(form_of(small.price))
    replaced = fetch(visitor, form_of(small.price)).json()
    fetch(visitor, form_of(big.price))
    wire.break_at(0, "timeout")

    response = visitor.get(replaced["page"])

    assert "This checkout was replaced by a newer one of yours." in text_of(response)


def test_a_browsers_token_in_an_address_is_refused_and_put_into_no_cookie(visitor):
    pro = offer()
    attackers, _ = sign_session(CheckoutSession(visitor="attacker"), at=timezone.now())

    response = visitor.get(form_of(pro.price, session=attackers))

    assert response.status_code == 403
    assert "candela_visitor" not in response.cookies


def test_a_customer_who_is_subscribed_is_told_before_he_types_a_card(visitor):
    pro = offer()
    customer = CustomerFactory()
    subscribe(at=timezone.now(), customer=customer, plan=pro.plan)

    response = visitor.get(form_of(pro.price, session=token_for(customer)))

    assert response.status_code == 409
    assert "You have a subscription already." in text_of(response)


def test_who_was_sent_by_the_sellers_app_is_not_led_on_as_a_stranger(visitor):
    customer = CustomerFactory()
    token = token_for(customer)

    unsold = visitor.get(f"/checkout?price=price_unknown&session={token}").content.decode()
    forged = visitor.get(form_of(offer().price, session="forged.token")).content.decode()

    assert f'href="/pricing?session={token}"' in unsold
    assert "/pricing" not in forged


def test_a_form_without_its_token_is_told_to_reload_in_the_words_it_asked_for(stripe_sandbox):
    path = form_of(offer(base_cents=0, unit_cost_cents=None).price)
    strict = Client(enforce_csrf_checks=True)

    page = strict.post(path, {})
    answer = strict.post(path, {}, headers={"accept": "application/json"})

    assert "Reload the page and try again." in text_of(page)
    assert answer.json()["error"].endswith("Reload the page and try again.")


def test_without_a_sandbox_or_a_key_no_card_form_is_promised(settings, tmp_path, client):
    settings.STRIPE_SECRET_KEY = ""
    settings.CANDELA_DATA = tmp_path

    response = client.get(form_of(offer().price))

    assert response.status_code == 503
    assert "Cards cannot be taken right now; please try again later." in text_of(response)


def test_while_the_hold_is_not_taken_yet_the_page_does_not_say_that_nothing_was_charged(visitor, at_stripe, wire):
    fetched = fetch(visitor, form_of(offer().price)).json()
    at_stripe.v1.payment_intents.confirm(fetched["intentId"], {"payment_method": "pm_card_visa"})
    # Stripe still answers that the fee is held, and then not any more.
    wire.break_at(1, "timeout")

    before = text_of(visitor.get(fetched["page"]))
    wire.heal()
    after = text_of(visitor.get(fetched["page"]))

    assert "$29.00 is held on your card and is being taken." in before
    assert "You paid $29.00 with Visa" in after


def test_the_request_in_the_welcome_counts_what_it_says(visitor, api, at_stripe):
    pro = offer(base_cents=0)
    fetched = fetch(visitor, form_of(pro.price)).json()
    at_stripe.v1.setup_intents.confirm(fetched["intentId"], {"payment_method": "pm_card_visa"})
    body = json.loads(re.search(r"-d '(.*?)'", text_of(visitor.get(fetched["page"])))[1])

    answer = api.post("/v1/events", body | {"eventValue": 500})

    assert "eventValue" in body
    assert answer.status == 202
    assert UsageEvent.objects.get().value == 500


def test_the_welcome_says_when_what_is_due_next():
    pro = make_pro_plan(base_cents=0, unit_cost_cents="5")
    FixedComponentFactory(price=pro.price, position=9, amount_cents=29_000, frequency="YEARLY")
    at = timezone.now().replace(year=2027, month=1, day=31, hour=12)
    customer = CustomerFactory(name="Globex", email="")
    buyer = known_buyer(customer_id=customer.public_id)
    checkout = Checkout.objects.create(
        buyer=buyer.key, customer=customer, customer_public_id=customer.public_id, price=pro.price, name="Globex",
        due_cents=0, expires_at=at, created_at=at, status="subscribed",
        subscription=subscribe(at=at, customer=customer, plan=pro.plan, price=pro.price),
    )  # fmt: skip

    said = welcome(checkout, at=at)

    # The month after 31 January ends on 28 February; a year later it is the 31st again.
    assert dict(said.facts) == {
        "Customer": "Globex",
        "Next fee": "$290.00 on 31 January 2028",
        "Usage is billed": "on 28 February 2027",
    }


def test_fees_that_are_due_together_are_one_next_fee():
    pro = make_pro_plan(unit_cost_cents=None, quota=None)
    FixedComponentFactory(price=pro.price, position=9, amount_cents=1_000, frequency="MONTHLY")
    at = timezone.now().replace(year=2027, month=3, day=1, hour=12)
    customer = CustomerFactory(name="Globex", email="")
    checkout = Checkout.objects.create(
        buyer="visitor:1", customer=customer, customer_public_id=customer.public_id, price=pro.price, name="Globex",
        due_cents=3_900, expires_at=at, created_at=at, status="subscribed",
        subscription=subscribe(at=at, customer=customer, plan=pro.plan, price=pro.price),
    )  # fmt: skip

    assert dict(welcome(checkout, at=at).facts)["Next fee"] == "$39.00 on 1 April 2027"


def test_the_request_in_the_welcome_survives_quotes_in_an_event_name():
    pro = make_pro_plan(base_cents=0)
    update_metric(metric=pro.metric, at=timezone.now(), event_name="it's")
    buyer = new_buyer(visitor="visitor:1", name="Acme", email="a@b.example")
    at = timezone.now()
    free = make_pro_plan(base_cents=0, unit_cost_cents=None)
    checkout = checkouts.start(buyer=buyer, price=free.price, at=at).checkout
    checkout.price = type(pro.price).objects.get(pk=pro.price.pk)

    curl = welcome(checkout, at=at).curl

    assert "it'\\''s" in curl
    assert Customer.objects.get().public_id in curl
