"""One shape for every "no" of the v1 API: `{"error": "<sentence>", "code": "<machine_word>", "details": …}`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from django.conf import settings
from django.core import exceptions as django_exceptions
from django.core.signals import got_request_exception
from django.db import DataError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.shortcuts import render
from django.views import defaults
from rest_framework import exceptions as drf_exceptions

from plans.exact_json import encode
from plans.refusals import Refusal

logger = logging.getLogger(__name__)

# What the contract says word for word about a field stands in the answer as it is, without the field's path before it.
LITERAL_SENTENCES = frozenset({"Customer ID is required", "Limit must be less than 1000"})


class BodyTooLarge(Refusal):
    """The body is larger than the API takes in one request."""

    code = "body_too_large"
    status = 413

    def __init__(self) -> None:
        megabytes = settings.DATA_UPLOAD_MAX_MEMORY_SIZE // (1024 * 1024)
        super().__init__(f"The body is larger than {megabytes} MB. Send it in several requests.")


class UnsupportedMediaType(Refusal):
    """The body is not declared to be JSON."""

    code = "unsupported_media_type"
    status = 415

    def __init__(self) -> None:
        super().__init__("The body must be JSON, sent with the header Content-Type: application/json.")


def is_api(request: HttpRequest) -> bool:
    """Tell whether the request is for the v1 API, whose answers are JSON whatever happens."""
    path = "/" + request.path_info.lstrip("/")
    return path == "/v1" or path.startswith("/v1/")


def error_response(
    message: str,
    *,
    code: str,
    status: int,
    details: Any = None,
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """Make an answer of the one error shape; `extra` adds top-level keys; `details` may be null."""
    body: dict[str, Any] = {"error": message, "code": code, "details": details}
    response = HttpResponse(
        encode(body | dict(extra or {})), status=status, content_type="application/json", headers=dict(headers or {})
    )
    if status == 401:
        response["WWW-Authenticate"] = "Bearer"
    return response


def refusal_response(refusal: Refusal) -> HttpResponse:
    """Make the answer of a rule's "no". A refusal may carry `headers`, such as Retry-After."""
    return error_response(
        refusal.message,
        code=refusal.code,
        status=refusal.status,
        details=refusal.details,
        extra=refusal.extra,
        headers=getattr(refusal, "headers", None),
    )


def response_to(error: Exception) -> HttpResponse | None:
    """Make the answer to an exception that says what is wrong with the request; None for all others."""
    match error:
        case Refusal():
            return refusal_response(error)
        case drf_exceptions.APIException():
            return _response_to_drf(error)
        case Http404():
            return error_response(str(error) or "Not found.", code="not_found", status=404)
        case django_exceptions.PermissionDenied():
            return error_response(str(error) or "This is not allowed.", code="permission_denied", status=403)
        case django_exceptions.ValidationError():
            return _invalid_request(_django_problems(error))
        case django_exceptions.RequestDataTooBig():
            return refusal_response(BodyTooLarge())
        case msgspec.ValidationError():
            return _invalid_request([_msgspec_problem(error)])
        case msgspec.DecodeError():
            return error_response(f"The body is not valid JSON: {error}.", code="invalid_json", status=400)
        case UnreadablePostError():
            return error_response("The body broke off before its end.", code="unreadable_body", status=400)
        case django_exceptions.SuspiciousOperation() | django_exceptions.BadRequest():
            return error_response("The request is malformed.", code="invalid_request", status=400)
        case DataError():
            # A view should have refused the value by its name; the caller's mistake is still no fault of the server.
            logger.error("A value reached the database that it cannot hold", exc_info=error)
            return error_response(
                "A value is too large, too long or of the wrong kind to be stored.", code="invalid_request", status=400
            )
    return None


