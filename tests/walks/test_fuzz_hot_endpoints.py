"""Bodies of every kind, sent to whatever records, checks, consumes, reserves or says what is counted: no 500, a refusal
that names what is wrong, and nothing written by a refusal."""

import gzip
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.models import UsageEvent
from tests.factories import MetricFactory
from tests.walks.fuzzing import (
    BROKEN_VALUES,
    DOORS,
    EVENT,
    ODD_VALUES,
    VALUES,
    fuzz,
    paths_of,
    quoted,
    taken_back,
    text_of,
)

pytestmark = pytest.mark.django_db

doors = pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)


@doors
def test_the_bodies_that_are_spoiled_below_are_good(target, door):
    reply = target.send(door.method, door.path.format(**target.names), text_of(door.body(target.names, {})))

    assert reply.status in (200, 202), reply


NEEDED_INSTEAD = {"overage": {"value"}}


@doors
def test_each_field_with_each_odd_value_is_taken_or_named(target, door):
    path = door.path.format(**target.names)
    for field in door.fields:
        for value in ODD_VALUES:
            with taken_back():
                reply = target.send(door.method, path, text_of(door.body(target.names, {field: value})))
            # What is no JSON is refused with the byte at which it stops, and without a field.
            if reply.status == 400 and isinstance(reply.body["details"], list):
                assert paths_of(reply.body["details"]) <= {field, *NEEDED_INSTEAD.get(field, ())}, (field, value, reply)


@doors
@fuzz(25)
@given(data=st.data())
def test_fields_of_any_kind_are_taken_or_named(target, door, data):
    known = [*door.fields, "value", "extCustomerId", "eventString", "timestamp", "sqlDefinition", "unheard-of"]
    changes = data.draw(st.dictionaries(st.sampled_from(known), VALUES | st.none(), max_size=3))
    raw = text_of(door.body(target.names, changes))

    with taken_back():
        reply = target.send(door.method, door.path.format(**target.names), raw)

    if reply.status == 400 and reply.body["code"] == "invalid_request":
        assert reply.body["details"] and paths_of(reply.body["details"]) <= {*known}, reply


