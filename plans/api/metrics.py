"""`/v1/metrics`."""

from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from credits.services.delete_metric import delete_unused_metric
from metering.services.metrics import create_metric, find_metric, update_metric
from metering.services.read_usage import read_usage
from metering.usage_words import building_words, read_timeframe
from plans.listing import is_paged, read_page
from plans.models import Metric, MetricVersion
from plans.query import boolean_parameter
from plans.refusals import InvalidInput
from plans.serializers.metrics import MetricChange, NewMetric, metric_words
from plans.services.customers import find_customer
from plans.services.merchant import find_merchant_id


class MetricsView(APIView):
    """`/v1/metrics`."""

    scope = "metrics"

    def get(self, request: Request) -> Response:
        """List the metrics: a bare array as in the contract; asked for a page, an object that can hold a cursor."""
        page = read_page(Metric.objects.live(), request.query_params)
        merchant_id = find_merchant_id()
        to_come = {version.metric_id: version for version in MetricVersion.objects.filter(effective_at=None)}
        words: list[dict[str, Any]] = [
            metric_words(metric, merchant_id=merchant_id, to_come=to_come.get(metric.pk)) for metric in page.rows
        ]
        return Response({"metrics": words} | page.words if is_paged(request.query_params) else words)

    def post(self, request: Request) -> Response:
        """Create a metric; events of its name that are there already are counted."""
        words = NewMetric(data=request.data)
        words.is_valid(raise_exception=True)
        return Response(_words(create_metric(at=timezone.now(), **words.validated_data)))


class MetricView(APIView):
    """`/v1/metrics/{id}`."""

    scope = "metrics"

    def get(self, request: Request, identifier: str) -> Response:
        """Show one metric."""
        return Response(_words(find_metric(identifier)))


class MetricUpdateView(APIView):
    """`/v1/metrics/{id}/update`."""

    scope = "metrics"

    def post(self, request: Request, identifier: str) -> Response:
        """Change a metric. Another event name, filter or property counts once what is there has been counted."""
        metric = find_metric(identifier)
        words = MetricChange(metric, data=request.data)
        words.is_valid(raise_exception=True)
        return Response(_words(update_metric(metric=metric, at=timezone.now(), **words.validated_data)))


class MetricDeleteView(APIView):
    """`/v1/metrics/{id}/delete`."""

    scope = "metrics"

    def post(self, request: Request, identifier: str) -> Response:
        """Delete a metric that nothing uses."""
        delete_unused_metric(metric=find_metric(identifier), at=timezone.now())
        return Response({"success": True, "message": "Metric deleted successfully"})


def _words(metric: Metric) -> dict[str, Any]:
    to_come = MetricVersion.objects.filter(metric=metric, effective_at=None).first()
    return metric_words(metric, merchant_id=find_merchant_id(), to_come=to_come)


class MetricValueView(APIView):
    """`/v1/metrics/{id}/value`."""

    scope = "metrics"

    def get(self, request: Request, identifier: str) -> Response:
        """Show a customer's usage of a metric as one number, of all time or of a timeframe."""
        query = request.query_params
        metric = find_metric(identifier)
        if "customerId" not in query:
            raise InvalidInput.at("customerId", "is required.")
        customer = find_customer(query["customerId"], external=boolean_parameter(query, "isExtCustId"))
        window, timeframe = read_timeframe(query, at=timezone.now())
        words = {
            "id": metric.public_id,
            "name": metric.name,
            "customerId": customer.public_id,
            "value": read_usage(customer=customer, metric=metric, window=window),
            "queryType": "simple",
            "timeframe": timeframe,
        }
        return Response(words | {"building": building_words(metric)})
