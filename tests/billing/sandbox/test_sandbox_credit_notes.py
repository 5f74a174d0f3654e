"""Credit notes: off what is not paid yet first, and what was paid goes back in parts that add up."""

import pytest
import stripe

from .conftest import draft_of, event_types, open_invoice


@pytest.fixture
def unpaid(stripe_api, customer):
    """An open invoice for 600 and 400 cents."""
    return open_invoice(stripe_api, customer, 600, 400)


@pytest.fixture
def paid(stripe_api, unpaid, visa):
    return stripe_api.v1.invoices.pay(unpaid.id, {"payment_method": visa.id})


def credit(stripe_api, invoice, **order):
    return stripe_api.v1.credit_notes.create({"invoice": invoice.id, **order})


def now(stripe_api, invoice):
    return stripe_api.v1.invoices.retrieve(invoice.id)


def balance_of(stripe_api, customer):
    return stripe_api.v1.customers.retrieve(customer.id).balance


def test_lowers_what_an_open_invoice_asks_for(stripe_api, unpaid, visa):
    note = credit(stripe_api, unpaid, amount=300, reason="order_change", memo="Half a seat", metadata={"cn": "1"})

    assert (note.pre_payment_amount, note.post_payment_amount, note.type) == (300, 0, "pre_payment")
    assert (note.number, note.status, note.reason) == (f"{unpaid.number}-CN-01", "issued", "order_change")
    after = now(stripe_api, unpaid)
    assert (after.total, after.amount_due, after.amount_remaining) == (1_000, 700, 700)
    assert after.pre_payment_credit_notes_amount == 300
    paid = stripe_api.v1.invoices.pay(unpaid.id, {"payment_method": visa.id})
    assert (paid.status, paid.amount_paid) == ("paid", 700)
    assert [one.amount for one in stripe_api.v1.charges.list()] == [700]


def test_an_open_invoice_that_is_credited_in_full_is_paid(stripe_api, unpaid):
    credit(stripe_api, unpaid, amount=1_000)

    after = now(stripe_api, unpaid)
    assert (after.status, after.amount_due, after.amount_paid, after.amount_remaining) == ("paid", 0, 0, 0)
    assert [one.status for one in stripe_api.v1.payment_intents.list()] == ["canceled"]
    assert "credit_note.created" in event_types(stripe_api)
    assert event_types(stripe_api)[-2:] == ["invoice.paid", "invoice.payment_succeeded"]


def test_gives_paid_money_back_to_the_card(stripe_api, paid):
    note = credit(stripe_api, paid, amount=250, refund_amount=250)

    refund = stripe_api.v1.refunds.list().data[0]
    assert (note.type, note.post_payment_amount, note.refunds[0].refund) == ("post_payment", 250, refund.id)
    assert (refund.amount, refund.status) == (250, "succeeded")
    after = now(stripe_api, paid)
    assert (after.status, after.amount_due, after.post_payment_credit_notes_amount) == ("paid", 1_000, 250)


def test_keeps_paid_money_on_the_customers_balance(stripe_api, customer, paid):
    note = credit(stripe_api, paid, amount=250, credit_amount=250)

    moved = stripe_api.v1.customers.balance_transactions.retrieve(customer.id, note.customer_balance_transaction)
    assert (moved.amount, moved.ending_balance, moved.type, moved.credit_note) == (-250, -250, "credit_note", note.id)
    assert balance_of(stripe_api, customer) == -250


def test_splits_paid_money_into_parts_that_add_up(stripe_api, customer, paid):
    note = credit(stripe_api, paid, amount=600, refund_amount=300, credit_amount=200, out_of_band_amount=100)

    assert (note.total, note.out_of_band_amount, balance_of(stripe_api, customer)) == (600, 100, -200)
    assert stripe_api.v1.refunds.list().data[0].amount == 300


@pytest.mark.parametrize("parts", [{}, {"refund_amount": 249}, {"refund_amount": 200, "credit_amount": 51}])
def test_refuses_parts_that_do_not_add_up(stripe_api, paid, parts):
    with pytest.raises(stripe.InvalidRequestError, match=r"must equal the post payment credit note amount \(250\)"):
        credit(stripe_api, paid, amount=250, **parts)
    assert stripe_api.v1.refunds.list().data == []


def test_refuses_to_give_back_what_was_not_paid(stripe_api, unpaid):
    with pytest.raises(stripe.InvalidRequestError, match=r"\(0\)"):
        credit(stripe_api, unpaid, amount=300, refund_amount=300)


