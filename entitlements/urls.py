from django.urls import path

from entitlements import api

# An external id may hold a slash, which the published clients send as it is.
urlpatterns = [
    path("entitlements/<path:customer_id>/features", api.features),
    path("entitlements/<path:customer_id>/feature/<str:slug>", api.feature),
    path("entitlements/<path:customer_id>", api.entitlements),
]
