"""What prices charge and plans include, in sentences for the operator."""

from credits.models import CreditDefinition
from plans.charge_words import advance_text, metered_unit, rate_text
from plans.models import ComponentKind, Price, PriceComponent
from plans.money import grouped_number
from plans.page_words import each_text, units_text
from plans.periods import Clock
from plans.words import money_text


def component_text(component: PriceComponent, currency: str) -> str:
    """What a component of a price charges: "API calls usage: $0.05 per call, billed each month"."""
    often = each_text(component.clock)
    if component.kind == ComponentKind.FIXED:
        return f"{component.title}: {money_text(component.amount_cents or 0, currency)} {often}"
    if component.kind == ComponentKind.PER_UNIT:
        return f"{component.title}: {seats_text(component, currency)}"
    cost = f"{included_text(component, currency)}{usage_price_text(component, currency)}"
    return f"{component.title}: {cost}, billed {often}"


def seats_text(component: PriceComponent, currency: str) -> str:
    """What units in advance cost: "$10.00 per seat each month, at least 3 seats"."""
    return advance_text(
        component.charge(currency),
        currency=currency,
        unit_label=component.unit_label,
        clock=component.clock,
        least=component.minimum_quantity,
    )


def usage_price_text(component: PriceComponent, currency: str) -> str:
    """What metered units cost, every tier of it: "$0.05 per call, at least $10.00 each month"."""
    charge = component.charge(currency)
    return rate_text(charge, currency=currency, unit_label=component.unit_label, clock=component.clock)


def included_text(component: PriceComponent, currency: str) -> str:
    """What a usage component includes by itself, before its price: "1,000 calls included, then "."""
    charge = component.charge(currency)
    if not charge.included_units:
        return ""
    unit = metered_unit(charge, component.unit_label)
    return f"{units_text(charge.included_metered_units, unit)} included, then "


def fees_text(price: Price) -> str:
    """What is paid in advance at a price, or what is charged instead."""
    texts = [
        f"{money_text(part.amount_cents or 0, price.currency)} {often_text(part.clock)}"
        if part.kind == ComponentKind.FIXED
        else seats_text(part, price.currency)
        for part in price.components.all()
        if part.kind != ComponentKind.USAGE
    ]
    return " + ".join(texts) or f"usage in {price.currency}"


def often_text(clock: Clock) -> str:
    """How often a fee is paid: monthly, every 3 months, once."""
    return each_text(clock) if clock.interval > 1 or clock.has_end else clock.frequency.lower()


def offer_text(price: Price, quotas: list[CreditDefinition]) -> str:
    """What a price costs and includes: "$29.00 monthly. API calls: 10,000 included, then $0.05 per call."."""
    coming = [quota for quota in quotas if quota.price_id in (None, price.pk)]
    priced = [part for part in price.components.all() if part.kind == ComponentKind.USAGE]
    counted = {part.metric_id for part in priced}
    return " ".join(
        [f"{fees_text(price)}."]
        + [usage_text(part, price.currency, coming) for part in priced]
        + [f"{name_of_quota(quota)}: {quotas_text([quota])}." for quota in coming if quota.metric_id not in counted]
    )


def usage_text(part: PriceComponent, currency: str, quotas: list[CreditDefinition]) -> str:
    """What a priced usage costs: "API calls: 10,000 included, then $0.05 per call."."""
    own = [
        quota
        for quota in quotas
        if quota.metric_id == part.metric_id and quota.price_component_id in (None, "", part.component_id)
    ]
    granted = f"{quotas_text(own)}, then " if own else ""
    return f"{part.title}: {granted}{included_text(part, currency)}{usage_price_text(part, currency)}."


def name_of_quota(quota: CreditDefinition) -> str:
    """What a quota counts; money has a name of its own."""
    return quota.metric.name if quota.metric is not None else quota.name


def quotas_text(quotas: list[CreditDefinition]) -> str:
    """The units, or the money, that come with a plan: "10,000 included"."""
    return " + ".join(quota_amount(quota) for quota in quotas) + " included"


def quota_amount(quota: CreditDefinition) -> str:
    """What is granted first: units, or money in its currency; of some for each seat."""
    amount = grouped_number(quota.default_amount)
    if quota.metric_id is None:
        amount = money_text(quota.default_amount, quota.currency)
    return f"{amount} per seat" if quota.per_seat else amount
