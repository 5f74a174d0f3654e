"""Invoices: drafts, sums, finalizing, paying, and the ways out."""

import pytest
import stripe

from .conftest import NOON, draft_of, event_types, open_invoice


def test_finalizes_with_the_sum_of_items_of_either_sign_and_is_paid_off_session(stripe_api, customer, visa):
    invoice = open_invoice(stripe_api, customer, 62_500, -50_000, 2_900)
    assert (invoice.total, invoice.amount_due, invoice.status) == (15_400, 15_400, "open")

    paid = stripe_api.v1.invoices.pay(invoice.id, {"payment_method": visa.id, "off_session": True})

    assert (paid.status, paid.amount_paid, paid.amount_remaining, paid.attempt_count) == ("paid", 15_400, 0, 1)
    assert paid.status_transitions.paid_at == NOON


def test_tells_the_story_of_a_paid_invoice_in_events(stripe_api, customer, visa):
    invoice = open_invoice(stripe_api, customer, 500)
    stripe_api.v1.invoices.pay(invoice.id, {"payment_method": visa.id})

    assert event_types(stripe_api) == [
        "customer.created",
        "payment_method.attached",
        "invoice.created",
        "invoiceitem.created",
        "invoice.updated",
        "invoice.finalized",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice_payment.paid",
        "invoice.paid",
        "invoice.payment_succeeded",
    ]


def test_a_new_draft_is_empty_and_moves_by_nobody_but_its_caller(stripe_api, customer):
    draft = stripe_api.v1.invoices.create(
        {"customer": customer.id, "auto_advance": False, "metadata": {"invoice": "inv_1"}}
    )

    assert (draft.status, draft.auto_advance, draft.total, draft.number) == ("draft", False, 0, None)
    assert (draft.collection_method, draft.billing_reason) == ("charge_automatically", "manual")
    assert draft.metadata["invoice"] == "inv_1"


def test_leaves_pending_items_out_unless_they_are_to_be_included(stripe_api, customer):
    stripe_api.v1.invoice_items.create({"customer": customer.id, "amount": 700, "currency": "usd"})
    without = stripe_api.v1.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "exclude"})
    included = stripe_api.v1.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include"})

    assert (without.total, included.total) == (0, 700)
    assert stripe_api.v1.invoice_items.list({"customer": customer.id, "pending": True}).data == []


def test_numbers_invoices_in_sequence_per_customer(stripe_api, customer):
    first, second = open_invoice(stripe_api, customer, 500), open_invoice(stripe_api, customer, 500)

    assert first.number.endswith("-0001")
    assert second.number.endswith("-0002")


def test_pays_with_the_customers_default_payment_method(stripe_api, customer, visa):
    stripe_api.v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": visa.id}})
    invoice = open_invoice(stripe_api, customer, 500)

    assert stripe_api.v1.invoices.pay(invoice.id).status == "paid"


def test_refuses_to_pay_without_any_payment_method(stripe_api, customer):
    invoice = open_invoice(stripe_api, customer, 500)

    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source or default payment method"):
        stripe_api.v1.invoices.pay(invoice.id)


def test_refuses_a_payment_method_that_is_not_the_customers(stripe_api, customer):
    stranger = stripe_api.v1.customers.create({})
    theirs = stripe_api.v1.payment_methods.attach("pm_card_visa", {"customer": stranger.id})
    invoice = open_invoice(stripe_api, customer, 500)

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.v1.invoices.pay(invoice.id, {"payment_method": theirs.id})
    assert refusal.value.param == "payment_method"


def test_a_declined_card_leaves_the_invoice_open_and_says_why(stripe_api, customer):
    card = stripe_api.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer.id})
    invoice = open_invoice(stripe_api, customer, 2_000)

    with pytest.raises(stripe.CardError) as refusal:
        stripe_api.v1.invoices.pay(invoice.id, {"payment_method": card.id, "off_session": True})

    error = refusal.value.error
    assert (refusal.value.http_status, error.code, error.decline_code) == (402, "card_declined", "generic_decline")
    assert error.payment_intent["status"] == "requires_payment_method"
    assert error.payment_intent["last_payment_error"]["charge"] == error.charge
    after = stripe_api.v1.invoices.retrieve(invoice.id)
    assert (after.status, after.attempt_count, after.attempted, after.amount_paid) == ("open", 1, True, 0)
    assert event_types(stripe_api)[-3:] == ["charge.failed", "payment_intent.payment_failed", "invoice.payment_failed"]


