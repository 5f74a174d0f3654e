"""The project's addresses, and one under the guard that asks the database nothing."""

from django.urls import include, path

from plans.access import needs
from tests.bench.reference.views import constant_entitlement

urlpatterns = [
    path("", include("config.urls")),
    path("v1/bench/constant", needs(scope="entitlements:read")(constant_entitlement)),
]
