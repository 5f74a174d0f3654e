from django.urls import path

from metering.api import events, usage

urlpatterns = [
    path("events", events.events),
    path("events/batch", events.batch),
    path("events/count", events.EventCountView.as_view()),
    path("events/<str:identifier>/void", events.EventVoidView.as_view()),
    path("usage/<str:identifier>", usage.usage),
]