def test_another_card_pays_what_the_first_could_not(stripe_api, customer, visa):
    card = stripe_api.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer.id})
    invoice = open_invoice(stripe_api, customer, 2_000)
    with pytest.raises(stripe.CardError):
        stripe_api.v1.invoices.pay(invoice.id, {"payment_method": card.id})

    paid = stripe_api.v1.invoices.pay(invoice.id, {"payment_method": visa.id})

    assert (paid.status, paid.attempt_count) == ("paid", 2)


def test_a_card_that_wants_its_holder_leaves_the_invoice_waiting(stripe_api, sandbox, customer):
    card = stripe_api.v1.payment_methods.attach("pm_card_authenticationRequired", {"customer": customer.id})
    invoice = open_invoice(stripe_api, customer, 2_000)

    with pytest.raises(stripe.CardError) as refusal:
        stripe_api.v1.invoices.pay(invoice.id, {"payment_method": card.id, "off_session": True})

    assert refusal.value.code == "invoice_payment_intent_requires_action"
    intent = refusal.value.error.payment_intent
    assert intent["status"] == "requires_action"
    assert event_types(stripe_api)[-2:] == ["invoice.payment_action_required", "invoice.payment_failed"]

    sandbox.authenticate(intent["id"], approve=True)
    assert stripe_api.v1.invoices.retrieve(invoice.id).status == "paid"


def test_a_total_of_zero_is_paid_at_finalize(stripe_api, customer):
    invoice = open_invoice(stripe_api, customer, 5_000, -5_000)

    assert (invoice.status, invoice.total, invoice.attempt_count) == ("paid", 0, 0)
    assert "charge.succeeded" not in event_types(stripe_api)


@pytest.mark.parametrize(("total", "balance"), [(-300, -300), (49, 49)])
def test_a_total_too_small_to_charge_moves_to_the_customers_balance(stripe_api, customer, total, balance):
    invoice = open_invoice(stripe_api, customer, 1_000, total - 1_000)

    assert (invoice.status, invoice.amount_due, invoice.ending_balance) == ("paid", 0, balance)
    assert stripe_api.v1.customers.retrieve(customer.id).balance == balance


def test_the_customers_balance_is_part_of_the_next_amount_due(stripe_api, customer):
    open_invoice(stripe_api, customer, -300)

    invoice = open_invoice(stripe_api, customer, 1_000)

    assert (invoice.starting_balance, invoice.total, invoice.amount_due) == (-300, 1_000, 700)
    assert stripe_api.v1.customers.retrieve(customer.id).balance == 0


def test_refuses_to_finalize_twice(stripe_api, customer):
    invoice = open_invoice(stripe_api, customer, 500)

    with pytest.raises(stripe.InvalidRequestError, match="already finalized"):
        stripe_api.v1.invoices.finalize_invoice(invoice.id)


def test_refuses_to_finalize_an_invoice_without_lines(stripe_api, customer):
    draft = stripe_api.v1.invoices.create({"customer": customer.id})

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.v1.invoices.finalize_invoice(draft.id)
    assert refusal.value.code == "invoice_no_customer_line_items"


def test_refuses_items_on_an_invoice_that_is_not_a_draft(stripe_api, customer):
    invoice = open_invoice(stripe_api, customer, 500)

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.v1.invoice_items.create({"customer": customer.id, "invoice": invoice.id, "amount": 100})
    assert refusal.value.code == "invoice_not_editable"


def test_refuses_an_item_in_another_currency_than_its_invoice(stripe_api, customer):
    draft = draft_of(stripe_api, customer, 500)

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.v1.invoice_items.create(
            {"customer": customer.id, "invoice": draft.id, "amount": 100, "currency": "eur"}
        )
    assert refusal.value.param == "currency"


def test_deleting_an_item_takes_its_amount_off_the_draft(stripe_api, customer):
    draft = draft_of(stripe_api, customer, 500, 300)
    newest = stripe_api.v1.invoice_items.list({"invoice": draft.id}).data[0]

    assert stripe_api.v1.invoice_items.delete(newest.id).deleted is True

    after = stripe_api.v1.invoices.retrieve(draft.id)
    assert (after.total, [line.amount for line in after.lines.data]) == (500, [500])


def test_multiplies_a_decimal_unit_amount_and_rounds_once(stripe_api, customer):
    draft = stripe_api.v1.invoices.create({"customer": customer.id})

    item = stripe_api.v1.invoice_items.create(
        {"customer": customer.id, "invoice": draft.id, "quantity": 333, "unit_amount_decimal": "1.5"}
    )

    assert (item.amount, item.quantity) == (500, 333)  # 499.5, half away from zero


def test_voids_an_open_invoice_and_cancels_its_payment(stripe_api, customer):
    invoice = open_invoice(stripe_api, customer, 500)

    voided = stripe_api.v1.invoices.void_invoice(invoice.id)

    assert (voided.status, voided.status_transitions.voided_at) == ("void", NOON)
    assert event_types(stripe_api)[-2:] == ["payment_intent.canceled", "invoice.voided"]
    with pytest.raises(stripe.InvalidRequestError):
        stripe_api.v1.invoices.pay(invoice.id)


