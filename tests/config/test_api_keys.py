"""Keys are made, shown once, scoped, revoked; and never more than one publishable key of an environment is active."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import StringIO
from threading import Barrier

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from config import keys
from config.models import ApiKey
from plans.refusals import InvalidInput, NotFound

AT = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)


def make_key(**words):
    return keys.create_api_key(**({"name": "Server", "key_type": "secret", "at": AT} | words))


def make_publishable_key(**words):
    return make_key(key_type="publishable", **words)


class Api:
    """Calls /v1 with a secret key that is made for it."""

    def __init__(self, *scopes):
        _, text = make_key(scopes=list(scopes) or None)
        self.client = Client(headers={"Authorization": f"Bearer {text}"})

    def get(self, path):
        response = self.client.get(path)
        return response.status_code, response.json()

    def post(self, path, body, **headers):
        response = self.client.post(path, json.dumps(body), content_type="application/json", headers=headers)
        return response.status_code, response.json()

    def delete(self, path):
        response = self.client.delete(path)
        return response.status_code, response.json()


@pytest.mark.django_db
class TestMaking:
    @pytest.mark.parametrize(
        ("key_type", "environment", "begin"),
        [
            ("secret", "live", "sk_live_"),
            ("secret", "test", "sk_test_"),
            ("publishable", "live", "pk_live_"),
            ("publishable", "test", "pk_test_"),
        ],
    )
    def test_the_text_tells_type_and_environment_and_ends_in_24_random_characters(self, key_type, environment, begin):
        key, text = make_key(key_type=key_type, environment=environment)
        assert re.fullmatch(begin + "[A-Za-z0-9]{24}", text)
        assert key.prefix == text[:12]

    def test_only_the_hash_of_a_secret_key_is_stored(self):
        key, text = make_key()
        assert bytes(key.key_hash) == sha256(text.encode()).digest()
        with connection.cursor() as cursor:
            cursor.execute("SELECT row_to_json(k)::text FROM config_apikey k WHERE id = %s", [key.pk])
            assert text not in cursor.fetchone()[0]

    def test_the_text_of_a_publishable_key_is_stored(self):
        key, text = make_publishable_key()
        assert key.publishable_value == text

    def test_a_secret_key_opens_everything_unless_it_is_scoped(self):
        assert make_key()[0].scopes == ["admin"]
        assert make_key(scopes=["events:write"])[0].scopes == ["events:write"]

    def test_a_publishable_key_opens_public_endpoints_only(self):
        assert make_publishable_key()[0].scopes == ["public"]
        with pytest.raises(InvalidInput):
            make_publishable_key(scopes=["admin"])

    @pytest.mark.parametrize("scopes", [[], ["public"], ["admin", "public"]])
    def test_a_secret_key_without_use_is_refused_in_the_words_of_the_contract(self, scopes):
        with pytest.raises(keys.SecretKeyNeedsScope) as caught:
            make_key(scopes=scopes)
        assert caught.value.message == "Bad Request"
        assert caught.value.details == "Secret keys must include the 'admin' permission."

    @pytest.mark.parametrize("scope", ["customers", "customers:delete", "Customers:read", "", "customers:read\n"])
    def test_a_scope_that_is_none_is_refused_by_its_index(self, scope):
        with pytest.raises(InvalidInput) as caught:
            make_key(scopes=["admin", scope])
        assert caught.value.details[0]["path"] == "scopes[1]"

    @pytest.mark.parametrize(
        ("words", "path"),
        [
            ({"name": ""}, "name"),
            ({"name": "   "}, "name"),
            ({"name": "x" * 101}, "name"),
            ({"key_type": "private"}, "keyType"),
            ({"environment": "staging"}, "environment"),
            ({"expires_at": AT}, "expiresAt"),
        ],
    )
    def test_refuses_words_that_cannot_be(self, words, path):
        with pytest.raises(InvalidInput) as caught:
            make_key(**words)
        assert caught.value.details[0]["path"] == path
        assert not ApiKey.objects.exists()


@pytest.mark.django_db
class TestFinding:
    def test_finds_a_key_by_its_text_with_one_query(self, django_assert_num_queries):
        key, text = make_key(scopes=["events:write"])
        with django_assert_num_queries(1):
            found = keys.find_active_key(text=text, at=AT)
            assert (found, found.name, found.scopes, found.created_at) == (key, "Server", ["events:write"], AT)

    def test_an_unknown_text_is_no_key(self):
        with pytest.raises(keys.InvalidApiKey):
            keys.find_active_key(text="sk_live_" + "a" * 24, at=AT)

    def test_a_key_is_over_at_the_instant_of_its_expiry(self):
        _, text = make_key(expires_at=AT + timedelta(hours=1))
        assert keys.find_active_key(text=text, at=AT + timedelta(minutes=59))
        with pytest.raises(keys.ExpiredApiKey):
            keys.find_active_key(text=text, at=AT + timedelta(hours=1))

    def test_a_revoked_key_is_refused_at_once(self):
        key, text = make_key()
        keys.revoke_api_key(public_id=key.public_id, at=AT)
        with pytest.raises(keys.RevokedApiKey):
            keys.find_active_key(text=text, at=AT)

    def test_use_is_noted_at_most_once_a_minute(self, django_assert_num_queries):
        key, _ = make_key()
        keys.note_use(key=key, at=AT)
        key.refresh_from_db()
        assert key.last_used_at == AT
        with django_assert_num_queries(0):
            keys.note_use(key=key, at=AT + timedelta(seconds=59))
        keys.note_use(key=key, at=AT + timedelta(seconds=60))
        key.refresh_from_db()
        assert key.last_used_at == AT + timedelta(seconds=60)

    @pytest.mark.parametrize(
        ("scopes", "scope", "opens"),
        [
            (["admin"], "customers:write", True),
            (["admin"], "public", False),
            (["customers:write"], "customers:write", True),
            (["customers:write"], "customers:read", True),
            (["customers:read"], "customers:read", True),
            (["customers:read"], "customers:write", False),
            (["customers:write"], "plans:read", False),
            (["public"], "public", True),
            (["public"], "customers:read", False),
        ],
    )
    def test_scopes(self, scopes, scope, opens):
        assert ApiKey(scopes=scopes).allows(scope) is opens


@pytest.mark.django_db
class TestRevoking:
    def test_a_second_revocation_keeps_the_first_moment(self):
        key, _ = make_key()
        keys.revoke_api_key(public_id=key.public_id, at=AT)
        assert keys.revoke_api_key(public_id=key.public_id, at=AT + timedelta(days=1)).revoked_at == AT

    def test_an_unknown_key_is_not_found(self):
        with pytest.raises(NotFound, match="API key not found"):
            keys.revoke_api_key(public_id="key_x", at=AT)

    def test_a_new_publishable_key_revokes_the_one_before_in_its_environment_only(self):
        test, _ = make_publishable_key(environment="test")
        first, _ = make_publishable_key()
        second, _ = make_publishable_key(at=AT + timedelta(days=1))
        first.refresh_from_db()
        assert first.revoked_at == AT + timedelta(days=1)
        assert set(ApiKey.objects.active(AT + timedelta(days=2))) == {test, second}

    def test_the_database_refuses_a_second_active_publishable_key(self):
        first, _ = make_publishable_key()
        make_publishable_key()
        with pytest.raises(IntegrityError, match="one_active_publishable_key_per_environment"), transaction.atomic():
            ApiKey.objects.filter(pk=first.pk).update(revoked_at=None)

    def test_the_database_refuses_to_keep_the_text_of_a_secret_key(self):
        key, text = make_key()
        with pytest.raises(IntegrityError, match="api_key_text_is_kept_only_when_publishable"), transaction.atomic():
            ApiKey.objects.filter(pk=key.pk).update(publishable_value=text)


@pytest.mark.django_db(transaction=True)
def test_of_publishable_keys_made_at_once_exactly_one_stays_active():
    barrier = Barrier(8)

    def make_one(number):
        try:
            barrier.wait()
            return make_publishable_key(name=f"Key {number}")[1]
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(make_one, range(8)))
    assert len(set(texts)) == 8
    assert ApiKey.objects.count() == 8
    assert ApiKey.objects.filter(revoked_at=None).count() == 1


@pytest.mark.django_db(transaction=True)
def test_noting_use_never_waits_for_another_request():
    key, _ = make_key()

    def note():
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = 1")
            keys.note_use(key=key, at=AT)
        finally:
            connection.close()

    with transaction.atomic(), ThreadPoolExecutor(1) as pool:
        ApiKey.objects.select_for_update().get(pk=key.pk)
        pool.submit(note).result()
    key.refresh_from_db()
    assert key.last_used_at is None


@pytest.mark.django_db
class TestEndpoints:
    def test_a_secret_key_is_made_and_shown(self):
        status, answer = Api().post("/v1/api-keys", {"name": "CI", "keyType": "secret", "environment": "test"})
        assert status == 200
        assert answer["success"] is True
        data = answer["data"]
        assert set(data) == {
            *("id", "merchantId", "name", "keyType", "environment", "permissions", "keyValue", "prefix"),
            *("createdAt", "expiresAt", "revokedAt", "lastUsedAt"),
        }
        assert re.fullmatch("key_[A-Za-z0-9]{22}", data["id"])
        assert data["merchantId"].startswith("mer_")
        assert data["keyValue"].startswith("sk_test_")
        assert data["prefix"] == data["keyValue"][:12]
        assert data["permissions"] == ["admin"]
        assert (data["expiresAt"], data["revokedAt"], data["lastUsedAt"]) == (None, None, None)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", data["createdAt"])

    def test_a_made_key_works(self):
        _, answer = Api().post("/v1/api-keys", {"name": "CI", "keyType": "secret", "scopes": ["api-keys:read"]})
        client = Client(headers={"Authorization": f"Bearer {answer['data']['keyValue']}"})
        assert client.get("/v1/api-keys").status_code == 200

    def test_permissions_is_another_name_of_scopes(self):
        _, answer = Api().post("/v1/api-keys", {"name": "CI", "keyType": "secret", "permissions": ["events:write"]})
        assert answer["data"]["permissions"] == ["events:write"]

    def test_scopes_and_permissions_that_differ_are_refused(self):
        body = {"name": "CI", "keyType": "secret", "permissions": ["admin"], "scopes": ["events:write"]}
        status, answer = Api().post("/v1/api-keys", body)
        assert (status, answer["details"][0]["path"]) == (400, "permissions")

    def test_an_expiry_is_accepted(self):
        body = {"name": "CI", "keyType": "secret", "expiresAt": "2999-01-01T00:00:00Z"}
        assert Api().post("/v1/api-keys", body)[1]["data"]["expiresAt"] == "2999-01-01T00:00:00.000Z"

    def test_no_permissions_are_refused_in_the_words_of_the_contract(self):
        status, answer = Api().post("/v1/api-keys", {"name": "CI", "keyType": "secret", "permissions": []})
        assert status == 400
        assert answer == {
            "error": "Bad Request",
            "code": "invalid_request",
            "details": "Secret keys must include the 'admin' permission.",
        }

    @pytest.mark.parametrize("body", [{}, {"name": "x"}, {"name": "x" * 101, "keyType": "secret"}, {"name": 7.5}])
    def test_a_wrong_body_is_refused(self, body):
        status, answer = Api().post("/v1/api-keys", body)
        assert (status, answer["code"]) == (400, "invalid_request")

    def test_a_key_cannot_give_away_what_it_has_not(self):
        api = Api("api-keys:write", "customers:read")
        for scopes in (None, ["admin"], ["customers:write"], ["events:read"]):
            body = {"name": "More", "keyType": "secret"} | ({"scopes": scopes} if scopes else {})
            status, answer = api.post("/v1/api-keys", body)
            assert (status, answer["code"]) == (403, "insufficient_scope")
        status, _ = api.post("/v1/api-keys", {"name": "Less", "keyType": "secret", "scopes": ["api-keys:read"]})
        assert status == 200

    def test_a_repeated_creation_makes_one_key_and_keeps_no_secret(self):
        api = Api()
        body = {"name": "CI", "keyType": "secret"}
        _, first = api.post("/v1/api-keys", body, **{"Idempotency-Key": "once"})
        _, second = api.post("/v1/api-keys", body, **{"Idempotency-Key": "once"})
        assert first["data"]["keyValue"].startswith("sk_live_")
        assert second == {"success": True, "data": first["data"] | {"keyValue": None}}
        assert ApiKey.objects.filter(name="CI").count() == 1

    def test_the_list_shows_working_keys_without_their_text(self):
        api = Api()
        revoked, _ = make_key(name="Revoked")
        keys.revoke_api_key(public_id=revoked.public_id, at=AT)
        make_key(name="Expired", expires_at=AT + timedelta(days=1))
        make_publishable_key(name="Web")
        status, answer = api.get("/v1/api-keys")
        assert status == 200
        assert set(answer) == {"success", "data"}
        assert [key["name"] for key in answer["data"]] == ["Web", "Server"]
        assert {"id", "name", "keyType", "environment", "prefix", "createdAt"} <= set(answer["data"][0])
        assert "keyValue" not in answer["data"][0]

    def test_the_list_can_be_read_in_pages(self):
        api = Api()
        for number in range(4):
            make_key(name=f"Key {number}")
        seen, cursor = [], ""
        while cursor is not None:
            _, answer = api.get("/v1/api-keys?limit=2" + (f"&cursor={cursor}" if cursor else ""))
            seen += [key["name"] for key in answer["data"]]
            cursor = answer["nextCursor"]
            assert answer["hasMore"] is (cursor is not None)
        assert seen == ["Key 3", "Key 2", "Key 1", "Key 0", "Server"]

    @pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=²", "cursor=nothing"])
    def test_a_wrong_page_is_refused(self, query):
        assert Api().get(f"/v1/api-keys?{query}")[0] == 400

    def test_the_publishable_key_of_an_environment_is_shown_with_its_text(self):
        _, live = make_publishable_key()
        _, test = make_publishable_key(environment="test")
        api = Api()
        assert api.get("/v1/api-keys/publishable")[1]["data"]["keyValue"] == live
        status, answer = api.get("/v1/api-keys/publishable?environment=test")
        assert status == 200
        assert answer["success"] is True
        assert answer["data"]["keyValue"] == test
        assert set(answer["data"]) == {"id", "name", "keyType", "environment", "keyValue", "prefix", "createdAt"}

    def test_without_a_publishable_key_the_answer_is_404_in_the_words_of_the_contract(self):
        status, answer = Api().get("/v1/api-keys/publishable")
        assert (status, answer["error"]) == (404, "No active publishable key found for this environment")

    def test_an_unknown_environment_is_refused(self):
        assert Api().get("/v1/api-keys/publishable?environment=staging")[0] == 400

    def test_a_deleted_key_stops_working_at_once_and_can_be_deleted_again(self):
        key, text = make_key()
        client = Client(headers={"Authorization": f"Bearer {text}"})
        assert client.get("/v1/api-keys").status_code == 200
        api = Api()
        assert api.delete(f"/v1/api-keys/{key.public_id}") == (200, {"success": True})
        assert client.get("/v1/api-keys").json()["code"] == "revoked_api_key"
        assert api.delete(f"/v1/api-keys/{key.public_id}") == (200, {"success": True})

    def test_deleting_an_unknown_key_is_404(self):
        assert Api().delete("/v1/api-keys/key_unknown")[0] == 404


@pytest.mark.django_db
class TestCommand:
    def run(self, *arguments):
        out = StringIO()
        call_command("create_api_key", *arguments, stdout=out)
        return out.getvalue()

    def test_prints_the_key_alone(self):
        printed = self.run("--name", "CI", "--type", "secret", "--environment", "test", "--scope", "events:write")
        assert re.fullmatch("sk_test_[A-Za-z0-9]{24}\n", printed)
        assert keys.find_active_key(text=printed.strip(), at=timezone.now()).scopes == ["events:write"]

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["--type", "secret"], "name: must have 1 to 100 characters."),
            (["--name", "x"], "keyType: must be secret or publishable."),
            (["--name", "x", "--type", "secret", "--scope", "public"], "Secret keys must include"),
        ],
    )
    def test_an_error_is_one_sentence(self, arguments, sentence):
        with pytest.raises(CommandError, match=sentence) as caught:
            self.run(*arguments)
        assert caught.value.returncode == 1
        assert "\n" not in str(caught.value)
