"""Buying a top-up pack: an invoice of its own, whose payment makes the grant."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import transaction

from billing.models import Invoice, InvoiceKind, InvoiceLine, InvoiceStatus, LineType
from billing.rounding import with_rounding_line
from billing.services.finalize import PAYMENT_TERM, number_invoices
from billing.services.tax import tax_of_customer
from billing.stripe_amounts import is_chargeable, least_charge
from billing.tax_lines import charge_tax
from credits.models import CreditGrant, TopUpPack
from credits.services.grants import refuse_event_fees
from credits.services.packs import LARGEST_AMOUNT, SoldPack, amount_of, grant_of_pack, hold_pack, sold_now
from plans.models import Customer
from plans.price_language import LARGEST_AMOUNT_CENTS
from plans.refusals import InvalidInput, Refusal
from plans.words import money_text

MOST_PACKS = 10_000
REFERENCE = "top_up:"


class TooLittleToCharge(Refusal):
    """The purchase comes to less than Stripe charges at once, so it could never be paid by itself."""

    code = "below_minimum_charge"


@transaction.atomic
def buy_pack(*, customer: Customer, pack: TopUpPack, quantity: int = 1, at: datetime) -> Invoice:
    """Sell packs to a customer: issue their invoice, which the sweeps send and charge. Its payment makes the grant.

    It is taxed now, and no credit of money pays for it. Raises PackNotOffered, TooLittleToCharge, and InvalidInput for
    a quantity that cannot be sold at once.
    """
    return issue_purchase(compose_purchase(customer=customer, pack=pack, quantity=quantity, at=at), at=at)


@dataclass(frozen=True, slots=True)
class Purchase:
    """The invoice of a purchase with its lines, the first of which is the pack; nothing is stored yet."""

    invoice: Invoice
    lines: list[InvoiceLine]


def compose_purchase(*, customer: Customer, pack: TopUpPack, quantity: int, at: datetime) -> Purchase:
    """Work out what packs come to for a customer, and keep the pack as it is until the transaction ends.

    Raises PackNotOffered, TooLittleToCharge and InvalidInput, as `buy_pack` does.
    """
    pack = hold_pack(pack)
    refuse_event_fees(customer, pack.definition, path="id")
    invoice = Invoice(
        customer=customer,
        kind=InvoiceKind.TOP_UP,
        currency=pack.currency,
        closes_at=at,
        finalize_at=at,
        due_at=at + PAYMENT_TERM,
        created_at=at,
    )
    line = _line(invoice, pack, quantity, sold_now(pack, quantity), at)
    charge_tax(invoice, [line], tax_of_customer(customer))
    lines = with_rounding_line(invoice, [line])
    _refuse_too_little(invoice)
    return Purchase(invoice, lines)


def issue_purchase(purchase: Purchase, *, at: datetime) -> Invoice:
    """Store a purchase, number and freeze its invoice, and have the sweeps send it."""
    invoice = purchase.invoice
    invoice.save()
    for line in purchase.lines:
        line.invoice = invoice
        line.save()
    number_invoices([invoice])
    invoice.status = InvoiceStatus.ISSUED
    invoice.finalized_at = invoice.send_at = at
    invoice.save(update_fields=["number", "status", "finalized_at", "send_at", "updated_at"])
    return invoice


def _line(invoice: Invoice, pack: TopUpPack, quantity: int, sold: SoldPack, at: datetime) -> InvoiceLine:
    return InvoiceLine(
        invoice=invoice,
        position=1,
        type=LineType.TOP_UP,
        pack=pack,
        sold_amount=sold.amount,
        sold_expiry_days=sold.expiry_days,
        sold_priority=sold.priority,
        metric_id=pack.definition.metric_id,
        description=pack.name,
        quantity=Decimal(quantity),
        unit_amount_cents=Decimal(pack.price_cents),
        amount_cents=price_of(pack, quantity),
        billing_period_start_at=at,
        billing_period_end_at=at,
    )


def price_of(pack: TopUpPack, quantity: int) -> int:
    """What packs cost together before tax, in minor units. Raises InvalidInput for a quantity that cannot be sold."""
    if not 1 <= quantity <= MOST_PACKS:
        raise InvalidInput.at("quantity", f"must be a whole number from 1 to {MOST_PACKS}.")
    price_cents = pack.price_cents * quantity
    if price_cents > LARGEST_AMOUNT_CENTS or amount_of(pack, quantity) > LARGEST_AMOUNT:
        raise InvalidInput.at("quantity", "is more of this pack than can be sold at once. Buy less.")
    return price_cents


def _refuse_too_little(invoice: Invoice) -> None:
    if is_chargeable(invoice.total_cents, invoice.currency):
        return
    least = money_text(least_charge(invoice.currency), invoice.currency)
    raise TooLittleToCharge(
        f"quantity: {money_text(invoice.total_cents, invoice.currency)} is less than the {least} that can be charged "
        "at once. Buy more packs together.",
        details=[{"path": "quantity", "message": f"must come to at least {least}."}],
    )


def grant_what_was_paid(*, invoice: Invoice, at: datetime) -> list[CreditGrant]:
    """Make the grant of each pack on an invoice that is being marked as paid, once; invoices without packs make none.

    The caller holds the invoice's lock and marks it in the same transaction.
    """
    if invoice.kind != InvoiceKind.TOP_UP:
        return []
    lines = invoice.lines.filter(type=LineType.TOP_UP).select_related("pack__definition")
    return [
        grant_of_pack(
            at=at,
            customer=invoice.customer,
            sold=_sold(line),
            reference_code=reference_of(line),
        )
        for line in lines
    ]


def _sold(line: InvoiceLine) -> SoldPack:
    """What a line sold. Its terms are those of the purchase: the payment may come long after it."""
    assert line.pack is not None
    assert line.sold_amount is not None
    return SoldPack(
        definition=line.pack.definition,
        amount=line.sold_amount,
        expiry_days=line.sold_expiry_days,
        priority=line.sold_priority,
        title=f"{int(line.quantity)} × {line.description}",
    )


def bought_grants(invoice: Invoice) -> list[CreditGrant]:
    """The grants that an invoice's payment has made, in the order of its lines; none while it is unpaid."""
    references = [reference_of(line) for line in invoice.lines.filter(type=LineType.TOP_UP)]
    made = CreditGrant.objects.filter(customer=invoice.customer_id, reference_code__in=references)
    return list(made.order_by("pk"))


def reference_of(line: InvoiceLine) -> str:
    """The reference of the grant that a line's payment makes: unique per customer, so there is one of it."""
    return f"{REFERENCE}{line.public_id}"
