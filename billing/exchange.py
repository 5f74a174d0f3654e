"""What goes to Stripe and to the mail server, and what comes back, in our own words. Amounts are minor units, ids of
ours are public ids."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Self

# The names under which objects at Stripe carry our ids.
INVOICE_ID = "candela_invoice"
INVOICE_REVISION = "candela_revision"
CHECKOUT_ID = "candela_checkout"
REFUND_ID = "candela_refund"


@dataclass(frozen=True, slots=True)
class CustomerToSend:
    """A customer as Stripe is to know it; `stripe_id` is None until it does."""

    id: str
    stripe_id: str | None
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class LineToSend:
    """One line of an invoice; credits are negative. Where so many units at so much come to the amount exactly, `units`
    and `unit_amount_cents` say so, else they are None."""

    id: str
    description: str
    amount_cents: int
    units: int | None = None
    unit_amount_cents: Decimal | None = None


@dataclass(frozen=True, slots=True)
class InvoiceToSend:
    """An issued invoice that Stripe is to have. `retried`: an earlier attempt may have got part of the way, also one
    that a restored database does not know.

    `payment_intent` is Stripe's id of the one that has paid it already, empty where none has. An invoice that was
    credited before it was paid goes there anew, as its next `revision`.
    """

    id: str
    number: str
    currency: str
    total_cents: int
    customer: CustomerToSend
    lines: tuple[LineToSend, ...]
    retried: bool
    payment_intent: str = ""
    revision: int = 0


@dataclass(frozen=True, slots=True)
class InvoiceToVoid:
    """A revision of an invoice that nobody is to pay any more. Stripe's ids are empty while they are not known."""

    id: str
    revision: int
    stripe_invoice_id: str
    stripe_customer: str


@dataclass(frozen=True, slots=True)
class ChargeToMake:
    """An invoice at Stripe that is to be paid now. The same `attempt` is the same charge, however often it is sent."""

    invoice: str
    stripe_invoice_id: str
    payment_method: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Paid:
    """Stripe has the money; `reference` is its id of the invoice."""

    reference: str
    amount_cents: int


@dataclass(frozen=True, slots=True)
class Declined:
    """The bank or Stripe said no to this charge, for good."""

    reference: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RefundToMake:
    """Money that is to go back to where a payment came from. `paid_by` is Stripe's id of the invoice or of the payment
    intent that was paid; `stripe_id` that of the refund, empty while it is not known."""

    id: str
    stripe_id: str
    paid_by: str
    amount_cents: int
    currency: str
    retried: bool


@dataclass(frozen=True, slots=True)
class InvoiceToCredit:
    """An invoice at Stripe that is to be credited by what a refund gave back of it, with our credit note's `number`."""

    credit_note: str
    number: str
    stripe_invoice_id: str
    refund: str
    stripe_refund: str
    amount_cents: int
    currency: str


class RefundProgress(Enum):
    """How far a refund is at Stripe. `FAILED`: the bank did not take it, and the money is back with the seller."""

    WAITING = "waiting"
    MADE = "made"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RefundAtStripe:
    """A refund as it stands at Stripe; `reason` says why it failed."""

    stripe_id: str
    progress: RefundProgress
    reason: str = ""

    @classmethod
    def told(cls, *, stripe_id: str, status: str, failure_reason: str) -> Self:
        """Put what Stripe says into our words."""
        if status == "succeeded":
            return cls(stripe_id, RefundProgress.MADE)
        if status in ("failed", "canceled"):
            why = failure_reason or "no reason given"
            return cls(stripe_id, RefundProgress.FAILED, f"The money could not go back: {why}. Pay it in another way.")
        return cls(stripe_id, RefundProgress.WAITING)


@dataclass(frozen=True, slots=True)
class PaidInvoice:
    """An invoice at Stripe that a payment intent has paid; `our_id` is what its metadata says, empty where nothing."""

    stripe_id: str
    our_id: str


@dataclass(frozen=True, slots=True)
class Card:
    """A payment method that Stripe keeps for a customer."""

    stripe_id: str
    payment_type: str
    brand: str
    last_four: str
    expiry_month: int | None
    expiry_year: int | None


@dataclass(frozen=True, slots=True)
class IntentToOpen:
    """What a buyer's browser is to confirm with a card: a hold of `due_cents`, or with 0 that the card may be kept."""

    checkout: str
    stripe_customer: str
    due_cents: int
    currency: str


class IntentProgress(Enum):
    """How far the holder of a card got. `READY`: the amount is held, or the card is kept. `TAKEN`: the held amount was
    captured. `CANCELED`: nothing can come of it any more."""

    WAITING = "waiting"
    READY = "ready"
    TAKEN = "taken"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class Intent:
    """A payment or setup intent as it stands at Stripe. `client_secret` is what the buyer's browser confirms it with,
    and must not be kept. `card` is there once the intent is ready; `error` is Stripe's sentence for the latest attempt
    that failed, empty while none has, and `taken_cents` what was captured, in minor units of the currency."""

    id: str
    client_secret: str
    progress: IntentProgress
    taken_cents: int = 0
    card: Card | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class AccountAtStripe:
    """Whose account a key is of. `name` is what customers read; a code of a currency has capital letters."""

    id: str
    name: str
    country: str
    currency: str
    can_charge: bool


@dataclass(frozen=True, slots=True)
class EndpointAtStripe:
    """An address that Stripe sends events to. `is_kept` says whether its signing secret is known here."""

    stripe_id: str
    url: str
    events: frozenset[str]
    api_version: str
    is_enabled: bool
    made_at: datetime
    is_kept: bool


@dataclass(frozen=True, slots=True)
class ObjectAtStripe:
    """An invoice, a payment of one, a payment intent, a refund or a dispute, as far as it is compared.

    `our_id` and `revision` are what its metadata says, which anybody at Stripe may have written. Amounts are minor
    units, None where Stripe's is no whole number of them: `amount_cents` is what it comes to, `paid_cents` what was
    paid of it. `stripe_invoice_id` and `intent_id` are what it belongs to, empty where Stripe names none.
    """

    stripe_id: str
    status: str
    currency: str
    made_at: datetime
    amount_cents: int | None
    paid_cents: int | None = None
    our_id: str = ""
    revision: str = ""
    stripe_invoice_id: str = ""
    intent_id: str = ""


@dataclass(frozen=True, slots=True)
class MailToSend:
    """A mail to a customer. `kind` names its templates, `facts` are what they say; `message_name` is what is unique in
    its Message-ID. `invoice` is the public id of the one that it is about, empty where it is about none."""

    id: str
    message_name: str
    kind: str
    address: str
    customer_name: str
    language: str
    invoice: str
    facts: Mapping[str, Any]
