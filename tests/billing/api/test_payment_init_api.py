"""`/v1/public/payment-init` and payment-status: hold, subscribe, take. No word of a browser is a price or a proof."""

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from django.utils import timezone

from billing import gateway
from billing.books import check_books
from billing.checkout_sessions import CheckoutSession, sign_session
from billing.models import Checkout, Invoice, Payment, PaymentMethod
from billing.services.checkout import subscribe_by_checkout
from billing.services.credit_notes import credit_invoice
from credits.models import CreditGrant
from metering.models import UsageEvent
from plans.models import Customer, PricingTable, Subscription
from plans.services.plans import delete_plan
from tests.factories import CustomerFactory, FixedComponentFactory, PriceFactory
from tests.pro_plan import make_pro_plan

pytestmark = pytest.mark.django_db

NOTHING = (0, 0, 0)


def rows():
    return Customer.objects.count(), Subscription.objects.count(), Payment.objects.count()


def held_and_taken(at_stripe):
    """The (status, amount received) of each payment intent at Stripe, the oldest first."""
    intents = at_stripe.v1.payment_intents.list({"limit": 100}).data
    return [(intent.status, intent.amount_received) for intent in reversed(intents)]


def session_for(api, customer, **body):
    return api.post(f"/v1/customers/{customer.public_id}/checkout-session", body).body


def test_a_visitor_subscribes_with_a_good_card_and_is_charged_the_base_fee_once(visitor, offer, at_stripe):
    pro = offer()

    begun = visitor.init(pro.price)
    before = rows()
    visitor.pay(begun)
    after = visitor.status(begun.body["intentId"])

    assert begun.status == 200
    assert begun.body["clientSecret"].startswith(begun.body["intentId"] + "_secret_")
    assert (begun.body["intentType"], before) == ("payment", NOTHING)
    subscription = Subscription.objects.get()
    assert after.body == {"status": "succeeded", "subscriptionId": subscription.public_id}
    assert (subscription.customer.name, subscription.customer.email) == ("Ada", "ada@example.com")
    invoice = Invoice.objects.get()
    assert (invoice.total_cents, invoice.status) == (2900, "paid")
    assert held_and_taken(at_stripe) == [("succeeded", 2900)]
    assert CreditGrant.objects.filter(customer=subscription.customer).count() == 2
    assert [f.offenders for f in check_books(at=timezone.now()) if f.offenders] == []


def test_the_invoice_is_paid_at_stripe_by_what_the_checkout_took(visitor, offer, at_stripe, run_sweeps):
    pro = offer()
    begun = visitor.init(pro.price)
    visitor.pay(begun)
    visitor.status(begun.body["intentId"])

    run_sweeps(timezone.now() + timedelta(minutes=1))

    invoice = Invoice.objects.get()
    there = at_stripe.v1.invoices.retrieve(invoice.stripe_invoice_id)
    assert (there.status, there.amount_paid, there.total) == ("paid", 2900, 2900)
    # Stripe opens an intent of its own for each invoice, and cancels it once another one has paid.
    assert held_and_taken(at_stripe) == [("succeeded", 2900), ("canceled", 0)]
    assert Payment.objects.get().status == "succeeded"


def test_a_session_asking_again_gets_the_same_intent(visitor, offer, api):
    pro = offer()
    session = session_for(api, CustomerFactory())["session"]

    first, second = (visitor.init(pro.price, checkoutSession=session) for _ in range(2))

    assert first.body["intentId"] == second.body["intentId"]
    assert Checkout.objects.count() == 1


def test_whoever_types_the_same_gets_neither_anothers_secret_nor_his_page(visitor, offer):
    pro, free = offer(), offer(base_cents=0, unit_cost_cents=None)

    hers, his = (visitor.init(pro.price, userId="u_1") for _ in range(2))
    visitor.init(free.price, userId="u_2")
    again = visitor.init(free.price, userId="u_2")

    assert hers.body["clientSecret"] != his.body["clientSecret"]
    assert again.body.keys() == {"message", "subscription_id"}


def test_a_stranger_who_names_the_same_user_gets_a_checkout_of_his_own(visitor, offer):
    pro, other = offer(), offer(base_cents=19_900)
    hers = visitor.init(pro.price, userId="u_1")
    visitor.pay(hers)

    his = visitor.init(pro.price, userId="u_1", customerName="Mallory", customerEmail="mallory@example.com")
    visitor.init(other.price, userId="u_1", customerName="Mallory", customerEmail="mallory@example.com")
    after = visitor.status(hers.body["intentId"])

    assert his.body["intentId"] != hers.body["intentId"]
    assert after.body["status"] == "succeeded"
    assert (Customer.objects.get().name, Subscription.objects.get().price) == ("Ada", pro.price)


