"""The lines of a credit note: parts of the invoice's own lines, or lines of its own."""

from billing.sandbox.errors import Refusal, missing_object, not_in_the_sandbox
from billing.sandbox.ids import new_id
from billing.sandbox.objects import money
from billing.sandbox.objects.metadata import merged
from billing.sandbox.routes import Call
from billing.sandbox.store import JsonObject, Query

OF_THE_INVOICE = "invoice_line_item"
OF_ITS_OWN = "custom_line_item"
IMITATED = {"amount", "description", "invoice_line_item", "metadata", "quantity", "type", "unit_amount"}
IMITATED |= {"unit_amount_decimal"}


def read(call: Call, invoice: JsonObject) -> list[JsonObject]:
    """Return the lines that the call asks for, not stored; a bare `amount` is one line.

    Raises Refusal (400) unless exactly one of `amount` and `lines` is given, and for a line that cannot be.
    """
    amount, lines = call.value("amount"), call.value("lines")
    if (amount is None) == (not lines):
        raise Refusal("You must provide exactly one of `amount` and `lines`.", code="parameter_missing", param="amount")
    if not lines:
        return [_line(type=OF_ITS_OWN, amount=_positive(amount, "amount"), unit_amount=amount)]
    made: list[JsonObject] = []
    for place, given in enumerate(lines):
        name = f"lines[{place}]"
        for unknown in sorted(given.keys() - IMITATED):
            raise not_in_the_sandbox(f"{name}[{unknown}]")
        own = given["type"] == OF_ITS_OWN
        made.append(_own_line(given, name) if own else _invoice_line(call, invoice, given, name, made))
    return made


def _line(**fields: object) -> JsonObject:
    return {
        "id": new_id("cnli"),
        "object": "credit_note_line_item",
        "description": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "invoice_line_item": None,
        "livemode": False,
        "metadata": {},
        "pretax_credit_amounts": [],
        "quantity": None,
        "tax_rates": [],
        "taxes": [],
        "unit_amount": None,
        "unit_amount_decimal": None,
        **fields,
    }


def _positive(amount: int, name: str) -> int:
    if amount < 1:
        message = "This value must be greater than or equal to 1."
        raise Refusal(message, code="parameter_invalid_integer", param=name)
    return amount


def _own_line(given: JsonObject, name: str) -> JsonObject:
    for wrong in ("amount", "invoice_line_item"):
        if wrong in given:
            message = f"`{wrong}` is only valid when `type` is `{OF_THE_INVOICE}`."
            raise Refusal(message, param=f"{name}[{wrong}]")
    whole, exact = given.get("unit_amount"), given.get("unit_amount_decimal")
    if (whole is None) == (exact is None):
        message = "You must pass exactly one of `unit_amount` and `unit_amount_decimal`."
        raise Refusal(message, code="parameter_missing", param=f"{name}[unit_amount]")
    quantity = _positive(given.get("quantity", 1), f"{name}[quantity]")
    each = str(whole) if exact is None else exact
    return _line(
        type=OF_ITS_OWN,
        amount=_positive(money.multiply(each, quantity), f"{name}[unit_amount]"),
        description=given.get("description"),
        metadata=merged({}, given.get("metadata")),
        quantity=quantity,
        unit_amount=whole,
        unit_amount_decimal=each,
    )


def _invoice_line(
    call: Call, invoice: JsonObject, given: JsonObject, name: str, before: list[JsonObject]
) -> JsonObject:
    source = call.store.find(given.get("invoice_line_item", ""), "line_item")
    if source is None or source["invoice"] != invoice["id"]:
        named = str(given.get("invoice_line_item"))
        raise missing_object("invoice line item", named, param=f"{name}[invoice_line_item]")
    for wrong in ("description", "unit_amount", "unit_amount_decimal"):
        if wrong in given:
            raise Refusal(f"`{wrong}` is only valid when `type` is `{OF_ITS_OWN}`.", param=f"{name}[{wrong}]")
    amount = _amount_of(source, given, name)
    left = source["amount"] - _credited(call, source["id"], invoice["id"], before)
    if amount > left:
        message = f"You cannot credit {amount} of the line {source['id']}: {left} is left of it, in minor units."
        raise Refusal(message, param=f"{name}[amount]")
    return _line(
        type=OF_THE_INVOICE,
        amount=amount,
        description=source["description"],
        invoice_line_item=source["id"],
        metadata=merged({}, given.get("metadata")),
        quantity=given.get("quantity"),
    )


def _amount_of(source: JsonObject, given: JsonObject, name: str) -> int:
    if ("amount" in given) == ("quantity" in given):
        message = "You must pass exactly one of `amount` and `quantity` for a line of the invoice."
        raise Refusal(message, code="parameter_missing", param=f"{name}[amount]")
    if "amount" in given:
        return _positive(given["amount"], f"{name}[amount]")
    each = source["pricing"]["unit_amount_decimal"]
    return _positive(money.multiply(each, given["quantity"]), f"{name}[quantity]")


def _credited(call: Call, line_id: str, invoice_id: str, before: list[JsonObject]) -> int:
    """Return what issued credit notes, and the earlier lines of this one, have taken off an invoice's line."""
    notes = call.store.select(Query("credit_note").where("invoice = ?", invoice_id).equals("status", "issued"))
    ids = [stored for note in notes for stored in call.store.hidden(note["id"])["lines"]]
    lines = [*before, *(call.store.find(stored) or {} for stored in ids)]
    return sum(line["amount"] for line in lines if line.get("invoice_line_item") == line_id)
