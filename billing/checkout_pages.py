"""What the checkout's pages say: what is ordered, what is due today and later, and what was bought."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.utils.http import urlencode

from billing.invoice_page import card_text
from billing.models import Checkout, Invoice, Payment, PaymentStatus
from billing.services.buyers import Buyer
from billing.services.first_bill import FirstBill, due_today_cents, first_bill, first_cents, needs_card, tax_of_buyer
from billing.services.quantities import billed_quantities
from billing.signed_links import absolute, invoice_page_path
from billing.tax import tax_text
from credits.services.offered_plans import read_card
from plans.models import ComponentKind, Metric, PlanFeature, Price, PriceComponent, Subscription, SubscriptionPeriod
from plans.money import round_cents
from plans.offered_lines import FeatureLine, feature_lines
from plans.page_words import counted_text, day_text, each_text
from plans.pricing import bounded, price_of
from plans.services.time_zone import billing_zone
from plans.words import money_text


@dataclass(frozen=True, kw_only=True)
class OrderSummary:
    """What somebody is about to order, all of it text but `due_cents`, the minor units that are due today.

    `rows` are pairs of a name and an amount, the last one the sum; `button` names what pressing it does.
    """

    description: str
    lines: list[FeatureLine]
    rows: list[tuple[str, str]]
    sentences: list[str]
    due_cents: int
    button: str
    consent: str


@dataclass(frozen=True, kw_only=True)
class Welcome:
    """What somebody has bought, all of it text; `invoice_path` and `curl` are empty where there is nothing to show."""

    plan_name: str
    sentence: str
    lines: list[FeatureLine]
    facts: list[tuple[str, str]]
    invoice_path: str
    customer_id: str
    curl: str


def checkout_page_path(checkout: Checkout, *, session: str = "") -> str:
    """Make the path of the page that shows how a checkout stands; `session` leads back from there."""
    return f"/checkout/{checkout.public_id}" + (f"?{urlencode({'session': session})}" if session else "")


def order_summary(price: Price, buyer: Buyer | None = None) -> OrderSummary:
    """Put an order at a price into words, with the tax of the buyer. The price's plan and components are to be fetched
    already."""
    card = read_card(price)
    bill = first_bill(price, tax_of_buyer(buyer))
    due_cents = due_today_cents(price, bill)
    due = money_text(due_cents, price.currency)
    return OrderSummary(
        description=price.plan.description,
        lines=feature_lines(card),
        rows=[
            *(_fee_row(fee, price.currency) for fee in _fees(price)),
            *_tax_rows(bill, price.currency),
            *_rounding_rows(bill, price.currency),
            ("Due today", due),
        ],
        sentences=_later_sentences(price, bill, bills_usage=bool(card.rates)),
        due_cents=due_cents,
        button=f"Subscribe and pay {due}" if due_cents else "Subscribe",
        consent=_consent(price, due_cents),
    )


def _tax_rows(bill: FirstBill, currency: str) -> list[tuple[str, str]]:
    if not bill.tax_cents:
        return []
    included = ", included" if bill.tax.is_included else ""
    return [(f"{tax_text(bill.tax.rate)}{included}", money_text(bill.tax_cents, currency))]


def _rounding_rows(bill: FirstBill, currency: str) -> list[tuple[str, str]]:
    return [("Rounding", money_text(bill.rounding_cents, currency))] if bill.rounding_cents else []


def _fees(price: Price) -> list[PriceComponent]:
    """What is paid in advance."""
    in_advance = [one for one in price.components.all() if one.kind != ComponentKind.USAGE]
    return [one for one in in_advance if one.charge(price.currency).can_charge]


def _fee_row(fee: PriceComponent, currency: str) -> tuple[str, str]:
    least = max(fee.minimum_quantity, 1)
    name = counted_text(Decimal(least), fee.title, fee.unit_label or "unit")
    amount = f"{money_text(first_cents(fee, currency), currency)} {each_text(fee.clock)}"
    return (name if fee.kind == ComponentKind.PER_UNIT else fee.title, amount)


def _later_sentences(price: Price, bill: FirstBill, *, bills_usage: bool) -> list[str]:
    """Say what is paid after today, and when."""
    sentences = []
    fees = _fees(price)
    if fees:
        sentences.append(_renewal_sentence(fees))
        if not due_today_cents(price, bill):
            first = money_text(bill.total_cents, price.currency)
            sentences.append(
                f"{first} is too little to charge by itself: it is invoiced, and nothing is charged for it now."
            )
    if bills_usage:
        usage = [one for one in price.components.all() if one.kind == ComponentKind.USAGE]
        clocks = {each_text(one.clock) for one in usage if one.charge(price.currency).can_charge}
        sentences.append(f"Usage beyond what is included is billed afterwards, {' and '.join(sorted(clocks))}.")
    return sentences or ["Nothing is charged, now or later."]


def _renewal_sentence(fees: Sequence[PriceComponent]) -> str:
    once = [fee for fee in fees if fee.clock.count == 1]
    if len(once) == len(fees):
        return "It is paid once, in advance."
    if all(fee.clock.has_end for fee in fees):
        return "The fee is paid in advance and ends by itself."
    renews = "The fee is paid in advance and renews by itself until you cancel."
    return f"{renews} {' and '.join(fee.title for fee in once)}: paid once." if once else renews


def _consent(price: Price, due_cents: int) -> str:
    if not needs_card(price):
        return "No card is needed."
    if due_cents:
        return "Your card is charged once today, and kept for what is due later."
    return "Your card is kept for what is due later. Nothing is charged today."


def welcome(checkout: Checkout, *, at: datetime) -> Welcome:
    """Put a checkout that led to a subscription into words."""
    subscription = checkout.subscription
    assert subscription is not None
    zone = billing_zone()
    invoice = checkout.invoice
    return Welcome(
        plan_name=checkout.price.plan.name,
        sentence=_paid_sentence(checkout, zone),
        lines=feature_lines(read_card(checkout.price)),
        facts=[
            ("Customer", subscription.customer.name),
            *([("E-mail", subscription.customer.email)] if subscription.customer.email else []),
            *([("First invoice", _invoice_text(invoice))] if invoice is not None else []),
            *_next_bills(subscription, at, zone),
        ],
        invoice_path=invoice_page_path(invoice) if invoice is not None else "",
        customer_id=subscription.customer.public_id,
        curl=_curl(checkout),
    )


def _paid_sentence(checkout: Checkout, zone: ZoneInfo) -> str:
    assert checkout.subscription is not None
    since = f"Your subscription began on {day_text(checkout.subscription.started_at, zone)}."
    invoice = checkout.invoice
    if invoice is not None and invoice.paid_at is not None:
        paid = Payment.objects.filter(invoice=invoice, status=PaymentStatus.SUCCEEDED).select_related("payment_method")
        methods = [payment.payment_method for payment in paid if payment.payment_method is not None]
        with_what = f" with {card_text(methods[0])}" if methods else ""
        return f"You paid {money_text(invoice.total_cents, invoice.currency)}{with_what}. {since}"
    if checkout.due_cents:
        due = money_text(checkout.due_cents, checkout.price.currency)
        return f"{due} is held on your card and is being taken. {since}"
    return f"Nothing was charged at the start. {since}"


def _invoice_text(invoice: Invoice) -> str:
    state = "paid" if invoice.paid_at is not None else "open"
    return f"{invoice.number}, {money_text(invoice.total_cents, invoice.currency)}, {state}"


def _next_bills(subscription: Subscription, at: datetime, zone: ZoneInfo) -> list[tuple[str, str]]:
    """The next fees, all that are due at one instant together, and the next bill for usage."""
    ahead = list(
        SubscriptionPeriod.objects.filter(subscription=subscription, bill_at__gt=at, item__component__isnull=False)
        .select_related("item__component", "customer")
        .order_by("bill_at")
    )
    quantities = billed_quantities(ahead)
    fees: dict[datetime, int] = {}
    usage = []
    for period in ahead:
        component = period.item.component
        assert component is not None
        charge = component.charge(subscription.price.currency)
        if component.kind == ComponentKind.USAGE and charge.can_charge:
            usage.append(period.bill_at)
        elif charge.can_charge:
            cents = round_cents(bounded(charge, price_of(charge, Decimal(quantities.get(period.pk, 1)))))
            fees[period.bill_at] = fees.get(period.bill_at, 0) + cents
    facts = []
    if fees:
        first = min(fees)
        fee = money_text(fees[first], subscription.price.currency)
        facts.append(("Next fee", f"{fee} on {day_text(first, zone)}"))
    return [*facts, ("Usage is billed", f"on {day_text(usage[0], zone)}")] if usage else facts


def _curl(checkout: Checkout) -> str:
    """Write the request that sends one event of what the plan meters; empty where it meters nothing."""
    metric = _metered(checkout.price)
    if metric is None:
        return ""
    assert checkout.subscription is not None
    event = {"eventName": metric.event_name, "customerId": checkout.subscription.customer.public_id, "eventValue": 1}
    # As one word of a shell: a single quote ends the word, is escaped, and begins it again.
    body = json.dumps(event, ensure_ascii=False).replace("'", "'\\''")
    return "\n".join(
        [
            f"curl {absolute('/v1/events')} \\",
            '  -H "Authorization: Bearer $CANDELA_SECRET_KEY" \\',
            '  -H "Content-Type: application/json" \\',
            f"  -d '{body}'",
        ]
    )


def _metered(price: Price) -> Metric | None:
    """The first metric that the price bills, else the first that the plan limits."""
    for component in price.components.all():
        if component.metric is not None:
            return component.metric
    sold = PlanFeature.objects.filter(plan=price.plan, feature__metrics__deleted_at__isnull=True)
    first = sold.exclude(feature__metrics=None).order_by("pk").first()
    return first.feature.metrics.filter(deleted_at__isnull=True).first() if first is not None else None
