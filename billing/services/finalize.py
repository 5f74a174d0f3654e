from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef

from billing.models import Invoice, InvoiceLine, InvoiceStatus, LineType
from billing.stripe_amounts import is_chargeable
from credits.models import CreditGrant
from credits.rating import RatedUsage, rate
from credits.services.settle import SettledUsage, settle_periods
from plans.models import ComponentKind, PriceComponent, SubscriptionPeriod
from plans.money import grouped_number

CHUNK = 200
PAYMENT_TERM = timedelta(0)


def drafts_to_finalize(at: datetime, *, limit: int = CHUNK) -> list[int]:
    """Find drafts whose grace time is over and which are the next of their customer.

    Settlement goes in order of period ends, so a draft waits while its customer has an earlier one, or an earlier
    boundary that is not closed yet; and while the events of a metric that it bills are still being counted.
    """
    earlier_draft = Invoice.objects.filter(
        customer=OuterRef("customer"), status=InvoiceStatus.DRAFT, closes_at__lt=OuterRef("closes_at")
    )
    earlier_boundary = SubscriptionPeriod.objects.filter(
        customer=OuterRef("customer"), closed_at__isnull=True, bill_at__lt=OuterRef("closes_at")
    )
    still_counted = SubscriptionPeriod.objects.filter(
        subscription=OuterRef("subscription"),
        bill_at=OuterRef("closes_at"),
        metric__isnull=False,
        metric__current__built_at=None,
    )
    return list(
        Invoice.objects.to_finalize(at)
        .filter(~Exists(earlier_draft), ~Exists(earlier_boundary), ~Exists(still_counted))
        .order_by("finalize_at", "pk")
        .values_list("pk", flat=True)[:limit]
    )


@transaction.atomic
def finalize(*, invoices: Iterable[int], at: datetime) -> int:
    """Finalize drafts that no other worker holds, and return how many."""
    drafts = (
        Invoice.objects.filter(pk__in=invoices, status=InvoiceStatus.DRAFT)
        .select_for_update(no_key=True, skip_locked=True, of=("self",))
        .order_by("closes_at", "pk")
    )
    return finalize_invoices(list(drafts), at=at)


def finalize_invoices(drafts: Sequence[Invoice], *, at: datetime) -> int:
    """Settle and rate what each draft bills, write its lines, number it and freeze it; return how many.

    The caller holds the drafts' locks. A draft on which no line has an amount becomes `skipped`: there is nothing to
    bill, but its periods are settled all the same.
    """
    periods = _billed_periods(drafts)
    settled = settle_periods(at=at, periods=[period for batch in periods.values() for period in batch])
    grants = CreditGrant.objects.select_related("definition").in_bulk(
        {grant for usage in settled.values() for grant in usage.by_grant}
    )
    lines = []
    for draft in drafts:
        batch = [
            line for period in periods[draft.pk] for line in _lines_of(draft, period, settled.get(period.pk), grants)
        ]
        _total(draft, batch, at)
        if draft.status != InvoiceStatus.SKIPPED:
            for position, line in enumerate(batch, start=1):
                line.position = position
            lines += batch
    SubscriptionPeriod.objects.bulk_update(
        [period for batch in periods.values() for period in batch if period.pk in settled],
        ["settled_net_cents"],
        batch_size=500,
    )
    _number([draft for draft in drafts if draft.status != InvoiceStatus.SKIPPED])
    # The lines come first: from the moment an invoice is issued, a trigger refuses any change of them.
    InvoiceLine.objects.bulk_create(lines, batch_size=1000)
    Invoice.objects.bulk_update(
        drafts,
        ["status", "number", "finalized_at", "due_at", "paid_at", "subtotal_cents", "total_cents", "send_at"],
        batch_size=500,
    )
    return len(drafts)


def _billed_periods(drafts: Sequence[Invoice]) -> dict[int, list[SubscriptionPeriod]]:
    """The periods that each draft bills, those that its close gathered, in the order of the price's components."""
    by_close = {(draft.subscription_id, draft.closes_at): draft.pk for draft in drafts}
    found: dict[int, list[SubscriptionPeriod]] = defaultdict(list)
    periods = (
        SubscriptionPeriod.objects.filter(
            subscription__in={draft.subscription_id for draft in drafts},
            bill_at__in={draft.closes_at for draft in drafts},
            closed_at__isnull=False,
        )
        .select_related("item__component")
        .order_by(F("item__component__position").asc(nulls_last=True), "item_id")
    )
    for period in periods:
        key = by_close.get((period.subscription_id, period.bill_at))
        if key is not None:
            found[key].append(period)
    return found


