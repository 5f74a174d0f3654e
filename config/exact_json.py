"""Exact JSON for the API framework's views: see plans.exact_json."""

from __future__ import annotations

from typing import IO, Any

from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer

from plans.exact_json import decode_object, encode


class ExactJSONParser(BaseParser):
    """Reads a request's body for DRF views; it must be a JSON object."""

    media_type = "application/json"

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Any = None) -> dict[str, Any]:
        return decode_object(stream.read())


class ExactJSONRenderer(BaseRenderer):
    """Writes the answers of DRF views."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return b"" if data is None else encode(data)
