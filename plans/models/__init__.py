from plans.models.customers import Customer
from plans.models.features import Feature
from plans.models.merchant import Merchant
from plans.models.metrics import Metric
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
    "Overage",
    "Plan",
    "PlanFeature",
    "Price",
    "PriceComponent",
    "PricingTable",
    "PricingTablePlan",
    "Subscription",
    "SubscriptionFeature",
    "SubscriptionItem",
    "SubscriptionPeriod",
    "SubscriptionStatus",
]