def test_a_session_asking_again_after_paying_is_subscribed_and_pays_no_second_time(visitor, offer, at_stripe, api):
    pro = offer()
    session = session_for(api, CustomerFactory())["session"]
    visitor.pay(visitor.init(pro.price, checkoutSession=session))

    again = visitor.init(pro.price, checkoutSession=session)

    assert again.body["subscription_id"] == Subscription.objects.get().public_id
    assert "clientSecret" not in again.body
    assert held_and_taken(at_stripe) == [("succeeded", 2900)]


@pytest.mark.parametrize("user", [{}, {"userId": "u_1"}])
def test_paying_twice_for_what_was_typed_twice_is_charged_once(visitor, offer, at_stripe, user):
    pro = offer()
    first, second = (visitor.init(pro.price, **user) for _ in range(2))
    visitor.pay(first)
    visitor.pay(second)

    once, twice = (visitor.status(begun.body["intentId"]) for begun in (first, second))

    assert (once.body["status"], twice.body["status"]) == ("succeeded", "failed")
    assert "Your card was not charged." in twice.body["error"]
    assert held_and_taken(at_stripe) == [("succeeded", 2900), ("canceled", 0)]


@pytest.mark.parametrize(
    ("card", "sentence"),
    [
        ("pm_card_chargeDeclined", "Your card was declined."),
        ("pm_card_chargeDeclinedInsufficientFunds", "Your card has insufficient funds."),
    ],
)
def test_a_declined_card_leaves_nothing_behind_and_a_good_one_then_works(visitor, offer, at_stripe, card, sentence):
    pro = offer()
    begun = visitor.init(pro.price)

    visitor.pay(begun, card)
    declined = visitor.status(begun.body["intentId"])
    left = rows()
    visitor.pay(begun, "pm_card_visa")
    paid = visitor.status(begun.body["intentId"])

    assert (declined.status, declined.body) == (200, {"status": "failed", "error": sentence})
    assert left == NOTHING
    assert paid.body["status"] == "succeeded"
    assert held_and_taken(at_stripe) == [("succeeded", 2900)]


def test_a_payment_that_is_not_confirmed_yet_is_pending(visitor, offer):
    begun = visitor.init(offer().price)

    answer = visitor.status(begun.body["intentId"])

    assert (answer.status, answer.body["status"]) == (202, "pending")


def test_an_unknown_intent_is_not_found(visitor):
    assert visitor.status("pi_unknown").status == 404


def test_a_free_plan_needs_no_card(visitor, offer):
    free = offer(base_cents=0, unit_cost_cents=None)

    answer = visitor.init(free.price)

    assert answer.body["subscription_id"] == Subscription.objects.get().public_id
    assert not PaymentMethod.objects.exists()
    assert not Invoice.objects.shown().exists()


def test_pay_as_you_go_keeps_the_card_and_charges_nothing_today(visitor, offer, at_stripe):
    metered = offer(base_cents=None, quota=None)

    begun = visitor.init(metered.price)
    visitor.pay(begun)
    after = visitor.status(begun.body["intentId"])

    assert begun.body["intentType"] == "setup"
    assert after.body["status"] == "succeeded"
    assert PaymentMethod.objects.get().card_last_four == "4242"
    assert held_and_taken(at_stripe) == []


def test_an_unknown_user_becomes_a_customer_with_the_events_that_came_before(visitor, offer, api):
    pro = offer()
    api.post("/v1/events", {"eventName": pro.metric.event_name, "extCustomerId": "u_7", "value": 3})
    begun = visitor.init(pro.price, userId="u_7", organizationId="org_1")
    visitor.pay(begun)
    visitor.status(begun.body["intentId"])

    customer = Customer.objects.get()
    assert customer.external_customer_id == "u_7"
    # Whose organization somebody belongs to is not for a browser to say.
    assert customer.customer_organization_id is None
    assert UsageEvent.objects.get().customer == customer


@pytest.mark.parametrize("claim", ["userId", "customerId"])
def test_a_known_user_needs_a_signed_session(visitor, offer, claim):
    pro = offer()
    CustomerFactory(external_customer_id="u_1")

    answer = visitor.init(pro.price, **{claim: "u_1"})

    assert (answer.status, answer.body["code"]) == (403, "checkout_session_required")
    assert not Checkout.objects.exists()


