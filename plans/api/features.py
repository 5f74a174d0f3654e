"""`/v1/features`."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Q
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from plans.listing import read_page
from plans.models import Feature, Metric
from plans.refusals import InvalidInput
from plans.serializers.features import FeatureChange, FeatureSlug, NewFeature, feature_words
from plans.serializers.metrics import metric_summary
from plans.serializers.reading import read
from plans.services.features import create_feature, delete_feature, find_feature, is_slug_taken, update_feature
from plans.services.merchant import find_merchant_id


class FeaturesView(APIView):
    """`/v1/features`."""

    scope = "features"

    def get(self, request: Request) -> Response:
        """List the features; `search` finds text in slug and name, capitals and small letters told apart."""
        features = Feature.objects.live()
        search = request.query_params.get("search", "")
        if search:
            features = features.filter(Q(slug__contains=search) | Q(display_name__contains=search))
        page = read_page(features, request.query_params)
        merchant_id = find_merchant_id()
        words = [feature_words(feature, merchant_id=merchant_id) for feature in page.rows]
        return Response({"features": words} | page.words)

    def post(self, request: Request) -> Response:
        """Create a feature."""
        words = NewFeature(data=request.data)
        words.is_valid(raise_exception=True)
        terms = dict(words.validated_data)
        metrics = _metrics_of(terms.pop("metricIds"))
        return Response(_words_with_metrics(create_feature(at=timezone.now(), metrics=metrics, **terms)))


class FeatureView(APIView):
    """`/v1/features/{id or slug}`."""

    scope = "features"

    def get(self, request: Request, identifier: str) -> Response:
        """Show one feature with its metrics."""
        return Response(_words_with_metrics(find_feature(identifier)))

    def put(self, request: Request, identifier: str) -> Response:
        """Change a feature; a new slug and value go on to the plans and subscriptions that have it."""
        feature = find_feature(identifier)
        changes = read(FeatureChange, request.data)
        if "metricIds" in changes:
            changes["metrics"] = _metrics_of(changes.pop("metricIds"))
        return Response(_words_with_metrics(update_feature(at=timezone.now(), feature=feature, **changes)))

    def delete(self, request: Request, identifier: str) -> Response:
        """Delete a feature, and take it out of the plans that give it."""
        delete_feature(at=timezone.now(), feature=find_feature(identifier))
        return Response({"success": True, "message": "Feature and all its references deleted successfully"})


class FeatureSlugView(APIView):
    """`/v1/features/checkSlug`."""

    scope = "features:read"
    # Asking changes nothing, so there is no answer to keep.
    own_idempotency = True

    def post(self, request: Request) -> Response:
        """Tell whether a feature has this slug already."""
        return Response({"conflict": is_slug_taken(read(FeatureSlug, request.data)["slug"])})


def _metrics_of(identifiers: Sequence[str]) -> list[Metric]:
    metrics = {metric.public_id: metric for metric in Metric.objects.live().filter(public_id__in=identifiers)}
    for index, identifier in enumerate(identifiers):
        if identifier not in metrics:
            raise InvalidInput.at(f"metricIds[{index}]", "is not the id of a metric.")
    return list(metrics.values())


def _words_with_metrics(feature: Feature) -> dict[str, Any]:
    metrics = feature.metrics.filter(deleted_at__isnull=True).order_by("pk")
    return {
        "feature": feature_words(feature, merchant_id=find_merchant_id()),
        "metricIds": [metric_summary(metric) for metric in metrics],
    }