def _lines_of(
    draft: Invoice, period: SubscriptionPeriod, usage: SettledUsage | None, grants: dict[int, CreditGrant]
) -> list[InvoiceLine]:
    component = period.item.component
    if component is None:
        return []
    if component.kind == ComponentKind.FIXED:
        return _fee_lines(draft, period, component)
    assert usage is not None
    hidden = {key for key in usage.by_grant if not grants[key].definition.billing_visible}
    rated = rate(
        component.charge(draft.currency),
        used=usage.used,
        included=usage.included,
        free=usage.free,
        by_grant=usage.by_grant,
        hidden=hidden,
    )
    period.settled_net_cents = rated.net_cents
    return _usage_lines(draft, period, component, rated, grants) if usage.used > 0 else []


def _fee_lines(draft: Invoice, period: SubscriptionPeriod, component: PriceComponent) -> list[InvoiceLine]:
    if not component.amount_cents:
        return []
    return [
        InvoiceLine(
            invoice=draft,
            type=LineType.FIXED,
            component=component,
            period=period,
            description=component.title,
            quantity=Decimal(1),
            unit_amount_cents=Decimal(component.amount_cents),
            amount_cents=component.amount_cents,
            billing_period_start_at=period.start_at,
            billing_period_end_at=period.end_at,
        )
    ]


def _usage_lines(
    draft: Invoice,
    period: SubscriptionPeriod,
    component: PriceComponent,
    rated: RatedUsage,
    grants: dict[int, CreditGrant],
) -> list[InvoiceLine]:
    assert draft.period_start_at is not None
    common = {
        "invoice": draft,
        "component": component,
        "metric_id": period.metric_id,
        "period": period,
        "billing_period_start_at": draft.period_start_at,
        "billing_period_end_at": draft.period_end_at,
        "usage_period_start_at": period.start_at,
        "usage_period_end_at": period.end_at,
    }
    charge = component.charge(draft.currency)
    unit_cost = charge.unit_cost_cents if charge.is_plain else None
    included = rated.used - rated.line_units
    note = f" ({grouped_number(rated.used)} used, {grouped_number(included)} included)" if included else ""
    usage = InvoiceLine(
        type=LineType.USAGE,
        description=component.title + note,
        quantity=rated.line_units,
        unit_amount_cents=unit_cost,
        amount_cents=rated.line_cents,
        **common,
    )
    credits = [
        InvoiceLine(
            type=LineType.CREDIT,
            grant=grants[credit.grant],
            description=grants[credit.grant].definition.billing_description or grants[credit.grant].definition.name,
            quantity=credit.units,
            unit_amount_cents=None if unit_cost is None else -unit_cost,
            amount_cents=credit.amount_cents,
            **common,
        )
        for credit in rated.credits
    ]
    return [usage, *credits]


def _total(draft: Invoice, lines: Sequence[InvoiceLine], at: datetime) -> None:
    """Set a draft's amounts and the state that follows from them."""
    if not any(line.amount_cents for line in lines):
        draft.status = InvoiceStatus.SKIPPED
        return
    draft.subtotal_cents = draft.total_cents = sum(line.amount_cents for line in lines)
    draft.finalized_at = at
    draft.due_at = at + PAYMENT_TERM
    if draft.total_cents == 0:
        draft.status = InvoiceStatus.PAID
        draft.paid_at = at
    else:
        draft.status = InvoiceStatus.ISSUED
        draft.send_at = at if is_chargeable(draft.total_cents, draft.currency) else None


def _number(invoices: Sequence[Invoice]) -> None:
    """Give invoices the next numbers of their customers, without gaps: a number is taken only with its invoice."""
    for invoice in sorted(invoices, key=lambda invoice: (invoice.customer_id, invoice.closes_at, invoice.pk)):
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE plans_customer SET last_invoice_number = last_invoice_number + 1 WHERE id = %s"
                " RETURNING invoice_prefix, last_invoice_number",
                [invoice.customer_id],
            )
            prefix, number = cursor.fetchone()
        invoice.number = f"{prefix}-{number:03}"