def test_credits_what_is_open_first_and_the_rest_of_what_was_paid(stripe_api, customer, unpaid):
    part = stripe_api.v1.payment_intents.create(
        {"amount": 700, "currency": "usd", "customer": customer.id, "confirm": True, "payment_method": "pm_card_visa"}
        | {"payment_method_types": ["card"]}
    )
    stripe_api.v1.invoices.attach_payment(unpaid.id, {"payment_intent": part.id})

    note = credit(stripe_api, unpaid, amount=400, refund_amount=100)

    assert (note.type, note.pre_payment_amount, note.post_payment_amount) == ("mixed", 300, 100)
    assert (now(stripe_api, unpaid).status, now(stripe_api, unpaid).amount_paid) == ("paid", 700)
    assert stripe_api.v1.charges.retrieve(part.latest_charge).amount_refunded == 100


def test_credit_notes_never_exceed_the_invoice(stripe_api, paid):
    credit(stripe_api, paid, amount=800, refund_amount=800)

    with pytest.raises(stripe.InvalidRequestError, match=r"\(201\) is more than is left to credit .* \(200\)"):
        credit(stripe_api, paid, amount=201, credit_amount=201)


def test_refunds_beside_credit_notes_count_too(stripe_api, paid):
    stripe_api.v1.refunds.create({"charge": stripe_api.v1.charges.list().data[0].id, "amount": 700})

    with pytest.raises(stripe.InvalidRequestError, match=r"\(300\)"):
        credit(stripe_api, paid, amount=301, credit_amount=301)


def test_links_a_refund_that_was_made_before(stripe_api, paid):
    charge = stripe_api.v1.charges.list().data[0].id
    refund = stripe_api.v1.refunds.create({"charge": charge, "amount": 700})

    note = credit(stripe_api, paid, amount=700, refunds=[{"refund": refund.id}])

    assert (note.refunds[0].refund, note.refunds[0].amount_refunded) == (refund.id, 700)
    assert [one.id for one in stripe_api.v1.refunds.list()] == [refund.id]
    with pytest.raises(stripe.InvalidRequestError, match="0 left for credit notes"):
        credit(stripe_api, paid, amount=100, refunds=[{"refund": refund.id, "amount_refunded": 100}])


def test_a_refund_of_another_invoice_cannot_be_linked(stripe_api, customer, visa, paid):
    other = stripe_api.v1.invoices.pay(open_invoice(stripe_api, customer, 500).id, {"payment_method": visa.id})
    charge = stripe_api.v1.charges.list({"limit": 1}).data[0].id
    refund = stripe_api.v1.refunds.create({"charge": charge, "amount": 100})

    with pytest.raises(stripe.InvalidRequestError, match="No such refund of this invoice"):
        credit(stripe_api, paid, amount=100, refunds=[{"refund": refund.id}])
    assert credit(stripe_api, other, amount=100, refunds=[{"refund": refund.id}]).total == 100


def test_refuses_to_refund_what_was_paid_elsewhere(stripe_api, unpaid):
    stripe_api.v1.invoices.pay(unpaid.id, {"paid_out_of_band": True})

    with pytest.raises(stripe.InvalidRequestError, match="No charge of this invoice"):
        credit(stripe_api, unpaid, amount=100, refund_amount=100)
    assert credit(stripe_api, unpaid, amount=100, out_of_band_amount=100).out_of_band_amount == 100


def test_credits_lines_of_the_invoice_and_lines_of_its_own(stripe_api, unpaid):
    first = unpaid.lines.data[0]
    lines = [
        {"type": "invoice_line_item", "invoice_line_item": first.id, "amount": 150},
        {"type": "custom_line_item", "description": "Goodwill", "quantity": 3, "unit_amount": 20},
        {"type": "custom_line_item", "description": "Half a cent", "quantity": 3, "unit_amount_decimal": "0.5"},
    ]

    note = credit(stripe_api, unpaid, lines=lines)

    # 150 + 3 × 20 + (3 × 0.5 = 1.5, away from zero 2)
    assert note.total == 212
    assert [line.amount for line in note.lines.data] == [150, 60, 2]
    listed = stripe_api.v1.credit_notes.line_items.list(note.id, {"limit": 2})
    assert ([line.amount for line in listed.data], listed.has_more) == ([150, 60], True)


