from django.urls import path

from billing.api.invoices import InvoicesView, InvoiceView
from billing.api.payments import PaymentMethodsView, PaymentMethodView, PaymentsView

urlpatterns = [
    path("invoices", InvoicesView.as_view()),
    path("invoices/<str:invoice_id>", InvoiceView.as_view()),
    path("payments", PaymentsView.as_view()),
    path("payment-methods", PaymentMethodsView.as_view()),
    path("payment-methods/<str:method_id>", PaymentMethodView.as_view()),
]
