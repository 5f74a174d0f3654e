"""Fields of request bodies that take a JSON value only as what it is: no number for text, no text for a boolean."""

import json
import re
from decimal import Decimal
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from babel import Locale, UnknownLocaleError
from rest_framework import serializers

from plans.json_values import NumberKeepingEncoder
from plans.money import is_currency

MOST_METADATA_BYTES = 16 * 1024
LARGEST_MAJOR_AMOUNT = 10**12
MOST_AMOUNT_DECIMALS = 12
LONGEST_DESCRIPTION = 5000
# Groups of countries, test regions and reserved codes that stand among the territories' names.
_NO_COUNTRIES = {"CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "UN", "XA", "XB", "ZZ"}
_AMOUNT = re.compile(r"[0-9]{1,13}(\.[0-9]{1,12})?")


@cache
def country_codes() -> frozenset[str]:
    """The two-letter codes of ISO 3166-1."""
    codes = frozenset(str(code) for code in Locale("en").territories)
    return frozenset(code for code in codes if re.fullmatch("[A-Z]{2}", code)) - _NO_COUNTRIES


@cache
def time_zone_names() -> frozenset[str]:
    """The names of IANA time zones."""
    return frozenset(available_timezones())


class Text(serializers.CharField):
    """Text, with the blanks around it cut off."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class OptionalText(Text):
    """Text that may be absent, empty or null."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_blank=True, allow_null=True, **kwargs)


class Email(OptionalText, serializers.EmailField):
    """An e-mail address, or nothing."""


class Switch(serializers.BooleanField):
    """A JSON boolean."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class WholeNumber(serializers.IntegerField):
    """A JSON number without a fraction."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, Decimal) and data == data.to_integral_value():
            data = int(data)
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return data


class Choice(serializers.ChoiceField):
    """One of a few words; the refusal names them."""

    default_error_messages = {"invalid_choice": "must be {words}."}

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or data not in self.choices:
            self.fail("invalid_choice", words=" or ".join(str(word) for word in self.choices))
        return data


class Metadata(serializers.Field):
    """A JSON object of the caller's own, of at most 16 KB."""

    default_error_messages = {
        "invalid": "must be an object.",
        "too_large": f"must have at most {MOST_METADATA_BYTES} bytes as JSON.",
    }

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("invalid")
        if len(json.dumps(data, cls=NumberKeepingEncoder, ensure_ascii=False).encode()) > MOST_METADATA_BYTES:
            self.fail("too_large")
        return data


class JsonValue(serializers.Field):
    """Any JSON value; the service that gets it knows what it may be."""

    def to_internal_value(self, data: Any) -> Any:
        return data


class MajorAmount(serializers.Field):
    """An amount of money in major units, as a number or as text of one; how many decimals it may have depends on the
    currency."""

    default_error_messages = {"invalid": "must be an amount in major units such as 29.99, not negative."}

    def to_internal_value(self, data: Any) -> Decimal:
        if isinstance(data, str) and _AMOUNT.fullmatch(data):
            data = Decimal(data)
        if isinstance(data, bool) or not isinstance(data, int | Decimal) or not 0 <= data <= LARGEST_MAJOR_AMOUNT:
            self.fail("invalid")
        amount = Decimal(data)
        exponent = amount.as_tuple().exponent
        if isinstance(exponent, int) and -exponent > MOST_AMOUNT_DECIMALS:
            self.fail("invalid")
        return amount


class CountryCode(OptionalText):
    """A country's two-letter code, in any case."""

    default_error_messages = {"unknown": "must be an ISO 3166-1 code of two letters such as DE."}

    def to_internal_value(self, data: Any) -> str:
        code = super().to_internal_value(data).upper()
        if code not in country_codes():
            self.fail("unknown")
        return code


class CurrencyCode(OptionalText):
    """A currency's code, in any case."""

    default_error_messages = {"unknown": "must be an ISO 4217 code such as USD."}

    def to_internal_value(self, data: Any) -> str:
        code = super().to_internal_value(data).upper()
        if not is_currency(code):
            self.fail("unknown")
        return code


class LanguageCode(OptionalText):
    """A language such as `de` or `pt-BR`."""

    default_error_messages = {"unknown": "must be a language such as en or pt-BR."}

    def to_internal_value(self, data: Any) -> str:
        code = super().to_internal_value(data)
        try:
            Locale.parse(code.replace("_", "-"), sep="-")
        except (ValueError, UnknownLocaleError):
            self.fail("unknown")
        return code


class TimeZoneName(OptionalText):
    """An IANA time zone such as `Europe/Berlin`."""

    default_error_messages = {"unknown": "must be an IANA time zone such as Europe/Berlin."}

    def to_internal_value(self, data: Any) -> str:
        name = super().to_internal_value(data)
        if name not in time_zone_names():
            self.fail("unknown")
        return name


def given(attrs: dict[str, Any]) -> dict[str, Any]:
    """Leave out fields that were sent as null, so that they get the same default as absent ones."""
    return {name: value for name, value in attrs.items() if value is not None}
