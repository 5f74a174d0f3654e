"""What the tests under fire share: the API as a target, and what is sent to it."""

import json
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal

from django.db import connection, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from credits.models import CreditGrant, CreditTransaction, Reservation
from metering.models import EventVoid, UsageDay, UsageDayValue, UsageEvent
from plans.models import Metric, MetricVersion, SubscriptionFeature, SubscriptionItem, SubscriptionPeriod

WRITTEN_TO = (
    UsageEvent, EventVoid, UsageDay, UsageDayValue, Reservation, Metric, MetricVersion, SubscriptionFeature,
    SubscriptionItem, SubscriptionPeriod, CreditGrant, CreditTransaction,
)  # fmt: skip
LAST_RESORT = "A value is too large, too long or of the wrong kind to be stored."


def fuzz(examples):
    """The same examples in every run, so that a red test stays red until it is mended."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@dataclass(frozen=True)
class Reply:
    """An answer with its status and its body; the body of CSV is its text."""

    status: int
    body: object


@dataclass(frozen=True)
class Target:
    """The API with a customer that has a quota of 10,000 calls, an event of its own, and a reservation of 5 calls."""

    client: object
    key: str
    names: dict

    def send(self, method, path, raw=b"", *, content_type="application/json", **environ):
        """Send bytes as they are. Checks what must hold of every answer, and that a refusal has written nothing."""
        before = rows_written()
        response = self.client.generic(
            method, path, raw, content_type=content_type, headers={"authorization": f"Bearer {self.key}"}, **environ
        )
        is_csv = response.headers.get("Content-Type", "").startswith("text/csv")
        reply = Reply(response.status_code, read_text(response.content.decode(), is_csv))
        assert reply.status < 500, reply
        if reply.status >= 400:
            check_refusal(reply)
            assert rows_written() == before, reply
        return reply


def read_text(text, is_csv):
    return text if is_csv or not text else json.loads(text, parse_float=Decimal)


def rows_written():
    """A fingerprint of every row that the endpoints may write."""
    prints = " UNION ALL ".join(
        f"SELECT md5(string_agg(one::text, '|' ORDER BY one::text)) FROM {model._meta.db_table} one"
        for model in WRITTEN_TO
    )
    with connection.cursor() as cursor:
        cursor.execute(prints)
        return cursor.fetchall()


def check_refusal(reply):
    assert set(reply.body) >= {"error", "code", "details"}, reply
    assert isinstance(reply.body["error"], str) and reply.body["error"], reply
    assert isinstance(reply.body["code"], str) and reply.body["code"], reply
    assert reply.body["error"] != LAST_RESORT, reply
    if isinstance(reply.body["details"], list):
        assert all(set(problem) == {"path", "message"} for problem in reply.body["details"]), reply


def paths_of(details):
    """The fields that a refusal names: of each path its first name."""
    if not isinstance(details, list):
        return set()
    return {problem["path"].partition(".")[0].partition("[")[0] for problem in details}


@contextmanager
def taken_back():
    """Undo what an example has written, so that each one begins with the same rows."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


# What may stand where a value is expected, as JSON text. Half surrogates and NUL are written by their escapes.
BROKEN_VALUES = [b"NaN", b"Infinity", b"-", b"01", b"1.", b"tru", b'"', b"[1,", b'{"a"', b"'x'", b"\x00", b'"\n"']
ODD_VALUES = [
    b"null", b"true", b"false", b"0", b"-0", b"-1", b"0.0000001", b"1e400", b"-1e400", b"1e-400", b"1e999999999",
    b"9" * 19, b"9" * 500, b"9" * 5_000, b"1.0", b"1E2", b"[]", b"[[]]", b"[null]", b"{}", b'{"a": {}}', b'""', b'" "',
    b'"0"', b'"NaN"', b'"1e400"', b'"-Infinity"', b'"\\u0000"', b'"a\\u0000b"', b'{"\\u0000": 1}', b'"\\ud800"',
    b'"\\udc00\\ud800"', b'{"\\ud800": 1}', b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"', '"é\u202e\U0001f600"'.encode(),
    b'"' + b"x" * 256 + b'"', b'"' + b"x" * 20_000 + b'"', b'{"a": "' + b"x" * 16_384 + b'"}',
    b"[" * 99 + b"]" * 99, b"[" * 5_000 + b"]" * 5_000, b'{"a":' * 150 + b"1" + b"}" * 150,
    b'"2026-01-31T18:00:00"', b'"2026-01-31T18:00:00Z"', b'"9999-12-31T23:59:59-23:59"', b'"0001-01-01T00:00:00+23:59"',
    b'"1969-12-31T23:59:59Z"', b'"2026-02-30T00:00:00Z"', b'"2026-06-30T23:59:60Z"', b'"24:00"', b"1767225600",
]  # fmt: skip
TEXTS = st.text(st.characters(exclude_categories=[]), max_size=30)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
NESTED = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
VALUES = st.sampled_from(ODD_VALUES) | NESTED.map(lambda value: json.dumps(value).encode())


