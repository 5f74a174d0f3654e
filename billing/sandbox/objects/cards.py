"""Stripe's documented test cards: their numbers, their tokens, and what happens when they are used."""

from dataclasses import dataclass
from enum import StrEnum


class Authentication(StrEnum):
    """When the cardholder must authenticate (3-D Secure)."""

    NEVER = "never"
    UNLESS_SET_UP = "unless_set_up"
    ALWAYS = "always"
    ON_SESSION = "on_session"


class RefundFate(StrEnum):
    """How a refund to the card ends. What happens later happens when the sandbox is told to settle refunds."""

    SUCCEEDS = "succeeds"
    SUCCEEDS_LATER = "succeeds_later"
    FAILS_LATER = "fails_later"

    @property
    def begins(self) -> str:
        """The status of a new refund."""
        return "pending" if self is RefundFate.SUCCEEDS_LATER else "succeeded"


@dataclass(frozen=True)
class Decline:
    """A bank's no: Stripe's error code, the bank's reason (only with `card_declined`), and the message."""

    code: str
    reason: str | None
    message: str


DECLINED = Decline("card_declined", "generic_decline", "Your card was declined.")
NO_FUNDS = Decline("card_declined", "insufficient_funds", "Your card has insufficient funds.")
LOST = Decline("card_declined", "lost_card", "Your card was declined.")
STOLEN = Decline("card_declined", "stolen_card", "Your card was declined.")
EXPIRED = Decline("expired_card", None, "Your card has expired.")
WRONG_CVC = Decline("incorrect_cvc", None, "Your card's security code is incorrect.")
PROCESSING = Decline(
    "processing_error", None, "An error occurred while processing your card. Try again in a little bit."
)
AUTHENTICATION_REQUIRED = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)


@dataclass(frozen=True)
class TestCard:
    """One test card. One that declines cannot be attached to a customer either, unless `attaches`.

    `dispute` is the reason for which its holder disputes every charge.
    """

    number: str
    names: tuple[str, ...]
    brand: str = "visa"
    country: str = "US"
    funding: str = "credit"
    decline: Decline | None = None
    attaches: bool = True
    authentication: Authentication = Authentication.NEVER
    refund: RefundFate = RefundFate.SUCCEEDS
    dispute: str | None = None

    __test__ = False  # pytest: not a test class


def _declining(number: str, decline: Decline, *names: str) -> TestCard:
    return TestCard(number, names, decline=decline, attaches=False)


CARDS = (
    TestCard("4242424242424242", ("visa",)),
    TestCard("4000056655665556", ("visa_debit",), funding="debit"),
    TestCard("5555555555554444", ("mastercard",), brand="mastercard"),
    TestCard("5200828282828210", ("mastercard_debit",), brand="mastercard", funding="debit"),
    TestCard("378282246310005", ("amex",), brand="amex"),
    TestCard("6011111111111117", ("discover",), brand="discover"),
    TestCard("4000002760000016", ("de",), country="DE"),
    TestCard("4000008260000000", ("gb",), country="GB"),
    _declining("4000000000000002", DECLINED, "visa_chargeDeclined", "chargeDeclined"),
    _declining(
        "4000000000009995",
        NO_FUNDS,
        "visa_chargeDeclinedInsufficientFunds",
        "chargeDeclinedInsufficientFunds",
    ),
    _declining("4000000000009987", LOST, "visa_chargeDeclinedLostCard"),
    _declining("4000000000009979", STOLEN, "visa_chargeDeclinedStolenCard"),
    _declining("4000000000000069", EXPIRED, "chargeDeclinedExpiredCard"),
    _declining("4000000000000127", WRONG_CVC, "chargeDeclinedIncorrectCvc"),
    _declining("4000000000000119", PROCESSING, "chargeDeclinedProcessingError"),
    TestCard("4000000000000341", ("chargeCustomerFail",), decline=DECLINED),
    TestCard(
        "4000002500003155",
        ("authenticationRequiredOnSetup",),
        authentication=Authentication.UNLESS_SET_UP,
    ),
    TestCard("4000002760003184", ("authenticationRequired",), authentication=Authentication.ALWAYS),
    TestCard(
        "4000003800000446",
        ("authenticationRequiredSetupForOffSession",),
        authentication=Authentication.ON_SESSION,
    ),
    TestCard(
        "4000008260003178",
        ("authenticationRequiredChargeDeclinedInsufficientFunds",),
        decline=NO_FUNDS,
        authentication=Authentication.ALWAYS,
    ),
    TestCard("4000000000007726", ("pendingRefund",), refund=RefundFate.SUCCEEDS_LATER),
    TestCard("4000000000005126", ("refundFail",), refund=RefundFate.FAILS_LATER),
    TestCard("4000000000000259", ("createDispute",), dispute="fraudulent"),
    TestCard("4000000000002685", ("createDisputeProductNotReceived",), dispute="product_not_received"),
)

BY_NUMBER = {card.number: card for card in CARDS}
BY_TOKEN = {f"{prefix}_{name}": card for card in CARDS for name in card.names for prefix in ("pm_card", "tok")}
"""Cards by `pm_card_…` (payment methods) and `tok_…` (the older card tokens)."""


def passes_check_digit(number: str) -> bool:
    """Tell whether a card number's last digit is right (Luhn's sum)."""
    digits = [int(digit) for digit in reversed(number)]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0
