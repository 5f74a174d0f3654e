"""Where the money of a credit note goes: off what is not paid yet first, the rest back to the customer."""

from dataclasses import dataclass

from billing.sandbox.errors import Refusal, missing_object, not_in_the_sandbox
from billing.sandbox.objects import invoice_payments, refunds
from billing.sandbox.objects.events import save_change
from billing.sandbox.routes import Call
from billing.sandbox.store import JsonObject, Query


@dataclass(frozen=True)
class Split:
    """The parts of a credit note in minor units. `linked` names refunds that were made before, each with its share."""

    before_payment: int
    after_payment: int
    refund: int
    credit: int
    out_of_band: int
    linked: tuple[tuple[str, int], ...]

    @property
    def total(self) -> int:
        """The whole amount."""
        return self.before_payment + self.after_payment

    @property
    def kind(self) -> str:
        """Stripe's word for it: `pre_payment`, `post_payment` or `mixed`."""
        if self.before_payment and self.after_payment:
            return "mixed"
        return "post_payment" if self.after_payment else "pre_payment"


def split(call: Call, invoice: JsonObject, total: int) -> Split:
    """Return where `total` minor units go, as the call says.

    Raises Refusal (400) when the invoice has less left to credit, and when the parts do not add up to what was paid.
    """
    linked = _linked(call, invoice)
    refund, credit, elsewhere = (
        _not_negative(call, name) for name in ("refund_amount", "credit_amount", "out_of_band_amount")
    )
    left = _left_to_credit(call, invoice) + sum(amount for _, amount in linked)
    if total > left:
        message = f"The credit note's amount ({total}) is more than is left to credit of the invoice ({left})."
        raise Refusal(message, param="amount")
    before = min(total, invoice["amount_remaining"]) if invoice["status"] == "open" else 0
    given = refund + credit + elsewhere + sum(amount for _, amount in linked)
    if given != total - before:
        message = (
            f"The sum of refunds, credit amount and out of band amount ({given}) must equal the post payment credit"
            f" note amount ({total - before})."
        )
        raise Refusal(message, param="refund_amount")
    if refund:
        charge_to_refund(call, invoice, refund)
    return Split(before, total - before, refund, credit, elsewhere, linked)


def _not_negative(call: Call, name: str) -> int:
    amount: int = call.value(name, 0)
    if amount < 0:
        message = "This value must be greater than or equal to 0."
        raise Refusal(message, code="parameter_invalid_integer", param=name)
    return amount


def _notes(call: Call, invoice_id: str) -> list[JsonObject]:
    return call.store.select(Query("credit_note").where("invoice = ?", invoice_id).equals("status", "issued"))


def _charges(call: Call, invoice_id: str) -> list[JsonObject]:
    """Return the charges that paid the invoice or a part of it, the latest first."""
    query = Query("invoice_payment").where("invoice = ?", invoice_id).equals("status", "paid")
    intents = [call.store.find(row["payment"]["payment_intent"]) or {} for row in call.store.select(query)]
    return [call.store.find(intent["latest_charge"]) or {} for intent in intents if intent.get("latest_charge")]


def _linked_amounts(call: Call, invoice_id: str) -> dict[str, int]:
    """Return what issued credit notes of the invoice have taken of each refund."""
    taken: dict[str, int] = {}
    for note in _notes(call, invoice_id):
        for part in note["refunds"]:
            taken[part["refund"]] = taken.get(part["refund"], 0) + part["amount_refunded"]
    return taken


def _refunds(call: Call, invoice_id: str) -> list[JsonObject]:
    found = [call.store.select(Query("refund").equals("charge", charge["id"])) for charge in _charges(call, invoice_id)]
    return [refund for of_one in found for refund in of_one if refund["status"] != "failed"]


def _left_to_credit(call: Call, invoice: JsonObject) -> int:
    """Return the invoice's total less its credit notes, and less refunds that belong to none of them."""
    credited = invoice["pre_payment_credit_notes_amount"] + invoice["post_payment_credit_notes_amount"]
    refunded = sum(refund["amount"] for refund in _refunds(call, invoice["id"]))
    linked = _linked_amounts(call, invoice["id"])
    counted = sum(amount for refund, amount in linked.items() if (call.store.find(refund) or {})["status"] != "failed")
    return int(invoice["total"] - credited - (refunded - counted))


def _linked(call: Call, invoice: JsonObject) -> tuple[tuple[str, int], ...]:
    """Return the earlier refunds that the call names, with the share of each. Raises Refusal (400)."""
    taken, known = _linked_amounts(call, invoice["id"]), {row["id"]: row for row in _refunds(call, invoice["id"])}
    linked = []
    for place, given in enumerate(call.value("refunds") or []):
        name = f"refunds[{place}]"
        if given.get("type", "refund") != "refund":
            raise not_in_the_sandbox(f"{name}[type]={given['type']}")
        refund = known.get(given.get("refund", ""))
        if refund is None:
            raise missing_object("refund of this invoice", str(given.get("refund")), param=f"{name}[refund]")
        left = refund["amount"] - taken.get(refund["id"], 0)
        amount = given.get("amount_refunded", left)
        if not 1 <= amount <= left:
            message = f"The refund {refund['id']} has {left} left for credit notes, in minor units; {amount} is not."
            raise Refusal(message, param=f"{name}[amount_refunded]")
        taken[refund["id"]] = taken.get(refund["id"], 0) + amount
        linked.append((refund["id"], amount))
    return tuple(linked)


def charge_to_refund(call: Call, invoice: JsonObject, amount: int) -> JsonObject:
    """Return a charge of the invoice that has `amount` minor units left. Raises Refusal (400) when none has."""
    for charge in _charges(call, invoice["id"]):
        if refunds.left_of(charge) >= amount:
            return charge
    message = f"No charge of this invoice has {amount} left to refund, in minor units."
    raise Refusal(message, code="amount_too_large", param="refund_amount")


def refund(call: Call, invoice: JsonObject, amount: int) -> JsonObject:
    """Refund minor units of the invoice to the card that paid it, and return the refund."""
    return refunds.make(call, charge_to_refund(call, invoice, amount), amount)


def apply(call: Call, invoice: JsonObject, parts: Split) -> None:
    """Lower what the open invoice asks for, and count what was credited; with nothing left to pay it is paid."""
    pre, post = invoice["pre_payment_credit_notes_amount"], invoice["post_payment_credit_notes_amount"]
    counted = {
        "post_payment_credit_notes_amount": post + parts.after_payment,
        "pre_payment_credit_notes_amount": pre + parts.before_payment,
    }
    after = _ask_less(call, {**invoice, **counted}, invoice, parts.before_payment)
    if invoice["status"] == "open" and after["amount_remaining"] == 0:
        invoice_payments.stop_collecting(call, invoice["id"], "abandoned")
        invoice_payments.mark_paid(call, after, amount_paid=after["amount_paid"])
    else:
        invoice_payments.ask_for_the_rest(call, after)


def take_back(call: Call, invoice: JsonObject, amount: int) -> None:
    """Ask again for minor units that a credit note had taken off the open invoice."""
    left = invoice["pre_payment_credit_notes_amount"] - amount
    changed = {**invoice, "pre_payment_credit_notes_amount": left}
    invoice_payments.ask_for_the_rest(call, _ask_less(call, changed, invoice, -amount))


def _ask_less(call: Call, changed: JsonObject, invoice: JsonObject, amount: int) -> JsonObject:
    lower = {name: invoice[name] - amount for name in ("amount_due", "amount_remaining")}
    return save_change(call, "invoice.updated", invoice, {**changed, **lower})
