"""Query parameters, read strictly."""

from collections.abc import Mapping

from plans.refusals import InvalidInput


def boolean_parameter(query: Mapping[str, str], name: str) -> bool:
    """Read a parameter that is the literal "true" or "false"; missing is false. Raises InvalidInput for others."""
    text = query.get(name, "false")
    if text not in ("true", "false"):
        raise InvalidInput.at(name, 'must be "true" or "false".')
    return text == "true"
