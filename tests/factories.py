"""Rows for tests, one factory per noun, without randomness.

What only a service can write rightly (subscriptions with their periods, events with their counts, grants with their
ledger) is made by that service; the factories only fill in what a test does not care about.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import factory

from credits.models import CreditDefinition, CreditGrant, Scope
from credits.services.definitions import create_definition
from credits.services.grants import grant_credits
from metering.events import NewEvent
from metering.models import UsageEvent
from metering.services.metrics import create_metric
from metering.services.record_events import record_events
from plans.models import (
    Customer,
    Feature,
    Metric,
    Plan,
    PlanFeature,
    Price,
    PriceComponent,
    PricingTable,
    PricingTablePlan,
    Seat,
    Subscription,
)
from plans.services.subscriptions import open_subscription

START = datetime(2025, 1, 1, tzinfo=UTC)


def _public_ids(prefix: str) -> factory.Sequence:
    return factory.Sequence(lambda n: f"{prefix}{n:022}")


class CustomerFactory(factory.django.DjangoModelFactory[Customer]):
    """A customer with an e-mail and an external id of its own."""

    class Meta:
        model = Customer

    public_id = _public_ids("cus_")
    name = factory.Sequence(lambda n: f"Customer {n}")
    email = factory.Sequence(lambda n: f"customer{n}@example.com")
    external_customer_id = factory.Sequence(lambda n: f"user-{n}")
    invoice_prefix = factory.Sequence(lambda n: f"T{n:05}")
    created_at = START


class SeatFactory(factory.django.DjangoModelFactory[Seat]):
    """A member's seat in the organization `acme`, without a start and without an end."""

    class Meta:
        model = Seat

    organization_id = "acme"
    member = factory.SubFactory(
        CustomerFactory, org_role="member", customer_organization_id=factory.SelfAttribute("..organization_id")
    )


class MetricFactory(factory.django.DjangoModelFactory[Metric]):
    """A SUM metric of an event name of its own; events that are there already are counted."""

    class Meta:
        model = Metric

    name = factory.Sequence(lambda n: f"Metric {n}")
    event_name = factory.Sequence(lambda n: f"event-{n}")
    aggregation_type = "SUM"
    value_type = "NUMERIC"
    at = START

    @classmethod
    def _create(cls, model_class: type[Metric], *args: Any, **kwargs: Any) -> Metric:
        return create_metric(**kwargs)


class FeatureFactory(factory.django.DjangoModelFactory[Feature]):
    """A switch that is on; `metrics=[…]` joins it to metrics."""

    class Meta:
        model = Feature
        skip_postgeneration_save = True

    public_id = _public_ids("feat_")
    slug = factory.Sequence(lambda n: f"feature-{n}")
    display_name = factory.Sequence(lambda n: f"Feature {n}")
    value = True
    created_at = START

    @factory.post_generation
    def metrics(self, create: bool, extracted: Any, **_: Any) -> None:
        if create and extracted:
            self.metrics.set(extracted)  # type: ignore[attr-defined]


class PlanFactory(factory.django.DjangoModelFactory[Plan]):
    """Version 1 of a plan without features and without a price."""

    class Meta:
        model = Plan

    public_id = _public_ids("plan_int_")
    stable_plan_id = _public_ids("pln_stable_")
    name = factory.Sequence(lambda n: f"Plan {n}")
    commit_message = "Initial version"
    created_at = START


class PlanFeatureFactory(factory.django.DjangoModelFactory[PlanFeature]):
    """A feature in a plan, with the feature's own value."""

    class Meta:
        model = PlanFeature

    plan = factory.SubFactory(PlanFactory)
    feature = factory.SubFactory(FeatureFactory)
    value = factory.LazyAttribute(lambda sold: sold.feature.value)


class PriceFactory(factory.django.DjangoModelFactory[Price]):
    """A price in USD with a base fee of 29.00 a month; `fee=None` makes one without components."""

    class Meta:
        model = Price
        skip_postgeneration_save = True

    public_id = _public_ids("price_")
    plan = factory.SubFactory(PlanFactory)
    currency = "USD"
    created_at = START

    fee = factory.RelatedFactory("tests.factories.FixedComponentFactory", factory_related_name="price")


class FixedComponentFactory(factory.django.DjangoModelFactory[PriceComponent]):
    """A base fee of 29.00 a month."""

    class Meta:
        model = PriceComponent

    price = factory.SubFactory(PriceFactory, fee=None)
    component_id = _public_ids("comp_fixed_")
    position = 0
    kind = "fixed"
    label = "Base fee"
    amount_cents = 2900
    frequency = "MONTHLY"


