"""Webhook endpoints: where events are sent."""

from typing import Any
from urllib.parse import urlsplit

from stripe.params import (
    WebhookEndpointCreateParams,
    WebhookEndpointDeleteParams,
    WebhookEndpointListParams,
    WebhookEndpointRetrieveParams,
    WebhookEndpointUpdateParams,
)

from billing.sandbox.errors import API_VERSION, Refusal, not_in_the_sandbox
from billing.sandbox.ids import new_id, random_text
from billing.sandbox.listing import PAGING, lister
from billing.sandbox.objects.metadata import merged
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refusal("Invalid URL: URL must be valid.", code="url_invalid", param="url")
    return url


def _create(call: Call) -> JsonObject:
    """Store the endpoint and return it with its signing secret, which is shown this once."""
    if call.value("api_version", API_VERSION) != API_VERSION:
        raise not_in_the_sandbox(f"api_version={call.value('api_version')}")
    endpoint = call.store.put(
        {
            "id": new_id("we"),
            "object": "webhook_endpoint",
            "api_version": call.value("api_version"),
            "application": None,
            "created": call.now,
            "description": call.value("description"),
            "enabled_events": call.params["enabled_events"],
            "livemode": False,
            "metadata": merged({}, call.params.get("metadata")),
            "status": "enabled",
            "url": _check_url(call.params["url"]),
        }
    )
    secret = f"whsec_{random_text(32)}"
    call.store.hide(endpoint["id"], {"secret": secret})
    return {**endpoint, "secret": secret}


def _retrieve(call: Call) -> JsonObject:
    return call.requested("webhook_endpoint", noun="webhook endpoint", param="webhook_endpoint")


def _update(call: Call) -> JsonObject:
    endpoint = _retrieve(call)
    changes: dict[str, Any] = {
        name: call.value(name) for name in ("description", "enabled_events") if name in call.params
    }
    if "metadata" in call.params:
        changes["metadata"] = merged(endpoint["metadata"], call.params["metadata"])
    if "url" in call.params:
        changes["url"] = _check_url(call.params["url"])
    if "disabled" in call.params:
        changes["status"] = "disabled" if call.params["disabled"] else "enabled"
    return call.store.put({**endpoint, **changes})


def _delete(call: Call) -> JsonObject:
    endpoint = _retrieve(call)
    call.store.delete(endpoint["id"])
    return {"id": endpoint["id"], "object": "webhook_endpoint", "deleted": True}


UPDATING = ("url", "enabled_events", "description", "metadata")

ROUTES = [
    Route("POST", "/v1/webhook_endpoints", _create, WebhookEndpointCreateParams, (*UPDATING, "api_version")),
    Route(
        "GET",
        "/v1/webhook_endpoints",
        lister("webhook_endpoint", "/v1/webhook_endpoints"),
        WebhookEndpointListParams,
        PAGING,
    ),
    Route("GET", "/v1/webhook_endpoints/{id}", _retrieve, WebhookEndpointRetrieveParams),
    Route("POST", "/v1/webhook_endpoints/{id}", _update, WebhookEndpointUpdateParams, (*UPDATING, "disabled")),
    Route("DELETE", "/v1/webhook_endpoints/{id}", _delete, WebhookEndpointDeleteParams),
]
