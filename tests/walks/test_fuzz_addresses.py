"""Parameters, identifiers and methods of every kind: no 500, a refusal that names what is wrong, nothing written."""

from base64 import urlsafe_b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.walks.fuzzing import DOORS, FEATURE, fuzz, paths_of, taken_back

pytestmark = pytest.mark.django_db

QUERIES = {
    "/v1/events": ["eventName", "customerId", "extCustomerId", "idempotencyKey", "startTime", "endTime", "limit",
                   "offset", "cursor"],
    "/v1/events/count": ["eventName", "customerId", "extCustomerId", "idempotencyKey", "startTime", "endTime"],
    "/v1/usage/{customer}": ["metricId", "start", "end", "groupBy", "isExtCustId"],
    "/v1/metrics/{metric}/value": ["customerId", "isExtCustId", "timeframe", "timeframe[type]", "timeframe[days]",
                                   "timeframe[start]", "days", "start", "end", "type"],
    "/v1/entitlements/{customer}": ["isExtCustId"],
    "/v1/entitlements/{customer}/seat-aware": ["isExtCustId", "limit", "cursor"],
    FEATURE: ["isExtCustId"],
    "/v1/reservations/{reservation}": ["isExtCustId"],
}  # fmt: skip
CURSORS = [
    urlsafe_b64encode(text).decode().rstrip("=")
    for text in (b"2026-01-01T00:00:00+00:00 1", b"9999-12-31T23:59:59-23:59 1", b"0001-01-01T00:00:00+23:59 1",
                 b"2026-01-01T00:00:00+00:00 999999999999999999", b"2026-01-01 1", b"\xff 1", b"")
]  # fmt: skip
PARAMETERS = st.one_of(
    st.sampled_from(
        ["", "0", "-1", "1", "200", "9" * 5_000, "1e3", "1.5", "NaN", "true", "TRUE", "null", "day", "properties.",
         "properties.region", "ALL", "RELATIVE", "ABSOLUTE", "2026-01-31", "2026-01-31T18:00:00+01:00", "0001-01-01",
         "2026-01-31T18:00:00", "9999-12-31T23:59:59-23:59", "evt_0", "evt_zzzzzzzzzzzzzzzzzzzzzz", "x" * 100_000,
         '{"type": "RELATIVE", "days": 7}', '{"type": {}}', "{", "[" * 5_000, "١", "\u202e", "'; --", "%", "\\",
         *CURSORS]
    ).map(lambda text: quote(text, safe="")),
    st.text(max_size=20).map(lambda text: quote(text, safe="")),
    # Bytes that are no UTF-8, NUL, and what is no escape at all.
    st.sampled_from(["%FF", "%ED%A0%80", "%00", "a%00b", "%", "%ZZ", "a=b", "+", "&", ";", "a&limit=0"]),
)  # fmt: skip


@pytest.mark.parametrize("path", QUERIES)
@fuzz(35)
@given(data=st.data())
def test_parameters_of_any_kind_are_taken_or_named(target, path, data):
    known = QUERIES[path]
    sent = data.draw(st.dictionaries(st.sampled_from(known), PARAMETERS, max_size=3))
    usual = {"/v1/usage/{customer}": ("metricId", "metric"), "/v1/metrics/{metric}/value": ("customerId", "customer")}
    if path in usual and data.draw(st.booleans()):
        name, of = usual[path]
        sent.setdefault(name, target.names[of])
    accept = data.draw(st.sampled_from(["application/json", "text/csv", "*/*", "", ",;q=x", "x" * 5_000]))
    query = "&".join(f"{quote(name, safe='')}={text}" for name, text in sent.items())

    reply = target.send("GET", f"{path.format(**target.names)}?{query}", HTTP_ACCEPT=accept)

    if reply.status == 400 and "%00" not in query:
        assert paths_of(reply.body["details"]) & {*known, "limit"}, reply


@pytest.mark.parametrize("path", [path for path, names in QUERIES.items() if "cursor" in names])
def test_cursors_of_any_moment_are_taken_or_named(target, path):
    for cursor in CURSORS:
        reply = target.send("GET", f"{path.format(**target.names)}?cursor={cursor}")

        assert reply.status == 200 or paths_of(reply.body["details"]) == {"cursor"}, (cursor, reply)


PLACES = [
    ("GET", "/v1/usage/{}?metricId=met_x"), ("POST", "/v1/events/{}/void"), ("GET", "/v1/metrics/{}"),
    ("GET", "/v1/metrics/{}/value"), ("POST", "/v1/metrics/{}/update"), ("POST", "/v1/metrics/{}/delete"),
    ("GET", "/v1/entitlements/{}"), ("GET", "/v1/entitlements/{}/seat-aware"), ("POST", "/v1/entitlements/{}/features"),
    ("GET", "/v1/entitlements/{}/feature/x"), ("POST", "/v1/entitlements/{}/feature/x/consume"),
    ("POST", "/v1/entitlements/{}/feature/x/reserve"), ("POST", "/v1/entitlements/<customer>/feature/{}/consume"),
    ("POST", "/v1/entitlements/<customer>/feature/{}/reserve"), ("GET", "/v1/entitlements/<customer>/feature/{}"),
    ("GET", "/v1/reservations/{}"), ("POST", "/v1/reservations/{}/commit"), ("POST", "/v1/reservations/{}/release"),
    ("PUT", "/v1/subscriptions/{}/features/x"), ("PUT", "/v1/subscriptions/<subscription>/features/{}"),
    ("DELETE", "/v1/subscriptions/{}/features/x"), ("DELETE", "/v1/subscriptions/<subscription>/features/{}"),
]  # fmt: skip
IDENTIFIERS = st.one_of(
    st.sampled_from(
        ["a/b", "/", "//", "..", "../../healthz", ".", "%2F", "a%2Fb", "%00", "a%00b", "%FF", "%ED%A0%80", "%0A", "%20",
         "%", "%25", "%3F", "%E2%80%AE", "%F0%9F%98%80", "x" * 5_000, "evt_zzzzzzzzzzzzzzzzzzzzzz", "evt_0", "rsv_",
         "met_0000000000000000000000", "0", "-1", "9" * 400, "feature", "a/feature/b", "a/feature/b/consume"]
    ),
    st.text(min_size=1, max_size=20).map(lambda text: quote(text, safe="")),
)  # fmt: skip


@pytest.mark.parametrize(("method", "place"), PLACES)
@fuzz(20)
@given(identifier=IDENTIFIERS)
def test_identifiers_of_any_kind_are_found_or_refused(target, method, place, identifier):
    path = place.replace("{}", identifier)
    for name, found in target.names.items():
        path = path.replace(f"<{name}>", found)
    raw = b"" if method == "GET" else b'{"value": 1, "reason": "x", "overage": "allow", "featureSlugs": ["x"]}'

    with taken_back():
        reply = target.send(method, path, raw)

    if "%00" in identifier:
        assert reply.status == 400, reply


def test_other_methods_are_refused(target):
    paths = {"/v1/events/batch": {"POST"}, "/v1/metrics": {"GET", "POST"}, "/v1/events": {"GET", "POST"}}
    for path in QUERIES:
        paths.setdefault(path, {"GET"})
    for door in DOORS.values():
        paths.setdefault(door.path, {door.method, "DELETE"} if door.method == "PUT" else {door.method})

    for path, known in paths.items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "EVENT"} - known:
            assert target.send(method, path.format(**target.names)).status == 405, (method, path)
