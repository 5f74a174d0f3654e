from django.urls import path

from metering import api

urlpatterns = [
    path("events", api.events),
    path("events/batch", api.batch),
]
