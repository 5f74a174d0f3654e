from django.urls import path

from billing import api

urlpatterns = [
    path("invoices", api.InvoicesView.as_view()),
    path("invoices/<str:invoice_id>", api.InvoiceView.as_view()),
    path("payments", api.PaymentsView.as_view()),
    path("payment-methods", api.PaymentMethodsView.as_view()),
    path("payment-methods/<str:method_id>", api.PaymentMethodView.as_view()),
]
