"""The guard of the v1 API: who calls, may they, is the body sound, and was this very request answered before?

A view under /v1 tells by attributes what it needs; no app imports this module.

- `scope`: `"customers"` (reading needs `customers:read`, everything else `customers:write`), an exact scope such as
  `"entitlements:read"`, `"public"` (a publishable key) or `"none"` (no key). A view without it is refused.
- `own_idempotency = True`: the view deals with repeated requests itself; the header `Idempotency-Key` is left to it.
- `calls_network = True`: the view must not run inside a transaction of the guard.
- `raw_body = True`: the body need not be JSON.

An answer may carry `kept_body` (bytes): what is kept for repetitions instead of its content, where that is secret.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import datetime
from io import BytesIO
from typing import Any, cast

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from config import errors, keys
from config.idempotency import answer_once, wants_one_answer
from config.models import PUBLIC, ApiKey
from plans.exact_json import decode_object
from plans.refusals import InvalidInput, Refusal

NONE = "none"

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_LENIENT_PATH = re.compile(r"/+v1(?:/+(.*?)/?)?", re.DOTALL)
_READING_METHODS = frozenset({"GET", "HEAD"})
_BODYLESS_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class ViewWithoutScope(Refusal):
    """An endpoint does not say who may use it, so nobody may."""

    code = "view_without_scope"
    status = 403


class LengthRequired(Refusal):
    """The server in front cannot take a body in chunks."""

    code = "length_required"
    status = 411


class RequestIdMiddleware:
    """Gives each request an id: the caller's `X-Request-Id` where it is sane, else a new one. It is sent back."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id = request.META.get("HTTP_X_REQUEST_ID", "")
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = secrets.token_hex(16)
        request.request_id = request_id  # type: ignore[attr-defined]  # an attribute of ours
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            response = self.get_response(request)
        response["X-Request-Id"] = request_id
        return response


class ApiGuardMiddleware:
    """Guards every path under /v1 and answers in JSON there, whatever happens; other paths pass untouched."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not errors.is_api(request):
            return self.get_response(request)
        _tidy_path(request)
        # Callers show a key with each request and never a cookie, so there is nothing to forge.
        request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]  # an attribute of ours
        response = self.get_response(request)
        if response.status_code == 404 and request.resolver_match is None:
            return errors.unknown_path(request)
        return response

    def process_view(
        self, request: HttpRequest, view_func: Callable[..., HttpResponseBase], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        """Run the view here, between the checks and the keeping of its answer, so that no exception leaves as HTML."""
        if not errors.is_api(request):
            return None
        view = getattr(view_func, "cls", None) or getattr(view_func, "view_class", None) or view_func
        scope = getattr(view, "scope", None)
        for_browsers = scope in (PUBLIC, NONE)
        if for_browsers and request.method == "OPTIONS":
            return _preflight_response()
        try:
            key = _admit(request, scope=scope, takes_raw_body=getattr(view, "raw_body", False))

            def run() -> HttpResponse:
                return _run_view(request, view_func, args, kwargs)

            if key is not None and wants_one_answer(request, view):
                response = answer_once(request, key=key, view=view, run=run)
            else:
                response = run()
        except Exception as error:
            response = errors.response_to(error) or errors.internal_error(request, error)
        if for_browsers:
            # The pricing table is embedded in pages of any origin; what opens it is the key, never a cookie.
            response["Access-Control-Allow-Origin"] = "*"
        return response


def _tidy_path(request: HttpRequest) -> None:
    """Read `//v1/x`, `/v1//x` and `/v1/x/` as `/v1/x`: clients join addresses carelessly; a redirect loses a POST."""
    path = request.path_info
    tidy = _LENIENT_PATH.fullmatch(path)
    if tidy is not None:
        request.path_info = f"/v1/{tidy[1]}" if tidy[1] else "/v1"
        request.path = request.path[: len(request.path) - len(path)] + request.path_info


def _preflight_response() -> HttpResponse:
    return HttpResponse(
        status=204,
        headers={
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
            "Access-Control-Allow-Headers": "Content-Type, X-Lumen-Key, Idempotency-Key, X-Request-Id",
            "Access-Control-Max-Age": "86400",
        },
    )


def _admit(request: HttpRequest, *, scope: str | None, takes_raw_body: bool) -> ApiKey | None:
    """Let the request in with its key, or raise the refusal. None where the endpoint needs no key."""
    if scope is None:
        raise ViewWithoutScope("This endpoint does not say who may use it, so nobody may.")
    if "\x00" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):
        raise InvalidInput("The address holds the character NUL (%00), which no id or text of ours contains.")
    key = None
    if scope == PUBLIC:
        # The key may stand in the body, so that has to be sound first.
        _check_body(request, takes_raw_body=takes_raw_body)
        key = _find_key(_publishable_key_text(request), scope=scope)
    elif scope == NONE:
        _check_body(request, takes_raw_body=takes_raw_body)
    else:
        if ":" not in scope:
            scope = f"{scope}:{'read' if request.method in _READING_METHODS else 'write'}"
        key = _find_key(_secret_key_text(request), scope=scope)
        _check_body(request, takes_raw_body=takes_raw_body)
    request.api_key = key  # type: ignore[attr-defined]  # an attribute of ours
    return key


def _find_key(text: str, *, scope: str) -> ApiKey:
    at = timezone.now()
    key = _find_active_key(text, at)
    if not key.allows(scope):
        raise keys.InsufficientScope(f"This API key lacks the scope {scope}.", details={"required": [scope]})
    keys.note_use(key=key, at=at)
    return key


def _find_active_key(text: str, at: datetime) -> ApiKey:
    """Find the key on a connection that works. It is the first thing that a request asks the database, so an idle
    connection that was lost shows here, and Django's own question whether it still works is spared."""
    if connection.in_atomic_block:
        return keys.find_active_key(text=text, at=at)
    connection.health_check_done = True  # type: ignore[attr-defined]  # of Django's wrappers
    try:
        return keys.find_active_key(text=text, at=at)
    except (OperationalError, InterfaceError):
        connection.close()
        return keys.find_active_key(text=text, at=at)


