"""The words of subscriptions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rest_framework import serializers

from plans.models import (
    Feature,
    FeatureSource,
    Overage,
    ScheduledChange,
    Subscription,
    SubscriptionFeature,
    SubscriptionItem,
    SubscriptionPeriod,
)
from plans.models.features import feature_type_of
from plans.serializers.fields import Choice, JsonValue, Metadata, OptionalText, Switch, Text, WholeNumber, given
from plans.serializers.prices import pricing_data


class NewSubscription(serializers.Serializer[Subscription]):
    """What a caller says of a subscription that is to be made; `effectivePriceId` is another name of `priceId`."""

    customerId = Text(max_length=255)
    planId = OptionalText(max_length=80)
    priceId = OptionalText(max_length=80)
    effectivePriceId = OptionalText(max_length=80)
    status = OptionalText()
    startTimestamp = serializers.DateTimeField(required=False, allow_null=True)
    trialDays = WholeNumber(required=False, allow_null=True)
    metadata = Metadata(required=False, allow_null=True)
    dangerouslyAllowMultipleSubscriptions = Switch(required=False, default=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = {name: value for name, value in given(attrs).items() if value != ""}
        price_id = attrs.get("priceId") or attrs.get("effectivePriceId")
        if price_id != (attrs.get("effectivePriceId") or price_id):
            raise serializers.ValidationError({"effectivePriceId": "must be equal to priceId where both are given."})
        if not price_id and "planId" not in attrs:
            raise serializers.ValidationError({"planId": "is required, or priceId."})
        if attrs.get("status", "active") != "active":
            raise serializers.ValidationError({"status": "must be active; every subscription begins so."})
        return attrs | {"price_id": price_id}


class ChangeOfPrice(serializers.Serializer[Subscription]):
    """What a caller says of a change: to which price, now or with the end of what is paid for, and whether the fees are
    shared by days."""

    priceId = Text(max_length=80)
    when = Choice(choices=["now", "period_end"], required=False, default="now")
    proration = Choice(choices=["prorate", "none"], required=False, default="prorate")


def scheduled_words(scheduled: ScheduledChange | None) -> dict[str, Any] | None:
    """Describe what waits to happen to a subscription; its price, if it has one, is to be fetched already."""
    if scheduled is None:
        return None
    return {
        "id": scheduled.public_id,
        "kind": scheduled.kind,
        "priceId": scheduled.price.public_id if scheduled.price is not None else None,
        "planId": scheduled.price.plan.public_id if scheduled.price is not None else None,
        "effectiveAt": scheduled.effective_at,
    }


class FeatureOverride(serializers.Serializer[SubscriptionFeature]):
    """What a caller says of a feature that a subscription is to have otherwise than the plan gives it."""

    value = JsonValue(required=False, allow_null=True)
    overage = Choice(choices=Overage.values, required=False, allow_null=True)
    reason = Text(max_length=500)
    effectiveFrom = serializers.DateTimeField(required=False, allow_null=True, source="effective_from")
    effectiveUntil = serializers.DateTimeField(required=False, allow_null=True, source="effective_until")


@dataclass(frozen=True)
class BillingDates:
    """When an item was billed last and will be billed next; None where there is no such instant."""

    previous: datetime | None = None
    next: datetime | None = None


def subscription_words(
    subscription: Subscription,
    *,
    merchant_id: str,
    period: SubscriptionPeriod | None,
    billing_dates: Mapping[int, BillingDates],
    payment_method_id: str | None,
    scheduled: ScheduledChange | None,
    with_features: bool,
) -> dict[str, Any]:
    """Describe a subscription; what it points to is to be fetched already. `billing_dates` are those of its items."""
    customer, plan, price = subscription.customer, subscription.plan, subscription.price
    words: dict[str, Any] = {
        "id": subscription.public_id,
        "stableSubscriptionId": subscription.stable_subscription_id,
        "merchantId": merchant_id,
        "customerId": customer.public_id,
        "planId": plan.public_id,
        "priceId": price.public_id,
        "effectivePriceId": price.public_id,
        "status": subscription.status,
        "startTimestamp": subscription.started_at,
        "endTimestamp": subscription.ended_at,
        "currentPeriodStart": period.start_at if period is not None else None,
        "currentPeriodEnd": period.end_at if period is not None else None,
        "cancelAtPeriodEnd": subscription.cancel_at_period_end,
        "scheduledChange": scheduled_words(scheduled),
        "trialEndDate": subscription.trial_ends_at,
        "pausedAt": subscription.paused_at,
        "gracePeriodEndsAt": subscription.grace_period_ends_at,
        "versionNumber": subscription.version_number,
        "stripeSubscriptionId": None,
        "paymentMethodId": payment_method_id,
        "metadata": subscription.metadata,
        "createdAt": subscription.created_at,
        "deletedAt": subscription.deleted_at,
        "customer": {
            "id": customer.public_id,
            "name": customer.name,
            "email": customer.email or None,
            "externalCustomerId": customer.external_customer_id,
        },
        "plan": {"id": plan.public_id, "planName": plan.name, "planDescription": plan.description or None},
        "price": {"id": price.public_id, "currency": price.currency, "pricingData": pricing_data(price)},
        "subscriptionDetails": [
            _detail_words(item, subscription, billing_dates.get(item.pk, BillingDates()))
            for item in subscription.items.all()
            if item.component is not None
        ],
    }
    if with_features:
        copies = subscription.subscription_features.all()
        words["subscriptionFeatures"] = [_copy_words(copy, _value_of(copy, copies), subscription) for copy in copies]
    return words


def overridden_feature_words(
    feature: Feature, copies: Sequence[SubscriptionFeature], subscription: Subscription, *, at: datetime
) -> dict[str, Any]:
    """Describe a feature as a subscription gives it at `at`, with what was `sold` and the `override` of it; each null
    where there is none. `copies` are those of this feature."""
    by_source = {copy.source: copy for copy in copies}
    sold, override = by_source.get(FeatureSource.PLAN), by_source.get(FeatureSource.OVERRIDE)
    valid = override if override is not None and _is_effective(override, at) else sold
    words = {
        "subscriptionId": subscription.public_id,
        "featureId": feature.public_id,
        "slug": feature.slug,
        "featureName": feature.display_name,
        "featureValue": None,
        "overage": None,
        "source": "default",
    }
    if valid is not None:
        words |= _copy_words(valid, _value_of(valid, copies), subscription)
    return words | {
        "sold": sold and {"value": sold.value, "overage": sold.overage},
        "override": override and _override_words(override),
    }


def _is_effective(override: SubscriptionFeature, at: datetime) -> bool:
    started = override.effective_from is None or override.effective_from <= at
    return started and (override.effective_until is None or at < override.effective_until)


def _override_words(override: SubscriptionFeature) -> dict[str, Any]:
    """Describe an override; a `value` of null keeps the plan's."""
    return {
        "featureSlug": override.feature.slug,
        "value": override.value,
        "overage": override.overage,
        "reason": override.reason,
        "effectiveFrom": override.effective_from,
        "effectiveUntil": override.effective_until,
    }


