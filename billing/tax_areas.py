"""Jurisdictions as codes: a country (`DE`), or one of its states (`US-CA`)."""

import re
from functools import cache

from babel import Locale

US = "US"
# States, the district, and the territories that have a sales tax of their own.
US_STATES = {
    "AL": "Alabama", "AK": "Alaska", "AZ": "Arizona", "AR": "Arkansas", "CA": "California", "CO": "Colorado",
    "CT": "Connecticut", "DE": "Delaware", "DC": "District of Columbia", "FL": "Florida", "GA": "Georgia",
    "HI": "Hawaii", "ID": "Idaho", "IL": "Illinois", "IN": "Indiana", "IA": "Iowa", "KS": "Kansas", "KY": "Kentucky",
    "LA": "Louisiana", "ME": "Maine", "MD": "Maryland", "MA": "Massachusetts", "MI": "Michigan", "MN": "Minnesota",
    "MS": "Mississippi", "MO": "Missouri", "MT": "Montana", "NE": "Nebraska", "NV": "Nevada", "NH": "New Hampshire",
    "NJ": "New Jersey", "NM": "New Mexico", "NY": "New York", "NC": "North Carolina", "ND": "North Dakota",
    "OH": "Ohio", "OK": "Oklahoma", "OR": "Oregon", "PA": "Pennsylvania", "RI": "Rhode Island",
    "SC": "South Carolina", "SD": "South Dakota", "TN": "Tennessee", "TX": "Texas", "UT": "Utah", "VT": "Vermont",
    "VA": "Virginia", "WA": "Washington", "WV": "West Virginia", "WI": "Wisconsin", "WY": "Wyoming",
    "AS": "American Samoa", "GU": "Guam", "MP": "Northern Mariana Islands", "PR": "Puerto Rico",
    "VI": "U.S. Virgin Islands",
}  # fmt: skip
_CODE_OF_STATE = {name.casefold(): code for code, name in US_STATES.items()}
# Groups of countries and test regions that stand among the territories' names.
_GROUPS = {"EU", "EZ", "QO", "UN", "XA", "XB", "ZZ"}
_WITH_STATE = re.compile(r"([A-Za-z]{2})\s*[-,/ ]\s*(\S.*)")
# A state of the US that a country is named like, too: whoever means the state writes US-GA.
_COUNTRIES_FIRST = {"georgia"}


def area_of(jurisdiction: str) -> str:
    """Read what an operator calls a jurisdiction: `DE`, `Germany`, `US-CA`, `US, California` or `California`.

    Empty for what names no country or state of the US that we know, such as `EU`.
    """
    text = jurisdiction.strip()
    if text.upper() in _countries():
        return text.upper()
    parts = _WITH_STATE.fullmatch(text)
    if parts is not None and parts[1].upper() in _countries():
        return place_of(parts[1], parts[2])
    folded = text.casefold()
    if folded in _CODE_OF_STATE and folded not in _COUNTRIES_FIRST:
        return place_of(US, folded)
    return _code_of_country().get(folded, "")


def place_of(country: str, state: str) -> str:
    """Write a country's code and a state, if one is known, as a code: US and California are `US-CA`, DE alone is
    `DE`. Empty without a country."""
    country, state = country.strip().upper(), state.strip()
    code = us_state(state) if country == US else state.upper().removeprefix(f"{country}-")
    return f"{country}-{code}" if country and code else country


def us_state(text: str) -> str:
    """The code of a state or territory of the US, by its code or name in any case; empty for anything else."""
    code = text.strip().upper().removeprefix("US-")
    return code if code in US_STATES else _CODE_OF_STATE.get(text.strip().casefold(), "")


@cache
def _countries() -> frozenset[str]:
    return frozenset(_code_of_country().values())


@cache
def _code_of_country() -> dict[str, str]:
    territories = Locale("en").territories.items()
    return {
        str(name).casefold(): str(code)
        for code, name in territories
        if re.fullmatch("[A-Z]{2}", str(code)) and code not in _GROUPS
    }
