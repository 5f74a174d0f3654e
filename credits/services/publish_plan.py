from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction

from credits.models import ApplicationType, CreditDefinition, Scope
from credits.services.definitions import create_definition
from credits.services.earlier_version import EarlierVersion
from metering.services.metrics import create_metric
from plans.models import ComponentKind, Feature, Metric, Overage, Plan, Price
from plans.models.features import USAGE_BASED
from plans.models.metrics import Aggregation, ValueType
from plans.models.prices import Frequency
from plans.page_words import plural
from plans.price_language import DSL_VERSION, read_pricing_data
from plans.refusals import InvalidInput
from plans.services.features import create_feature
from plans.services.plans import FeatureConfig, create_plan, create_version, lock_versions
from plans.services.prices import create_price
from plans.services.pricing_tables import add_plan_to_default_table
from plans.services.unpriced_items import meter_feature

_MONTHLY = "RRULE:FREQ=MONTHLY;INTERVAL=1"
_YEARLY = "RRULE:FREQ=YEARLY;INTERVAL=1"


@dataclass(frozen=True, kw_only=True)
class SwitchTerms:
    """A feature that the plan gives without counting anything; it is made as a switch unless its slug exists."""

    slug: str
    name: str
    overage: str = Overage.BLOCK


@dataclass(frozen=True, kw_only=True)
class QuotaTerms:
    """Units that come with the plan. `renews` gives them anew each period, else they come once; with `per_seat` each
    unit that is paid in advance brings as many; `shown_on_invoices` prints what they saved as lines of their own."""

    units: Decimal
    renews: bool = True
    shown_on_invoices: bool = False
    per_seat: bool = False


@dataclass(frozen=True, kw_only=True)
class UsageTerms:
    """A feature whose usage is counted.

    `event_name` is what it counts; empty leaves that to a feature that exists, else it is the slug. `pricing` has the
    terms of another model than a price per unit, in the words of the price language. Without it and `unit_cost_cents`
    the plan does not price the usage: it is free, or with a quota it ends there.
    """

    slug: str
    name: str
    event_name: str = ""
    unit_label: str = ""
    unit_cost_cents: Decimal | None = None
    pricing: Mapping[str, Any] | None = None
    overage: str = Overage.BLOCK
    quota: QuotaTerms | None = None

    @property
    def is_priced(self) -> bool:
        """Tell whether the plan has a price for the usage, be it 0."""
        return self.unit_cost_cents is not None or self.pricing is not None


@dataclass(frozen=True, kw_only=True)
class SeatTerms:
    """What each seat costs in advance, in minor units for each interval that has a price, and how many are paid at
    least."""

    monthly_amount_cents: int | None = None
    yearly_amount_cents: int | None = None
    minimum_quantity: int = 1
    unit_label: str = "seat"


