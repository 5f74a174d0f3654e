from django.urls import path

from billing.api.checkout import CheckoutSessionView, PaymentInitView, PaymentStatusView
from billing.api.invoices import InvoicesView, InvoiceView
from billing.api.payments import PaymentMethodsView, PaymentMethodView, PaymentsView

urlpatterns = [
    path("customers/<str:identifier>/checkout-session", CheckoutSessionView.as_view()),
    path("public/payment-init", PaymentInitView.as_view()),
    path("public/payment-status/<str:intent_id>", PaymentStatusView.as_view()),
    path("invoices", InvoicesView.as_view()),
    path("invoices/<str:invoice_id>", InvoiceView.as_view()),
    path("payments", PaymentsView.as_view()),
    path("payment-methods", PaymentMethodsView.as_view()),
    path("payment-methods/<str:method_id>", PaymentMethodView.as_view()),
]
