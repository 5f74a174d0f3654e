"""Who may in, what body is let through, and that under /v1 every answer is JSON."""

import json
import logging
from datetime import timedelta
from io import BytesIO

import pytest
import structlog
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client, override_settings
from django.urls import URLPattern, URLResolver, get_resolver, include, path
from django.utils import timezone
from django.views.decorators.http import require_http_methods
from rest_framework.response import Response
from rest_framework.views import APIView

import config.urls
from config.errors import handler400, handler403, handler404, handler500  # noqa: F401  (this module is a urlconf)
from config.keys import create_api_key, revoke_api_key
from config.logs import RequestIdFilter
from plans.exact_json import encode
from plans.refusals import Refusal

JSON = "application/json"
FIVE_MEGABYTES = 5 * 1024 * 1024


def plain(request, **kwargs):
    return HttpResponse(encode({"size": len(request.body), "path": request.path}), content_type=JSON)


def make_plain(**attributes):
    def view(request, **kwargs):
        return plain(request)

    view.__dict__.update(attributes)
    return view


@require_http_methods(["GET", "POST"])
def picky(request):
    return HttpResponse(b"{}", content_type=JSON)


picky.scope = "customers"


class Customers(APIView):
    scope = "customers"

    def get(self, request):
        return Response({"customers": []})

    def post(self, request):
        return Response({"got": request.data})


class TooMuch(Refusal):
    code = "too_much"
    status = 409


class Failing(APIView):
    scope = "customers"

    def get(self, request):
        raise ValueError("the secret of the house")


def failing(request):
    raise ValueError("the secret of the house")


failing.scope = "customers"


def refusing(request):
    raise TooMuch("That is too much.")


refusing.scope = "customers"


def logging_view(request):
    logging.getLogger("house").info("working")
    return HttpResponse(encode(structlog.contextvars.get_contextvars()), content_type=JSON)


logging_view.scope = "none"


def streaming(request):
    return StreamingHttpResponse(iter([b"data: 1\n\n", b"data: 2\n\n"]), content_type="text/event-stream")


streaming.scope = "none"


urlpatterns = [
    path(
        "v1/",
        include(
            [
                path("customers", Customers.as_view()),
                path("customers/<str:customer_id>", make_plain(scope="customers")),
                path("plain", make_plain(scope="customers")),
                path("check", make_plain(scope="entitlements:read")),
                path("public/table", make_plain(scope="public")),
                path("public/open", make_plain(scope="none")),
                path("hook", make_plain(scope="none", raw_body=True)),
                path("unscoped", make_plain()),
                path("picky", picky),
                path("failing", failing),
                path("failing-drf", Failing.as_view()),
                path("refusing", refusing),
                path("logging", logging_view),
                path("streaming", streaming),
            ]
        ),
    ),
    path("page", make_plain()),
]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


def make_key(**words):
    return create_api_key(**({"name": "Server", "key_type": "secret", "at": timezone.now()} | words))


def client_with(*scopes, **words):
    _, text = make_key(scopes=list(scopes) or None, **words)
    return Client(headers={"Authorization": f"Bearer {text}"}, raise_request_exception=False, enforce_csrf_checks=True)


def raw(client, address, method="GET", **environ):
    """Call an address that the test client would not leave as it is."""
    return client.generic(method, "/", **{"PATH_INFO": address} | environ)


