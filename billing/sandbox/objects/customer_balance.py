"""The customer's balance: one transaction for each move. Below zero the customer has something to its credit."""

from stripe.params import CustomerListBalanceTransactionsParams, CustomerRetrieveBalanceTransactionParams

from billing.sandbox.errors import missing_object
from billing.sandbox.ids import new_id
from billing.sandbox.listing import PAGING, filter_created, filter_equal, page
from billing.sandbox.objects.events import save_change
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject, Query


def move(
    call: Call, customer_id: str, amount: int, kind: str, *, currency: str, invoice: str, credit_note: str | None = None
) -> str | None:
    """Add minor units to what the customer owes (negative: to its credit); return the transaction's id, None for 0."""
    customer = call.store.find(customer_id, "customer")
    if customer is None or amount == 0:
        return None
    after = save_change(call, "customer.updated", customer, {"balance": customer["balance"] + amount})
    return record(call, after, amount, kind, currency=currency, invoice=invoice, credit_note=credit_note)


def record(
    call: Call,
    customer: JsonObject,
    amount: int,
    kind: str,
    *,
    currency: str,
    invoice: str | None = None,
    credit_note: str | None = None,
) -> str:
    """Store that the balance moved by `amount` minor units to what it is now; return the transaction's id."""
    transaction = call.store.put(
        {
            "id": new_id("cbtxn"),
            "object": "customer_balance_transaction",
            "amount": amount,
            "checkout_session": None,
            "created": call.now,
            "credit_note": credit_note,
            "currency": currency,
            "customer": customer["id"],
            "customer_account": None,
            "description": None,
            "ending_balance": customer["balance"],
            "invoice": invoice,
            "livemode": False,
            "metadata": {},
            "type": kind,
        }
    )
    return str(transaction["id"])


def _list(call: Call) -> JsonObject:
    customer = call.requested("customer", param="customer")
    query = Query("customer_balance_transaction").where("customer = ?", customer["id"])
    filter_created(call, query)
    filter_equal(call, query, "invoice")
    return page(call, query, url=f"/v1/customers/{customer['id']}/balance_transactions")


def _retrieve(call: Call) -> JsonObject:
    found = call.store.find(call.path["transaction"], "customer_balance_transaction")
    if found is None or found["customer"] != call.path["id"]:
        raise missing_object(
            "customer balance transaction", call.path["transaction"], param="transaction", in_path=True
        )
    return found


ROUTES = [
    Route(
        "GET",
        "/v1/customers/{id}/balance_transactions",
        _list,
        CustomerListBalanceTransactionsParams,
        (*PAGING, "created", "invoice"),
    ),
    Route(
        "GET",
        "/v1/customers/{id}/balance_transactions/{transaction}",
        _retrieve,
        CustomerRetrieveBalanceTransactionParams,
    ),
]
