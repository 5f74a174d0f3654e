"""A running site and a real browser in front of it. Whatever the browser complains about fails the test."""

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import stripe
from axe_playwright_python.sync_playwright import Axe
from django.conf import LazySettings
from django.contrib.auth import get_user_model
from django.test import Client, override_settings
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request, sync_playwright
from pytest_django.live_server_helper import LiveServer

from billing.sandbox import Sandbox
from billing.sandbox.server import SandboxServer
from config.embedded_postgres import base as embedded_postgres
from config.first_start import OPERATOR, Access, prepare

NO_CHROMIUM = "Chromium is not installed: apt-get install chromium (on Debian), or put a `chromium` on the PATH."
DESKTOP = 1280
PHONE = 390
HEIGHT = 900
# What the two levels of WCAG ask that laws commonly name.
WCAG = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa"]}, "resultTypes": ["violations"]}

# Where the live server listens: not on a name that a machine may resolve in its own way.
os.environ.setdefault("DJANGO_LIVE_TEST_SERVER_ADDRESS", "127.0.0.1")


@pytest.fixture(scope="session", autouse=True)
def chromium() -> str:
    """The path of the browser. Without one these tests are skipped and say so, but in CI they fail."""
    path = shutil.which("chromium")
    if path is None and os.environ.get("CI"):
        pytest.fail(NO_CHROMIUM, pytrace=False)
    if path is None:
        # A quiet run shows warnings, but no reasons of skips.
        warnings.warn(NO_CHROMIUM, stacklevel=1)
        pytest.skip(NO_CHROMIUM)
    return path


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any], chromium: str) -> dict[str, Any]:
    """The options of the command line, and those with which Debian's browser runs as root and leaves the network be."""
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    return {**browser_type_launch_args, "executable_path": chromium, "args": flags}


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Playwright for one module.

    As long as it lives, its event loop counts as running in this thread. So Django has to be told that talking to the
    database is meant, and it must end before other tests run event loops of their own.
    """
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright: Playwright, browser_type_launch_args: dict[str, Any]) -> Iterator[Browser]:
    """A browser that lives as long as its Playwright."""
    browser = playwright.chromium.launch(**browser_type_launch_args)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def browser_context_args() -> dict[str, Any]:
    """What is looked at stands still."""
    return {"reduced_motion": "reduce"}


@pytest.fixture
def data_folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder of the test's own. The database stays where it is, also one that lives in a data folder."""
    server = embedded_postgres.project_server()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded_postgres, "project_server", lambda: server)
        with override_settings(CANDELA_DATA=tmp_path):
            yield tmp_path


@dataclass(frozen=True)
class Site:
    """A fresh installation that runs: its address, what its owner was told, and the sandbox in Stripe's place."""

    url: str
    access: Access
    sandbox: Sandbox


@pytest.fixture
def site(
    live_server: LiveServer,
    transactional_db: None,
    settings: LazySettings,
    data_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    """An installation as its first start leaves it, without the sample set. No jobs run: tests run them."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("default_http_client", "api_base", "max_network_retries"):
        # The gateway sets these for the whole process.
        monkeypatch.setattr(stripe, name, getattr(stripe, name))
    # Half of the set-up would be the hashing of the operator's password.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.PUBLIC_URL = live_server.url
    settings.STRIPE_SECRET_KEY = settings.STRIPE_PUBLIC_KEY = settings.STRIPE_WEBHOOK_SECRET = ""
    sandbox = Sandbox()
    with SandboxServer(sandbox) as server:
        (data_folder / "sandbox.json").write_text(json.dumps({"url": server.url}))
        access = prepare(demo=False, port=live_server.thread.port, sandbox_url=server.url)
        yield Site(live_server.url, access, sandbox)
    sandbox.close()


@dataclass
class Complaints:
    """What browsers complained about: script errors, refused by the security policy, not found, not loaded."""

    heard: list[str] = field(default_factory=list)

    def listen(self, context: BrowserContext) -> None:
        """Hear the complaints of every page of a context."""
        context.on("console", self._hear_console)
        context.on("weberror", lambda error: self.heard.append(str(error.error)))
        context.on("requestfailed", self._hear_failure)

    def expect(self, words: str) -> None:
        """Take back the complaints with these words, of which there must be one: a test provoked them."""
        expected = [complaint for complaint in self.heard if words in complaint]
        assert expected, f"No complaint says {words!r}; heard: {self.heard}"
        self.heard = [complaint for complaint in self.heard if complaint not in expected]

    def tolerate(self, words: str) -> None:
        """Take back the complaints with these words, if there are any: whether they come is a matter of timing."""
        self.heard = [complaint for complaint in self.heard if words not in complaint]

    def _hear_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.heard.append(f"{message.text} ({message.location['url']})")

    def _hear_failure(self, request: Request) -> None:
        self.heard.append(f"{request.method} {request.url}: {request.failure}")


@pytest.fixture
def complaints() -> Complaints:
    """What the browsers of this test complained about so far."""
    return Complaints()


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(site: Site, new_context: Callable[..., BrowserContext], complaints: Complaints) -> Iterator[OpenPage]:
    """Open an address of the site in a browser of its own: `open_page("/pricing", width=PHONE, dark=True)`.

    Further keywords are Playwright's, such as `java_script_enabled=False`. The test fails if a page complains.
    """
    contexts: list[BrowserContext] = []

    def open_it(path: str, *, width: int = DESKTOP, dark: bool = False, **options: Any) -> Page:
        context = new_context(
            base_url=site.url,
            viewport={"width": width, "height": HEIGHT},
            color_scheme="dark" if dark else "light",
            **options,
        )
        context.set_default_timeout(10_000)
        complaints.listen(context)
        contexts.append(context)
        page = context.new_page()
        page.goto(path)
        return page

    yield open_it
    for context in contexts:
        # A question to the browser: with its answer everything has come in that was said before.
        context.cookies()
    assert complaints.heard == []


@pytest.fixture
def open_as_operator(site: Site, open_page: OpenPage) -> OpenPage:
    """Open an address of the admin, as `open_page` does, with the operator logged in."""
    client = Client()
    client.force_login(get_user_model().objects.get(username=OPERATOR))
    session = client.cookies["sessionid"].value

    def open_it(path: str, **options: Any) -> Page:
        cookie = {"name": "sessionid", "value": session, "url": site.url}
        return open_page(path, storage_state={"cookies": [cookie], "origins": []}, **options)

    return open_it


def barriers(page: Page, within: str | None = None) -> list[str]:
    """List what of a page, or of a part of it, shuts people out by WCAG 2 A and AA: the rule and where it is broken."""
    found = Axe().run(page, context=within, options=WCAG).response["violations"]
    return [
        f"{violation['id']} ({violation['impact']}) at {' '.join(map(str, node['target']))}: {node['failureSummary']}"
        for violation in found
        for node in violation["nodes"]
    ]


def overflow(page: Page) -> int:
    """Return by how many pixels a page is wider than its window."""
    width: int = page.evaluate("document.scrollingElement.scrollWidth - document.documentElement.clientWidth")
    return width
