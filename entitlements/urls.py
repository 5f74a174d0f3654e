from django.urls import path

from entitlements.api import checks, consume, reservations

# An external id may hold a slash, which the published clients send as it is.
urlpatterns = [
    path("entitlements/<path:customer_id>/features", checks.features),
    path("entitlements/<path:customer_id>/feature/<str:slug>", checks.feature),
    path("entitlements/<path:customer_id>/feature/<str:slug>/consume", consume.consume),
    path("entitlements/<path:customer_id>/feature/<str:slug>/reserve", reservations.reserve),
    path("entitlements/<path:customer_id>/seat-aware", checks.seat_aware),
    path("entitlements/<path:customer_id>", checks.entitlements),
    path("reservations/<str:reservation_id>", reservations.reservation),
    path("reservations/<str:reservation_id>/commit", reservations.commit),
    path("reservations/<str:reservation_id>/release", reservations.release),
]