def test_refuses_to_void_a_draft_or_a_paid_invoice(stripe_api, customer, visa):
    draft = draft_of(stripe_api, customer, 500)
    paid = stripe_api.v1.invoices.pay(open_invoice(stripe_api, customer, 500).id, {"payment_method": visa.id})

    for invoice in (draft, paid):
        with pytest.raises(stripe.InvalidRequestError, match="only void an open"):
            stripe_api.v1.invoices.void_invoice(invoice.id)


def test_an_uncollectible_invoice_can_still_be_paid(stripe_api, customer, visa):
    invoice = open_invoice(stripe_api, customer, 500)
    assert stripe_api.v1.invoices.mark_uncollectible(invoice.id).status == "uncollectible"

    assert stripe_api.v1.invoices.pay(invoice.id, {"payment_method": visa.id}).status == "paid"


def test_an_invoice_paid_elsewhere_is_paid_without_a_charge(stripe_api, customer):
    invoice = open_invoice(stripe_api, customer, 500)

    paid = stripe_api.v1.invoices.pay(invoice.id, {"paid_out_of_band": True})

    assert (paid.status, paid.amount_paid, paid.amount_paid_off_stripe) == ("paid", 500, 500)
    assert stripe_api.v1.charges.list().data == []


def test_refuses_to_pay_a_paid_invoice_again(stripe_api, customer, visa):
    invoice = open_invoice(stripe_api, customer, 500)
    stripe_api.v1.invoices.pay(invoice.id, {"payment_method": visa.id})

    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        stripe_api.v1.invoices.pay(invoice.id, {"payment_method": visa.id})


def test_updates_metadata_of_a_paid_invoice_key_by_key(stripe_api, customer, visa):
    invoice = open_invoice(stripe_api, customer, 500)
    stripe_api.v1.invoices.update(invoice.id, {"metadata": {"a": "1", "b": "2"}})

    after = stripe_api.v1.invoices.update(invoice.id, {"metadata": {"a": "", "c": "3"}})

    assert after.metadata.to_dict() == {"b": "2", "c": "3"}


def test_deletes_a_draft_with_its_items(stripe_api, customer):
    draft = draft_of(stripe_api, customer, 500)

    stripe_api.v1.invoices.delete(draft.id)

    assert stripe_api.v1.invoice_items.list({"customer": customer.id}).data == []
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.v1.invoices.retrieve(draft.id)
    assert (refusal.value.http_status, refusal.value.code) == (404, "resource_missing")


def test_an_invoice_to_be_sent_needs_a_due_date(stripe_api, customer):
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.v1.invoices.create({"customer": customer.id, "collection_method": "send_invoice"})
    assert refusal.value.param == "days_until_due"

    sent = stripe_api.v1.invoices.create(
        {"customer": customer.id, "collection_method": "send_invoice", "days_until_due": 14}
    )
    assert sent.due_date == NOON + 14 * 86_400


def test_shows_ten_lines_and_pages_through_the_rest_in_order(stripe_api, customer):
    amounts = list(range(100, 112))
    invoice = draft_of(stripe_api, customer, *amounts)

    assert (len(invoice.lines.data), invoice.lines.has_more) == (10, True)
    assert [line.amount for line in invoice.lines.auto_paging_iter()] == amounts


def test_shows_its_payments_and_confirmation_secret_on_demand(stripe_api, customer):
    invoice = open_invoice(stripe_api, customer, 500)
    assert "payments" not in invoice

    expanded = stripe_api.v1.invoices.retrieve(
        invoice.id, {"expand": ["payments.data.payment.payment_intent", "confirmation_secret"]}
    )

    payment = expanded.payments.data[0]
    assert (payment.status, payment.amount_requested) == ("open", 500)
    assert expanded.confirmation_secret.client_secret == payment.payment.payment_intent.client_secret
    assert stripe_api.v1.invoice_payments.list({"invoice": invoice.id}).data[0].id == payment.id


def test_repeats_the_customers_details_as_they_were_when_it_was_finalized(stripe_api, customer):
    draft = draft_of(stripe_api, customer, 500)
    stripe_api.v1.customers.update(customer.id, {"name": "Ada Lovelace"})
    invoice = stripe_api.v1.invoices.finalize_invoice(draft.id)
    stripe_api.v1.customers.update(customer.id, {"name": "Somebody else"})

    assert invoice.customer_name == "Ada Lovelace"
    assert stripe_api.v1.invoices.retrieve(draft.id).customer_name == "Ada Lovelace"