def test_a_known_customer_subscribes_with_a_signed_session_under_his_own_name(visitor, offer, api):
    pro = offer()
    customer = CustomerFactory(external_customer_id="u_1", name="Grace", email="grace@example.com")

    session = session_for(api, customer)["session"]
    begun = visitor.init(pro.price, checkoutSession=session, userId="u_1", customerName="Mallory")
    visitor.pay(begun)
    after = visitor.status(begun.body["intentId"])

    assert after.body["status"] == "succeeded"
    customer.refresh_from_db()
    assert Subscription.objects.get().customer == customer
    assert (customer.name, customer.email) == ("Grace", "grace@example.com")
    assert Customer.objects.count() == 1


def test_the_address_of_a_session_leads_to_the_pricing_page_or_to_one_price(api, offer):
    pro = offer()
    customer = CustomerFactory(external_customer_id="u_1")

    to_choose = session_for(api, customer)
    for_one = api.post("/v1/customers/u_1/checkout-session?isExtCustId=true", {"priceId": pro.price.public_id}).body

    assert urlsplit(to_choose["url"]).path == "/pricing"
    parts = urlsplit(for_one["url"])
    assert parts.path == "/checkout"
    assert parse_qs(parts.query) == {"price": [pro.price.public_id], "session": [for_one["session"]]}


def test_the_address_of_a_session_has_one_slash_after_the_public_address(api, settings):
    settings.PUBLIC_URL = "https://billing.example.com/"

    assert session_for(api, CustomerFactory())["url"].startswith("https://billing.example.com/pricing?")


def test_a_session_for_a_price_sells_what_is_not_on_sale_for_others(visitor, api):
    agreed = make_pro_plan(base_cents=900)
    customer = CustomerFactory()

    session = session_for(api, customer, priceId=agreed.price.public_id)["session"]
    others = visitor.init(agreed.price)
    his = visitor.init(agreed.price, checkoutSession=session)

    assert (others.status, others.body["code"]) == (404, "price_not_on_sale")
    assert his.body["intentType"] == "payment"


def test_a_session_is_refused_for_another_customer(visitor, offer, api):
    pro = offer()
    session = session_for(api, CustomerFactory(external_customer_id="u_1"))["session"]

    answer = visitor.init(pro.price, checkoutSession=session, userId="u_2")

    assert (answer.status, answer.body["code"]) == (403, "checkout_session_of_another")


@pytest.mark.parametrize("forge", [lambda token: token[:-1] + "x", lambda token: "abc", lambda token: f"e30.{token}"])
def test_a_forged_session_is_refused(visitor, offer, api, forge):
    pro = offer()
    session = session_for(api, CustomerFactory())["session"]

    answer = visitor.init(pro.price, checkoutSession=forge(session))

    assert (answer.status, answer.body["code"]) == (403, "checkout_session_invalid")


def test_a_session_ends_after_a_day(visitor, offer, api):
    pro = offer()
    session = session_for(api, CustomerFactory())["session"]

    with time_machine.travel(timezone.now() + timedelta(hours=24)):
        answer = visitor.init(pro.price, checkoutSession=session)

    assert (answer.status, answer.body["code"]) == (403, "checkout_session_expired")


def test_a_subscribed_customer_is_refused_before_any_card_is_asked_for(visitor, offer, api):
    pro, other = offer(), offer()
    customer = CustomerFactory()
    api.post("/v1/subscriptions", {"customerId": customer.public_id, "planId": pro.plan.public_id})

    answer = visitor.init(other.price, checkoutSession=session_for(api, customer)["session"])

    assert (answer.status, answer.body["code"]) == (409, "already_subscribed")


def test_another_plan_replaces_the_open_checkout_and_releases_what_its_card_holds(
    visitor, offer, at_stripe, api, run_sweeps
):
    small, big = offer(), offer(base_cents=19_900)
    session = session_for(api, CustomerFactory())["session"]
    first = visitor.init(small.price, checkoutSession=session)
    visitor.pay(first)
    second = visitor.init(big.price, checkoutSession=session)
    visitor.pay(second)

    replaced = visitor.status(first.body["intentId"])
    chosen = visitor.status(second.body["intentId"])

    assert replaced.body["status"] == "failed"
    assert "Your card was not charged" in replaced.body["error"]
    assert chosen.body["status"] == "succeeded"
    assert held_and_taken(at_stripe) == [("canceled", 0), ("succeeded", 19_900)]
    assert Subscription.objects.get().price == big.price


