"""`/v1/plans/{id}/simulate`. It stands here because what customers were billed stands here."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.services.simulate import MOST_MONTHS, Compared, PriceToTry, Simulated, currencies_of, simulate
from plans.listing import read_page
from plans.models import Customer, Metric, Plan, Price
from plans.price_language import read_pricing_data
from plans.refusals import InvalidInput
from plans.serializers.fields import CurrencyCode, JsonValue, OptionalText, WholeNumber
from plans.serializers.reading import read_exactly
from plans.services.plans import find_plan
from plans.services.prices import components_of, find_price

USUAL_MONTHS = 12


class SimulatePrice(serializers.Serializer[Price]):
    """The price that is to be tried: one that exists, or its terms."""

    priceId = OptionalText(max_length=80)
    pricingData = JsonValue(required=False, allow_null=True, default=None)
    currency = CurrencyCode()
    months = WholeNumber(required=False, default=USUAL_MONTHS, min_value=1, max_value=MOST_MONTHS)


class SimulateView(APIView):
    """`/v1/plans/{id}/simulate`."""

    scope = "plans:read"
    # Asking changes nothing, so there is no answer to keep.
    own_idempotency = True

    def post(self, request: Request, identifier: str) -> Response:
        """Tell what customers were billed, and what they would have been at another price."""
        asked = read_exactly(SimulatePrice, request.data)
        plans = _versions(identifier)
        simulated = simulate(
            plans=plans,
            price=_price_to_try(asked, plans),
            months=asked["months"],
            at=timezone.now(),
            only_currency=bool(asked.get("currency")),
        )
        customers = Customer.objects.filter(pk__in=list(simulated.by_customer))
        page = read_page(customers, request.query_params)
        return Response(
            _words(simulated, months=asked["months"])
            | {"customers": [_customer_words(one, simulated.by_customer[one.pk]) for one in page.rows]}
            | page.words
        )


def _versions(identifier: str) -> Sequence[Plan]:
    """The plan version of an id, or every version of a stable id, since those who have an old one keep it."""
    plan = find_plan(identifier)
    if identifier != plan.stable_plan_id:
        return [plan]
    return list(Plan.objects.filter(stable_plan_id=identifier))


def _price_to_try(asked: Mapping[str, Any], plans: Sequence[Plan]) -> PriceToTry:
    identifier, data, currency = asked.get("priceId") or "", asked["pricingData"], asked.get("currency")
    if bool(identifier) == (data is not None):
        raise InvalidInput.at("priceId", "or pricingData is required, and not both.")
    if data is None:
        price = find_price(identifier)
        if currency and currency != price.currency:
            raise InvalidInput.at("currency", f"must be {price.currency}, the currency of this price, or left out.")
        return PriceToTry(list(price.components.all()), price.currency)
    return PriceToTry(components_of(read_pricing_data(data)), currency or _only_currency_of(plans))


def _only_currency_of(plans: Sequence[Plan]) -> str:
    currencies = currencies_of(plans)
    if not currencies:
        raise InvalidInput.at("currency", "is required with pricingData, since this plan has no live subscriptions.")
    if len(currencies) > 1:
        raise InvalidInput.at(
            "currency", f"is required with pricingData: this plan is billed in {' and '.join(currencies)}."
        )
    return currencies[0]


def _words(simulated: Simulated, *, months: int) -> dict[str, Any]:
    """Shape what was found of all customers together."""
    free = {metric: usage for metric, usage in simulated.free_usage.items() if usage.used}
    metrics = dict(Metric.objects.filter(pk__in={*free, *simulated.other_clocks}).values_list("pk", "public_id"))
    return {
        "currency": simulated.currency,
        "months": months,
        "from": simulated.from_at,
        "until": simulated.until,
        "subscriptions": simulated.subscriptions,
        "subscriptionsLeftOut": simulated.left_out,
        "usagePeriods": simulated.periods,
        "totals": _compared_words(simulated.total),
        "freeUsage": [
            {"metricId": metrics[metric], "used": usage.used, "oldCents": usage.old_cents}
            for metric, usage in sorted(free.items())
        ],
        "otherClocks": [metrics[metric] for metric in sorted(simulated.other_clocks)],
    }


def _customer_words(customer: Customer, compared: Compared) -> dict[str, Any]:
    return {
        "customerId": customer.public_id,
        "externalCustomerId": customer.external_customer_id,
        "name": customer.name,
    } | _compared_words(compared)


def _compared_words(compared: Compared) -> dict[str, int]:
    return {
        "oldCents": compared.old_cents,
        "newCents": compared.new_cents,
        "differenceCents": compared.difference_cents,
    }
