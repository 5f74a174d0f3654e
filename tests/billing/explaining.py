"""A month of one usage component, billed and explained."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from billing.explain_text import agreement_sentences, explanation_sentences
from billing.models import Invoice, InvoiceLine
from billing.services.explain import Explanation, explain_lines
from billing.services.subscribe import subscribe
from credits.services.definitions import create_definition
from plans.models import Customer, Metric
from plans.services.time_zone import billing_zone
from tests.factories import (
    START,
    CustomerFactory,
    FeatureFactory,
    MetricFactory,
    PlanFactory,
    PlanFeatureFactory,
    PriceFactory,
    UsageComponentFactory,
)
from tests.pro_plan import sweep, use

AT = datetime(2026, 3, 1, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
BILLED = datetime(2026, 4, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Month:
    """March of a customer, and the invoice that bills it."""

    customer: Customer
    metric: Metric | None
    invoice: Invoice

    @property
    def lines(self) -> list[InvoiceLine]:
        return list(self.invoice.lines.all())

    def explained(self, at: datetime = BILLED, invoice: Invoice | None = None) -> list[Explanation]:
        """The explanations of its lines."""
        return explain_lines(invoice=invoice or self.invoice, at=at)

    def text(self, place: int = 0, invoice: Invoice | None = None) -> str:
        """What is said of the line at a place."""
        return " ".join(explanation_sentences(self.explained(invoice=invoice)[place], billing_zone()))

    def agreement(self, at: datetime = BILLED, place: int = 0) -> tuple[bool, str]:
        """Whether a recompute gives the same, and what is said of it."""
        explanation = self.explained(at)[place]
        return explanation.agrees, " ".join(agreement_sentences(explanation))

    def late(self, units: Any, *, at: datetime = BILLED) -> None:
        """An event of March that arrives later."""
        assert self.metric is not None
        use(self.customer, self.metric, units, AT + 20 * DAY, key=f"late-{units}-{at}")


def month(
    *events: Any,
    quotas: Sequence[int] = (),
    hidden: int = 0,
    number: int | None = None,
    metric: Metric | None = None,
    currency: str = "USD",
    **terms: Any,
) -> Month:
    """Bill a month in which these events happened, on a plan with one usage component, by default 5 cents a call.

    Each of `quotas` is a quota of so many units, and the first `hidden` of them get no lines; `number` is what the
    plan's feature includes without one.
    """
    metric = metric or MetricFactory()
    feature = FeatureFactory(value="usage_based" if number is None else number, metrics=[metric])
    plan = PlanFactory(name="Pro")
    PlanFeatureFactory(plan=plan, feature=feature)
    price = PriceFactory(plan=plan, fee=None, currency=currency)
    UsageComponentFactory(price=price, metric=metric, label="Calls", position=0, **terms)
    for place, quota in enumerate(quotas):
        create_definition(
            at=START, name=f"Quota {place + 1}", scope="plan", application_type="usage", default_amount=Decimal(quota),
            plan=plan, feature=feature, billing_visible=place >= hidden, renew_on_billing=True, priority=place,
        )  # fmt: skip
    customer = CustomerFactory(invoice_prefix="ACME")
    subscribe(at=AT, customer=customer, plan=plan)
    for place, units in enumerate(events):
        use(customer, metric, units, AT + (10 + place) * DAY)
    sweep(BILLED)
    return Month(customer, metric, Invoice.objects.filter(customer=customer).latest("closes_at"))