class TestScopes:
    def test_every_v1_endpoint_states_its_scope(self):
        def views_of(patterns):
            for pattern in patterns:
                if isinstance(pattern, URLResolver):
                    yield from views_of(pattern.url_patterns)
                elif isinstance(pattern, URLPattern):
                    callback = pattern.callback
                    yield getattr(callback, "cls", None) or getattr(callback, "view_class", None) or callback

        views = list(views_of(config.urls.v1_patterns))
        assert len(views) >= 3
        assert [view for view in views if not isinstance(getattr(view, "scope", None), str)] == []

    def test_the_v1_endpoints_are_where_the_guard_stands(self):
        mounted = [
            pattern for pattern in get_resolver("config.urls").url_patterns if str(pattern.pattern).startswith("v1")
        ]
        assert [pattern.url_patterns for pattern in mounted] == [config.urls.v1_patterns]

    def test_a_view_without_scope_is_refused_to_everybody(self):
        response = client_with("admin").get("/v1/unscoped")
        assert (response.status_code, response.json()["code"]) == (403, "view_without_scope")

    @pytest.mark.parametrize(
        ("scope", "method", "address", "status"),
        [
            ("customers:read", "GET", "/v1/customers", 200),
            ("customers:read", "HEAD", "/v1/plain", 200),
            ("customers:read", "POST", "/v1/customers", 403),
            ("customers:read", "DELETE", "/v1/plain", 403),
            ("customers:write", "POST", "/v1/customers", 200),
            ("customers:write", "GET", "/v1/customers", 200),
            ("plans:write", "GET", "/v1/customers", 403),
            ("entitlements:read", "POST", "/v1/check", 200),
            ("admin", "DELETE", "/v1/plain", 200),
        ],
    )
    def test_a_key_opens_what_its_scope_says(self, scope, method, address, status):
        assert client_with(scope).generic(method, address).status_code == status

    def test_the_refusal_names_the_scope_needed(self):
        answer = client_with("plans:read").post("/v1/plain").json()
        assert answer["code"] == "insufficient_scope"
        assert "customers:write" in answer["error"]
        assert answer["details"] == {"required": ["customers:write"]}


class TestSecretKeys:
    @pytest.mark.parametrize(
        ("header", "code"),
        [
            (None, "missing_api_key"),
            ("", "missing_api_key"),
            ("Bearer", "invalid_api_key"),
            ("Basic dXNlcjpwYXNz", "invalid_api_key"),
            ("sk_live_aaaaaaaaaaaaaaaaaaaaaaaa", "invalid_api_key"),
            ("Bearer sk_live_aaaaaaaaaaaaaaaaaaaaaaaa", "invalid_api_key"),
            ("Bearer sk_live_\xff\x00", "invalid_api_key"),
        ],
    )
    @pytest.mark.parametrize("address", ["/v1/customers", "/v1/plain"])
    def test_without_a_good_key_the_answer_is_401(self, client, address, header, code):
        environ = {} if header is None else {"HTTP_AUTHORIZATION": header}
        response = client.get(address, **environ)
        assert (response.status_code, response.json()["code"]) == (401, code)
        assert response["WWW-Authenticate"] == "Bearer"

    def test_a_publishable_key_is_no_secret_key(self, client):
        _, text = make_key(key_type="publishable")
        assert client.get("/v1/plain", headers={"Authorization": f"Bearer {text}"}).status_code == 401

    def test_a_revoked_key_is_refused_with_the_next_request(self):
        key, text = make_key()
        client = Client(headers={"Authorization": f"Bearer {text}"})
        assert client.get("/v1/plain").status_code == 200
        revoke_api_key(public_id=key.public_id, at=timezone.now())
        response = client.get("/v1/plain")
        assert (response.status_code, response.json()["code"]) == (401, "revoked_api_key")

    def test_an_expired_key_is_refused(self, client):
        now = timezone.now()
        _, text = make_key(at=now - timedelta(days=2), expires_at=now - timedelta(days=1))
        response = client.get("/v1/plain", headers={"Authorization": f"Bearer {text}"})
        assert (response.status_code, response.json()["code"]) == (401, "expired_api_key")

    def test_the_scheme_is_read_in_any_case(self, client):
        _, text = make_key()
        assert client.get("/v1/plain", headers={"Authorization": f"bearer  {text}"}).status_code == 200

    def test_a_request_costs_one_query_for_its_key(self, django_assert_num_queries):
        client = client_with()
        client.get("/v1/plain")
        with django_assert_num_queries(1):
            assert client.post("/v1/plain", {"a": 1}, content_type=JSON).status_code == 200

    def test_the_use_of_a_key_is_noted(self):
        key, text = make_key()
        Client(headers={"Authorization": f"Bearer {text}"}).get("/v1/plain")
        key.refresh_from_db()
        assert timezone.now() - key.last_used_at < timedelta(minutes=1)

    def test_the_query_for_the_key_uses_an_index(self):
        from django.db import connection

        from config.models import _SELECT_BY_HASH

        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("EXPLAIN " + _SELECT_BY_HASH, {"key_hash": b"x"})
            assert "Index" in cursor.fetchone()[0]

    def test_no_cookie_and_no_csrf_token_are_needed(self):
        response = client_with().post("/v1/plain", {}, content_type=JSON)
        assert response.status_code == 200
        assert "Set-Cookie" not in response


