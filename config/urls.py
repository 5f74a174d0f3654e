"""Every address. The endpoints of the v1 API stand in `v1_patterns`; each of their views states its `scope`."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from billing.views.checkout import checkout_page, checkout_result_page
from billing.views.invoices import invoice_page
from billing.webhooks import stripe_webhook
from config import api
from plans.views import pricing_page

handler400 = "config.errors.handler400"
handler403 = "config.errors.handler403"
handler404 = "config.errors.handler404"
handler500 = "config.errors.handler500"

v1_patterns: list[URLPattern | URLResolver] = [
    # First what is asked a thousand times for every bill.
    path("", include("metering.urls")),
    path("", include("entitlements.urls")),
    path("api-keys", api.ApiKeysView.as_view()),
    path("api-keys/publishable", api.PublishableApiKeyView.as_view()),
    path("api-keys/<str:public_id>", api.ApiKeyView.as_view()),
    path("", include("plans.api.urls")),
    path("", include("credits.urls")),
    path("", include("billing.urls")),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("v1/", include(v1_patterns)),
    path("healthz", api.healthz),
    path("stripe/webhook/<uuid:uuid>", stripe_webhook),
    path("pricing", pricing_page, name="pricing"),
    path("pricing/<slug:slug>", pricing_page, name="pricing-table"),
    path("checkout", checkout_page, name="checkout"),
    path("checkout/<str:public_id>", checkout_result_page, name="checkout-result"),
    path("invoices/<str:token>", invoice_page, name="invoice-page"),
    # Where browsers look by themselves, on pages that name no icon.
    path("favicon.ico", RedirectView.as_view(url=static("pages/icon.svg"))),
    path("admin/", admin.site.urls),
]
