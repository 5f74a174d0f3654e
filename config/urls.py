"""Every address. The endpoints of the v1 API stand in `v1_patterns`; each of their views states its `scope`."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from billing.webhooks import stripe_webhook
from config import api

handler400 = "config.errors.handler400"
handler403 = "config.errors.handler403"
handler404 = "config.errors.handler404"
handler500 = "config.errors.handler500"

v1_patterns: list[URLPattern | URLResolver] = [
    path("api-keys", api.ApiKeysView.as_view()),
    path("api-keys/publishable", api.PublishableApiKeyView.as_view()),
    path("api-keys/<str:public_id>", api.ApiKeyView.as_view()),
    path("", include("plans.api.urls")),
    path("", include("metering.urls")),
    path("", include("entitlements.urls")),
    path("", include("credits.urls")),
    path("", include("billing.urls")),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", api.healthz),
    path("v1/", include(v1_patterns)),
    path("stripe/webhook/<uuid:uuid>", stripe_webhook),
    path("admin/", admin.site.urls),
]
