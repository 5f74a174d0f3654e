from plans.models.customers import Customer, Seat
from plans.models.features import Feature
from plans.models.merchant import Merchant
from plans.models.metrics import Metric, MetricVersion
from plans.models.plans import Overage, Plan, PlanFeature
from plans.models.prices import ComponentKind, Frequency, Price, PriceComponent
from plans.models.pricing_tables import PricingTable, PricingTablePlan
from plans.models.subscriptions import (
    FeatureSource,
    Subscription,
    SubscriptionFeature,
    SubscriptionItem,
    SubscriptionPeriod,
    SubscriptionStatus,
)

__all__ = [
    "ComponentKind",
    "Customer",
    "Feature",
    "FeatureSource",
    "Frequency",
    "Merchant",
    "Metric",
    "MetricVersion",
    "Overage",
    "Plan",
    "PlanFeature",
    "Price",
    "PriceComponent",
    "PricingTable",
    "PricingTablePlan",
    "Seat",
    "Subscription",
    "SubscriptionFeature",
    "SubscriptionItem",
    "SubscriptionPeriod",
    "SubscriptionStatus",
]