@transaction.atomic
def publish_plan(
    *,
    at: datetime,
    name: str,
    currency: str = "",
    monthly_amount_cents: int | None = None,
    yearly_amount_cents: int | None = None,
    features: Sequence[SwitchTerms] = (),
    usage_components: Sequence[UsageTerms] = (),
    seats: SeatTerms | None = None,
    feature_configs: Sequence[FeatureConfig] = (),
    on_pricing_table: bool = False,
    base: Plan | None = None,
    **looks: Any,
) -> Plan:
    """Create a plan with all that it takes to sell it: features, metrics, prices and quotas. All of it, or nothing.

    With `base` it is the next version of that plan. What is named here takes the place of its prices, of its counted
    features and of their plain quotas; its other features and definitions are copied, components keep their ids and
    words. Subscriptions keep the version they have; pricing tables show the new one in the place of the latest.

    Amounts are minor units of `currency`. A price is made for each interval with an amount, of the plan or its seats,
    or a monthly one without a fee when only usage is priced; the usage of the yearly price is billed monthly too.
    Features are found by slug or made, a counted one is joined to a SUM metric of its event name, which is made when
    there is none.
    `feature_configs` adds features that exist, and has the last word on the value and overage of one that is named
    twice. `on_pricing_table` puts the plan last on the default pricing table. `looks` are the plan's cosmetic fields.

    Raises InvalidInput for terms that do not fit together, and what the services of the single parts refuse.
    """
    if base is not None:
        lock_versions(base)
    seats = seats or SeatTerms()
    monthly, yearly = (
        (monthly_amount_cents, seats.monthly_amount_cents),
        (yearly_amount_cents, seats.yearly_amount_cents),
    )
    has_monthly, has_yearly = monthly != (None, None), yearly != (None, None)
    _check_together(currency, has_monthly or has_yearly, features, usage_components)
    counted = [(terms, *_counted_feature(terms, at)) for terms in usage_components]
    configs = [_switch_config(terms, at) for terms in features]
    configs += [
        FeatureConfig(feature=feature, value=USAGE_BASED, overage=terms.overage) for terms, feature, _ in counted
    ]
    configured = {config.feature.pk: config for config in feature_configs}
    if len(configured) < len(feature_configs):
        raise InvalidInput.at("featureConfigs", "names a feature twice.")
    by_feature = {config.feature.pk: config for config in configs} | configured
    earlier = EarlierVersion() if base is None else EarlierVersion.of(base)
    if base is None:
        plan = create_plan(at=at, name=name, features=list(by_feature.values()), **looks)
    else:
        kept = [FeatureConfig(feature=feature) for feature in earlier.uncounted if feature.pk not in by_feature]
        plan = create_version(at=at, base=base, features=[*kept, *by_feature.values()], name=name, **looks)
    priced = [(terms, metric) for terms, _, metric in counted if terms.is_priced]
    prices: dict[str, Price] = {}
    if has_monthly or (priced and not has_yearly):
        in_advance = _in_advance(monthly_amount_cents, seats.monthly_amount_cents, seats, _MONTHLY)
        components = earlier.with_ids(in_advance + _metered(priced), Frequency.MONTHLY)
        prices[Frequency.MONTHLY] = _publish_price(at, plan, currency, components)
    if has_yearly:
        # Beside a yearly fee a quota renews by the month only if something of the price turns monthly.
        metered = [(terms, metric) for terms, _, metric in counted if terms.is_priced or terms.quota]
        in_advance = _in_advance(yearly_amount_cents, seats.yearly_amount_cents, seats, _YEARLY)
        components = earlier.with_ids(in_advance + _metered(metered), Frequency.YEARLY)
        prices[Frequency.YEARLY] = _publish_price(at, plan, currency, components)
    for terms, feature, metric in counted:
        if terms.quota is not None:
            like = earlier.quota_of(metric)
            _publish_quota(at, plan, list(prices.values()), feature, metric, terms, terms.quota, like)
    earlier.hand_over(plan, prices, [metric for _, _, metric in counted], at)
    if on_pricing_table:
        add_plan_to_default_table(plan=plan)
    return plan


def _check_together(
    currency: str,
    has_amount: bool,
    features: Sequence[SwitchTerms],
    usage_components: Sequence[UsageTerms],
) -> None:
    slugs = [terms.slug for terms in features] + [terms.slug for terms in usage_components]
    for slug in slugs:
        if slugs.count(slug) > 1:
            raise InvalidInput.at("features", f"name {slug} twice.")
    if not currency and (has_amount or any(terms.is_priced for terms in usage_components)):
        raise InvalidInput.at("currency", "is required with a price.")


def _switch_config(terms: SwitchTerms, at: datetime) -> FeatureConfig:
    feature = Feature.objects.live().filter(slug=terms.slug).first()
    if feature is None:
        feature = create_feature(at=at, slug=terms.slug, display_name=terms.name, value=True)
    # A switch that is off elsewhere, or usage that is counted elsewhere, is simply given by a plan that lists it.
    is_given = feature.value is False or feature.value == USAGE_BASED
    return FeatureConfig(feature=feature, value=True if is_given else None, overage=terms.overage)


