"""Fixtures for all tests."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client, TransactionTestCase, override_settings
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from config.keys import create_api_key
from plans.exact_json import decode, encode
from tests.database import delete_rows, migrated_template
from tests.stripe_requests import requests_to_stripe_are_right, stripe_complaints, wrong_requests  # noqa: F401

# Few tests, and long ones.
LONG_FOLDERS = {"walks", "browser", "races"}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with long tests, so that no worker is left alone with one when the others have finished."""
    items.sort(key=lambda item: item.path.parent.name not in LONG_FOLDERS)


@pytest.fixture(scope="session", autouse=True)
def passwords_are_hashed_quickly() -> Iterator[None]:
    """Hash passwords by MD5: what makes a guess slow would make each operator of a test slow."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.fixture(scope="session", autouse=True)
def static_files_are_looked_up_when_asked_for() -> Iterator[None]:
    """Leave out the list of all static files, which takes each client of a test longer than its request."""
    with override_settings(WHITENOISE_AUTOREFRESH=True):
        yield


@pytest.fixture(scope="session", autouse=True)
def databases_are_emptied_quickly() -> Iterator[None]:
    """Delete the few rows that a test with transactions of its own left, instead of truncating every table."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", delete_rows)
        yield


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    request: pytest.FixtureRequest,
    django_db_modify_db_settings_parallel_suffix: None,
    django_db_keepdb: bool,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """Let the database of each worker begin as a copy of one that is migrated once, and no commit wait for the disk:
    what a test wrote need not outlive the machine."""
    connection.settings_dict["OPTIONS"]["options"] += " -c synchronous_commit=off"
    if django_db_keepdb or not hasattr(request.config, "workerinput"):
        yield
        return
    with migrated_template(tmp_path_factory.getbasetemp().parent, django_db_blocker) as template:
        connection.settings_dict["TEST"]["TEMPLATE"] = template
        yield


class Answer:
    """An answer of the API: its `status`, its `body` (read without floats), and the whole `response`."""

    def __init__(self, response: HttpResponse) -> None:
        self.response = response
        self.status = response.status_code
        self.body: Any = decode(response.content) if response.content else None

    def __repr__(self) -> str:
        return f"<{self.status} {self.response.content[:2000].decode()}>"


class ApiClient:
    """Calls the API with a secret key, as a client library does: JSON out, JSON in.

    Further keywords are headers, such as `idempotency_key="…"`.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.client = Client(raise_request_exception=False)

    def get(self, path: str, query: dict[str, Any] | None = None, **headers: str) -> Answer:
        """GET `path` with the parameters of `query`."""
        return Answer(self.client.get(path, query or {}, headers=self._headers(headers)))

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        """POST `body` as JSON; Decimals are written exactly."""
        return self._send("POST", path, body, headers)

    def put(self, path: str, body: Any = None, **headers: str) -> Answer:
        """PUT `body` as JSON."""
        return self._send("PUT", path, body, headers)

    def delete(self, path: str, body: Any = None, **headers: str) -> Answer:
        """DELETE `path`."""
        return self._send("DELETE", path, body, headers)

    def _send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
        data = b"" if body is None else encode(body)
        return Answer(
            self.client.generic(method, path, data, content_type="application/json", headers=self._headers(headers))
        )

    def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }


@pytest.fixture
def api(db: None) -> ApiClient:
    """A client of the API with a secret key that may do everything."""
    at = timezone.now()
    # A key just used is not written to again within a minute: tests count the queries of views, not of the guard.
    key, text = create_api_key(name="Tests", key_type="secret", at=at)
    key.last_used_at = at
    key.save(update_fields=["last_used_at"])
    return ApiClient(text)