def test_a_plan_deleted_meanwhile_is_refused_and_the_hold_released(visitor, offer, at_stripe):
    pro = offer()
    begun = visitor.init(pro.price)
    visitor.pay(begun)
    delete_plan(plan=pro.plan, at=timezone.now())

    answer = visitor.status(begun.body["intentId"])

    assert answer.body == {
        "status": "failed",
        "error": "This plan is no longer offered. Your card was not charged.",
    }
    assert rows() == NOTHING
    assert held_and_taken(at_stripe) == [("canceled", 0)]


def test_the_fee_is_the_prices_whatever_the_browser_says(visitor, offer, at_stripe):
    pro = offer()

    begun = visitor.init(
        pro.price, currency="jpy", productName="Cheap", taxData={"totalTaxCents": -2900}, unitAmountCents=1
    )

    intent = at_stripe.v1.payment_intents.retrieve(begun.body["intentId"])
    assert (intent.amount, intent.currency) == (2900, "usd")


def test_only_what_stands_on_an_active_pricing_table_is_sold(visitor, offer):
    pro, hidden = offer(), make_pro_plan()
    older = pro.price
    newer = PriceFactory(plan=pro.plan, fee=None, created_at=older.created_at + timedelta(days=1))
    FixedComponentFactory(price=newer, amount_cents=3900)

    assert visitor.init(hidden.price).body["code"] == "price_not_on_sale"
    assert visitor.init(older).body["code"] == "price_not_on_sale"
    assert visitor.init(newer).status == 200
    PricingTable.objects.update(is_active=False)
    assert visitor.init(newer, userId="u_2").body["code"] == "price_not_on_sale"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"customerEmail": ""}, "customerEmail"),
        ({"customerEmail": "ada"}, "customerEmail"),
        ({"customerName": ""}, "customerName"),
        ({"customerName": "x" * 201}, "customerName"),
        ({"customerName": "Acme\nPaid"}, "customerName"),
        ({"customerName": "Acme \u202eetceba"}, "customerName"),
        ({"customerCountry": "Narnia"}, "customerCountry"),
        ({"planId": "plan_int_other"}, "planId"),
        ({"startTrial": True}, "startTrial"),
        ({"checkoutSession": 7}, "checkoutSession"),
    ],
)
def test_a_wrong_field_is_named(visitor, offer, body, path):
    answer = visitor.init(offer().price, **body)

    assert answer.status == 400
    assert answer.body["details"][0]["path"] == path
    assert not Checkout.objects.exists()


def test_an_email_that_a_customer_has_opens_no_door_to_him(visitor, offer):
    pro = offer()
    known = CustomerFactory(email="ada@example.com")

    begun = visitor.init(pro.price)
    visitor.pay(begun)
    visitor.status(begun.body["intentId"])

    subscribed = Subscription.objects.get().customer
    assert subscribed != known
    assert subscribed.email == known.email


def test_a_secret_key_is_not_needed_and_no_key_is_refused(visitor, offer):
    pro = offer()

    answer = visitor.post("/v1/public/payment-init", {"priceId": pro.price.public_id})

    assert answer.status == 401


def test_without_a_publishable_key_of_stripe_no_card_is_asked_for(visitor, offer, settings):
    settings.STRIPE_PUBLIC_KEY = ""

    answer = visitor.init(offer().price)

    assert answer.status == 503
    assert "STRIPE_PUBLIC_KEY" in answer.body["error"]


def test_sending_the_same_again_after_success_gives_the_same_subscription(visitor, offer):
    free = offer(base_cents=0, unit_cost_cents=None)

    first = visitor.init(free.price, userId="u_1")
    again = visitor.init(free.price, userId="u_1")

    assert again.body == first.body
    assert Subscription.objects.count() == 1


def test_a_cookie_of_a_browser_is_no_session(visitor, offer):
    pro = offer()
    token, _ = sign_session(CheckoutSession(visitor="copied"), at=timezone.now())

    answer = visitor.init(pro.price, checkoutSession=token)

    assert (answer.status, answer.body["code"]) == (403, "checkout_session_invalid")


def test_a_refused_amount_is_said_in_our_words_and_the_next_click_begins_anew(visitor, offer):
    # Stripe takes at most 999,999.99.
    dear = offer(base_cents=100_000_000)

    first = visitor.init(dear.price)
    second = visitor.init(dear.price)

    assert (first.status, first.body["code"], second.status) == (409, "checkout_ended", 409)
    assert first.body["error"].startswith("The payment provider does not take this payment.")
    assert [checkout.status for checkout in Checkout.objects.all()] == ["refused", "refused"]
    assert "99999999" in Checkout.objects.first().step_error


