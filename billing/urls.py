from django.urls import path

from billing.api.auto_top_ups import AutoTopUpsView, AutoTopUpUpdateView, AutoTopUpView
from billing.api.checkout import CheckoutSessionView, PaymentInitView, PaymentStatusView
from billing.api.explain import LineExplanationView
from billing.api.invoice_changes import CreditNotesView, RetryInvoiceView, VoidInvoiceView
from billing.api.invoices import InvoicesView, InvoiceView, UpcomingInvoiceView
from billing.api.late_usage import LateUsageView
from billing.api.payments import PaymentMethodsView, PaymentMethodView, PaymentsView, PaymentView
from billing.api.simulate import SimulateView
from billing.api.tax import (
    CalculateTaxView,
    TaxConfigUpdateView,
    TaxConfigView,
    TaxNexusUpdateView,
    TaxNexusView,
    TaxPreviewView,
    TaxRateCreateView,
    TaxRatesView,
    TaxRateUpdateView,
    TaxRegistrationCreateView,
    TaxRegistrationsView,
)
from billing.api.top_ups import PackPurchaseView, PacksView, PackUpdateView

urlpatterns = [
    path("customers/<str:identifier>/checkout-session", CheckoutSessionView.as_view()),
    path("public/payment-init", PaymentInitView.as_view()),
    path("public/payment-status/<str:intent_id>", PaymentStatusView.as_view()),
    path("public/calculate-tax", CalculateTaxView.as_view()),
    path("tax/config", TaxConfigView.as_view()),
    path("tax/config/update", TaxConfigUpdateView.as_view()),
    path("tax/nexus", TaxNexusView.as_view()),
    path("tax/nexus/<str:state>/update", TaxNexusUpdateView.as_view()),
    path("tax/rate-definitions", TaxRatesView.as_view()),
    path("tax/rate-definitions/create", TaxRateCreateView.as_view()),
    path("tax/rate-definitions/<str:identifier>/update", TaxRateUpdateView.as_view()),
    path("tax/registrations", TaxRegistrationsView.as_view()),
    path("tax/registrations/create", TaxRegistrationCreateView.as_view()),
    path("tax/calculate-preview", TaxPreviewView.as_view()),
    path("plans/<str:identifier>/simulate", SimulateView.as_view()),
    path("credits/packs", PacksView.as_view()),
    path("credits/packs/<str:pack_id>/update", PackUpdateView.as_view()),
    path("credits/packs/<str:pack_id>/purchase", PackPurchaseView.as_view()),
    path("credits/auto-top-ups", AutoTopUpsView.as_view()),
    path("credits/auto-top-ups/<str:auto_top_up_id>", AutoTopUpView.as_view()),
    path("credits/auto-top-ups/<str:auto_top_up_id>/update", AutoTopUpUpdateView.as_view()),
    path("late-usage", LateUsageView.as_view()),
    path("invoices", InvoicesView.as_view()),
    path("invoices/upcoming", UpcomingInvoiceView.as_view()),
    path("invoices/<str:invoice_id>", InvoiceView.as_view()),
    path("invoices/<str:invoice_id>/void", VoidInvoiceView.as_view()),
    path("invoices/<str:invoice_id>/credit-notes", CreditNotesView.as_view()),
    path("invoices/<str:invoice_id>/retry", RetryInvoiceView.as_view()),
    path("invoices/<str:invoice_id>/lines/<str:line_id>/explain", LineExplanationView.as_view()),
    path("payments", PaymentsView.as_view()),
    path("payments/<str:payment_id>", PaymentView.as_view()),
    path("payment-methods", PaymentMethodsView.as_view()),
    path("payment-methods/<str:method_id>", PaymentMethodView.as_view()),
]
