"""What goes to Stripe and what comes back, in our own words. Amounts are minor units, ids of ours are public ids."""

from dataclasses import dataclass

# The name under which an invoice at Stripe carries our id.
INVOICE_ID = "candela_invoice"


@dataclass(frozen=True, slots=True)
class CustomerToSend:
    """A customer as Stripe is to know it; `stripe_id` is None until it does."""

    id: str
    stripe_id: str | None
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class LineToSend:
    """One line of an invoice; credits are negative."""

    id: str
    description: str
    amount_cents: int


@dataclass(frozen=True, slots=True)
class InvoiceToSend:
    """An issued invoice that Stripe is to have. `retried`: an earlier attempt may have got part of the way."""

    id: str
    number: str
    currency: str
    total_cents: int
    customer: CustomerToSend
    lines: tuple[LineToSend, ...]
    retried: bool


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
class Card:
    """A payment method that Stripe keeps for a customer."""

    stripe_id: str
    payment_type: str
    brand: str
    last_four: str
    expiry_month: int | None
    expiry_year: int | None