def test_an_intent_that_stripe_does_not_know_any_more_ends_its_checkout(visitor, offer):
    begun = visitor.init(offer().price)
    Checkout.objects.update(intent_id="pi_gone")

    gone = visitor.status("pi_gone")

    assert begun.status == 200
    assert gone.body["status"] == "failed"
    assert Checkout.objects.get().status == "expired"


def test_a_rule_that_speaks_to_developers_is_put_into_words_for_buyers(visitor, offer, api):
    pro = offer()
    customer = CustomerFactory()
    begun = visitor.init(pro.price, checkoutSession=session_for(api, customer)["session"])
    api.post("/v1/subscriptions", {"customerId": customer.public_id, "planId": pro.plan.public_id})
    visitor.pay(begun)

    answer = visitor.status(begun.body["intentId"])

    assert answer.body["error"] == "You have a subscription already. Your card was not charged."
    assert "dangerouslyAllow" in Checkout.objects.get().step_error


def test_a_card_that_bought_nothing_is_not_kept(visitor, offer, at_stripe):
    pro = offer()
    begun = visitor.init(pro.price)
    visitor.pay(begun)
    stripe_customer = Checkout.objects.get().stripe_customer_id
    delete_plan(plan=pro.plan, at=timezone.now())

    visitor.status(begun.body["intentId"])

    assert at_stripe.v1.customers.payment_methods.list(stripe_customer).data == []


def test_what_was_captured_by_hand_at_stripe_pays_the_first_invoice(visitor, offer, at_stripe):
    begun = visitor.init(offer().price)
    visitor.pay(begun)
    at_stripe.v1.payment_intents.capture(begun.body["intentId"])

    answer = visitor.status(begun.body["intentId"])

    assert answer.body["status"] == "succeeded"
    assert Invoice.objects.get().status == "paid"
    assert held_and_taken(at_stripe) == [("succeeded", 2900)]


def test_another_amount_captured_by_hand_parks_the_customer_and_the_buyer_sees_his_subscription(
    visitor, offer, at_stripe
):
    begun = visitor.init(offer().price)
    visitor.pay(begun)
    at_stripe.v1.payment_intents.capture(begun.body["intentId"], {"amount_to_capture": 1000})

    answer = visitor.status(begun.body["intentId"])

    assert answer.body["status"] == "succeeded"
    assert "1000 were paid, 2900 of 2900 are open" in Customer.objects.get().parked_reason
    assert "1000 were paid" in Checkout.objects.get().step_error


def test_an_error_that_is_over_is_shown_to_nobody_any_more(visitor, offer):
    begun = visitor.init(offer().price)
    visitor.pay(begun)
    Checkout.objects.update(step_error="timed out")

    visitor.status(begun.body["intentId"])

    assert Checkout.objects.get().step_error == ""


def test_a_hold_that_was_lost_is_made_up_for_by_charging_the_card(visitor, offer, at_stripe, run_sweeps):
    pro = offer()
    begun = visitor.init(pro.price)
    visitor.pay(begun)
    checkout = Checkout.objects.get()
    subscribe_by_checkout(checkout=checkout, card=gateway.read_intent(checkout.intent_id).card, at=timezone.now())
    at_stripe.v1.payment_intents.cancel(checkout.intent_id)

    run_sweeps(timezone.now())

    assert Invoice.objects.get().status == "paid"
    assert [taken for taken in held_and_taken(at_stripe) if taken[1]] == [("succeeded", 2900)]


def test_a_fee_that_is_credited_before_it_is_taken_leaves_no_balance_at_stripe(visitor, offer, at_stripe, run_sweeps):
    begun = visitor.init(offer().price)
    visitor.pay(begun)
    checkout = Checkout.objects.get()
    subscribe_by_checkout(checkout=checkout, card=gateway.read_intent(checkout.intent_id).card, at=timezone.now())
    credit_invoice(invoice=Invoice.objects.get(), reason="Sorry", amount_cents=900, at=timezone.now())

    run_sweeps(timezone.now())
    run_sweeps(timezone.now())

    (there,) = at_stripe.v1.invoices.list().data
    assert [customer.balance for customer in at_stripe.v1.customers.list()] == [0]
    assert (there.status, there.amount_paid) == ("paid", 2900)
    assert [refund.amount for refund in at_stripe.v1.refunds.list()] == [900]


def test_a_price_without_any_component_is_refused_and_opens_nothing(visitor, offer):
    price = offer().price
    price.components.all().delete()

    answer = visitor.init(price)

    assert (answer.status, answer.body["code"]) == (400, "price_has_no_components")
    assert not Checkout.objects.exists()
