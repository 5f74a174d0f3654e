"""What was billed in advance and is not used: credited by local days, once, and never more than was billed."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from django.db.models import F

from billing.lines import rate_quantity
from billing.models import CreditNote, CreditNoteLine, Invoice, InvoiceLine, InvoiceStatus, LineType
from billing.services.credit_notes import issue_credit_note
from billing.services.creditable import OpenCharge, open_charges, spread
from billing.services.hold_invoice import hold_invoice, refuse_while_charged
from billing.stripe_amounts import charge_step
from credits.services.return_money import keep_money
from plans.models import ComponentKind, PeriodKind, Subscription
from plans.money import round_cents
from plans.services.parts import is_part, share_from

_UNBILLED = (InvoiceStatus.DRAFT, InvoiceStatus.SKIPPED, InvoiceStatus.VOID)
_REASON = "Days that are not used"
_ZERO = Decimal(0)
_INSTANT = timedelta(microseconds=1)
_BOUNDS = (LineType.MINIMUM, LineType.MAXIMUM)


def credit_unused(draft: Invoice, subscription: Subscription, *, at: datetime) -> list[InvoiceLine]:
    """Make the lines that credit what a subscription was billed in advance for days from an instant on; the day of the
    instant is one of them. See unused_of.

    Of a period whose units were added one after the other there are several; they are told apart by microseconds.
    """
    lines: list[InvoiceLine] = []
    of_period: Counter[int | None] = Counter()
    for line, cents in unused_of(subscription, at=at):
        lines.append(_credit_line(draft, line, cents, at, effective_at=at + of_period[line.period_id] * _INSTANT))
        of_period[line.period_id] += 1
    return lines


def refund_unused(subscription: Subscription, *, at: datetime) -> list[CreditNote]:
    """Take back by credit notes what a subscription was billed in advance for days from an instant on: with the tax of
    each invoice, each part to where it came from. What an invoice with credits of its own does not reach is kept as
    credit. The caller holds the customer and the customer's money. Raises ChargeUnderWay."""
    by_invoice: dict[int, dict[int, int]] = defaultdict(dict)
    for line, cents in unused_of(subscription, at=at):
        by_invoice[line.invoice_id][line.pk] = cents
    notes = [_refund(Invoice.objects.get(pk=invoice), unused, at) for invoice, unused in sorted(by_invoice.items())]
    return [note for note in notes if note is not None]


def _refund(invoice: Invoice, unused: Mapping[int, int], at: datetime) -> CreditNote | None:
    held = hold_invoice(invoice)
    refuse_while_charged(held, at)
    charges = [charge for charge in open_charges(held) if charge.line.pk in unused]
    parts = [charge.part(min(unused[charge.line.pk], charge.amount_cents)) for charge in charges]
    owed_cents = sum(part.owed_cents for part in parts)
    # What was brought forward is owed, or was paid, with another invoice.
    left_cents = 0 if held.carried_into_id is not None else held.total_cents - held.credited_cents
    if owed_cents > left_cents:
        keep_money(
            customer=held.customer_id,
            cents=owed_cents - left_cents,
            currency=held.currency,
            reference_code=f"unused:{held.public_id}",
            at=at,
        )
        parts = spread(left_cents, parts) if left_cents else []
    parts = _in_steps(held, parts)
    if not parts:
        return None
    return issue_credit_note(invoice=held, parts=parts, reason=_REASON, at=at)


def _in_steps(invoice: Invoice, parts: list[OpenCharge]) -> list[OpenCharge]:
    """Round what is credited of an issued invoice down to the step of its currency: the rest is to be charged."""
    owed_cents = sum(part.owed_cents for part in parts)
    rest = owed_cents % charge_step(invoice.currency) if invoice.status == InvoiceStatus.ISSUED else 0
    if not rest:
        return parts
    return spread(owed_cents - rest, parts) if owed_cents > rest else []


