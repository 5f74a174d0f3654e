"""`/v1/api-keys`, and `/healthz` for whatever watches over the installation."""

from __future__ import annotations

import logging

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config import keys, serializers
from config.errors import error_response
from config.models import ApiKey, Environment, KeyType
from plans.exact_json import encode
from plans.listing import read_page
from plans.models import Merchant
from plans.refusals import InvalidInput, NotFound
from plans.services.time_zone import billing_zone

logger = logging.getLogger(__name__)


class ApiKeysView(APIView):
    """`/v1/api-keys`."""

    scope = "api-keys"

    def get(self, request: Request) -> Response:
        """List the keys that work, the newest first."""
        page = read_page(ApiKey.objects.active(timezone.now()), request.query_params)
        return Response({"success": True, "data": [serializers.listed_key(key) for key in page.rows]} | page.words)

    def post(self, request: Request) -> Response:
        """Make a key. Its text stands in this answer and nowhere else; a repeated answer has `null` instead."""
        words = serializers.NewApiKey(data=request.data)
        words.is_valid(raise_exception=True)
        key, text = keys.create_api_key(
            **words.validated_data,
            made_by=request._request.api_key,  # type: ignore[attr-defined]  # an attribute of ours
            at=timezone.now(),
        )
        merchant_id = Merchant.objects.values_list("public_id", flat=True).get()
        response = Response({"success": True, "data": serializers.created_key(key, text=text, merchant_id=merchant_id)})
        kept_text = text if key.key_type == KeyType.PUBLISHABLE else None
        response.kept_body = encode(  # type: ignore[attr-defined]  # an attribute of ours
            {"success": True, "data": serializers.created_key(key, text=kept_text, merchant_id=merchant_id)}
        )
        return response


class PublishableApiKeyView(APIView):
    """`/v1/api-keys/publishable`."""

    scope = "api-keys"

    def get(self, request: Request) -> Response:
        """Show the publishable key of an environment, with its text."""
        environment = request.query_params.get("environment", Environment.LIVE)
        if environment not in Environment.values:
            raise InvalidInput.at("environment", "must be live or test.")
        key = (
            ApiKey.objects.active(timezone.now()).filter(key_type=KeyType.PUBLISHABLE, environment=environment).first()
        )
        if key is None:
            raise NotFound("No active publishable key found for this environment")
        return Response({"success": True, "data": serializers.publishable_key(key)})


class ApiKeyView(APIView):
    """`/v1/api-keys/{id}`."""

    scope = "api-keys"

    def delete(self, request: Request, public_id: str) -> Response:
        """Revoke a key at once and for ever."""
        keys.revoke_api_key(public_id=public_id, at=timezone.now())
        return Response({"success": True})


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer 200 once the database is there and migrated, else 503 with what is missing."""
    try:
        missing = _missing_migrations()
    except DatabaseError:
        logger.warning("The database does not answer", exc_info=True)
        return error_response("The database does not answer.", code="database_unavailable", status=503)
    if missing:
        return error_response(
            "The database is not migrated to this version.",
            code="migrations_missing",
            status=503,
            details={"missing": missing},
        )
    try:
        billing_zone()
    except ImproperlyConfigured as error:
        return error_response(str(error), code="time_zone_changed", status=503)
    return HttpResponse(b'{"status":"ok"}', content_type="application/json")


# A database does not lose migrations while we run, and looking for them reads every migration file.
_known_to_be_migrated = False


def _missing_migrations() -> list[str]:
    """List the migrations not applied yet. Raises DatabaseError where there is no database."""
    global _known_to_be_migrated
    if _known_to_be_migrated:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return []
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    missing = [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
    _known_to_be_migrated = not missing
    return missing
