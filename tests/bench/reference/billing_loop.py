"""The billing run that one writes first: a transaction per subscription, objects that are read and saved one by one."""

from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import F, Sum

from billing.models import Invoice, InvoiceLine, InvoiceStatus, LineType
from credits.models import CreditGrant, CreditTransaction, TransactionKind
from metering.models import UsageDay
from plans.models import ComponentKind, Customer, Subscription, SubscriptionPeriod


def bill_one_by_one(number: int, *, at: datetime) -> None:
    """Bill the due month of the first `number` subscriptions: a fee, usage, and what a quota takes off it."""
    keys = Subscription.objects.order_by("pk").values_list("pk", flat=True)[:number]
    for key in list(keys):
        _bill(key, at)


@transaction.atomic
def _bill(key: int, at: datetime) -> None:
    subscription = Subscription.objects.select_for_update().get(pk=key)
    customer = Customer.objects.select_for_update().get(pk=subscription.customer_id)
    due = list(SubscriptionPeriod.objects.due(at).filter(subscription=subscription).select_related("item__component"))
    invoice = Invoice.objects.create(
        customer=customer,
        subscription=subscription,
        kind="cycle",
        currency=subscription.price.currency,
        closes_at=due[0].bill_at,
        finalize_at=due[0].bill_at,
        period_start_at=min(period.start_at for period in due),
        period_end_at=max(period.end_at for period in due),
        created_at=at,
    )
    total = 0
    for period in due:
        component = period.item.component
        period.closed_at = at
        if component.kind == ComponentKind.FIXED:
            _line(invoice, period, LineType.FIXED, Decimal(1), component.amount_cents)
            total += component.amount_cents
        else:
            total += _bill_usage(invoice, period, at)
        period.save()
        # The month after the next, and its quota.
        following = SubscriptionPeriod.objects.filter(item=period.item).latest("number")
        following.pk, following.number = None, following.number + 1
        following.start_at, following.end_at = (
            following.end_at,
            following.end_at + (following.end_at - following.start_at),
        )
        following.bill_at = following.start_at if period.metric_id is None else following.end_at
        following.save()
        if period.metric_id is not None:
            _grant(period, following, at)
    customer.last_invoice_number = F("last_invoice_number") + 1
    customer.save()
    customer.refresh_from_db()
    invoice.number = f"{customer.invoice_prefix}-{customer.last_invoice_number:03}"
    invoice.status = InvoiceStatus.ISSUED
    invoice.subtotal_cents = invoice.total_cents = total
    invoice.finalized_at = invoice.due_at = invoice.send_at = at
    invoice.save()


def _bill_usage(invoice: Invoice, period: SubscriptionPeriod, at: datetime) -> int:
    usage = UsageDay.objects.filter(
        customer=period.customer_id, version__metric=period.metric_id, day__gte=period.start_at, day__lt=period.end_at
    ).aggregate(total=Sum("total"))["total"] or Decimal(0)
    cost = period.item.component.unit_cost_cents
    total = round(usage * cost)
    _line(invoice, period, LineType.USAGE, usage, total)
    credited = Decimal(0)
    for grant in CreditGrant.objects.select_for_update().filter(period=period):
        burned = min(grant.ledger_remaining, usage - credited)
        rest = grant.ledger_remaining - burned
        for kind, units in ((TransactionKind.BURNED, burned), (TransactionKind.EXPIRED, rest)):
            if units:
                CreditTransaction.objects.create(
                    customer=grant.customer, grant=grant, kind=kind, amount=-units, period=period, occurred_at=at
                )
        grant.ledger_remaining = 0
        grant.save()
        credited += burned
        _line(invoice, period, LineType.CREDIT, burned, -round(burned * cost), grant=grant)
    period.settled_at, period.settled_usage = at, usage
    period.settled_included, period.settled_credited = Decimal(0), credited
    period.settled_net_cents = round((usage - credited) * cost)
    return period.settled_net_cents


def _grant(period: SubscriptionPeriod, following: SubscriptionPeriod, at: datetime) -> None:
    pattern = CreditGrant.objects.filter(period=period).get()
    grant = CreditGrant.objects.create(
        customer_id=pattern.customer_id,
        metric_id=pattern.metric_id,
        definition_id=pattern.definition_id,
        subscription_id=pattern.subscription_id,
        period=following,
        source=pattern.source,
        initial_amount=pattern.initial_amount,
        ledger_remaining=pattern.initial_amount,
        starts_at=following.start_at,
        expires_at=following.end_at,
        created_at=at,
    )
    CreditTransaction.objects.create(
        customer_id=grant.customer_id, grant=grant, kind=TransactionKind.GRANTED, amount=grant.initial_amount,
        occurred_at=at,
    )  # fmt: skip


def _line(
    invoice: Invoice, period: SubscriptionPeriod, kind: LineType, quantity: Decimal, cents: int,
    grant: CreditGrant | None = None,
) -> None:  # fmt: skip
    component = period.item.component
    metered = {"usage_period_start_at": period.start_at, "usage_period_end_at": period.end_at}
    InvoiceLine.objects.create(
        invoice=invoice,
        position=invoice.lines.count() + 1,
        type=kind,
        component=component,
        metric_id=period.metric_id,
        period=period,
        grant=grant,
        description=component.title,
        quantity=quantity,
        amount_cents=cents,
        billing_period_start_at=invoice.period_start_at,
        billing_period_end_at=invoice.period_end_at,
        **(metered if period.metric_id is not None else {}),
    )