def test_never_credits_more_of_a_line_than_it_has(stripe_api, unpaid):
    line = unpaid.lines.data[0]
    part = {"type": "invoice_line_item", "invoice_line_item": line.id, "amount": line.amount - 50}
    credit(stripe_api, unpaid, lines=[part])

    with pytest.raises(stripe.InvalidRequestError, match=r"You cannot credit 51 .*: 50 is left"):
        credit(stripe_api, unpaid, lines=[{**part, "amount": 51}])


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({}, "exactly one of `amount` and `lines`"),
        ({"amount": 100, "lines": [{"type": "custom_line_item", "unit_amount": 1}]}, "exactly one of"),
        ({"amount": 0}, "greater than or equal to 1"),
        ({"amount": 100, "credit_amount": -1}, "greater than or equal to 0"),
        ({"lines": [{"type": "custom_line_item"}]}, "`unit_amount` and `unit_amount_decimal`"),
        ({"lines": [{"type": "custom_line_item", "unit_amount": 1, "amount": 1}]}, "only valid when `type`"),
        ({"lines": [{"type": "invoice_line_item", "invoice_line_item": "il_nobody", "amount": 1}]}, "No such invoice"),
    ],
)
def test_refuses_a_credit_note_that_cannot_be(stripe_api, unpaid, order, message):
    with pytest.raises(stripe.InvalidRequestError, match=message):
        credit(stripe_api, unpaid, **order)
    assert stripe_api.v1.credit_notes.list().data == []


def test_refuses_to_credit_a_draft_and_a_void_invoice(stripe_api, customer, unpaid):
    stripe_api.v1.invoices.void_invoice(unpaid.id)

    for invoice in (draft_of(stripe_api, customer, 500), unpaid):
        with pytest.raises(stripe.InvalidRequestError, match="only credit an open or paid invoice"):
            credit(stripe_api, invoice, amount=100)


def test_a_preview_says_the_same_and_stores_nothing(stripe_api, paid):
    order = {"invoice": paid.id, "amount": 250, "refund_amount": 250}

    preview = stripe_api.v1.credit_notes.preview(order)
    lines = stripe_api.v1.credit_notes.preview_lines.list(order)

    assert (preview.total, preview.post_payment_amount, preview.type) == (250, 250, "post_payment")
    assert [line.amount for line in lines] == [250]
    assert stripe_api.v1.credit_notes.list().data == stripe_api.v1.refunds.list().data == []
    assert now(stripe_api, paid).post_payment_credit_notes_amount == 0


def test_a_void_credit_note_lets_the_open_invoice_ask_again(stripe_api, unpaid, visa):
    note = credit(stripe_api, unpaid, amount=300)

    voided = stripe_api.v1.credit_notes.void_credit_note(note.id)

    assert (voided.status, now(stripe_api, unpaid).amount_due) == ("void", 1_000)
    assert event_types(stripe_api)[-2:] == ["credit_note.voided", "invoice.updated"]
    assert stripe_api.v1.invoices.pay(unpaid.id, {"payment_method": visa.id}).amount_paid == 1_000
    with pytest.raises(stripe.InvalidRequestError, match="already void"):
        stripe_api.v1.credit_notes.void_credit_note(note.id)


def test_a_credit_note_on_a_paid_invoice_cannot_be_voided(stripe_api, paid):
    note = credit(stripe_api, paid, amount=300, credit_amount=300)

    with pytest.raises(stripe.InvalidRequestError, match="while its invoice is open"):
        stripe_api.v1.credit_notes.void_credit_note(note.id)


def test_lists_and_updates_credit_notes(stripe_api, customer, unpaid):
    notes = [credit(stripe_api, unpaid, amount=amount).id for amount in (100, 200)]
    stripe_api.v1.credit_notes.update(notes[0], {"memo": "Sorry", "metadata": {"k": "v"}})

    of_invoice = stripe_api.v1.credit_notes.list({"invoice": unpaid.id})
    of_customer = stripe_api.v1.credit_notes.list({"customer": customer.id})

    assert [one.id for one in of_invoice] == [one.id for one in of_customer] == notes[::-1]
    kept = stripe_api.v1.credit_notes.retrieve(notes[0])
    assert (kept.memo, kept.metadata["k"]) == ("Sorry", "v")


def test_one_key_makes_one_credit_note(stripe_api, paid):
    order = {"invoice": paid.id, "amount": 300, "refund_amount": 300}

    first, again = (stripe_api.v1.credit_notes.create(order, {"idempotency_key": "cn-1"}) for _ in range(2))

    assert first.id == again.id
    assert len(stripe_api.v1.refunds.list().data) == 1
