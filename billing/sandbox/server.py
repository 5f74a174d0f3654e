"""The sandbox behind HTTP, on this machine only."""

import fcntl
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from urllib.parse import urlsplit

from billing.sandbox import bank
from billing.sandbox.control import PREFIX, control
from billing.sandbox.errors import ConnectionDropped, Refusal
from billing.sandbox.messages import Request, Response, as_json
from billing.sandbox.overview import ACTIONS, overview
from billing.sandbox.overview_actions import press
from billing.sandbox.pages import HTML, card_form_script, style_sheet
from billing.sandbox.registry import ROUTES
from billing.sandbox.sandbox import Sandbox
from billing.sandbox.store import JsonObject
from billing.sandbox.webhooks import Worker

logger = logging.getLogger(__name__)

LOCAL_NAMES = ("127.0.0.1", "localhost")
LARGEST_BODY = 1_000_000
STOPS_WITHIN_SECONDS = 0.05
STYLE = {
    "Content-Type": "text/css; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
}
SCRIPT = {
    "Content-Type": "text/javascript; charset=utf-8",
    "Access-Control-Allow-Origin": "*",
    "Cache-Control": "no-cache",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
}


class SandboxServer:
    """A running sandbox: HTTP on 127.0.0.1 and a thread that delivers webhooks. Use it as a context manager.

    `port` 0 takes a free one. Raises ValueError for a host that other machines could reach.
    """

    def __init__(self, sandbox: Sandbox, *, host: str = "127.0.0.1", port: int = 0) -> None:
        if host not in LOCAL_NAMES:
            raise ValueError("The sandbox serves 127.0.0.1 only.")
        self.sandbox = sandbox
        self._worker = Worker(sandbox.courier)
        self._http = _HttpServer(sandbox, port)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        sandbox.public_url = self.url
        sandbox.after_request = self._worker.wake
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(STOPS_WITHIN_SECONDS,), name="sandbox-http", daemon=True
        )

    def __enter__(self) -> "SandboxServer":
        self._worker.start()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self._worker.stop()


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, sandbox: Sandbox, port: int) -> None:
        self.sandbox = sandbox
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "CandelaSandbox"
    sys_version = ""
    server: _HttpServer

    def do_GET(self) -> None:
        """Answer a GET."""
        self._respond()

    def do_POST(self) -> None:
        """Answer a POST."""
        self._respond()

    def do_DELETE(self) -> None:
        """Answer a DELETE."""
        self._respond()

    def do_OPTIONS(self) -> None:
        """Tell a browser whether a page from this machine may make the call."""
        self._respond()

    def log_message(self, format: str, *args: object) -> None:
        """Log each request at debug level instead of printing it."""
        logger.debug(format, *args)

    def _respond(self) -> None:
        request = self._read()
        try:
            response = self._answer(request)
        except ConnectionDropped:
            self.close_connection = True
            return
        except Refusal as refusal:
            response = _json(refusal.body(), refusal.status)
        except Exception:
            logger.exception("The sandbox failed at %s %s", request.method, request.path)
            message = {"type": "api_error", "message": "The sandbox has a bug; its log has the traceback."}
            response = _json({"error": message}, 500)
        self._write(response, _cors_headers(request))

    def _read(self) -> Request:
        parts = urlsplit(self.path)
        body = self.rfile.read(self._body_length()).decode("utf-8", "replace")
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Request(self.command, parts.path, parts.query, body, headers)

    def _body_length(self) -> int:
        """Return how many bytes to read: none of a body that is too large or of unknown length."""
        announced = self.headers.get("Content-Length") or "0"
        if announced.isdecimal() and int(announced) <= LARGEST_BODY:
            return int(announced)
        self.close_connection = True
        return 0

    def _answer(self, request: Request) -> Response:
        if self.close_connection and request.header("Content-Length"):
            raise Refusal(f"The sandbox reads at most {LARGEST_BODY} bytes.", status=413)
        if (request.header("Host") or "").rsplit(":", 1)[0] not in LOCAL_NAMES:
            raise Refusal("The sandbox answers to 127.0.0.1 and localhost only.", status=403)
        sandbox = self.server.sandbox
        if request.method == "OPTIONS":
            return Response(204, "")
        if request.path == "/" and request.method == "GET":
            return Response(200, overview(sandbox), HTML)
        if request.path == "/stripe.js" and request.method == "GET":
            return Response(200, card_form_script(), SCRIPT)
        if request.path == "/sandbox.css" and request.method == "GET":
            return Response(200, style_sheet(), STYLE)
        if request.path.startswith(ACTIONS):
            return press(sandbox, request)
        if request.path.startswith(bank.PREFIX):
            return bank.answer(sandbox, request)
        if request.path.startswith(PREFIX):
            return _control(sandbox, request)
        return sandbox.handle(request)

    def _write(self, response: Response, cors: dict[str, str]) -> None:
        body = response.body.encode()
        self.send_response(response.status)
        for name, value in {**response.headers, **cors, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _json(body: JsonObject, status: int = 200) -> Response:
    return Response(status, as_json(body), {"Content-Type": "application/json"})


def _control(sandbox: Sandbox, request: Request) -> Response:
    """Answer a control request; a change must be sent as JSON, which a foreign web page cannot do unasked."""
    if request.method != "GET" and request.header("Content-Type") != "application/json":
        raise Refusal("Send JSON, with Content-Type: application/json.", status=415)
    return _json(control(sandbox, request.method, request.path, request.body))


def _cors_headers(request: Request) -> dict[str, str]:
    """Return the headers that let a page from this machine make a browser's calls, with a publishable key."""
    origin = request.header("Origin")
    if not origin or urlsplit(origin).hostname not in LOCAL_NAMES or not _is_browser_call(request):
        return {}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Headers": "Authorization, Content-Type, Stripe-Version, Idempotency-Key",
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Expose-Headers": "Request-Id",
        "Vary": "Origin",
    }


def _is_browser_call(request: Request) -> bool:
    if request.method == "OPTIONS":
        wanted = request.header("Access-Control-Request-Method") or ""
        return any(route.browser and route.match(wanted, request.path) is not None for route in ROUTES)
    return (request.header("Authorization") or "").removeprefix("Bearer ").startswith("pk_test_")


def _say(url: str) -> None:
    sys.stdout.write(f"Candela's sandbox (not Stripe) is at {url}\n")
    sys.stdout.flush()


class AlreadyServed(Exception):
    """Another sandbox keeps its state in the same file."""


@contextmanager
def _alone_with(state_path: str) -> Iterator[None]:
    """Keep other sandboxes from the file for as long as the block runs; the kernel frees it if the process dies."""
    if state_path == ":memory:":
        yield
        return
    with open(f"{state_path}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyServed(f"Another sandbox keeps its state in {state_path}: stop it first.") from None
        yield


def serve(
    host: str = "127.0.0.1",
    port: int = 12111,
    state_path: str = ":memory:",
    *,
    announce: Callable[[str], None] = _say,
) -> None:
    """Serve a sandbox with its state in `state_path` until SIGTERM or SIGINT; then stop cleanly.

    `announce` is given the address once the sandbox answers there. Raises AlreadyServed while another one serves that
    state, OSError when the port is taken.
    """
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    with _alone_with(state_path):
        sandbox = Sandbox(state_path)
        try:
            with SandboxServer(sandbox, host=host, port=port) as server:
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, stop)
                announce(server.url)
                stopping.wait()
        finally:
            sandbox.close()