def _secret_key_text(request: HttpRequest) -> str:
    header: str = request.META.get("HTTP_AUTHORIZATION", "")
    if not header:
        raise keys.MissingApiKey("No API key: send the header Authorization: Bearer sk_…")
    scheme, _, text = header.partition(" ")
    text = text.strip()
    if scheme.lower() != "bearer" or not text.startswith("sk_"):
        raise keys.InvalidApiKey("The Authorization header must be: Bearer, a blank, and a secret key (sk_…).")
    return text


def _publishable_key_text(request: HttpRequest) -> str:
    text = request.META.get("HTTP_X_LUMEN_KEY", "")
    if not text and request.method not in _BODYLESS_METHODS:
        text = decode_object(request.body).get("lumenPublishableKey", "")
    if not text:
        raise keys.MissingApiKey("No API key: send the header X-Lumen-Key: pk_… or the field lumenPublishableKey.")
    if not isinstance(text, str) or not text.startswith("pk_"):
        raise keys.InvalidApiKey("Invalid Lumen publishable key")
    return text


def _check_body(request: HttpRequest, *, takes_raw_body: bool) -> None:
    """Refuse a body that is too large or not declared as JSON; take one that comes in chunks into memory."""
    if request.method in _BODYLESS_METHODS:
        return
    if not request.META.get("CONTENT_LENGTH") and "HTTP_TRANSFER_ENCODING" in request.META:
        _read_chunks(request)
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        raise InvalidInput("The header Content-Length is not a number.") from None
    if length > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        raise errors.BodyTooLarge
    if length > 0 and not takes_raw_body and request.content_type != "application/json":
        raise errors.UnsupportedMediaType


def _read_chunks(request: HttpRequest) -> None:
    """Read a body without Content-Length, which Django takes for an empty one, up to the limit."""
    if not request.META.get("wsgi.input_terminated"):
        # A server that does not mark the end of such a body would let us wait for it for ever.
        raise LengthRequired("The body must come with the header Content-Length.")
    body = BytesIO()
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    while body.tell() <= limit:
        chunk = request.environ["wsgi.input"].read(64 * 1024)  # type: ignore[attr-defined]  # WSGI only
        if not chunk:
            break
        body.write(chunk)
    request.META["CONTENT_LENGTH"] = str(body.tell())
    body.seek(0)
    request._stream = body


def _run_view(request: HttpRequest, view_func: Callable[..., HttpResponseBase], args: Any, kwargs: Any) -> HttpResponse:
    """Run the view and make JSON answers of its exceptions."""
    try:
        response: Any = view_func(request, *args, **kwargs)
        if response is None:
            raise TypeError(f"{view_func!r} answered nothing")
        if hasattr(response, "render"):
            response = response.render()
    except Exception as error:
        return errors.response_to(error) or errors.internal_error(request, error)
    if response.status_code == 405 and response.get("Content-Type") != "application/json":
        return errors.method_not_allowed(request, allow=response["Allow"])
    return cast(HttpResponse, response)