def exception_handler(error: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """Answer for DRF views; what is unknown here is raised on to the guard, which logs it and answers 500."""
    return response_to(error)


def internal_error(request: HttpRequest, error: Exception) -> HttpResponse:
    """Log an exception with its traceback and make an answer that shows nothing of it but the request's id.

    To be called while the exception is being handled.
    """
    request_id = getattr(request, "request_id", None)
    logger.error("%s %s failed (request %s)", request.method, request.path, request_id, exc_info=error)
    # What listens for unhandled exceptions (error trackers, the test client) still hears of it.
    got_request_exception.send(sender=None, request=request)
    return _internal_error_response(request_id)


def method_not_allowed(request: HttpRequest, *, allow: str) -> HttpResponse:
    """Make the 405 of a path that does not know the request's method; `allow` lists those it knows."""
    return error_response(
        f"{request.method} is not possible here; possible: {allow}.",
        code="method_not_allowed",
        status=405,
        headers={"Allow": allow},
    )


def unknown_path(request: HttpRequest) -> HttpResponse:
    """Make the 404 of a path under /v1 where no endpoint is."""
    return error_response(f"There is no endpoint {request.path}.", code="not_found", status=404)


def handler400(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer what Django finds malformed, such as a Host header that is not ours."""
    if is_api(request):
        return error_response("The request is malformed.", code="invalid_request", status=400)
    return defaults.bad_request(request, exception)


def handler403(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a refused permission."""
    if is_api(request):
        return error_response("This is not allowed.", code="permission_denied", status=403)
    return defaults.permission_denied(request, exception)


def forged_form(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form whose token is missing or wrong: mostly of a page that is too old, or of a browser without
    cookies."""
    logger.warning("form refused at %s: %s", request.path, reason)
    sentence = "This page is too old, or your browser keeps no cookies. Reload the page and try again."
    if request.headers.get("Accept") == "application/json":
        return error_response(sentence, code="forged_form", status=403)
    return render(request, "pages/too_old.html", {"sentence": sentence}, status=403)


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer an unknown path."""
    if is_api(request):
        return unknown_path(request)
    return defaults.page_not_found(request, exception, template_name="pages/not_found.html")


def handler500(request: HttpRequest) -> HttpResponse:
    """Answer an exception raised outside the views, by a middleware; Django has logged it."""
    if is_api(request):
        return _internal_error_response(getattr(request, "request_id", None))
    return defaults.server_error(request, template_name="pages/broken.html")


def _internal_error_response(request_id: str | None) -> HttpResponse:
    return error_response(
        "Something went wrong on our side. It has been logged; if it happens again, report the request id.",
        code="internal_error",
        status=500,
        details={"requestId": request_id},
    )


def _response_to_drf(error: drf_exceptions.APIException) -> HttpResponse:
    match error:
        case drf_exceptions.ValidationError():
            return _invalid_request(_drf_problems(error.detail, path=""))
        case drf_exceptions.ParseError():
            return error_response(str(error.detail), code="invalid_json", status=400)
        case drf_exceptions.NotFound():
            return error_response(str(error.detail), code="not_found", status=404)
        case drf_exceptions.UnsupportedMediaType():
            return refusal_response(UnsupportedMediaType())
    # Wait seconds come with Throttled; the Allow header is set by DRF itself.
    wait = getattr(error, "wait", None)
    return error_response(
        str(error.detail),
        code=str(error.default_code),
        status=error.status_code,
        headers=None if wait is None else {"Retry-After": str(int(wait))},
    )


def _invalid_request(problems: list[dict[str, str]]) -> HttpResponse:
    first = problems[0] if problems else {"path": "", "message": "The request is invalid."}
    stands_alone = not first["path"] or first["message"] in LITERAL_SENTENCES
    sentence = first["message"] if stands_alone else f"{first['path']}: {first['message']}"
    return error_response(sentence, code="invalid_request", status=400, details=problems)


def _drf_problems(detail: Any, *, path: str) -> list[dict[str, str]]:
    """Flatten DRF's nested errors into `{path, message}`, the path written like `pricingData.components[0].label`."""
    problems: list[dict[str, str]] = []
    if isinstance(detail, dict):
        for name, child in detail.items():
            problems += _drf_problems(child, path=_joined(path, name))
    elif isinstance(detail, list):
        for index, child in enumerate(detail):
            # A list holds either the messages about one field, or the errors of each element of a list.
            is_message = isinstance(child, str)
            problems += _drf_problems(child, path=path if is_message else f"{path}[{index}]")
    else:
        problems.append({"path": path, "message": str(detail)})
    return problems


def _joined(path: str, name: str | int) -> str:
    if isinstance(name, int):
        return f"{path}[{name}]"
    if name == "non_field_errors":
        return path
    return f"{path}.{name}" if path else name


def _django_problems(error: django_exceptions.ValidationError) -> list[dict[str, str]]:
    if not hasattr(error, "error_dict"):
        return [{"path": "", "message": message} for message in error.messages]
    return [
        {"path": "" if name == django_exceptions.NON_FIELD_ERRORS else name, "message": message}
        for name, messages in error.message_dict.items()
        for message in messages
    ]


def _msgspec_problem(error: msgspec.ValidationError) -> dict[str, str]:
    # msgspec writes "Expected `int`, got `str` - at `$.events[0].value`".
    message, _, place = str(error).partition(" - at ")
    return {"path": place.strip("`").removeprefix("$").removeprefix("."), "message": message}
