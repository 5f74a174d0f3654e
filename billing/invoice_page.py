"""A customer's bill in the words of its page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from billing.explain_page import HowComputed, each_text, how_computed, quantity_text, terms_text, unit_of
from billing.models import (
    Invoice,
    InvoiceKind,
    InvoiceLine,
    InvoiceStatus,
    LineType,
    Payment,
    PaymentMethod,
    PaymentStatus,
    TaxMethod,
)
from billing.services.explain import Explanation
from billing.stripe_amounts import is_chargeable
from billing.tax import tax_text
from billing.tax_lines import tax_sums
from plans.money import exactly
from plans.page_words import counted_text, day_text, moment_text, number_text, period_text, usage_name
from plans.pricing import OF_AMOUNTS
from plans.words import money_text

_CARD_BRANDS = {
    "amex": "American Express",
    "diners": "Diners Club",
    "discover": "Discover",
    "jcb": "JCB",
    "mastercard": "Mastercard",
    "unionpay": "UnionPay",
    "visa": "Visa",
}
_TONES: dict[str, str] = {
    InvoiceStatus.PAID: "success",
    InvoiceStatus.UNPAID: "danger",
    InvoiceStatus.UNCOLLECTIBLE: "danger",
}


@dataclass(frozen=True, kw_only=True)
class SheetLine:
    """A line of the bill, all of it text. `terms` are those of a price whose units do not all cost the same, and `how`
    tells how this line and those before it that belong to it were computed, where there is more to tell than that."""

    description: str
    period: str
    terms: str
    quantity: str
    each: str
    amount: str
    how: HowComputed | None


@dataclass(frozen=True, kw_only=True)
class InvoiceSheet:
    """The bill, all of it text. `tone` says how the state looks: success, info or danger.

    `facts`, and `sums` with the last one below the rule, are pairs of a name and a value. A draft has neither lines nor
    sums yet, unless it is written by hand.
    """

    title: str
    amount: str
    tone: str
    state: list[str]
    facts: list[tuple[str, str]]
    seller: list[str]
    buyer: list[str]
    lines: list[SheetLine]
    sums: list[tuple[str, str]]
    tax_note: str
    payments: list[tuple[str, str]]
    explanations: list[str]
    zone: str


def invoice_sheet(
    invoice: Invoice,
    *,
    parties: tuple[Sequence[str], Sequence[str]],
    explained: Sequence[Explanation],
    payments: Sequence[Payment],
    zone: ZoneInfo,
) -> InvoiceSheet:
    """Put a bill with its explained lines into words, its days in `zone`. `parties` are the lines of the seller and of
    the buyer.

    The invoice's plan and the payments' methods are to be fetched already; the payments stand the oldest first.
    """
    lines = [explanation.line for explanation in explained]
    how = how_computed(explained, zone)
    is_draft = invoice.status == InvoiceStatus.DRAFT
    is_empty = is_draft and invoice.kind != InvoiceKind.MANUAL
    paid_cents = _paid_cents(payments)
    seller, buyer = parties
    due_cents = invoice.open_cents
    return InvoiceSheet(
        title=f"Invoice {invoice.number}" if invoice.number else "Draft invoice",
        amount="" if is_draft else money_text(invoice.total_cents, invoice.currency),
        tone="danger" if _failure(payments, zone) else _TONES.get(invoice.status, "info"),
        state=_state(invoice, payments, due_cents, zone),
        facts=_facts(invoice, zone),
        seller=list(seller),
        buyer=list(buyer),
        lines=[_sheet_line(line, how.get(line.pk), zone) for line in lines],
        sums=[] if is_empty else sums_with_tax(invoice, lines),
        tax_note="" if is_empty else tax_note(invoice),
        payments=[]
        if is_draft
        else [
            ("Amount paid", money_text(paid_cents, invoice.currency)),
            ("Amount due", money_text(due_cents, invoice.currency)),
        ],
        explanations=_explanations(lines, invoice.currency),
        zone=str(zone),
    )


def _paid_cents(payments: Iterable[Payment]) -> int:
    return sum(payment.amount_cents for payment in payments if payment.status == PaymentStatus.SUCCEEDED)


def _state(invoice: Invoice, payments: Sequence[Payment], due_cents: int, zone: ZoneInfo) -> list[str]:
    """Say what the state of the bill means for who pays it."""
    due = money_text(due_cents, invoice.currency)
    due_day = day_text(invoice.due_at, zone) if invoice.due_at is not None else ""
    match invoice.status:
        case InvoiceStatus.DRAFT if invoice.kind == InvoiceKind.MANUAL:
            return ["Not final yet. The lines and the total may still change, and nothing is due before it is issued."]
        case InvoiceStatus.DRAFT:
            return [
                f"Not final yet. Usage that arrives late is counted until {moment_text(invoice.finalize_at, zone)}; "
                "after that the lines and the total stand here."
            ]
        case InvoiceStatus.PAID:
            return [_paid_sentence(invoice, payments, zone)]
        case InvoiceStatus.VOID:
            return ["Void. This invoice was withdrawn; there is nothing to pay for it."]
        case InvoiceStatus.CARRIED if invoice.carried_into is not None:
            return [f"Carried. What was open is on invoice {invoice.carried_into.number}."]
        case InvoiceStatus.UNCOLLECTIBLE:
            return [f"Written off. {due} of it was not paid.", *_failure(payments, zone)]
        case InvoiceStatus.UNPAID:
            return [f"Unpaid. {due} was due on {due_day}.", *_failure(payments, zone)]
    if not is_chargeable(due_cents, invoice.currency):
        return [f"Open. {due} is too little to charge by itself; there is nothing to do now."]
    return [f"Open. {due} is due on {due_day}.", *_failure(payments, zone)]


def _paid_sentence(invoice: Invoice, payments: Sequence[Payment], zone: ZoneInfo) -> str:
    assert invoice.paid_at is not None
    if invoice.total_cents == 0:
        return "Nothing to pay: what was used is covered."
    methods = [payment.payment_method for payment in payments if payment.status == PaymentStatus.SUCCEEDED]
    with_what = f" with {card_text(methods[0])}" if methods and methods[0] is not None else ""
    return f"Paid on {day_text(invoice.paid_at, zone)}{with_what}."


def _failure(payments: Sequence[Payment], zone: ZoneInfo) -> list[str]:
    """Tell of the last charge, when it failed."""
    if not payments or payments[-1].status != PaymentStatus.FAILED:
        return []
    last = payments[-1]
    what = f"to charge {card_text(last.payment_method)}" if last.payment_method is not None else "to charge it"
    why = f": {last.error_message}" if last.error_message else "."
    return [f"The attempt {what} on {day_text(last.created_at, zone)} failed{why}"]


def card_text(method: PaymentMethod) -> str:
    """Name a card as people know it: Visa •••• 4242."""
    brand = _CARD_BRANDS.get(method.card_brand.lower(), method.card_brand or "a card")
    # One word for whoever breaks lines.
    return f"{brand}\u00a0••••\u00a0{method.card_last_four}" if method.card_last_four else brand


def _facts(invoice: Invoice, zone: ZoneInfo) -> list[tuple[str, str]]:
    facts = []
    if invoice.finalized_at is not None:
        facts.append(("Issued", day_text(invoice.issue_date or invoice.finalized_at, zone)))
    if invoice.due_at is not None:
        facts.append(("Due", day_text(invoice.due_at, zone)))
    period = _days_text(invoice.period_start_at, invoice.period_end_at, zone)
    if period:
        facts.append(("Period", period))
    if invoice.subscription is not None:
        facts.append(("Plan", invoice.subscription.plan.name))
    return facts


def _sheet_line(line: InvoiceLine, how: HowComputed | None, zone: ZoneInfo) -> SheetLine:
    start, end = line.usage_period_start_at, line.usage_period_end_at
    if start is None or end is None:
        start, end = line.billing_period_start_at, line.billing_period_end_at
    return SheetLine(
        description=line.description,
        period=_days_text(start, end, zone),
        terms=terms_text(line),
        quantity=quantity_text(line),
        each=each_text(line),
        amount=money_text(line.amount_cents, line.invoice.currency),
        how=how,
    )


def _days_text(start: datetime | None, end: datetime | None, zone: ZoneInfo) -> str:
    """The local days of a period; empty for an instant, such as that of what is written by hand."""
    return "" if start is None or end is None or start == end else period_text(start, end, zone)


def sums_with_tax(invoice: Invoice, lines: Iterable[InvoiceLine]) -> list[tuple[str, str]]:
    """The sums of a bill: net, the tax at each rate with what it is computed of, and what is to be paid."""
    currency = invoice.currency
    taxes = [
        (f"{tax_text(tax.rate)} on {money_text(tax.net_cents, currency)}", tax.tax_cents)
        for tax in tax_sums(invoice, lines)
    ]
    if not taxes and invoice.tax_cents:
        taxes = [("Tax", invoice.tax_cents)]
    net = "Subtotal without tax" if taxes and invoice.prices_include_tax else "Subtotal"
    sums = [(net, invoice.subtotal_cents), *taxes, ("Total", invoice.total_cents)]
    return [(name, money_text(cents, currency)) for name, cents in sums]


def tax_note(invoice: Invoice) -> str:
    """Say which tax it is, or why there is none; empty where the seller charges none at all."""
    if invoice.tax_method == TaxMethod.EXEMPT:
        reason = invoice.tax_exemption_reason.rstrip(".")
        return f"No tax is charged: {reason}." if reason else "No tax is charged: the customer is exempt."
    if not invoice.tax_cents:
        return ""
    named = ", ".join(part for part in (invoice.tax_name, invoice.tax_jurisdiction) if part)
    included = "The amounts of the lines include the tax." if invoice.prices_include_tax else ""
    return " ".join(part for part in (f"Tax: {named}." if named else "", included) if part)


def _explanations(lines: Sequence[InvoiceLine], currency: str) -> list[str]:
    """Say of each usage line what was used, what of it was included, and what the rest cost."""
    return [
        _explanation(line, [other for other in lines if other.period_id == line.period_id], currency)
        for line in lines
        if line.type == LineType.USAGE and line.period is not None and line.period.settled_usage is not None
    ]


@exactly
def _explanation(usage: InvoiceLine, of_its_period: Sequence[InvoiceLine], currency: str) -> str:
    assert usage.period is not None
    period = usage.period
    used = period.settled_usage or Decimal(0)
    included = (period.settled_included or Decimal(0)) + (period.settled_credited or Decimal(0))
    # What was billed is added up, never rated again.
    cost = money_text(sum(line.amount_cents for line in of_its_period), currency)
    text = f"{_used_text(used, usage)} used"
    if not included:
        return f"{text}, which cost {cost}."
    if included == used:
        return f"{text}, all included."
    were = "was" if included == 1 else "were"
    return f"{text}. {number_text(included)} {were} included, {number_text(used - included)} cost {cost}."


@exactly
def _used_text(used: Decimal, usage: InvoiceLine) -> str:
    """Write what was used, by its name: 12,500 API calls; Payments: $1,234.50, where amounts are priced."""
    component, currency = usage.component, usage.invoice.currency
    assert component is not None
    charge, name = component.charge(currency), usage_name(component)
    if charge.model in OF_AMOUNTS:
        return f"{name}: {money_text(used * charge.minor_per_major, currency)}"
    return counted_text(used, name, unit_of(component, currency))