def unused_of(subscription: Subscription, *, at: datetime) -> list[tuple[InvoiceLine, int]]:
    """Find what a subscription was billed in advance for days from an instant on, in minor units by the lines that
    billed it.

    That is the same share of the price that was, or would be, charged for those days, but never more than what was
    billed for the line and not credited before, by another invoice or a credit note. Lines of void invoices are left
    out, and so are fees that come once: they are not for days. What a version before was billed counts where no change
    has credited it.
    """
    lines = [line for line in _billed_in_advance(subscription, at) if line.type not in _BOUNDS]
    prorated, noted = _credited_before(lines)
    bounds = _bounds_of(lines)
    unused = []
    for line, whole in _with_whole_prices(lines):
        assert line.period is not None
        is_of_version_before = line.period.subscription_id != subscription.pk
        if _comes_once(line) or (is_of_version_before and prorated[line.pk]):
            continue
        billed = line.amount_cents + bounds[line.pk]
        cents = min(round_cents(whole * share_from(line.period, at)), billed - prorated[line.pk] - noted[line.pk])
        if cents > 0:
            unused.append((line, cents))
    return unused


def _comes_once(line: InvoiceLine) -> bool:
    return line.component is not None and line.component.clock.count == 1


def _billed_in_advance(subscription: Subscription, at: datetime) -> Sequence[InvoiceLine]:
    return list(
        InvoiceLine.objects.filter(
            period__subscription__stable_subscription_id=subscription.stable_subscription_id,
            period__metric=None,
            period__kind=PeriodKind.REGULAR,
            period__end_at__gt=at,
            type__in=(LineType.FIXED, LineType.PER_UNIT, *_BOUNDS),
        )
        .exclude(invoice__status__in=_UNBILLED)
        .select_related("invoice", "component__price", "period__item__component__price")
        .order_by("period_id", F("effective_at").asc(nulls_first=True), "pk")
    )


def _credited_before(lines: Iterable[InvoiceLine]) -> tuple[dict[int, int], dict[int, int]]:
    """What later invoices and what credit notes took back of lines, by the lines' keys."""
    prorated: dict[int, int] = defaultdict(int)
    noted: dict[int, int] = defaultdict(int)
    keys = [line.pk for line in lines]
    rows = InvoiceLine.objects.filter(credited_line__in=keys, type=LineType.PRORATION)
    for line, cents in rows.exclude(invoice__status=InvoiceStatus.VOID).values_list("credited_line_id", "amount_cents"):
        prorated[line] -= cents
    for line, cents in CreditNoteLine.objects.filter(line__in=keys).values_list("line_id", "amount_cents"):
        noted[line] += cents
    return prorated, noted


def _bounds_of(lines: Iterable[InvoiceLine]) -> dict[int, int]:
    """What a minimum added to a line, or a maximum took off: they stand on lines of their own."""
    by_period: dict[int | None, int] = defaultdict(int)
    rows = InvoiceLine.objects.filter(period__in={line.period_id for line in lines}, type__in=_BOUNDS)
    for period, cents in rows.values_list("period_id", "amount_cents"):
        by_period[period] += cents
    return defaultdict(int, {line.pk: by_period[line.period_id] for line in lines if line.effective_at is None})


def _with_whole_prices(lines: Iterable[InvoiceLine]) -> list[tuple[InvoiceLine, Fraction]]:
    """Each line with what its units cost for the whole turn of the clock. Units that were added later cost what they
    added to those before them."""
    units: dict[int | None, Decimal] = defaultdict(Decimal)
    priced = []
    for line in lines:
        component = line.period.item.component if line.period is not None else None
        assert component is not None
        if component.kind == ComponentKind.FIXED:
            priced.append((line, Fraction(component.amount_cents or 0)))
            continue
        before = units[line.period_id]
        units[line.period_id] += line.quantity + (_ZERO if before else _included(line))
        currency = line.invoice.currency
        price = rate_quantity(component, units[line.period_id], currency=currency).unrounded_net
        if before:
            price -= rate_quantity(component, before, currency=currency).unrounded_net
        priced.append((line, price))
    return priced


def _included(line: InvoiceLine) -> Decimal:
    """Units that the line of a whole period leaves out, since they are included."""
    assert line.period is not None
    assert line.component is not None
    return _ZERO if is_part(line.period) else line.component.charge(line.invoice.currency).included_metered_units


def _credit_line(draft: Invoice, line: InvoiceLine, cents: int, at: datetime, *, effective_at: datetime) -> InvoiceLine:
    assert line.period is not None
    return InvoiceLine(
        invoice=draft,
        type=LineType.PRORATION,
        component=line.component,
        period=line.period,
        credited_line=line,
        effective_at=effective_at,
        description=f"Unused time: {line.description}",
        quantity=line.quantity,
        amount_cents=-cents,
        billing_period_start_at=at,
        billing_period_end_at=line.period.end_at,
    )
