"""What a caller gives about a card, and what the API shows of it."""

import hashlib
from datetime import UTC, datetime

from billing.sandbox.errors import CardRefusal, Refusal, missing_object
from billing.sandbox.objects.cards import BY_NUMBER, BY_TOKEN, TestCard, passes_check_digit
from billing.sandbox.store import JsonObject


def shown(card: TestCard, given: JsonObject) -> JsonObject:
    """Return what the API shows of a card; `given` has its expiry and perhaps its security code."""
    checked = {"address_line1_check": None, "address_postal_code_check": None}
    return {
        "brand": card.brand,
        "checks": {**checked, "cvc_check": "pass" if given.get("cvc") else None},
        "country": card.country,
        "display_brand": card.brand,
        "exp_month": given["exp_month"],
        "exp_year": given["exp_year"],
        "fingerprint": hashlib.sha256(card.number.encode()).hexdigest()[:16],
        "funding": card.funding,
        "generated_from": None,
        "last4": card.number[-4:],
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def year_of(now: int) -> int:
    """Return the calendar year (UTC) of a moment in seconds since 1970."""
    return datetime.fromtimestamp(now, UTC).year


def read(given: JsonObject, year: int) -> tuple[TestCard, JsonObject]:
    """Return the test card that a caller describes, by number or token, with its expiry.

    Raises CardRefusal (402) for any number that is no test card, and for an expiry that cannot be.
    """
    if "token" in given:
        if given["token"] not in BY_TOKEN:
            raise missing_object("token", given["token"], param="card[token]")
        return BY_TOKEN[given["token"]], {"exp_month": 12, "exp_year": year + 3}
    for name in ("number", "exp_month", "exp_year"):
        if name not in given:
            raise Refusal(f"Missing required param: card[{name}].", code="parameter_missing", param=f"card[{name}]")
    if not 1 <= given["exp_month"] <= 12:
        message = "Your card's expiration month is invalid."
        raise CardRefusal(message, code="invalid_expiry_month", param="card[exp_month]")
    if not year <= given["exp_year"] <= year + 50:
        message = "Your card's expiration year is invalid."
        raise CardRefusal(message, code="invalid_expiry_year", param="card[exp_year]")
    return _card_numbered(given["number"]), given


def _card_numbered(number: str) -> TestCard:
    digits = number.replace(" ", "").replace("-", "")
    if digits in BY_NUMBER:
        return BY_NUMBER[digits]
    if not digits.isdigit() or not passes_check_digit(digits):
        raise CardRefusal("Your card number is incorrect.", code="incorrect_number", param="card[number]")
    message = (
        "Your card was declined: the sandbox takes test cards only, never a real one. Use 4242 4242 4242 4242 (pays),"
        " 4000 0000 0000 0002 (is declined), 4000 0000 0000 9995 (has insufficient funds) or 4000 0025 0000 3155 (asks"
        " its holder to confirm)."
    )
    raise CardRefusal(message, code="card_declined", decline_code="test_mode_live_card", param="card[number]")
