"""`/v1/subscriptions`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import Exists, Max, Min, OuterRef, Prefetch, Q, prefetch_related_objects
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.models import PaymentMethod
from billing.services.cancel import cancel_at_period_end, cancel_now
from billing.services.subscribe import subscribe
from credits.models import ApplicationType, CreditDefinition
from plans.listing import read_page
from plans.models import (
    Feature,
    Plan,
    Price,
    ScheduledChange,
    Subscription,
    SubscriptionFeature,
    SubscriptionItem,
    SubscriptionPeriod,
)
from plans.query import boolean_parameter
from plans.refusals import InvalidInput
from plans.serializers.reading import read_exactly
from plans.serializers.subscriptions import (
    BillingDates,
    FeatureOverride,
    NewSubscription,
    overridden_feature_words,
    subscription_words,
)
from plans.services.customers import find_customer
from plans.services.features import find_feature
from plans.services.merchant import find_merchant_id
from plans.services.overrides import override_feature, remove_override
from plans.services.plans import find_plan
from plans.services.prices import find_price
from plans.services.subscriptions import current_periods, find_running, find_subscription

_IS_LATEST = ~Exists(
    Subscription.objects.filter(
        stable_subscription_id=OuterRef("stable_subscription_id"),
        version_number__gt=OuterRef("version_number"),
        deleted_at__isnull=True,
    )
)


class SubscriptionsView(APIView):
    """`/v1/subscriptions`."""

    scope = "subscriptions"

    def get(self, request: Request) -> Response:
        """List the subscriptions, ended ones too, each in its latest version; with `customerId` those of one
        customer."""
        with_features = boolean_parameter(request.query_params, "includeFeatures")
        is_external = boolean_parameter(request.query_params, "isExtCustId")
        subscriptions = Subscription.objects.filter(_IS_LATEST, deleted_at__isnull=True)
        if "customerId" in request.query_params:
            customer = find_customer(request.query_params["customerId"], external=is_external)
            subscriptions = subscriptions.filter(customer=customer)
        page = read_page(subscriptions, request.query_params)
        words = _describe(page.rows, at=timezone.now(), with_features=with_features)
        return Response({"subscriptions": words} | page.words)

    def post(self, request: Request) -> Response:
        """Subscribe a customer to a plan."""
        at = timezone.now()
        words = NewSubscription(data=request.data)
        words.is_valid(raise_exception=True)
        terms = words.validated_data
        is_external = boolean_parameter(request.query_params, "isExtCustId")
        customer = find_customer(terms["customerId"], external=is_external)
        plan, price = _find_offer(terms.get("planId"), terms["price_id"])
        subscription = subscribe(
            at=at,
            customer=customer,
            plan=plan,
            price=price,
            started_at=terms.get("startTimestamp"),
            trial_days=terms.get("trialDays") or 0,
            beside_others=terms["dangerouslyAllowMultipleSubscriptions"],
            metadata=terms.get("metadata"),
        )
        return _answer(subscription, at=at, with_features=True)


class SubscriptionView(APIView):
    """`/v1/subscriptions/{id}`."""

    scope = "subscriptions"

    def get(self, request: Request, identifier: str) -> Response:
        """Show one subscription by its id or its stable id."""
        with_features = boolean_parameter(request.query_params, "includeFeatures")
        return _answer(find_subscription(identifier), at=timezone.now(), with_features=with_features)

    def delete(self, request: Request, identifier: str) -> Response:
        """Cancel a subscription now, with `prorate` against a refund of the days that are left; or with `atPeriodEnd`
        at the end of what is paid for."""
        at = timezone.now()
        at_period_end = boolean_parameter(request.query_params, "atPeriodEnd")
        prorate = boolean_parameter(request.query_params, "prorate")
        if at_period_end and prorate:
            raise InvalidInput.at("prorate", "cannot go with atPeriodEnd, since no paid day is left then.")
        subscription = find_running(identifier)
        if at_period_end:
            scheduled = cancel_at_period_end(subscription=subscription, at=at)
            return Response(
                {"success": True, "message": "Subscription ends with its period", "endsAt": scheduled.effective_at}
            )
        cancel_now(subscription=subscription, at=at, prorate=prorate)
        return Response(
            {
                "success": True,
                "message": "Subscription, associated features, details, and credit grants expired successfully",
            }
        )


class SubscriptionFeatureView(APIView):
    """`/v1/subscriptions/{id}/features/{slug}`: the override of a feature."""

    scope = "subscriptions"

    def put(self, request: Request, identifier: str, slug: str) -> Response:
        """Give the subscription the feature otherwise than its plan does, in place of an override that is there."""
        at = timezone.now()
        terms = read_exactly(FeatureOverride, request.data)
        subscription, feature = find_subscription(identifier), find_feature(slug)
        override_feature(
            at=at,
            subscription=subscription,
            feature=feature,
            metrics_with_quota=_metrics_with_quota(subscription),
            **terms,
        )
        return _answer_feature(subscription, feature, at=at)

    def delete(self, request: Request, identifier: str, slug: str) -> Response:
        """Take the override back."""
        subscription, feature = find_subscription(identifier), find_feature(slug)
        remove_override(subscription=subscription, feature=feature)
        return _answer_feature(subscription, feature, at=timezone.now())


def _metrics_with_quota(subscription: Subscription) -> set[int]:
    quotas = CreditDefinition.objects.filter(
        plan=subscription.plan_id, application_type=ApplicationType.USAGE, deleted_at__isnull=True
    )
    return set(quotas.values_list("metric_id", flat=True))


def _answer_feature(subscription: Subscription, feature: Feature, *, at: datetime) -> Response:
    copies = list(subscription.subscription_features.filter(feature=feature).select_related("feature"))
    return Response({"feature": overridden_feature_words(feature, copies, subscription, at=at)})


def _find_offer(plan_id: str | None, price_id: str | None) -> tuple[Plan, Price | None]:
    if price_id is None:
        assert plan_id is not None
        return find_plan(plan_id), None
    price = find_price(price_id)
    return find_plan(plan_id or price.plan.public_id), price


def describe(subscription: Subscription, *, at: datetime) -> dict[str, Any]:
    """Shape one subscription with its features, as every answer about it has it."""
    (words,) = _describe([subscription], at=at, with_features=True)
    return words


def _answer(subscription: Subscription, *, at: datetime, with_features: bool) -> Response:
    (words,) = _describe([subscription], at=at, with_features=with_features)
    return Response({"subscription": words})


def _describe(subscriptions: Sequence[Subscription], *, at: datetime, with_features: bool) -> list[dict[str, Any]]:
    """Fetch what the words of these subscriptions need, in a number of queries that does not grow with them."""
    items = SubscriptionItem.objects.select_related("component").order_by("component__position", "pk")
    lookups: list[Any] = ["customer", "plan", "price__components__metric", Prefetch("items", queryset=items)]
    if with_features:
        sold = SubscriptionFeature.objects.filter(feature__deleted_at__isnull=True)
        sold = sold.select_related("feature").order_by("pk")
        lookups.append(Prefetch("subscription_features", queryset=sold))
    prefetch_related_objects(list(subscriptions), *lookups)
    periods = current_periods(subscriptions, at)
    dates = _billing_dates(subscriptions, at)
    methods = dict(
        PaymentMethod.objects.filter(
            customer__in=[subscription.customer_id for subscription in subscriptions], is_default=True
        ).values_list("customer_id", "public_id")
    )
    merchant_id = find_merchant_id()
    scheduled = {
        one.subscription_id: one
        for one in ScheduledChange.objects.filter(
            subscription__in=subscriptions, applied_at=None, withdrawn_at=None
        ).select_related("price__plan")
    }
    return [
        subscription_words(
            subscription,
            merchant_id=merchant_id,
            period=periods.get(subscription.pk),
            billing_dates=dates,
            payment_method_id=methods.get(subscription.customer_id),
            scheduled=scheduled.get(subscription.pk),
            with_features=with_features,
        )
        for subscription in subscriptions
    ]


def _billing_dates(subscriptions: Sequence[Subscription], at: datetime) -> dict[int, BillingDates]:
    rows = (
        SubscriptionPeriod.objects.filter(subscription__in=subscriptions)
        .order_by()
        .values_list("item_id")
        .annotate(
            previous=Max("bill_at", filter=Q(bill_at__lte=at)),
            next=Min("bill_at", filter=Q(bill_at__gt=at, item__ended_at__isnull=True)),
        )
    )
    return {item: BillingDates(previous=previous, next=upcoming) for item, previous, upcoming in rows}
