"""From draft to open, and from there to paid, void or uncollectible."""

from stripe.params import (
    InvoiceFinalizeInvoiceParams,
    InvoiceMarkUncollectibleParams,
    InvoicePayParams,
    InvoiceVoidInvoiceParams,
)

from billing.sandbox.errors import CardRefusal, Refusal
from billing.sandbox.objects import customer_balance, customers, invoice_payments, invoice_totals, payments
from billing.sandbox.objects.events import emit
from billing.sandbox.objects.invoices import about_customer, refuse_auto_advance, requested
from billing.sandbox.objects.money import check_step
from billing.sandbox.objects.payment_intents import new_intent
from billing.sandbox.objects.payment_methods import in_use
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject

COLLECTABLE = ("open", "uncollectible")


def _finalize(call: Call) -> JsonObject:
    """Freeze the draft with its number and sums; open it with a payment intent, or pay it when nothing is due.

    A total that is negative or too small to charge moves to the customer's balance, and the invoice is paid.
    """
    invoice = requested(call)
    refuse_auto_advance(call)
    if invoice["status"] != "draft":
        message = "This invoice is already finalized, you can't re-finalize a non-draft invoice."
        raise Refusal(message, code="invoice_not_editable", param="invoice")
    invoice = {**invoice, **invoice_totals.summed(call, invoice)}
    if invoice["lines"]["total_count"] == 0:
        message = "Nothing to invoice for customer: the invoice has no lines."
        raise Refusal(message, code="invoice_no_customer_line_items", param="invoice")
    check_step(invoice["amount_due"], invoice["currency"], param="invoice")
    opened = call.store.put({**invoice, **_frozen(call, invoice), "status": "open"})
    emit(call, "invoice.finalized", opened)
    if opened["amount_due"] == 0:
        return invoice_payments.mark_paid(call, opened, amount_paid=0)
    _ask_for_payment(call, opened)
    return opened


def _frozen(call: Call, invoice: JsonObject) -> JsonObject:
    customer = customers.of_invoice(call, invoice)
    ending_balance = invoice["total"] + invoice["starting_balance"] - invoice["amount_due"]
    number = invoice["number"] or f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}"
    sequence = customer["next_invoice_sequence"] + (invoice["number"] is None)
    call.store.put({**customer, "next_invoice_sequence": sequence})
    _use_balance(call, invoice, ending_balance)
    return {
        **about_customer(customer),
        "effective_at": call.now,
        "ending_balance": ending_balance,
        "number": number,
        "status_transitions": {**invoice["status_transitions"], "finalized_at": call.now},
    }


def _use_balance(call: Call, invoice: JsonObject, ending_balance: int) -> None:
    """Move the customer's balance by what the invoice takes of it, or leaves on it because nothing can be charged."""
    too_small = invoice["amount_due"] == 0 < invoice["total"] + invoice["starting_balance"]
    customer_balance.move(
        call,
        invoice["customer"],
        ending_balance - invoice["starting_balance"],
        "invoice_too_small" if too_small else "applied_to_invoice",
        currency=invoice["currency"],
        invoice=invoice["id"],
    )


def _ask_for_payment(call: Call, invoice: JsonObject) -> None:
    intent = new_intent(
        call,
        amount=invoice["amount_due"],
        currency=invoice["currency"],
        customer=invoice["customer"],
        description=invoice["description"] or f"Payment for Invoice {invoice['number']}",
    )
    invoice_payments.open_payment(call, invoice, intent, is_default=True)


def _pay(call: Call) -> JsonObject:
    invoice = requested(call)
    if invoice["status"] == "paid":
        raise Refusal("Invoice is already paid", param="invoice")
    if invoice["status"] not in COLLECTABLE:
        message = f"You can only pay an open or uncollectible invoice; this one is {invoice['status']}."
        raise Refusal(message, code="invoice_not_editable", param="invoice")
    if call.value("paid_out_of_band"):
        return _pay_elsewhere(call, invoice)
    return _charge(call, invoice)