class TestPublishableKeys:
    def test_opens_by_header(self, client):
        _, text = make_key(key_type="publishable")
        assert client.get("/v1/public/table", headers={"X-Lumen-Key": text}).status_code == 200

    def test_opens_by_a_field_of_the_body(self, client):
        _, text = make_key(key_type="publishable")
        body = {"lumenPublishableKey": text}
        assert client.post("/v1/public/table", body, content_type=JSON).status_code == 200

    @pytest.mark.parametrize("body", [{}, {"lumenPublishableKey": ""}])
    def test_without_a_key_the_answer_is_401(self, client, body):
        response = client.post("/v1/public/table", body, content_type=JSON)
        assert (response.status_code, response.json()["code"]) == (401, "missing_api_key")

    @pytest.mark.parametrize("value", [7, ["pk_live_x"], "sk_live_x", "pk_live_unknown"])
    def test_a_key_that_is_none_is_refused_in_the_words_of_the_contract(self, client, value):
        response = client.post("/v1/public/table", {"lumenPublishableKey": value}, content_type=JSON)
        assert response.status_code == 401
        assert response.json()["error"] == "Invalid Lumen publishable key"

    def test_a_secret_key_does_not_open_public_endpoints(self, client):
        _, text = make_key()
        assert client.get("/v1/public/table", headers={"X-Lumen-Key": text}).status_code == 401

    @pytest.mark.parametrize("address", ["/v1/public/table", "/v1/public/open"])
    def test_pages_of_other_origins_may_call(self, client, address):
        preflight = client.options(address, headers={"Origin": "https://shop.example"})
        assert preflight.status_code == 204
        assert "X-Lumen-Key" in preflight["Access-Control-Allow-Headers"]
        assert client.get(address)["Access-Control-Allow-Origin"] == "*"

    def test_pages_of_other_origins_may_not_call_secret_endpoints(self):
        client = client_with()
        assert "Access-Control-Allow-Origin" not in client.options("/v1/plain")
        assert "Access-Control-Allow-Origin" not in client.get("/v1/plain")

    def test_an_endpoint_without_key_is_open(self, client):
        assert client.get("/v1/public/open").status_code == 200


class TestPaths:
    @pytest.mark.parametrize(
        "address", ["/v1/plain", "//v1/plain", "/v1//plain", "///v1///plain", "/v1/plain/", "//v1/plain/"]
    )
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_carelessly_joined_addresses_are_understood_and_never_redirected(self, method, address):
        response = raw(client_with(), address, method)
        assert response.status_code == 200
        assert response.json()["path"] == "/v1/plain"

    @pytest.mark.parametrize(
        "address", ["/v1", "/v1/", "//v1", "/v1/nothing", "/v1/customers//plain", "/v1/plain//", "/v1/plain/x"]
    )
    @pytest.mark.parametrize("debug", [False, True])
    def test_an_unknown_path_is_a_json_404(self, client, address, debug):
        with override_settings(DEBUG=debug):
            response = raw(client, address)
        assert response.status_code == 404
        assert response.json()["code"] == "not_found"

    @pytest.mark.parametrize("address", ["/", "/v1x", "/nothing"])
    def test_other_paths_are_not_answered_by_the_api(self, client, address):
        response = client.get(address)
        assert response.status_code == 404
        assert response["Content-Type"].startswith("text/html")

    def test_other_pages_need_no_key(self, client):
        assert client.get("/page").status_code == 200

    @pytest.mark.parametrize(("address", "query"), [("/v1/customers/a\x00b", ""), ("/v1/plain", "q=a%00b")])
    def test_nul_in_an_address_is_refused(self, address, query):
        response = raw(client_with(), address, QUERY_STRING=query)
        assert (response.status_code, response.json()["code"]) == (400, "invalid_request")

    @pytest.mark.parametrize(("address", "allow"), [("/v1/picky", {"GET", "POST"}), ("/v1/customers", None)])
    def test_a_wrong_method_is_a_json_405_with_the_right_ones(self, address, allow):
        response = client_with().delete(address)
        assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
        allowed = set(response["Allow"].replace(" ", "").split(","))
        assert allowed == (allow or {"GET", "POST", "HEAD", "OPTIONS"})

    def test_a_foreign_host_is_answered_in_json(self, client):
        response = client.get("/v1/plain", headers={"Host": "evil.example"})
        assert (response.status_code, response.json()["code"]) == (400, "invalid_request")