def text_of(fields):
    """An object of JSON with these texts as its values."""
    return b"{" + b", ".join(json.dumps(name).encode() + b": " + value for name, value in fields.items()) + b"}"


def quoted(text):
    return json.dumps(text).encode()


@dataclass(frozen=True)
class Door:
    """An endpoint: its path, and a body that it takes, each value as JSON text. `{…}` stands for a name of the
    target's, in paths and texts."""

    method: str
    path: str
    fields: dict

    def body(self, names, changes):
        """The fields with some of them changed; None leaves a field out."""
        fields = {name: _filled(value, names) for name, value in self.fields.items()} | changes
        return {name: value for name, value in fields.items() if value is not None}


def _filled(value, names):
    for name, found in names.items():
        value = value.replace(b"<" + name.encode() + b">", found.encode())
    return value


EVENT = {
    "eventName": b'"<event_name>"', "customerId": b'"<customer>"', "eventValue": b"2.5",
    "eventTimestamp": b'"2026-01-31T18:00:00+01:00"', "idempotencyKey": b'"k"', "properties": b'{"region": "eu"}',
}  # fmt: skip
FEATURE = "/v1/entitlements/{customer}/feature/{slug}"
DOORS = {
    "event": Door("POST", "/v1/events", EVENT),
    "void": Door("POST", "/v1/events/{event}/void", {"reason": b'"sent twice"'}),
    "new metric": Door(
        "POST", "/v1/metrics",
        {"name": b'"Calls"', "eventName": b'"call"', "aggregationType": b'"MAX"', "valueType": b'"NUMERIC"',
         "queryType": b'"simple"', "filter": b'{"region": ["eu", "us"]}', "valueProperty": b'"size"',
         "description": b'"All"'},
    ),
    "changed metric": Door(
        "POST", "/v1/metrics/{metric}/update",
        {"name": b'"Calls"', "eventName": b'"call"', "filter": b'{"region": "eu"}', "valueProperty": b'"size"',
         "description": b'"All"'},
    ),
    "many checks": Door("POST", "/v1/entitlements/{customer}/features", {"featureSlugs": b'["<slug>"]'}),
    "consume": Door(
        "POST", FEATURE + "/consume",
        {"value": b"2.5", "idempotencyKey": b'"k"', "properties": b'{"region": "eu"}', "overage": b'"block"'},
    ),
    "reserve": Door("POST", FEATURE + "/reserve", {"value": b"2.5", "ttlSeconds": b"60", "idempotencyKey": b'"k"'}),
    "commit": Door("POST", "/v1/reservations/{reservation}/commit", {"value": b"6", "properties": b'{"a": 1}'}),
    "release": Door("POST", "/v1/reservations/{reservation}/release", {}),
    "override": Door(
        "PUT", "/v1/subscriptions/{subscription}/features/{slug}",
        {"overage": b'"allow"', "reason": b'"goodwill"', "effectiveFrom": b'"2026-01-01T00:00:00Z"',
         "effectiveUntil": b'"2036-01-01T00:00:00Z"'},
    ),
}  # fmt: skip
