"""The sandbox behind the stripe library, in the same process and without a socket."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from stripe import APIConnectionError, HTTPClient

from billing.sandbox.errors import ConnectionDropped
from billing.sandbox.messages import Request
from billing.sandbox.sandbox import Sandbox

Headers = Mapping[str, str] | None
Answer = tuple[str, int, Mapping[str, str]]


class AnsweredHeaders(Mapping[str, str]):
    """The headers of an answer by name in any case, as the library expects them."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._values = {name.lower(): value for name, value in headers.items()}

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class SandboxClient(HTTPClient):
    """Answers the library's requests from a sandbox, whatever host they are for.

    Give it to `stripe.StripeClient(key, http_client=…)` or set `stripe.default_http_client`. A time-out ordered from
    the sandbox's faults raises stripe.APIConnectionError; the library's own retries follow without waiting.
    """

    name = "candela-sandbox"

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__()
        self.sandbox = sandbox

    def request(
        self, method: str, url: str, headers: Headers, post_data: Any = None, *, _usage: list[str] | None = None
    ) -> Answer:
        """Return the sandbox's answer as text, status and headers."""
        parts = urlsplit(url)
        body = post_data.decode() if isinstance(post_data, bytes) else post_data or ""
        named = {name.lower(): value for name, value in (headers or {}).items()}
        request = Request(method.upper(), parts.path, parts.query, body, named)
        try:
            response = self.sandbox.handle(request)
        except ConnectionDropped as dropped:
            message = "The sandbox dropped the connection, as a fault ordered."
            raise APIConnectionError(message, should_retry=True) from dropped
        return response.body, response.status, AnsweredHeaders(response.headers)

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Return the sandbox's answer as bytes, status and headers."""
        body, status, answered = self.request(method, url, headers, post_data)
        return body.encode(), status, answered

    def close(self) -> None:
        """Do nothing: the sandbox belongs to whoever made it."""

    async def close_async(self) -> None:
        """Do nothing: the sandbox belongs to whoever made it."""

    def _sleep_time_seconds(self, num_retries: int) -> int:
        """Return 0: in one process there is nothing to wait for."""
        return 0
