"""`/healthz` is 200 once the database is there and migrated, and says what is missing until then."""

import pytest
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder

from config import api
from plans.services.time_zone import billing_zone

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch):
    monkeypatch.setattr(api, "_known_to_be_migrated", False)


def test_is_well_once_migrated(client):
    response = client.get("/healthz")
    assert response.status_code == 200
    assert response.json() == {"status": "ok"}


def test_needs_one_query_once_it_was_found_migrated(client, django_assert_num_queries):
    client.get("/healthz")
    with django_assert_num_queries(1):
        assert client.get("/healthz").status_code == 200


def test_names_the_migrations_that_are_missing_and_notices_when_they_are_there(client):
    MigrationRecorder(connection).record_unapplied("config", "0001_api_keys")
    response = client.get("/healthz")
    assert response.status_code == 503
    assert response.json()["code"] == "migrations_missing"
    assert response.json()["details"]["missing"] == ["config.0001_api_keys"]
    MigrationRecorder(connection).record_applied("config", "0001_api_keys")
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("known", [False, True])
def test_says_when_the_database_does_not_answer_and_nothing_of_its_address(client, monkeypatch, known):
    def fail(*args, **kwargs):
        raise OperationalError("connection to server at 10.0.0.7 failed")

    monkeypatch.setattr(api, "_known_to_be_migrated", known)
    monkeypatch.setattr(api.connection, "cursor", fail)
    response = client.get("/healthz")
    assert response.status_code == 503
    assert response.json()["code"] == "database_unavailable"
    assert b"10.0.0.7" not in response.content


def test_takes_no_other_method(client):
    assert client.post("/healthz").status_code == 405


def test_503_with_another_time_zone_than_the_database_was_set_up_with(client, settings):
    billing_zone.cache_clear()
    settings.BILLING_TIME_ZONE = "Europe/Berlin"

    answer = client.get("/healthz")
    billing_zone.cache_clear()

    assert (answer.status_code, answer.json()["code"]) == (503, "time_zone_changed")
    assert "Set BILLING_TIME_ZONE=UTC." in answer.json()["error"]
