"""What is booked of a charge when the customer gives another card while it is under way."""

from datetime import timedelta

import pytest

from billing.exchange import Card, Declined, Paid
from billing.models import Dunning, Invoice, Payment
from billing.services.collect import (
    claim_invoice_to_collect,
    claim_invoice_to_retry,
    record_collect_refused,
    record_collect_unknown,
    record_declined,
    record_payment,
    record_payment_method,
)
from billing.services.send import claim_invoice_to_send, record_sent
from billing.services.subscribe import subscribe
from tests.factories import START, CustomerFactory
from tests.pro_plan import make_pro_plan

pytestmark = pytest.mark.django_db

SOON = START + timedelta(minutes=1)


@pytest.fixture
def customer():
    customer = CustomerFactory()
    subscribe(at=START, customer=customer, plan=make_pro_plan().plan)
    record_sent(invoice=Invoice.objects.get().public_id, stripe_invoice_id="in_1", at=START)
    give_card(customer, "pm_old")
    return customer


def give_card(customer, stripe_id):
    card = Card(stripe_id, payment_type="card", brand="visa", last_four="4242", expiry_month=1, expiry_year=2040)
    return record_payment_method(customer=customer, card=card, at=START)


def claim(at):
    return claim_invoice_to_collect(at=at, now=at)


def test_a_decline_of_the_old_card_does_not_hold_up_the_new_one(customer):
    charge = claim(START)
    give_card(customer, "pm_new")

    record_declined(charge=charge, declined=Declined("pi_1", "card_declined", "No."), at=SOON)

    assert (claim(SOON).payment_method, Payment.objects.get().payment_method.external_id) == ("pm_new", "pm_old")


def test_a_refusal_of_the_old_card_does_not_hold_up_the_new_one(customer):
    charge = claim(START)
    give_card(customer, "pm_new")

    record_collect_refused(charge=charge, error="No such payment method.", at=SOON)

    assert claim(SOON).payment_method == "pm_new"


def test_a_refused_charge_says_why_and_is_tried_again_as_another_charge(customer):
    charge = claim(START)

    record_collect_refused(charge=charge, error="The account is closed.", at=SOON)

    invoice = Invoice.objects.get()
    again = claim(SOON + timedelta(hours=12))
    assert (invoice.collect_error, claim(SOON), invoice.charge_started_at) == ("The account is closed.", None, None)
    assert (charge.attempt, again.attempt) == (1, 2)


def test_a_charge_without_an_answer_says_why_until_there_is_one(customer):
    charge = claim(START)
    record_collect_unknown(charge=charge, error="Stripe timed out.", at=START)
    waiting = Invoice.objects.get()

    record_payment(invoice=charge.invoice, paid=Paid(reference="in_1", amount_cents=2_900), at=SOON)

    assert (waiting.collect_error, Invoice.objects.get().collect_error) == ("Stripe timed out.", "")


def test_a_retry_takes_nothing_from_whoever_is_sending():
    customer = CustomerFactory()
    subscribe(at=START, customer=customer, plan=make_pro_plan().plan)
    give_card(customer, "pm_old")
    claim_invoice_to_send(at=START, now=START)
    held_until = Invoice.objects.get().send_at

    charge = claim_invoice_to_retry(invoice=Invoice.objects.get(), at=SOON)

    assert (charge, Invoice.objects.get().send_at) == (None, held_until)


def test_an_answer_that_another_worker_got_is_not_forgotten_when_ours_is_lost(customer):
    charge = claim(START)
    record_declined(charge=charge, declined=Declined("pi_1", "card_declined", "No."), at=START)
    planned = Invoice.objects.get().collect_at

    record_collect_unknown(charge=charge, error="Stripe timed out.", at=SOON)

    invoice = Invoice.objects.get()
    assert (invoice.collect_at, invoice.collect_error) == (planned, "")


def test_without_another_card_a_declined_invoice_waits_for_the_first_retry(customer):
    charge = claim(START)

    record_declined(charge=charge, declined=Declined("pi_1", "card_declined", "No."), at=SOON)

    assert claim(SOON + timedelta(hours=23)) is None
    assert claim(SOON + timedelta(days=1)).attempt == 2


def test_a_decline_of_the_old_card_starts_no_dunning_before_the_new_one_is_declined(customer):
    charge = claim(START)
    give_card(customer, "pm_new")

    record_declined(charge=charge, declined=Declined("pi_1", "card_declined", "No."), at=SOON)
    assert not Dunning.objects.exists()
    record_declined(charge=claim(SOON), declined=Declined("pi_2", "card_declined", "No."), at=SOON)

    assert Dunning.objects.get().attempts == 1


def test_a_payment_names_the_card_that_was_charged(customer):
    charge = claim(START)
    give_card(customer, "pm_new")
    paid = Paid(reference="in_1", amount_cents=2_900)

    record_payment(invoice=charge.invoice, paid=paid, at=SOON, payment_method=charge.payment_method)

    assert Payment.objects.get().payment_method.external_id == "pm_old"
