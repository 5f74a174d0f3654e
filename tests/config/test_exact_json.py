"""No number passes through a float, and nothing that cannot be stored gets in."""

import json
from collections import OrderedDict
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from io import BytesIO

import msgspec
import pytest
from django.utils.functional import lazystr
from hypothesis import given
from hypothesis import strategies as st

from config.exact_json import ExactJSONParser, ExactJSONRenderer
from plans.exact_json import InvalidJSON, decode, decode_object, encode

# Hypothesis wants its bounds without a zone.
FIRST = datetime(1000, 1, 2)
LAST = datetime(9999, 12, 30)
decimals = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**38), max_value=10**38)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | decimals | texts,
    lambda children: st.lists(children) | st.dictionaries(texts, children),
    max_leaves=20,
)


@given(values)
def test_what_is_written_reads_back_equal(value):
    assert decode(encode(value)) == value


@given(values)
def test_what_is_written_is_json_to_others_too(value):
    assert json.loads(encode(value), parse_float=Decimal) == value


@given(decimals)
def test_decimals_are_written_exactly_in_plain_digits(number):
    text = encode(number).decode()
    assert Decimal(text) == number
    assert "e" not in text.lower()
    assert ("." in text) == (number != number.to_integral_value())


@given(st.datetimes(timezones=st.timezones(), min_value=FIRST, max_value=LAST))
def test_moments_are_written_in_utc_with_three_decimals(moment):
    text = json.loads(encode(moment))
    assert len(text) == len("2025-02-20T18:00:00.000Z")
    assert text.endswith("Z")
    lost = moment - datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert timedelta(0) <= lost < timedelta(milliseconds=1)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_by_name(raw):
    with suppress(InvalidJSON):
        decode(raw)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("5.000000", "5"),
        ("1.500000", "1.5"),
        ("1E+3", "1000"),
        ("100", "100"),
        ("-0.00", "0"),
        ("1E-6", "0.000001"),
        ("123456789012345678.123456", "123456789012345678.123456"),
    ],
)
def test_writes_a_decimal_as(number, text):
    assert encode({"value": Decimal(number)}) == b'{"value":%s}' % text.encode()


def test_writes_a_moment_of_another_zone_in_utc():
    moment = datetime(2025, 2, 20, 19, 0, tzinfo=timezone(timedelta(hours=1)))
    assert encode(moment) == b'"2025-02-20T18:00:00.000Z"'


def test_cuts_microseconds_off_instead_of_rounding_into_the_next_second():
    assert encode(datetime(2025, 2, 20, 18, 0, 0, 999_999, tzinfo=UTC)) == b'"2025-02-20T18:00:00.999Z"'


def test_writes_the_rarer_kinds_of_values():
    class Colour(StrEnum):
        RED = "red"

    class Point(msgspec.Struct, rename="camel"):
        at_x: Decimal
        seen_at: datetime

    value = OrderedDict(
        lazy=lazystr("later"),
        colour=Colour.RED,
        pair=(Decimal("1.0"), 2),
        point=Point(Decimal("2.50"), datetime(2025, 1, 1, tzinfo=UTC)),
        half=0.5,
    )
    assert json.loads(encode(value)) == {
        "lazy": "later",
        "colour": "red",
        "pair": [1, 2],
        "point": {"atX": 2.5, "seenAt": "2025-01-01T00:00:00.000Z"},
        "half": 0.5,
    }


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("Infinity"), float("nan"), float("-inf")])
def test_refuses_to_write_numbers_that_are_none(value):
    with pytest.raises(ValueError, match="is not a JSON number"):
        encode([value])


def test_refuses_to_write_a_moment_without_a_zone():
    with pytest.raises(ValueError, match="has no time zone"):
        encode(datetime(2025, 1, 1))


def test_reads_fractions_as_decimals_and_whole_numbers_as_integers():
    read = decode(b'{"price": 0.10, "units": 3, "huge": 12345678901234567890123}')
    assert read == {"price": Decimal("0.10"), "units": 3, "huge": 12345678901234567890123}
    assert str(read["price"]) == "0.10"
    assert type(read["units"]) is int


def test_the_last_of_equal_keys_wins():
    assert decode(b'{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b'{"a": 1,}',
        b"{'a': 1}",
        b"NaN",
        b'{"a": Infinity}',
        b"[-Infinity]",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        '{"a": 1}'.encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b'"\\ud800"',
        b'"\\udc00 alone"',
        b'"a\\u0000b"',
        b'{"a\\u0000": 1}',
        b'[{"deep": ["a\\u0000b"]}]',
        b'"a\x00b"',
        b"9" * 10_000,
        b"-" + b"9" * 10_000,
        b"0." + b"1" * 10_000,
        b"1e999999999",
        b"1e-999999999",
        b"0e-999999999",
        b"1e99999999999999999999999",
        b"[" * 101 + b"]" * 101,
        b"[" * 600 + b"]" * 600,
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda raw: repr(raw[:24]),
)
def test_refuses_to_read(raw):
    with pytest.raises(InvalidJSON):
        decode(raw)


def test_reads_a_hundred_levels_and_long_lists():
    assert decode(b"[" * 100 + b"]" * 100)
    assert len(decode(b"[" + b"{},[]," * 5_000 + b"0]")) == 10_001


def test_an_escaped_backslash_before_u0000_is_no_nul():
    assert decode(b'"\\\\u0000"') == "\\u0000"


def test_a_surrogate_pair_is_one_character():
    assert decode(b'"\\ud83d\\ude00"') == "😀"


@pytest.mark.parametrize("raw", [b"[]", b"1", b'"text"', b"null"])
def test_refuses_another_json_value_where_an_object_is_needed(raw):
    with pytest.raises(InvalidJSON, match="must be a JSON object"):
        decode_object(raw)


@pytest.mark.parametrize("raw", [b"", b" \n"])
def test_no_body_is_an_object_without_fields(raw):
    assert decode_object(raw) == {}


def test_the_parser_reads_and_the_renderer_writes_exactly():
    read = ExactJSONParser().parse(BytesIO(b'{"value": 0.1000000000000000000001}'))
    assert ExactJSONRenderer().render(read) == b'{"value":0.1000000000000000000001}'


def test_the_renderer_writes_nothing_for_no_data():
    assert ExactJSONRenderer().render(None) == b""
