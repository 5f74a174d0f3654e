"""Who is calling: test keys only."""

import base64
import binascii
import re
from dataclasses import dataclass

from billing.sandbox.errors import Refusal
from billing.sandbox.messages import Request


@dataclass(frozen=True)
class Caller:
    """The holder of a key; a publishable one belongs to a browser."""

    key: str

    @property
    def is_browser(self) -> bool:
        """True for a publishable key (`pk_test_…`)."""
        return self.key.startswith("pk_")


def identify(request: Request) -> Caller:
    """Return the caller. Raises Refusal (401) without a key, and for any key that is not a test key."""
    key = _key_of(request.header("Authorization") or "")
    if not key:
        message = (
            "You did not provide an API key. You need to provide your API key in the Authorization header, using"
            " Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
        )
        raise Refusal(message, status=401)
    if not re.fullmatch(r"(sk|rk|pk)_test_[A-Za-z0-9_]+", key):
        message = (
            f"Invalid API Key provided: {_masked(key)}. The sandbox takes test keys only: from a server one that"
            " starts with sk_test_ or rk_test_, from a browser one that starts with pk_test_, and after that letters,"
            " digits and underscores."
        )
        raise Refusal(message, status=401)
    return Caller(key)


def secret_key_required() -> Refusal:
    """Return the refusal (401) for a browser's key on a call that only a server may make."""
    message = "This API call cannot be made with a publishable API key. Please use a secret API key."
    return Refusal(message, status=401, code="secret_key_required")


def _key_of(authorization: str) -> str:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "basic":
        return _user_of(credentials.strip())
    return credentials.strip() if scheme.lower() == "bearer" else ""


def _user_of(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode("ascii").partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _masked(key: str) -> str:
    return f"{key[:8]}****{key[-4:]}" if len(key) > 16 else "****"
