"""Addresses of the plans app, relative to /v1."""

from django.urls import path

from plans.api.customers import CustomersView, CustomerView
from plans.api.features import FeatureSlugView, FeaturesView, FeatureView
from plans.api.metrics import MetricDeleteView, MetricsView, MetricUpdateView, MetricValueView, MetricView
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
from plans.api.subscriptions import SubscriptionFeatureView, SubscriptionsView, SubscriptionView

urlpatterns = [
    path("customers", CustomersView.as_view()),
    path("customers/subscription-status", SubscriptionStatusView.as_view()),
    path("customers/portal/overview", PortalOverviewView.as_view()),
    path("customers/<str:identifier>", CustomerView.as_view()),
    path("metrics", MetricsView.as_view()),
    path("metrics/<str:identifier>", MetricView.as_view()),
    path("metrics/<str:identifier>/value", MetricValueView.as_view()),
    path("metrics/<str:identifier>/update", MetricUpdateView.as_view()),
    path("metrics/<str:identifier>/delete", MetricDeleteView.as_view()),
    path("features", FeaturesView.as_view()),
    path("features/checkSlug", FeatureSlugView.as_view()),
    path("features/<str:identifier>", FeatureView.as_view()),
    path("plans", PlansView.as_view()),
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
    path("subscriptions/<str:identifier>", SubscriptionView.as_view()),
    path("subscriptions/<str:identifier>/features/<str:slug>", SubscriptionFeatureView.as_view()),
]
