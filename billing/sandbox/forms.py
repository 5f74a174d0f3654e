"""Stripe's form bodies: `lines[0][amount]=5` is a nested value."""

import re
from typing import Any
from urllib.parse import parse_qsl

from billing.sandbox.errors import Complaint

MAX_DEPTH = 10


def decode(text: str) -> dict[str, Any]:
    """Return the nested parameters of a form body or query string.

    Every leaf is text. A list comes out as a mapping of its positions ("0", "1", …): only the expected type tells
    a list from a mapping whose keys are digits.
    """
    parameters: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        _put(parameters, _steps(name), value, name)
    return parameters


def _steps(name: str) -> list[str]:
    match = re.fullmatch(r"([^\[\]]+)((?:\[[^\[\]]*\])*)", name)
    steps = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])] if match else []
    if not steps or len(steps) > MAX_DEPTH:
        raise Complaint(f"Invalid parameter name: {name}", param=name)
    return steps


def _put(parameters: dict[str, Any], steps: list[str], value: str, name: str) -> None:
    place = parameters
    for step in steps[:-1]:
        place = place.setdefault(step or str(len(place)), {})
        if not isinstance(place, dict):
            raise Complaint(f"Invalid parameter: {name} has both a value and parts.", param=name)
    place[steps[-1] or str(len(place))] = value
