"""What operators and customers call a place."""

import pytest

from billing.tax_areas import area_of, place_of, us_state


@pytest.mark.parametrize(
    ("text", "area"),
    [
        ("DE", "DE"),
        (" de ", "DE"),
        ("Germany", "DE"),
        ("US-CA", "US-CA"),
        ("us, california", "US-CA"),
        ("US California", "US-CA"),
        ("US/NY", "US-NY"),
        ("California", "US-CA"),
        ("new york", "US-NY"),
        ("CA", "CA"),  # Canada
        ("CA-QC", "CA-QC"),
        ("Georgia", "GE"),
        ("US-GA", "US-GA"),
        ("United States", "US"),
        ("EU", ""),
        ("European Union", ""),
        ("the moon", ""),
        ("", ""),
    ],
)
def test_a_jurisdiction_is_read_as_a_code(text, area):
    assert area_of(text) == area


@pytest.mark.parametrize(
    ("country", "state", "place"),
    [
        ("DE", "", "DE"),
        ("us", "ca", "US-CA"),
        ("US", "California", "US-CA"),
        ("US", "US-CA", "US-CA"),
        ("US", "nowhere", "US"),
        ("CA", "qc", "CA-QC"),
        ("", "CA", ""),
    ],
)
def test_an_address_is_read_as_a_code(country, state, place):
    assert place_of(country, state) == place


def test_a_state_is_known_by_code_and_name():
    assert [us_state(text) for text in ("tx", "Texas", "US-TX", "Bavaria", "")] == ["TX", "TX", "TX", "", ""]
