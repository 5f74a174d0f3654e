"""Disputes: a cardholder questions a charge; its money is withdrawn, and comes back only when the dispute is won."""

from typing import Any

from stripe import Dispute
from stripe.params import DisputeCloseParams, DisputeListParams, DisputeRetrieveParams, DisputeUpdateParams

from billing.sandbox.errors import Refusal, missing_object, not_in_the_sandbox
from billing.sandbox.ids import new_id
from billing.sandbox.listing import PAGING, lister
from billing.sandbox.objects import balance_transactions
from billing.sandbox.objects.cards import BY_NUMBER
from billing.sandbox.objects.events import emit, save_change
from billing.sandbox.objects.metadata import merged
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject

EVIDENCE_WITHIN_SECONDS = 9 * 86_400
OPEN = ("needs_response", "under_review")
EVIDENCE = tuple(sorted(Dispute.Evidence.__annotations__.keys() - {"enhanced_evidence"}))
DECIDING_TEXTS = {"winning_evidence": True, "losing_evidence": False}
"""Stripe's texts for `uncategorized_text` that decide a test dispute at once."""


def open_by_card(call: Call, charge_id: str) -> None:
    """Open a dispute about a captured charge when its test card is one whose holder disputes every charge."""
    charge = call.store.find(charge_id, "charge") or {}
    reason = BY_NUMBER[call.store.hidden(charge["payment_method"])["number"]].dispute
    if reason:
        _open(call, charge, reason)


def _open(call: Call, charge: JsonObject, reason: str) -> None:
    call.store.put({**charge, "disputed": True})
    dispute = call.store.put(_new(call, charge, reason))
    emit(call, "charge.dispute.created", dispute)
    withdrawn = _book(call, dispute, -dispute["amount"], "dispute")
    emit(call, "charge.dispute.funds_withdrawn", withdrawn, {"balance_transactions": []})


def _new(call: Call, charge: JsonObject, reason: str) -> JsonObject:
    brand = charge["payment_method_details"]["card"]["brand"]
    return {
        "id": new_id("du"),
        "object": "dispute",
        "amount": charge["amount_captured"],
        "balance_transactions": [],
        "charge": charge["id"],
        "created": call.now,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(EVIDENCE), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": call.now + EVIDENCE_WITHIN_SECONDS,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {},
        "network_reason_code": None,
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "card": {"brand": brand, "case_type": "chargeback", "network": brand, "network_reason_code": None},
            "type": "card",
        },
        "reason": reason,
        "status": "needs_response",
    }


def _book(call: Call, dispute: JsonObject, amount: int, category: str) -> JsonObject:
    transaction = balance_transactions.book(call, amount=amount, kind="adjustment", source=dispute, category=category)
    return call.store.put({**dispute, "balance_transactions": [*dispute["balance_transactions"], transaction]})


def require(call: Call, dispute_id: str) -> JsonObject:
    """Return the dispute with this id. Raises Refusal (404)."""
    found = call.store.find(dispute_id, "dispute")
    if found is None:
        raise missing_object("dispute", dispute_id, param="dispute", in_path=True)
    return found


def close(call: Call, dispute: JsonObject, *, won: bool) -> JsonObject:
    """Let the bank decide: won gives the money back, lost leaves it withdrawn; return the dispute, closed for good.

    Raises Refusal (400) for one that is closed already.
    """
    if dispute["status"] not in OPEN:
        raise Refusal(f"This dispute is already closed: its status is {dispute['status']}.", param="dispute")
    closed = call.store.put({**dispute, "status": "won" if won else "lost"})
    if won:
        closed = _book(call, closed, closed["amount"], "dispute_reversal")
        previous = {"balance_transactions": dispute["balance_transactions"], "status": dispute["status"]}
        emit(call, "charge.dispute.funds_reinstated", closed, previous)
    emit(call, "charge.dispute.closed", closed, {"status": dispute["status"]})
    return closed


def _retrieve(call: Call) -> JsonObject:
    return require(call, call.path["id"])


def _update(call: Call) -> JsonObject:
    """Keep evidence and, unless `submit` is false, hand it in: then the bank looks at it, or is decided by its text."""
    dispute = _retrieve(call)
    changes: dict[str, Any] = {}
    if "metadata" in call.params:
        changes["metadata"] = merged(dispute["metadata"], call.params["metadata"])
    evidence = call.value("evidence")
    submits = call.value("submit", evidence is not None)
    if evidence is not None or submits:
        changes.update(_with_evidence(dispute, evidence or {}, submits=submits))
    after = save_change(call, "charge.dispute.updated", dispute, changes)
    verdict = DECIDING_TEXTS.get(after["evidence"]["uncategorized_text"] or "") if submits else None
    return after if verdict is None else close(call, after, won=verdict)


def _with_evidence(dispute: JsonObject, given: JsonObject, *, submits: bool) -> JsonObject:
    if dispute["status"] not in OPEN:
        raise Refusal("This dispute is already closed: it takes no evidence any more.", param="evidence")
    if "enhanced_evidence" in given:
        raise not_in_the_sandbox("evidence[enhanced_evidence]")
    evidence = {**dispute["evidence"], **{name: value or None for name, value in given.items()}}
    details = dispute["evidence_details"]
    counted = {"has_evidence": True, "submission_count": details["submission_count"] + submits}
    status = "under_review" if submits else dispute["status"]
    return {"evidence": evidence, "evidence_details": {**details, **counted}, "status": status}


def _close(call: Call) -> JsonObject:
    """Accept the dispute: it is lost."""
    return close(call, _retrieve(call), won=False)


ROUTES = [
    Route(
        "GET",
        "/v1/disputes",
        lister("dispute", "/v1/disputes", "charge", "payment_intent"),
        DisputeListParams,
        (*PAGING, "created", "charge", "payment_intent"),
    ),
    Route("GET", "/v1/disputes/{id}", _retrieve, DisputeRetrieveParams),
    Route("POST", "/v1/disputes/{id}", _update, DisputeUpdateParams, ("evidence", "metadata", "submit")),
    Route("POST", "/v1/disputes/{id}/close", _close, DisputeCloseParams),
]