def _charge(call: Call, invoice: JsonObject) -> JsonObject:
    intent = invoice_payments.intent_of(call.store, invoice["id"])
    if intent is None:
        raise Refusal("This invoice has no payment to collect.", param="invoice")
    method = _paying_method(call, invoice)
    off_session = call.value("off_session", True)
    intent, refusal = payments.attempt(call, intent, method, off_session=off_session, pause=True)
    after = invoice_payments.follow(call, intent, failed=refusal is not None)
    if refusal:
        raise refusal
    if intent["status"] == "requires_action":
        message = (
            "This payment requires additional user action before it can be completed successfully. Payment can be"
            " completed using the PaymentIntent associated with the invoice."
        )
        raise CardRefusal(message, code="invoice_payment_intent_requires_action", payment_intent=intent)
    return after or invoice


def _paying_method(call: Call, invoice: JsonObject) -> JsonObject:
    """Return the given payment method, else the invoice's default, else the customer's. Raises Refusal (400)."""
    customer = customers.of_invoice(call, invoice)
    default = invoice["default_payment_method"] or customer["invoice_settings"]["default_payment_method"]
    method_id = call.value("payment_method") or default
    if method_id is None:
        message = (
            "This customer has no attached payment source or default payment method. Please consider adding a default"
            " payment method."
        )
        raise Refusal(message, code="resource_missing", param="payment_method")
    return in_use(call, method_id, invoice["customer"])


def _pay_elsewhere(call: Call, invoice: JsonObject) -> JsonObject:
    """Record that the invoice was paid outside Stripe: nothing is charged."""
    invoice_payments.stop_collecting(call, invoice["id"], "abandoned")
    elsewhere = {"amount_paid_off_stripe": invoice["amount_remaining"]}
    return invoice_payments.mark_paid(call, {**invoice, **elsewhere}, amount_paid=invoice["amount_due"])


def _void(call: Call) -> JsonObject:
    invoice = requested(call)
    if invoice["status"] not in COLLECTABLE:
        message = f"You can only void an open or uncollectible invoice; this one is {invoice['status']}."
        raise Refusal(message, code="invoice_not_editable", param="invoice")
    _refuse_attached(call, invoice, "void", "open", "paid")
    invoice_payments.stop_collecting(call, invoice["id"], "void_invoice")
    return _move(call, invoice, "void", "voided_at", "invoice.voided")


def _mark_uncollectible(call: Call) -> JsonObject:
    invoice = requested(call)
    if invoice["status"] != "open":
        message = f"You can only mark an open invoice as uncollectible; this one is {invoice['status']}."
        raise Refusal(message, code="invoice_not_editable", param="invoice")
    _refuse_attached(call, invoice, "mark as uncollectible", "open")
    return _move(call, invoice, "uncollectible", "marked_uncollectible_at", "invoice.marked_uncollectible")


def _refuse_attached(call: Call, invoice: JsonObject, verb: str, *statuses: str) -> None:
    """Raise Refusal (400) while the invoice has attached payments in one of the statuses."""
    found = invoice_payments.attached(call.store, invoice["id"], *statuses)
    if found:
        intent_id, status = found[0]["payment"]["payment_intent"], found[0]["status"]
        message = f"You cannot {verb} this invoice: the PaymentIntent {intent_id} is attached to it and {status}."
        raise Refusal(message, code="invoice_not_editable", param="invoice")


def _move(call: Call, invoice: JsonObject, status: str, moment: str, event_type: str) -> JsonObject:
    transitions = {**invoice["status_transitions"], moment: call.now}
    moved = call.store.put({**invoice, "auto_advance": False, "status": status, "status_transitions": transitions})
    emit(call, event_type, moved)
    return moved


ROUTES = [
    Route("POST", "/v1/invoices/{id}/finalize", _finalize, InvoiceFinalizeInvoiceParams, ("auto_advance",)),
    Route(
        "POST",
        "/v1/invoices/{id}/pay",
        _pay,
        InvoicePayParams,
        ("payment_method", "off_session", "paid_out_of_band"),
    ),
    Route("POST", "/v1/invoices/{id}/void", _void, InvoiceVoidInvoiceParams),
    Route("POST", "/v1/invoices/{id}/mark_uncollectible", _mark_uncollectible, InvoiceMarkUncollectibleParams),
]