class UsageComponentFactory(factory.django.DjangoModelFactory[PriceComponent]):
    """5 cents a unit of a metric of its own, billed monthly; it stands after the base fee of its price."""

    class Meta:
        model = PriceComponent

    price = factory.SubFactory(PriceFactory)
    component_id = _public_ids("comp_usage_")
    position = 1
    kind = "usage"
    label = "Usage"
    unit_label = "call"
    metric = factory.SubFactory(MetricFactory)
    unit_cost_cents = Decimal(5)
    frequency = "MONTHLY"


class SubscriptionFactory(factory.django.DjangoModelFactory[Subscription]):
    """A subscription with items, features and periods, without grants and invoices (`billing.services.subscribe`
    makes those). Begins at `started_at`, by default at `at`, by default at START."""

    class Meta:
        model = Subscription

    at = START
    started_at = factory.SelfAttribute("at")
    customer = factory.SubFactory(CustomerFactory)
    price = factory.SubFactory(PriceFactory)

    @classmethod
    def _create(cls, model_class: type[Subscription], *args: Any, **kwargs: Any) -> Subscription:
        return open_subscription(**kwargs)


class PricingTableFactory(factory.django.DjangoModelFactory[PricingTable]):
    """An active pricing table without plans."""

    class Meta:
        model = PricingTable

    public_id = _public_ids("price_table_")
    name = factory.Sequence(lambda n: f"Pricing table {n}")
    slug = factory.Sequence(lambda n: f"pricing-table-{n}")


class PricingTablePlanFactory(factory.django.DjangoModelFactory[PricingTablePlan]):
    """A plan on a pricing table."""

    class Meta:
        model = PricingTablePlan

    pricing_table = factory.SubFactory(PricingTableFactory)
    plan = factory.SubFactory(PlanFactory)


class UsageEventFactory(factory.django.DjangoModelFactory[UsageEvent]):
    """An event of value 1 of a known customer, recorded and counted. `at` is when it arrived, `occurred_at` when it
    happened according to the client (None: not said)."""

    class Meta:
        model = UsageEvent

    at = START
    customer = factory.SubFactory(CustomerFactory)
    event_name = "api-calls"
    value = Decimal(1)
    text_value = None
    occurred_at = factory.SelfAttribute("at")
    idempotency_key = factory.Sequence(lambda n: f"key-{n}")
    properties = "{}"

    @classmethod
    def _create(cls, model_class: type[UsageEvent], *args: Any, **kwargs: Any) -> UsageEvent:
        at, customer = kwargs.pop("at"), kwargs.pop("customer")
        event = NewEvent(customer_id=customer.public_id, external_customer_id=None, **kwargs)
        (outcome,) = record_events(events=[event], at=at)
        return UsageEvent.objects.get(pk=outcome.event_id)


class CreditDefinitionFactory(factory.django.DjangoModelFactory[CreditDefinition]):
    """10,000 units each period for whoever has the plan, counted by the one metric of a feature of its own."""

    class Meta:
        model = CreditDefinition

    at = START
    name = factory.Sequence(lambda n: f"Quota {n}")
    scope = Scope.PLAN
    application_type = "usage"
    default_amount = Decimal(10_000)
    renew_on_billing = True
    plan = factory.SubFactory(PlanFactory)
    feature = factory.SubFactory(
        FeatureFactory, value="usage_based", metrics=factory.List([factory.SubFactory(MetricFactory)])
    )

    @classmethod
    def _create(cls, model_class: type[CreditDefinition], *args: Any, **kwargs: Any) -> CreditDefinition:
        plan, feature = kwargs.get("plan"), kwargs.get("feature")
        if plan is not None and feature is not None:
            PlanFeature.objects.get_or_create(plan=plan, feature=feature, defaults={"value": feature.value})
        return create_definition(**kwargs)


class CreditGrantFactory(factory.django.DjangoModelFactory[CreditGrant]):
    """A manual grant with its ledger row: 10,000 units (`amount`) of a definition of its own, from today's midnight
    or the start of the customer's period on."""

    class Meta:
        model = CreditGrant

    at = START
    customer = factory.SubFactory(CustomerFactory)
    definition = factory.SubFactory(CreditDefinitionFactory, scope=Scope.MERCHANT, plan=None, renew_on_billing=False)

    @classmethod
    def _create(cls, model_class: type[CreditGrant], *args: Any, **kwargs: Any) -> CreditGrant:
        return grant_credits(**kwargs)
