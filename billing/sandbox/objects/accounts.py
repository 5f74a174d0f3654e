"""The account: the sandbox has exactly one."""

from stripe.params import AccountRetrieveCurrentParams, AccountRetrieveParams

from billing.sandbox.errors import Refusal, missing_object
from billing.sandbox.ids import new_id
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject, Query, Store

NAME = "Candela sandbox (not Stripe)"


def the_account(store: Store, *, now: int) -> JsonObject:
    """Return the sandbox's account, made at the first call."""
    with store.transaction():
        accounts = store.select(Query("account"), limit=1)
        return accounts[0] if accounts else store.put(_shape(now))


def acting_account(account: JsonObject, header: str | None) -> str:
    """Return the id of the account that the request is about. Raises Refusal (403) for any but the sandbox's own."""
    if header not in (None, account["id"]):
        message = f"The provided key does not have access to account '{header}' (or that account does not exist)."
        raise Refusal(message, status=403, code="account_invalid")
    return str(account["id"])


def _shape(now: int) -> JsonObject:
    return {
        "id": new_id("acct"),
        "object": "account",
        "business_profile": {
            "annual_revenue": None,
            "estimated_worker_count": None,
            "mcc": None,
            "name": NAME,
            "product_description": None,
            "support_address": None,
            "support_email": None,
            "support_phone": None,
            "support_url": None,
            "url": None,
        },
        "business_type": None,
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "controller": {"type": "account"},
        "country": "US",
        "created": now,
        "default_currency": "usd",
        "details_submitted": True,
        "email": "sandbox@example.com",
        "external_accounts": {"object": "list", "data": [], "has_more": False, "url": "/v1/account/external_accounts"},
        "future_requirements": _no_requirements(),
        "metadata": {},
        "payouts_enabled": True,
        "requirements": _no_requirements(),
        "settings": _settings(),
        "tos_acceptance": {"date": None, "ip": None, "user_agent": None},
        "type": "standard",
    }


def _no_requirements() -> JsonObject:
    lists = ("alternatives", "currently_due", "errors", "eventually_due", "past_due", "pending_verification")
    return {"current_deadline": None, "disabled_reason": None, **{name: [] for name in lists}}


def _settings() -> JsonObject:
    return {
        "bacs_debit_payments": {"display_name": None, "service_user_number": None},
        "branding": {"icon": None, "logo": None, "primary_color": None, "secondary_color": None},
        "card_issuing": {"tos_acceptance": {"date": None, "ip": None}},
        "card_payments": {
            "decline_on": {"avs_failure": False, "cvc_failure": False},
            "statement_descriptor_prefix": "SANDBOX",
            "statement_descriptor_prefix_kana": None,
            "statement_descriptor_prefix_kanji": None,
        },
        "dashboard": {"display_name": NAME, "timezone": "Etc/UTC"},
        "invoices": {"default_account_tax_ids": None, "hosted_payment_method_save": "offer"},
        "payments": {
            "statement_descriptor": "CANDELA SANDBOX",
            "statement_descriptor_kana": None,
            "statement_descriptor_kanji": None,
        },
        "payouts": {
            "debit_negative_balances": True,
            "schedule": {"delay_days": 2, "interval": "daily"},
            "statement_descriptor": None,
        },
        "sepa_debit_payments": {},
    }


def _current(call: Call) -> JsonObject:
    return the_account(call.store, now=call.now)


def _retrieve(call: Call) -> JsonObject:
    account = _current(call)
    if call.path["id"] != account["id"]:
        raise missing_object("account", call.path["id"], param="account", in_path=True)
    return account


ROUTES = [
    Route("GET", "/v1/account", _current, AccountRetrieveCurrentParams),
    Route("GET", "/v1/accounts/{id}", _retrieve, AccountRetrieveParams),
]
