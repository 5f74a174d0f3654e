from django.http import HttpRequest, HttpResponse
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.keys import hash_of
from config.models import ApiKey
from tests.bench.reference.serializers import EventSerializer

CONSTANT_ENTITLEMENT = (
    b'{"entitled":true,"feature":{"id":"feat_0000000000000000000000","slug":"api-requests"},"usage":123,'
    b'"limit":10000,"remaining":9877,"overageAllowed":false,"creditInfo":{"allowance":10000,"remaining":9877}}'
)


class KeyAuthentication(BaseAuthentication):
    """Looks the caller's key up, by one query."""

    def authenticate(self, request: Request) -> tuple[ApiKey, None]:
        text = request.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            return ApiKey.objects.get(key_hash=hash_of(text), revoked_at=None), None
        except ApiKey.DoesNotExist:
            raise AuthenticationFailed("This API key is unknown.") from None


class EventView(APIView):
    """One event."""

    authentication_classes = [KeyAuthentication]
    parser_classes = [JSONParser]
    renderer_classes = [JSONRenderer]

    def post(self, request: Request) -> Response:
        serializer = EventSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        serializer.save()
        return Response({"message": "Event accepted", "event": serializer.data}, status=202)


class BatchView(APIView):
    """Many events."""

    authentication_classes = [KeyAuthentication]
    parser_classes = [JSONParser]
    renderer_classes = [JSONRenderer]

    def post(self, request: Request) -> Response:
        serializer = EventSerializer(data=request.data["events"], many=True)
        serializer.is_valid(raise_exception=True)
        events = serializer.save()
        return Response({"accepted": len(events)}, status=202)


def constant_entitlement(request: HttpRequest) -> HttpResponse:
    """Answer what a check answers, without asking the database."""
    return HttpResponse(CONSTANT_ENTITLEMENT, content_type="application/json")
