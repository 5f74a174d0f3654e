"""Balance transactions: what charges, refunds and disputes did to the account's balance. There are no fees."""

from typing import Any

from stripe.params import BalanceTransactionListParams, BalanceTransactionRetrieveParams

from billing.sandbox.ids import new_id
from billing.sandbox.listing import PAGING, lister
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject

SETTLES_AFTER_SECONDS = 2 * 86_400


def book(call: Call, *, amount: int, kind: str, source: JsonObject, category: str = "") -> JsonObject:
    """Store that the balance moved by `amount` minor units (negative: money left it) and return the transaction.

    `source` is the charge, refund or dispute that moved it; `category` is what reports file it under, else `kind`.
    """
    body: dict[str, Any] = {
        "id": new_id("txn"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": call.now + SETTLES_AFTER_SECONDS,
        "balance_type": "payments",
        "created": call.now,
        "currency": source["currency"],
        "description": source.get("description"),
        "exchange_rate": None,
        "fee": 0,
        "fee_details": [],
        "net": amount,
        "reporting_category": category or kind,
        "source": source["id"],
        "status": "pending",
        "type": kind,
    }
    return call.store.put(body)


def _retrieve(call: Call) -> JsonObject:
    return call.requested("balance_transaction", noun="balance transaction")


FILTERS = ("currency", "source", "type")

ROUTES = [
    Route(
        "GET",
        "/v1/balance_transactions",
        lister("balance_transaction", "/v1/balance_transactions", *FILTERS),
        BalanceTransactionListParams,
        (*PAGING, "created", *FILTERS),
    ),
    Route("GET", "/v1/balance_transactions/{id}", _retrieve, BalanceTransactionRetrieveParams),
]
