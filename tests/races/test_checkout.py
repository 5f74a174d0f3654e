"""Checkouts in two tabs and in killed processes: one subscription, one charge, nothing held for ever."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from django.utils import timezone

from billing import checkouts, gateway
from billing.books import check_books
from billing.jobs import collect_invoices, go_on_with_checkouts, send_invoices
from billing.models import Checkout, CheckoutStatus, Invoice, Payment
from billing.services.buyers import new_buyer
from billing.services.checkout import (
    claim_checkout,
    find_checkout,
    hasten_checkout,
    open_checkout,
    record_step_failure,
    subscribe_by_checkout,
    wait_for_buyer,
)
from config.first_start import WEBHOOK_EVENTS
from plans.models import Customer, Subscription
from tests.billing.conftest import Killed
from tests.pro_plan import make_pro_plan

AT = datetime(2026, 1, 10, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db(transaction=True)


def ada(visitor="visitor:1", **more):
    return new_buyer(visitor=visitor, name="Ada", email="ada@example.com", **more)


def confirm(at_stripe, checkout, card="pm_card_visa"):
    at_stripe.v1.payment_intents.confirm(checkout.intent_id, {"payment_method": card})


def ready(at_stripe, price, buyer=None, at=AT):
    """A checkout whose card holds the first fees."""
    checkout = open_checkout(buyer=buyer or ada(), price=price, at=at)
    checkouts.begin(checkout, at=at)
    checkout = find_checkout(public_id=checkout.public_id)
    confirm(at_stripe, checkout)
    return checkout


def money_at(at_stripe):
    intents = at_stripe.v1.payment_intents.list({"limit": 100}).data
    return {
        "received": sum(intent.amount_received for intent in intents),
        "held": sum(intent.amount_capturable for intent in intents),
    }


def test_two_tabs_that_begin_at_once_share_one_checkout_and_one_intent(stripe_sandbox, at_stripe, at_once):
    price = make_pro_plan().price

    def begin():
        checkout = open_checkout(buyer=ada(), price=price, at=AT)
        return checkouts.begin(checkout, at=AT).id

    intents = at_once([begin] * 4)

    assert len(set(intents)) == 1
    assert Checkout.objects.count() == 1
    assert len(at_stripe.v1.payment_intents.list().data) == 1


def test_polls_webhook_and_sweep_at_once_subscribe_once_and_take_once(stripe_sandbox, at_stripe, at_once):
    checkout = ready(at_stripe, make_pro_plan().price)

    outcomes = at_once([lambda: checkouts.go_on(find_checkout(public_id=checkout.public_id), at=AT)] * 4)

    assert [outcome[0].status for outcome in outcomes] == [CheckoutStatus.SUBSCRIBED] * 4
    assert (Customer.objects.count(), Subscription.objects.count(), Payment.objects.count()) == (1, 1, 1)
    assert money_at(at_stripe) == {"received": 2900, "held": 0}


def test_two_checkouts_of_one_new_user_make_one_subscription_and_release_the_other_hold(
    stripe_sandbox, at_stripe, at_once
):
    price = make_pro_plan().price
    tabs = [
        ready(at_stripe, price, buyer=ada(visitor=f"visitor:{tab}", external_customer_id="u_1")) for tab in range(3)
    ]

    at_once([partial(checkouts.go_on, tab, at=AT) for tab in tabs])

    statuses = sorted(Checkout.objects.values_list("status", flat=True))
    assert statuses == ["refused", "refused", "subscribed"]
    assert (Customer.objects.count(), Subscription.objects.count()) == (1, 1)
    assert money_at(at_stripe) == {"received": 2900, "held": 0}


def test_a_switch_of_plans_in_one_tab_while_the_other_pays_charges_for_one(stripe_sandbox, at_stripe, at_once):
    small, big = make_pro_plan().price, make_pro_plan(base_cents=19_900).price
    paying = ready(at_stripe, small)

    def switch():
        checkouts.go_on(ready(at_stripe, big), at=AT)

    at_once([partial(checkouts.go_on, paying, at=AT), switch])
    checkouts.go_on(find_checkout(public_id=paying.public_id), at=AT)

    (bought,) = Subscription.objects.all()
    assert money_at(at_stripe) == {"received": 2900 if bought.price == small else 19_900, "held": 0}


def test_five_clicks_on_a_free_plan_subscribe_once(stripe_sandbox, at_once):
    price = make_pro_plan(base_cents=0, unit_cost_cents=None).price

    started = at_once([partial(checkouts.start, buyer=ada(), price=price, at=AT)] * 5)

    assert len({one.checkout.subscription for one in started}) == 1
    assert (Customer.objects.count(), Subscription.objects.count()) == (1, 1)


def test_a_second_card_in_a_second_tab_is_not_charged(stripe_sandbox, at_stripe):
    price = make_pro_plan().price
    first = ready(at_stripe, price)
    Checkout.objects.filter(pk=first.pk).update(expires_at=AT)
    second = ready(at_stripe, price)

    checkouts.go_on(second, at=AT)
    checkouts.go_on(find_checkout(public_id=first.public_id), at=AT)

    assert Subscription.objects.count() == 1
    assert money_at(at_stripe) == {"received": 2900, "held": 0}


def test_an_intent_that_comes_after_its_checkout_was_replaced_holds_nothing(stripe_sandbox, at_stripe, run_sweeps):
    small, big = make_pro_plan().price, make_pro_plan(base_cents=19_900).price
    late = open_checkout(buyer=ada(), price=small, at=AT)
    open_checkout(buyer=ada(), price=big, at=AT)
    run_sweeps(AT)

    assert checkouts.begin(late, at=AT) is None

    assert [intent.status for intent in at_stripe.v1.payment_intents.list().data] == ["canceled"]


def test_between_subscription_and_capture_the_first_invoice_is_neither_sent_nor_charged(stripe_sandbox, at_stripe):
    checkout = ready(at_stripe, make_pro_plan().price)
    subscribe_by_checkout(checkout=checkout, card=gateway.read_intent(checkout.intent_id).card, at=AT)

    sent = send_invoices(AT + HOUR).done, collect_invoices(AT + HOUR).done
    go_on_with_checkouts(AT + HOUR)

    assert sent == (0, 0)
    assert Invoice.objects.get().status == "paid"
    assert money_at(at_stripe) == {"received": 2900, "held": 0}


def test_a_hold_that_does_not_fit_the_invoice_is_released_and_the_card_charged(stripe_sandbox, at_stripe, run_sweeps):
    checkout = ready(at_stripe, make_pro_plan().price)
    Checkout.objects.filter(pk=checkout.pk).update(due_cents=2_800)

    checkouts.go_on(find_checkout(public_id=checkout.public_id), at=AT)
    run_sweeps(AT + HOUR)

    assert Invoice.objects.get().status == "paid"
    assert money_at(at_stripe) == {"received": 2900, "held": 0}


def test_news_during_a_step_are_not_lost(stripe_sandbox, at_stripe):
    begun = open_checkout(buyer=ada(), price=make_pro_plan().price, at=AT)
    checkouts.begin(begun, at=AT)
    claimed = claim_checkout(at=AT + HOUR, now=AT + HOUR)

    hasten_checkout(intent=claimed.intent_id, at=AT + HOUR)
    wait_for_buyer(claimed=claimed, at=AT + HOUR)
    record_step_failure(claimed=claimed, error="timed out", at=AT + HOUR)

    assert claim_checkout(at=AT + HOUR, now=AT + HOUR) is not None


def test_without_webhooks_a_closed_page_is_noticed_within_minutes(stripe_sandbox, at_stripe, run_sweeps):
    ready(at_stripe, make_pro_plan().price)

    run_sweeps(AT + timedelta(minutes=5))

    assert Subscription.objects.count() == 1


def test_a_refusal_of_the_customers_details_does_not_keep_the_money_waiting(wire, at_stripe, run_sweeps):
    checkout = ready(at_stripe, make_pro_plan().price)
    card = gateway.read_intent(checkout.intent_id).card.stripe_id
    at_stripe.v1.payment_methods.detach(card)

    run_sweeps(AT + timedelta(minutes=5))

    assert Invoice.objects.get().status == "paid"
    assert money_at(at_stripe) == {"received": 2900, "held": 0}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("call", range(6))
def test_killed_at_any_call_to_stripe_the_sweeps_finish_the_checkout(wire, at_stripe, run_sweeps, call, moment):
    checkout = ready(at_stripe, make_pro_plan().price)
    wire.kill_at(call, moment)

    try:
        checkouts.go_on(checkout, at=AT)
        run_sweeps(AT)
    except Killed:
        pass
    wire.heal()
    for hours in range(1, 30):
        run_sweeps(AT + hours * HOUR)

    assert Invoice.objects.get().status == "paid"
    assert (Subscription.objects.count(), Payment.objects.count()) == (1, 1)
    assert money_at(at_stripe) == {"received": 2900, "held": 0}
    assert at_stripe.v1.invoices.retrieve(Invoice.objects.get().stripe_invoice_id).status == "paid"
    assert [f.offenders for f in check_books(at=AT + 30 * HOUR) if f.offenders] == []


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("call", range(4))
def test_killed_while_it_begins_a_checkout_expires_or_is_begun_again(wire, at_stripe, run_sweeps, call, moment):
    price = make_pro_plan().price
    wire.kill_at(call, moment)

    try:
        checkouts.begin(open_checkout(buyer=ada(), price=price, at=AT), at=AT)
    except Killed:
        pass
    wire.heal()
    again = open_checkout(buyer=ada(), price=price, at=AT)
    checkouts.begin(again, at=AT)
    run_sweeps(AT + 25 * HOUR)

    assert Checkout.objects.get().status == CheckoutStatus.EXPIRED
    assert [intent.status for intent in at_stripe.v1.payment_intents.list().data] == ["canceled"]
    assert len(at_stripe.v1.customers.list().data) == 1


def test_a_buyer_who_closes_the_page_after_paying_is_subscribed_by_the_webhook(stripe_sandbox, at_stripe, run_sweeps):
    uuid = "11111111-2222-4333-8444-555555555555"
    gateway.create_webhook_endpoint(url=f"http://127.0.0.1/stripe/webhook/{uuid}", uuid=uuid, events=WEBHOOK_EVENTS)
    ready(at_stripe, make_pro_plan().price, at=timezone.now())
    stripe_sandbox.deliver_pending()
    # Long before a sweep would look by itself.
    soon = timezone.now() + timedelta(seconds=1)

    run_sweeps(soon)
    run_sweeps(soon)

    assert Subscription.objects.count() == 1
    assert Invoice.objects.get().status == "paid"