class TestBodies:
    @pytest.mark.parametrize("address", ["/v1/plain", "/v1/customers", "/v1/public/open", "/v1/hook"])
    def test_a_body_above_5_mb_is_refused(self, address):
        body = b'"' + b"x" * FIVE_MEGABYTES + b'"'
        response = client_with().generic("POST", address, body, content_type=JSON)
        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
        assert "5 MB" in response.json()["error"]

    def test_a_body_of_exactly_5_mb_is_taken(self):
        response = client_with().generic("POST", "/v1/plain", b" " * FIVE_MEGABYTES, content_type=JSON)
        assert response.json()["size"] == FIVE_MEGABYTES

    def test_the_announced_length_is_enough_to_refuse(self):
        environ = {"CONTENT_LENGTH": str(FIVE_MEGABYTES + 1), "CONTENT_TYPE": JSON, "wsgi.input": BytesIO(b"{}")}
        assert client_with().post("/v1/plain", **environ).status_code == 413

    @pytest.mark.parametrize(("size", "status"), [(FIVE_MEGABYTES, 200), (FIVE_MEGABYTES + 1, 413)])
    def test_a_body_in_chunks_is_read_up_to_the_limit(self, size, status):
        environ = {
            "HTTP_TRANSFER_ENCODING": "chunked",
            "wsgi.input_terminated": True,
            "CONTENT_LENGTH": "",
            "CONTENT_TYPE": JSON,
            "wsgi.input": BytesIO(b" " * size),
        }
        response = client_with().post("/v1/plain", **environ)
        assert response.status_code == status
        if status == 200:
            assert response.json()["size"] == size

    def test_a_body_in_chunks_whose_end_the_server_does_not_mark_is_refused(self):
        environ = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": "", "CONTENT_TYPE": JSON}
        response = client_with().post("/v1/plain", **environ)
        assert (response.status_code, response.json()["code"]) == (411, "length_required")

    def test_a_body_in_chunks_reaches_a_drf_view(self):
        environ = {
            "HTTP_TRANSFER_ENCODING": "chunked",
            "wsgi.input_terminated": True,
            "CONTENT_LENGTH": "",
            "CONTENT_TYPE": JSON,
            "wsgi.input": BytesIO(b'{"name": "Ada"}'),
        }
        assert client_with().post("/v1/customers", **environ).json() == {"got": {"name": "Ada"}}

    @pytest.mark.parametrize(
        "body",
        [b"{", b"NaN", b'{"a": "\\u0000"}', b'"\\ud800"', b'"\xff"', b"9" * 10_000, b"[" * 50_000, b"[1]", b"7"],
        ids=lambda body: repr(body[:12]),
    )
    @pytest.mark.parametrize("address", ["/v1/customers", "/v1/public/table"])
    def test_a_body_that_cannot_be_read_is_refused(self, address, body):
        response = client_with().generic("POST", address, body, content_type=JSON)
        assert (response.status_code, response.json()["code"]) == (400, "invalid_json")

    @pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", "", "text/json"])
    @pytest.mark.parametrize("address", ["/v1/customers", "/v1/plain", "/v1/public/table"])
    def test_a_body_not_declared_as_json_is_refused(self, address, content_type):
        response = client_with().generic("POST", address, b'{"a": 1}', content_type=content_type)
        assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
        assert "application/json" in response.json()["error"]

    @pytest.mark.parametrize("content_type", [JSON, "application/json; charset=utf-8", "Application/JSON"])
    @pytest.mark.parametrize("address", ["/v1/customers", "/v1/plain"])
    def test_ways_to_declare_json(self, address, content_type):
        assert client_with().generic("POST", address, b'{"a": 1}', content_type=content_type).status_code == 200

    def test_no_body_needs_no_declaration(self):
        assert client_with().generic("POST", "/v1/customers", b"", content_type="").json() == {"got": {}}

    def test_a_view_may_take_any_body(self, client):
        assert client.generic("POST", "/v1/hook", b"a=1", content_type="text/plain").json()["size"] == 3

    def test_numbers_go_through_a_drf_view_exactly(self):
        body = b'{"value":0.1000000000000000055511151231257827}'
        response = client_with().generic("POST", "/v1/customers", body, content_type=JSON)
        assert response.content == b'{"got":' + body + b"}"


