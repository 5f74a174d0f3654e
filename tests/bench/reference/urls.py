from django.urls import path

from config.api import healthz
from tests.bench.reference import views

urlpatterns = [
    path("healthz", healthz),
    path("reference/events", views.EventView.as_view()),
    path("reference/events/batch", views.BatchView.as_view()),
    path("reference/constant", views.constant_entitlement),
]