@doors
@fuzz(25)
@given(data=st.data())
def test_bytes_of_any_kind_are_taken_or_refused(target, door, data):
    raw = text_of(door.body(target.names, {}))
    spoiled = data.draw(
        st.binary(max_size=50)
        | st.integers(0, len(raw)).map(lambda end: raw[:end])
        | st.tuples(st.integers(0, len(raw)), st.binary(min_size=1, max_size=4)).map(
            lambda cut: raw[: cut[0]] + cut[1] + raw[cut[0] :]
        )
        | st.sampled_from(BROKEN_VALUES + ODD_VALUES)
        | st.sampled_from(BROKEN_VALUES).map(lambda value: text_of(dict.fromkeys(door.fields or ["value"], value)))
    )
    content_type = data.draw(
        st.sampled_from(
            ["application/json"] * 6
            + ["", "text/plain", "application/json; charset=utf-16", "application/json; charset=no-such", "x" * 5_000,
               "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "multipart/form-data"]
        )
    )  # fmt: skip

    with taken_back():
        target.send(door.method, door.path.format(**target.names), spoiled, content_type=content_type)


@pytest.mark.parametrize("door", [door for door in DOORS.values() if door.fields], ids=lambda door: door.path)
def test_a_body_that_is_damaged_on_its_way_is_refused(target, door):
    path, raw = door.path.format(**target.names), text_of(door.body(target.names, {}))
    cut = raw[:-2]
    packed = {"HTTP_CONTENT_ENCODING": "gzip"}

    replies = [
        # Less arrives than was announced.
        target.send(door.method, path, cut, CONTENT_LENGTH=str(len(raw)), **{"wsgi.input": BytesIO(cut)}),
        target.send(door.method, path, b"\x1f\x8b\x08\x00" + raw, **packed),
        target.send(door.method, path, gzip.compress(raw), **packed),
        target.send(door.method, path, b'{"value": ' + b"1" * 1_000_000 + b"}"),
    ]

    assert [reply.status for reply in replies] == [400] * 4, replies


@doors
def test_a_body_over_5_mb_is_refused_and_one_of_5_mb_is_read(target, door):
    path, raw = door.path.format(**target.names), text_of(door.body(target.names, {}))
    largest = 5 * 1024 * 1024

    refused = target.send(door.method, path, raw.ljust(largest + 1))
    read = target.send(door.method, path, raw.ljust(largest))

    assert (refused.status, refused.body["code"]) == (413, "body_too_large")
    assert read.status in (200, 202)


LONG, NUL = b'"' + b"x" * 256 + b'"', b'"a\\u0000b"'
# One field of an event each, and what it must not be.
WRONG_IN_EVENT = [
    *(("eventName", value) for value in [b"null", b"1", b"true", b"[]", b"{}", b'""', LONG, NUL]),
    *(("customerId", value) for value in [b"1", b"true", b"[]", b"{}", LONG, NUL]),
    *(("idempotencyKey", value) for value in [b"1", b"false", b"[]", b"{}", b'""', LONG, NUL]),
    *(
        ("eventValue", value)
        for value in [
            b"true", b"[]", b"{}", b'""', b'"many"', b'"NaN"', b'"-Infinity"', b'"sNaN"', b'"1_0"', b'" 1"', b"1e400",
            b"-1e400", b"1e-400", b"1e999999999", b'"1e999999999"', b"9" * 19, b"-" + b"9" * 500, b"0.0000001",
            b"0." + b"0" * 500 + b"1",
        ]
    ),
    *(
        ("eventTimestamp", value)
        for value in [
            b"true", b"[]", b"{}", b'""', b'"yesterday"', b'"2026-01-31"', b'"2026-01-31T18:00:00"',
            b'"2026-02-30T00:00:00Z"', b'"1969-12-31T23:59:59Z"', b'"0001-01-01T00:00:00+23:59"',
            b'"9999-12-31T23:59:59-23:59"', b'"2026-01-31T24:00:01Z"', b'"' + b"2" * 5_000 + b'"',
        ]
    ),
    *(
        ("properties", value)
        for value in [
            b"1", b"true", b"[]", b'""', b'"{}"', b'{"a": ' + NUL + b"}", b'{"a\\u0000": 1}', b'{"a": 1e400000}',
            b'{"a": "' + b"x" * 16_384 + b'"}',
            b"{" + b'"a": {' * 150 + b"}" * 150 + b"}", b'{"a": "\xff"}', b'{"a": "\xed\xa0\x80"}',
            b'{"a": ' + b"9" * 5_000 + b"}",
        ]
    ),
]  # fmt: skip


def spoiled_event(names, key, field, value):
    fields = DOORS["event"].body(names, {"idempotencyKey": quoted(key)})
    return text_of(fields | {field: value})


def test_every_wrong_field_of_an_event_is_refused_by_its_name(target):
    for field, value in WRONG_IN_EVENT:
        reply = target.send("POST", "/v1/events", spoiled_event(target.names, "k", field, value))

        assert (reply.status, paths_of(reply.body["details"])) == (400, {field}), (field, value, reply)


# Batches with and without NUL are read in different ways.
@pytest.mark.parametrize(
    "wrong", [WRONG_IN_EVENT, [pair for pair in WRONG_IN_EVENT if b"u0000" not in pair[1]]], ids=["all", "without NUL"]
)
def test_a_batch_rejects_each_wrong_entry_by_its_name_and_keeps_the_good_ones_between(target, wrong):
    entries = []
    for number, (field, value) in enumerate(wrong):
        entries.append(text_of(DOORS["event"].body(target.names, {"idempotencyKey": quoted(f"good-{number}")})))
        entries.append(spoiled_event(target.names, f"bad-{number}", field, value))
    before = UsageEvent.objects.count()

    reply = target.send("POST", "/v1/events/batch", b'{"events": [' + b", ".join(entries) + b"]}")

    count = len(wrong)
    assert (reply.status, reply.body["accepted"], reply.body["rejected"]) == (202, count, count)
    assert [problem["index"] for problem in reply.body["errors"]] == list(range(1, 2 * count, 2))
    for problem, (field, value) in zip(reply.body["errors"], wrong, strict=True):
        assert paths_of(problem["details"]) == {field}, (field, value, problem)
    kept = UsageEvent.objects.filter(idempotency_key__startswith="good-")
    assert kept.count() == count == UsageEvent.objects.count() - before


@pytest.fixture
def metrics(target):
    """Metrics of the property `size` of the target's events, one of them only where `region` is one of three."""
    terms = {"event_name": target.names["event_name"], "value_property": "size"}
    metrics = [MetricFactory(aggregation_type=kind, **terms) for kind in ("SUM", "MAX", "UNIQUE_COUNT")]
    return [*metrics, MetricFactory(**terms, property_filter={"region": ["eu", 1, True]})]


@fuzz(25)
@given(size=VALUES, region=VALUES)
def test_properties_of_any_kind_are_counted_and_read_or_refused(target, metrics, size, region):
    with taken_back():
        properties = text_of({"size": size, "region": region})
        reply = target.send("POST", "/v1/events", spoiled_event(target.names, "k", "properties", properties))
        usage = f"/v1/usage/{target.names['customer']}?start=2026-01-31&end=2026-02-01"
        reads = [
            target.send("GET", f"{usage}&metricId={metric.public_id}&groupBy={grouping}")
            for metric in metrics
            for grouping in ("day", "size")
        ]

    assert reply.status in (202, 400), reply
    assert {read.status for read in reads} == {200}


# Entries that are JSON by themselves: sound ones, ones with odd fields, and ones that are no object.
SOUND, ODD, NO_OBJECT = "sound", "odd", "no object"
ENTRIES = st.one_of(
    st.tuples(st.just(SOUND), st.integers(0, 5)),
    st.tuples(st.just(ODD), st.dictionaries(st.sampled_from([*EVENT, "extCustomerId", "eventString"]), VALUES)),
    st.tuples(st.just(NO_OBJECT), st.sampled_from([b"null", b"1", b'"x"', b"[]", b"[{}]", b"true", b"1e400"])),
)


@fuzz(80)
@given(entries=st.lists(ENTRIES, min_size=1, max_size=8))
def test_a_batch_of_any_entries_keeps_the_sound_ones_or_is_refused_as_a_whole(target, entries):
    texts = []
    for kind, of in entries:
        if kind == NO_OBJECT:
            texts.append(of)
        else:
            changes = {"idempotencyKey": quoted(f"sound-{of}")} if kind == SOUND else of
            texts.append(text_of(DOORS["event"].body(target.names, changes)))
    indexes = {kind: {index for index, (of, _) in enumerate(entries) if of == kind} for kind in (SOUND, ODD, NO_OBJECT)}

    with taken_back():
        reply = target.send("POST", "/v1/events/batch", b'{"events": [' + b", ".join(texts) + b"]}")
        kept = set(UsageEvent.objects.filter(idempotency_key__startswith="sound-").values_list("idempotency_key"))

    if reply.status == 400:
        assert reply.body["code"] == "invalid_batch"
        return
    rejected = {problem["index"] for problem in reply.body["errors"]}
    assert reply.body["accepted"] + len(rejected) == len(entries)
    assert reply.body["rejected"] == len(rejected) == len(reply.body["errors"])
    assert indexes[NO_OBJECT] <= rejected and not indexes[SOUND] & rejected, reply
    assert kept == {(f"sound-{entries[index][1]}",) for index in indexes[SOUND]}
