"""`/v1/metrics`."""

from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from metering.services.metrics import create_metric, find_metric
from plans.listing import is_paged, read_page
from plans.models import Metric
from plans.serializers.metrics import NewMetric, metric_words
from plans.services.merchant import find_merchant_id


class MetricsView(APIView):
    """`/v1/metrics`."""

    scope = "metrics"

    def get(self, request: Request) -> Response:
        """List the metrics: a bare array as in the contract; asked for a page, an object that can hold a cursor."""
        page = read_page(Metric.objects.live(), request.query_params)
        merchant_id = find_merchant_id()
        words: list[dict[str, Any]] = [metric_words(metric, merchant_id=merchant_id) for metric in page.rows]
        return Response({"metrics": words} | page.words if is_paged(request.query_params) else words)

    def post(self, request: Request) -> Response:
        """Create a metric; events of its name that are there already are counted."""
        words = NewMetric(data=request.data)
        words.is_valid(raise_exception=True)
        metric = create_metric(at=timezone.now(), **words.validated_data)
        return Response(metric_words(metric, merchant_id=find_merchant_id()))


class MetricView(APIView):
    """`/v1/metrics/{id}`."""

    scope = "metrics"

    def get(self, request: Request, identifier: str) -> Response:
        """Show one metric."""
        return Response(metric_words(find_metric(identifier), merchant_id=find_merchant_id()))
