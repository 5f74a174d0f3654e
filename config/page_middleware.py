"""Middleware that pages need and the API does not: it looks at cookies, forms and browsers' headers. Requests under /v1
pass it by, since together it costs them more than a check of an entitlement."""

from typing import Any

from csp.middleware import CSPMiddleware as BaseCSPMiddleware
from django.contrib.auth.middleware import AuthenticationMiddleware as BaseAuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware as BaseMessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware as BaseSessionMiddleware
from django.http import HttpRequest
from whitenoise.middleware import WhiteNoiseMiddleware as BaseWhiteNoiseMiddleware

from config.errors import is_api


class _PagesOnly:
    """Stands before a class of middleware."""

    get_response: Any

    def __call__(self, request: HttpRequest) -> Any:
        if is_api(request):
            return self.get_response(request)
        return super().__call__(request)  # type: ignore[misc]  # that class's


class WhiteNoiseMiddleware(_PagesOnly, BaseWhiteNoiseMiddleware):
    """Serves static files."""


class CSPMiddleware(_PagesOnly, BaseCSPMiddleware):
    """Sends the content security policy."""


class SessionMiddleware(_PagesOnly, BaseSessionMiddleware):
    """Reads and keeps the browser's session."""


class AuthenticationMiddleware(_PagesOnly, BaseAuthenticationMiddleware):
    """Knows who is signed in."""


class MessageMiddleware(_PagesOnly, BaseMessageMiddleware):
    """Carries messages from one page to the next."""
