"""How the explanation of an invoice line goes over the wire."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from billing.explain_text import agreement_sentences, events_query, explanation_sentences
from billing.explanations import PaidByGrant, Working
from billing.lines import credit_words
from billing.models import Invoice
from billing.services.explain import Explanation, FoundLater, MoneyCredit
from billing.services.recompute import CountedUsage, NumberOfPart, RatedUsage, Recomputed, line_that_bills
from billing.words import line_body
from credits.models import CreditGrant, CreditTransaction, TopUpPack
from plans.models import PriceComponent, SubscriptionPeriod
from plans.money import round_cents, written_exactly
from plans.pricing import Charge, Step


def explanation_body(explanation: Explanation, zone: ZoneInfo) -> dict[str, Any]:
    """Shape an explanation. Exact amounts are decimals of minor units; one without an end has 12 of them."""
    line, working = explanation.line, explanation.working
    recomputed, counted = explanation.recomputed, explanation.counted
    component = explanation.component
    return {
        "invoiceId": line.invoice.public_id,
        "customerInvoiceNumber": line.invoice.number,
        "currency": line.invoice.currency,
        "line": line_body(line),
        "text": " ".join(explanation_sentences(explanation, zone)),
        "amountCents": explanation.amount_cents,
        "price": None if component is None else _price(component, component.charge(line.invoice.currency)),
        **_working(working, explanation.grants),
        "credit": None if explanation.credit is None else _credit(explanation.credit, explanation.grants),
        "lateUsage": None if explanation.late is None else _late(explanation.late),
        "monetaryCredit": None if explanation.money is None else _money(explanation.money),
        "pack": None if line.pack is None else _pack(line.pack, line.quantity),
        "broughtForward": None if line.carried_invoice is None else _brought_forward(line.carried_invoice),
        "otherLinesCents": explanation.others_cents,
        "usage": None if counted is None or recomputed is None else _usage(counted, explanation.part, recomputed, zone),
        "events": None if counted is None or recomputed is None else _events(counted, recomputed.account.period),
        "agrees": explanation.agrees,
        "recompute": None if recomputed is None else _recompute(explanation, recomputed),
    }


def _price(component: PriceComponent, charge: Charge) -> dict[str, Any]:
    """The price that was sold. It never changes: another price is another id."""
    price = component.price
    return {
        "priceId": price.public_id,
        "planId": price.plan.public_id,
        "stablePlanId": price.plan.stable_plan_id,
        "planName": price.plan.name,
        "planVersion": price.plan.version_number,
        "currency": price.currency,
        "componentId": component.component_id,
        "componentType": component.kind,
        "label": component.title,
        "unitLabel": component.unit_label or None,
        "recurrenceRule": component.clock.rule,
        "model": charge.model,
        "terms": _terms(component, charge),
    }


def _terms(component: PriceComponent, charge: Charge) -> dict[str, Any]:
    """The terms that its model has, in the words of the price language."""
    terms: dict[str, Any] = {
        "amount_cents": component.amount_cents,
        "unit_cost_cents": component.unit_cost_cents,
        "tiers": component.tiers or None,
        "first_tier_flat_at_zero": charge.first_tier_flat_at_zero or None,
        "rate_percent": component.rate_percent,
        "fixed_cost_cents": component.fixed_cost_cents or None,
        "package_size": component.package_size,
        "package_cost_cents": component.package_cost_cents,
        "package_round": None if component.package_size is None else charge.package_round,
        "divide_by": charge.divide_by,
        "divide_round": None if charge.divide_by is None else charge.divide_round,
        "included_units": charge.included_units or None,
        "minimum_cents": charge.minimum_cents,
        "maximum_cents": charge.maximum_cents,
    }
    return {name: term for name, term in terms.items() if term is not None}


def _working(working: Working | None, grants: Mapping[int, CreditGrant]) -> dict[str, Any]:
    if working is None:
        return {"units": None, "steps": [], "rounding": None, "credits": [], "bounds": None}
    units, charge = working.units, working.charge
    bounded = charge.minimum_cents is not None or charge.maximum_cents is not None
    return {
        "units": {
            "used": units.used,
            "credited": units.credited,
            "free": units.free,
            "divideBy": charge.divide_by,
            "divideRound": None if charge.divide_by is None else charge.divide_round,
            "divided": _exact(units.divided),
            "included": _exact(units.included),
            "priced": _exact(units.priced),
        },
        "steps": [_step(step) for step in working.steps],
        "rounding": {"exactCents": _exact(working.stepped), "roundedCents": round_cents(working.stepped)},
        "credits": [_credit(credit, grants) for credit in working.credits if credit.grant in grants],
        "bounds": {
            "minimumCents": charge.minimum_cents,
            "maximumCents": charge.maximum_cents,
            "beforeCents": round_cents(working.unbounded),
            "netCents": working.net_cents,
        }
        if bounded
        else None,
    }


def _step(step: Step) -> dict[str, Any]:
    """Units from above `from` up to `to` (null: the open end), and what they cost together."""
    return {
        "of": step.of,
        "units": _exact(step.units),
        "from": _exact(step.above),
        "to": step.up_to,
        "unitCostCents": step.unit_cost_cents,
        "ratePercent": step.rate_percent,
        "flatCostCents": step.flat_cost_cents,
        "cents": _exact(step.cents),
    }


def _credit(credit: PaidByGrant, grants: Mapping[int, CreditGrant]) -> dict[str, Any]:
    grant = grants[credit.grant]
    return {
        "grantId": grant.public_id,
        "creditDefinitionId": grant.definition.public_id,
        "name": credit_words(grant),
        "startDate": grant.starts_at,
        "units": credit.units,
        "beforeCents": _exact(credit.before),
        "afterCents": _exact(credit.after),
        "exactCents": _exact(credit.exact_cents),
        "amountCents": credit.amount_cents,
        "hasLine": credit.shown,
    }


def _late(late: FoundLater) -> dict[str, Any]:
    return {
        "number": late.difference.number,
        "foundAt": late.difference.found_at,
        "usage": late.difference.usage,
        "before": _rated(late.before),
        "after": _rated(late.after),
        "transactions": [_movement(one) for one in late.movements],
    }


def _rated(rated: RatedUsage) -> dict[str, Any]:
    return {
        "usage": rated.used,
        "included": rated.included,
        "credited": rated.credited,
        "netCents": rated.net_cents,
    }


def _movement(movement: CreditTransaction) -> dict[str, Any]:
    return {
        "id": movement.public_id,
        "grantId": movement.grant.public_id,
        "name": credit_words(movement.grant),
        "kind": movement.kind,
        "amount": movement.amount,
    }


def _money(money: MoneyCredit) -> dict[str, Any]:
    movement = money.movement
    return {
        "transactionId": movement.public_id,
        "grantId": movement.grant.public_id,
        "hadCents": money.had_cents,
        "leftCents": money.had_cents + int(movement.amount),
        "paysFor": [
            {"lineId": line.public_id, "description": line.description, "cents": line.monetary_credit_cents}
            for line in money.pays_for
        ],
    }


def _pack(pack: TopUpPack, quantity: Decimal) -> dict[str, Any]:
    return {
        "packId": pack.public_id,
        "creditDefinitionId": pack.definition.public_id,
        "amount": pack.amount,
        "quantity": quantity,
        "currency": pack.definition.currency or None,
    }


def _brought_forward(carried: Invoice) -> dict[str, Any]:
    return {
        "invoiceId": carried.public_id,
        "customerInvoiceNumber": carried.number,
        "totalAmountCents": carried.total_cents,
    }


def _usage(counted: CountedUsage, part: NumberOfPart | None, recomputed: Recomputed, zone: ZoneInfo) -> dict[str, Any]:
    """The usage of today by day of the period, and how the one number of a part became units."""
    period, metric = recomputed.account.period, counted.version.metric
    return {
        "metricId": metric.public_id,
        "metricName": metric.name,
        "metricVersion": counted.version.number,
        "aggregationType": metric.aggregation_type,
        "start": period.start_at,
        "end": period.end_at,
        "timeZone": zone.key,
        "days": [{"day": day.day, "value": day.value, "events": day.events} for day in counted.by_day.days],
        "part": None
        if part is None
        else {"number": part.number, "days": part.days, "ofDays": part.of_days, "units": part.units},
        "building": None
        if counted.version.built_at is not None
        else {"version": counted.version.number, "percent": counted.version.percent_built},
    }


def _events(counted: CountedUsage, period: SubscriptionPeriod) -> dict[str, Any]:
    return {"count": counted.events, "query": events_query(counted, period)}


def _recompute(explanation: Explanation, recomputed: Recomputed) -> dict[str, Any]:
    """What the period was rated with, late usage of it included, beside what the events of today come to."""
    late = recomputed.late
    return {
        "billed": _rated(recomputed.rated),
        "usage": recomputed.used,
        "netCents": recomputed.net_cents,
        "differenceUsage": 0 if late is None else late.usage,
        "differenceCents": 0 if late is None else late.net_cents,
        "settledAt": recomputed.account.period.settled_at,
        "lateUsage": [
            {
                "number": one.number,
                "foundAt": one.found_at,
                "usage": one.usage,
                "netCents": one.net_cents,
                "invoiceId": line.invoice.public_id if (line := line_that_bills(one)) else None,
                "lineId": line.public_id if line else None,
            }
            for one in recomputed.account.differences
        ],
        "text": " ".join(agreement_sentences(explanation)),
    }


def _exact(number: Fraction) -> Decimal:
    return written_exactly(number)
