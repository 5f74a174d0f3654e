from plans.models.customers import Customer, Seat
from plans.models.enrollment import EnrollmentRule, MatcherType
from plans.models.features import Feature
from plans.models.merchant import Merchant
from plans.models.metrics import Metric, MetricVersion
from plans.models.plans import Overage, Plan, PlanFeature
from plans.models.prices import ComponentKind, Frequency, Price, PriceComponent
from plans.models.pricing_tables import PricingTable, PricingTablePlan
from plans.models.subscriptions import (
    FAR_FUTURE,
    FeatureSource,
    PeriodKind,
    ScheduledChange,
    ScheduledChangeKind,
    Subscription,
    SubscriptionFeature,
    SubscriptionItem,
    SubscriptionPeriod,
    SubscriptionStatus,
)
from plans.models.units import AddedUnits, SeatChange, SeatChangeKind

__all__ = [
    "FAR_FUTURE",
    "AddedUnits",
    "ComponentKind",
    "Customer",
    "EnrollmentRule",
    "Feature",
    "FeatureSource",
    "Frequency",
    "MatcherType",
    "Merchant",
    "Metric",
    "MetricVersion",
    "Overage",
    "PeriodKind",
    "Plan",
    "PlanFeature",
    "Price",
    "PriceComponent",
    "PricingTable",
    "PricingTablePlan",
    "ScheduledChange",
    "ScheduledChangeKind",
    "Seat",
    "SeatChange",
    "SeatChangeKind",
    "Subscription",
    "SubscriptionFeature",
    "SubscriptionItem",
    "SubscriptionPeriod",
    "SubscriptionStatus",
]