class TestFailures:
    @pytest.mark.parametrize("address", ["/v1/failing", "/v1/failing-drf"])
    @pytest.mark.parametrize("debug", [False, True])
    def test_an_unforeseen_exception_is_logged_and_not_shown(self, caplog, address, debug):
        with override_settings(DEBUG=debug):
            response = client_with().get(address, headers={"X-Request-Id": "walk-7"})
        assert response.status_code == 500
        answer = response.json()
        assert answer["error"].startswith("Something went wrong on our side. ")
        assert answer["code"] == "internal_error"
        assert answer["details"] == {"requestId": "walk-7"}
        assert b"secret of the house" not in response.content
        assert "the secret of the house" in caplog.text
        assert "walk-7" in caplog.text

    def test_a_failure_while_looking_for_the_key_is_answered_too(self, monkeypatch):
        client = client_with()
        monkeypatch.setattr("config.keys.find_active_key", failing)
        response = client.get("/v1/plain")
        assert (response.status_code, response.json()["code"]) == (500, "internal_error")

    def test_what_listens_for_exceptions_hears_of_them(self):
        _, text = make_key()
        with pytest.raises(ValueError, match="the secret of the house"):
            Client(headers={"Authorization": f"Bearer {text}"}).get("/v1/failing")

    def test_a_refusal_of_a_plain_view_is_answered_by_its_name(self):
        response = client_with().get("/v1/refusing")
        assert (response.status_code, response.json()) == (
            409,
            {"error": "That is too much.", "code": "too_much", "details": None},
        )

    def test_an_answer_may_be_streamed(self, client):
        assert b"".join(client.get("/v1/streaming").streaming_content) == b"data: 1\n\ndata: 2\n\n"


class TestRequestId:
    def test_the_callers_id_is_kept(self, client):
        assert client.get("/page", headers={"X-Request-Id": "a1b2-c3"})["X-Request-Id"] == "a1b2-c3"

    @pytest.mark.parametrize("request_id", ["", "two words", "x" * 129, "a\nb", "<script>", "ü"])
    def test_an_id_that_is_not_sane_is_replaced(self, client, request_id):
        got = client.get("/page", headers={"X-Request-Id": request_id})["X-Request-Id"]
        assert got != request_id
        assert len(got) == 32

    def test_two_requests_have_two_ids(self, client):
        assert client.get("/page")["X-Request-Id"] != client.get("/page")["X-Request-Id"]

    def test_it_is_bound_to_the_log_during_the_request_only(self, client, caplog):
        caplog.handler.addFilter(RequestIdFilter())
        caplog.set_level(logging.INFO, logger="house")
        response = client.get("/v1/logging", headers={"X-Request-Id": "walk-8"})
        assert response.json() == {"request_id": "walk-8"}
        assert [record.request_id for record in caplog.records if record.name == "house"] == ["walk-8"]
        assert structlog.contextvars.get_contextvars() == {}

    def test_refusals_carry_it_too(self, client):
        assert client.get("/v1/nothing", headers={"X-Request-Id": "walk-9"})["X-Request-Id"] == "walk-9"


def test_attributes_survive_a_decorator():
    assert picky.scope == "customers"
    assert json.loads(client_with("customers:read").get("/v1/picky").content) == {}