def _counted_feature(terms: UsageTerms, at: datetime) -> tuple[Feature, Metric]:
    """Find or make the feature and the one metric that it counts. Raises InvalidInput when it counts something else."""
    feature = Feature.objects.live().filter(slug=terms.slug).first()
    joined = list(feature.metrics.filter(deleted_at__isnull=True).order_by("pk")) if feature is not None else []
    if joined:
        wanted = [metric for metric in joined if terms.event_name in ("", metric.event_name)]
        if len(joined) > 1 or not wanted:
            counts = ", ".join(metric.event_name for metric in joined)
            raise InvalidInput.at(
                "features", f"cannot count {terms.event_name or terms.slug} by {terms.slug}: it counts {counts}."
            )
        return feature, wanted[0]  # type: ignore[return-value]  # joined only where there is a feature
    if feature is not None and feature.value != USAGE_BASED:
        raise InvalidInput.at(
            "features", f"cannot count {terms.slug}: it is a feature that counts nothing, and customers may have it so."
        )
    metric = _metric_of_event(terms.event_name or terms.slug, terms.name, at)
    if feature is None:
        feature = create_feature(at=at, slug=terms.slug, display_name=terms.name, value=USAGE_BASED, metrics=[metric])
    else:
        feature.metrics.add(metric)
        # Others may have the feature already.
        meter_feature(feature=feature, at=at)
    return feature, metric


def _metric_of_event(event_name: str, name: str, at: datetime) -> Metric:
    sums = Metric.objects.live().filter(aggregation_type=Aggregation.SUM, current__event_name=event_name)
    metric = sums.filter(current__property_filter={}, current__value_property="").order_by("pk").first()
    return metric or create_metric(
        at=at,
        name=name[:100],
        event_name=event_name,
        aggregation_type=Aggregation.SUM,
        value_type=ValueType.NUMERIC,
    )


def _in_advance(fee_cents: int | None, seat_cents: int | None, seats: SeatTerms, rule: str) -> list[dict[str, Any]]:
    """The components of one interval that are paid in advance, in the price language."""
    components: list[dict[str, Any]] = []
    if fee_cents is not None:
        components.append({"type": "fixed", "label": "Base fee", "amount_cents": fee_cents, "recurrence_rule": rule})
    if seat_cents is not None:
        components.append(
            {
                "type": "per_unit",
                "label": plural(seats.unit_label).capitalize()[:200],
                "unit_label": seats.unit_label,
                "amount_cents": seat_cents,
                "minimum_quantity": seats.minimum_quantity,
                "recurrence_rule": rule,
            }
        )
    return components


def _metered(priced: Sequence[tuple[UsageTerms, Metric]]) -> list[dict[str, Any]]:
    """The components of usage, in the price language."""
    return [
        {
            "type": "usage",
            "component_name": f"usage_{terms.slug}",
            "label": f"{terms.name} usage"[:200],
            "unit_label": terms.unit_label,
            "metric_id": metric.public_id,
            "recurrence_rule": _MONTHLY,
            **(terms.pricing or {"unit_cost_cents": terms.unit_cost_cents or Decimal(0)}),
        }
        for terms, metric in priced
    ]


def _publish_price(at: datetime, plan: Plan, currency: str, components: Sequence[dict[str, Any]]) -> Price:
    """Make one price through the price language, so that its rules hold for it as for any other."""
    read = read_pricing_data({"dsl_version": DSL_VERSION, "components": [*components]})
    return create_price(at=at, plan=plan, currency=currency, components=read)


def _publish_quota(
    at: datetime,
    plan: Plan,
    prices: Sequence[Price],
    feature: Feature,
    metric: Metric,
    terms: UsageTerms,
    quota: QuotaTerms,
    like: CreditDefinition | None,
) -> None:
    """Make one quota per price that charges the usage, linked to its component; else one for the feature. It is called
    as the one that it is `like`."""
    if quota.units <= 0:
        raise InvalidInput.at("includedUnits", "must be more than 0.")
    words = f"Included {terms.name}"[:200]
    common: dict[str, Any] = {
        "at": at,
        "name": like.name if like else words,
        "scope": Scope.PLAN,
        "application_type": ApplicationType.USAGE,
        "default_amount": quota.units,
        "plan": plan,
        "feature": feature,
        "renew_on_billing": quota.renews,
        "per_seat": quota.per_seat,
        "billing_visible": quota.shown_on_invoices,
        "billing_description": like.billing_description if like else words,
    }
    metering = [(price, price.components.filter(kind=ComponentKind.USAGE, metric=metric).first()) for price in prices]
    if not any(component for _, component in metering):
        create_definition(**common)
        return
    for price, component in metering:
        create_definition(**common, price=price, price_component_id=component.component_id if component else None)
