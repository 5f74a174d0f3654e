"""Addresses of the plans app, relative to /v1."""

from django.urls import path

from billing.api.dunning import DunningConfigView
from plans.api.customers import CustomersView, CustomerView
from plans.api.enrollment import (
    ClerkHookView,
    EnrollmentRulesView,
    EnrollmentRuleView,
    EnrollView,
    FreeSubscriptionView,
    SupabaseHookView,
)
from plans.api.features import FeatureSlugView, FeaturesView, FeatureView
from plans.api.merchants import CurrentMerchantView, MerchantCreationView, MerchantView, OnboardingView
from plans.api.metrics import MetricDeleteView, MetricsView, MetricUpdateView, MetricValueView, MetricView
from plans.api.plan_migration import MigratePlanPreviewView, MigratePlanView
from plans.api.plans import PlansView, PlanView
from plans.api.portal import PortalOverviewView, SubscriptionStatusView
from plans.api.price_preview import PricePreviewView
from plans.api.prices import PriceCloneView, PricesView, PriceView
from plans.api.pricing_tables import (
    PricingTablePlansView,
    PricingTablesView,
    PricingTableView,
    PublicPricingTableView,
)
from plans.api.seats import AddSeatView, QuantitiesView, RemoveSeatView, SeatUsageView
from plans.api.subscription_changes import (
    ChangePreviewView,
    ChangeView,
    PauseView,
    ResumeView,
    ScheduledChangeView,
)
from plans.api.subscriptions import SubscriptionFeatureView, SubscriptionsView, SubscriptionView

urlpatterns = [
    path("customers", CustomersView.as_view()),
    path("customers/subscription-status", SubscriptionStatusView.as_view()),
    path("customers/portal/overview", PortalOverviewView.as_view()),
    path("customers/<str:identifier>", CustomerView.as_view()),
    path("merchants/current", CurrentMerchantView.as_view()),
    path("merchants/checkonboarding", OnboardingView.as_view()),
    # Before the seller's id, which is any text.
    path("merchants/dunning-config", DunningConfigView.as_view()),
    path("merchants/onboarding-create-merchant", MerchantCreationView.as_view()),
    path("merchants/<str:identifier>", MerchantView.as_view()),
    path("metrics", MetricsView.as_view()),
    path("metrics/<str:identifier>", MetricView.as_view()),
    path("metrics/<str:identifier>/value", MetricValueView.as_view()),
    path("metrics/<str:identifier>/update", MetricUpdateView.as_view()),
    path("metrics/<str:identifier>/delete", MetricDeleteView.as_view()),
    path("features", FeaturesView.as_view()),
    path("features/checkSlug", FeatureSlugView.as_view()),
    path("features/<str:identifier>", FeatureView.as_view()),
    path("plans", PlansView.as_view()),
    path("plans/<str:identifier>/migrate", MigratePlanView.as_view()),
    path("plans/<str:identifier>/migrate/preview", MigratePlanPreviewView.as_view()),
    path("plans/<str:identifier>", PlanView.as_view()),
    path("prices", PricesView.as_view()),
    path("prices/preview", PricePreviewView.as_view()),
    path("prices/clone/<str:identifier>", PriceCloneView.as_view()),
    path("prices/<str:identifier>", PriceView.as_view()),
    path("pricing-tables", PricingTablesView.as_view()),
    path("pricing-tables/<str:identifier>", PricingTableView.as_view()),
    path("pricing-tables/<str:identifier>/plans", PricingTablePlansView.as_view()),
    path("public/pricing-tables", PublicPricingTableView.as_view()),
    path("public/pricing-tables/<str:slug>", PublicPricingTableView.as_view()),
    path("subscriptions", SubscriptionsView.as_view()),
    path("subscriptions/create-free-subscription", FreeSubscriptionView.as_view()),
    path("subscriptions/<str:identifier>", SubscriptionView.as_view()),
    path("subscriptions/<str:identifier>/change", ChangeView.as_view()),
    path("subscriptions/<str:identifier>/change/preview", ChangePreviewView.as_view()),
    path("subscriptions/<str:identifier>/scheduled-change", ScheduledChangeView.as_view()),
    path("subscriptions/<str:identifier>/pause", PauseView.as_view()),
    path("subscriptions/<str:identifier>/resume", ResumeView.as_view()),
    path("subscriptions/<str:identifier>/quantities", QuantitiesView.as_view()),
    path("subscriptions/<str:identifier>/features/<str:slug>", SubscriptionFeatureView.as_view()),
    path("seats/add", AddSeatView.as_view()),
    path("seats/remove", RemoveSeatView.as_view()),
    path("seats/usage/<str:identifier>", SeatUsageView.as_view()),
    path("enrollment/rules", EnrollmentRulesView.as_view()),
    path("enrollment/rules/<str:identifier>", EnrollmentRuleView.as_view()),
    path("enrollment/enroll", EnrollView.as_view()),
    path("webhooks/supabase", SupabaseHookView.as_view()),
    path("webhooks/clerk", ClerkHookView.as_view()),
]