def _value_of(copy: SubscriptionFeature, copies: Iterable[SubscriptionFeature]) -> Any:
    """The value that a copy gives; an override without one of its own gives the plan's."""
    if copy.value is not None:
        return copy.value
    return next(
        (sold.value for sold in copies if sold.feature_id == copy.feature_id and sold.source == FeatureSource.PLAN),
        None,
    )


def _detail_words(item: SubscriptionItem, subscription: Subscription, dates: BillingDates) -> dict[str, Any]:
    assert item.component is not None
    return {
        "subscriptionId": subscription.public_id,
        "componentId": item.component.component_id,
        "previousBillingDate": dates.previous,
        "nextBillingDate": dates.next,
        "createdAt": subscription.created_at,
        # An item changes with its billing only.
        "updatedAt": dates.previous or subscription.created_at,
    }


def _copy_words(copy: SubscriptionFeature, value: Any, subscription: Subscription) -> dict[str, Any]:
    words = {
        "id": copy.public_id,
        "subscriptionId": subscription.public_id,
        "featureId": copy.feature.public_id,
        "featureName": copy.feature.display_name,
        "slug": copy.feature.slug,
        "featureType": feature_type_of(value),
        "featureValue": value,
        "overage": copy.overage,
        "source": copy.source,
    }
    if copy.source == FeatureSource.OVERRIDE:
        words |= {
            "reason": copy.reason,
            "effectiveFrom": copy.effective_from,
            "effectiveUntil": copy.effective_until,
        }
    return words
