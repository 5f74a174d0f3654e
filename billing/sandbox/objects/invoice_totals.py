"""An invoice's sums, always computed from its lines."""

from billing.sandbox.errors import Refusal
from billing.sandbox.listing import embedded
from billing.sandbox.objects.events import save_change
from billing.sandbox.objects.money import minimum_charge
from billing.sandbox.routes import Call
from billing.sandbox.store import JsonObject, Query


def require_draft(invoice: JsonObject) -> None:
    """Raise Refusal (400) for an invoice whose lines are settled."""
    if invoice["status"] != "draft":
        message = f"Invoice {invoice['id']} is no longer editable: its status is {invoice['status']}."
        raise Refusal(message, code="invoice_not_editable", param="invoice")


def lines_of(invoice_id: str) -> Query:
    """Return the query for an invoice's lines."""
    return Query("line_item").where("invoice = ?", invoice_id)


def refresh(call: Call, invoice: JsonObject) -> JsonObject:
    """Store the draft with the sums of its lines, and emit `invoice.updated` when they changed."""
    return save_change(call, "invoice.updated", invoice, summed(call, invoice))


def summed(call: Call, invoice: JsonObject) -> JsonObject:
    """Return the fields that follow from the lines and from the customer's balance, all in minor units.

    `amount_due` is the total plus the balance the customer owes, or minus the credit. It is 0 when that is negative
    or below the smallest amount a card can be charged: such an amount moves to the customer's balance at finalize.
    """
    lines = lines_of(invoice["id"])
    total = sum(line["amount"] for line in call.store.select(lines))
    customer = call.store.find(invoice["customer"]) or {}
    balance = customer.get("balance", 0)
    due = payable(total + balance, invoice["currency"])
    return {
        "amount_due": due,
        "amount_remaining": due,
        "lines": embedded(call.store, lines, url=f"/v1/invoices/{invoice['id']}/lines"),
        "starting_balance": balance,
        "subtotal": total,
        "subtotal_excluding_tax": total,
        "total": total,
        "total_excluding_tax": total,
    }


def payable(owed: int, currency: str) -> int:
    """Return what is charged of an owed amount in minor units: nothing when it is too small to charge."""
    return owed if owed >= minimum_charge(currency) else 0
