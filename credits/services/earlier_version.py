"""What the next version of a plan follows: the prices, quotas and features of the one that it is made of."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from credits.models import ApplicationType, CreditDefinition, Scope
from credits.services.plan_versions import copy_definitions, show_on_tables
from plans.models import ComponentKind, Feature, Metric, Plan, Price
from plans.models.prices import Frequency

# The words of a seat follow its label; the others keep theirs.
_KEPT_WORDS = {ComponentKind.FIXED: ("label", "component_name"), ComponentKind.USAGE: ("label", "component_name")}


@dataclass(frozen=True, kw_only=True)
class EarlierVersion:
    """A plan version in the words of the plan form: a monthly and a yearly price (by their frequency), plain quotas by
    the keys of their metrics, and features that count nothing. A new plan follows an empty one."""

    plan: Plan | None = None
    prices: Mapping[str, Price] = field(default_factory=dict)
    quotas: Mapping[int, Sequence[CreditDefinition]] = field(default_factory=dict)
    uncounted: Sequence[Feature] = ()

    @classmethod
    def of(cls, plan: Plan) -> "EarlierVersion":
        """Read a plan version."""
        prices = {frequency_of(price): price for price in reversed(prices_on_sale(plan))}
        uncounted = Feature.objects.filter(plan_features__plan=plan, metrics=None).order_by("plan_features__pk")
        return cls(plan=plan, prices=prices, quotas=plain_quotas(plan), uncounted=list(uncounted))

    def with_ids(self, components: Sequence[dict[str, Any]], frequency: str) -> list[dict[str, Any]]:
        """Give components of the price language the ids and words that they had in the price of this frequency."""
        price = self.prices.get(frequency)
        if price is None:
            return [*components]
        known = {
            (part.kind, part.metric.public_id if part.metric else None): part
            for part in price.components.select_related("metric")
        }
        return [_with_id(component, known) for component in components]

    def quota_of(self, metric: Metric) -> CreditDefinition | None:
        """One of the plain quotas of a metric; they differ in their prices alone."""
        return next(iter(self.quotas.get(metric.pk, ())), None)

    def hand_over(self, plan: Plan, prices: Mapping[str, Price], counted: Collection[Metric], at: datetime) -> None:
        """Copy the definitions that `plan` has no word of its own for, and show it where this version is shown."""
        if self.plan is None:
            return
        clones = {self.prices[frequency].pk: price for frequency, price in prices.items() if frequency in self.prices}
        replaced = [quota.pk for metric in counted for quota in self.quotas.get(metric.pk, ())]
        copy_definitions(at, self.plan, plan, clones, without=replaced)
        show_on_tables(plan)


def _with_id(component: dict[str, Any], known: Mapping[Any, Any]) -> dict[str, Any]:
    part = known.get((component["type"], component.get("metric_id")))
    if part is None:
        return component
    words = {name: getattr(part, name) for name in _KEPT_WORDS.get(part.kind, ())}
    return component | words | {"component_id": part.component_id}


def prices_on_sale(plan: Plan) -> list[Price]:
    """The prices of a plan version that anybody can buy, the first one first."""
    prices = Price.objects.live().filter(plan=plan, is_override_price=False)
    return list(prices.order_by("created_at", "pk").prefetch_related("components__metric__current"))


def frequency_of(price: Price) -> str:
    """How often what is paid in advance is paid: YEARLY if anything of it is, else MONTHLY."""
    in_advance = [part for part in price.components.all() if part.kind != ComponentKind.USAGE]
    is_yearly = any(part.frequency == Frequency.YEARLY for part in in_advance)
    return Frequency.YEARLY if is_yearly else Frequency.MONTHLY


def plain_quotas(plan: Plan) -> dict[int, list[CreditDefinition]]:
    """Find the quotas of a plan version that the plan form can show, by the key of the metric that they count: so many
    units, at once or anew each period.

    All of a metric are alike, and there is one for the plan or one for each of its prices. Where one of them rolls
    over, expires, has a priority or the like, none of that metric is returned.
    """
    prices = [price.pk for price in prices_on_sale(plan)]
    quotas: dict[int, list[CreditDefinition]] = defaultdict(list)
    found = CreditDefinition.objects.filter(plan=plan, deleted_at=None, application_type=ApplicationType.USAGE)
    for quota in found.order_by("pk"):
        quotas[quota.metric_id].append(quota)  # type: ignore[index]  # of usage, so there is one
    return {metric: of_metric for metric, of_metric in quotas.items() if _are_plain(of_metric, prices)}


def _are_plain(quotas: Sequence[CreditDefinition], prices: Collection[int]) -> bool:
    first = quotas[0]
    plain = CreditDefinition(
        default_amount=first.default_amount, renew_on_billing=first.renew_on_billing, per_seat=first.per_seat
    ).terms()
    are_alike = all(
        quota.terms() | {"refill_amount": None} == plain
        and quota.renewal_amount == quota.default_amount
        and quota.billing_visible == first.billing_visible
        and quota.scope == Scope.PLAN
        and quota.is_active
        for quota in quotas
    )
    come_with = [quota.price_id for quota in quotas]
    return are_alike and (come_with == [None] or (None not in come_with and sorted(come_with) == sorted(prices)))  # type: ignore[type-var]
