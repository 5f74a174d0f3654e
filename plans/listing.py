"""Pages of lists: one shape and one order for every list that the contract leaves without pagination."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from django.db.models import Model, Q, QuerySet

from plans.refusals import InvalidInput

LONGEST_LIST = 1000
LARGEST_PAGE = 200

M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Page(Generic[M]):
    """Rows of a list, newest first; `words` is what the answer says of the rest: `hasMore` and `nextCursor`."""

    rows: list[M]
    words: dict[str, Any] = field(default_factory=dict)


def read_page(rows: QuerySet[M], query: Mapping[str, str]) -> Page[M]:
    """Read the page of `rows` that the parameters `limit` (1 to 200) and `cursor` ask for, newest first.

    Without both, up to 1,000 rows come, and `words` is empty as the contract has it unless there are still more. The
    model needs a `created_at`; rows made at the same instant are told apart by their keys, so that none is shown twice
    or left out. Raises InvalidInput for a limit or cursor that cannot be read.
    """
    limit = _limit_of(query)
    if "cursor" in query:
        created_at, key = _position_of(query["cursor"])
        rows = rows.filter(Q(created_at__lt=created_at) | Q(created_at=created_at, pk__lt=key))
    found = list(rows.order_by("-created_at", "-pk")[: limit + 1])
    page, has_more = found[:limit], len(found) > limit
    if not has_more and not is_paged(query):
        return Page(page)
    return Page(page, {"hasMore": has_more, "nextCursor": _cursor_after(page[-1]) if has_more else None})


def is_paged(query: Mapping[str, str]) -> bool:
    """Tell whether the caller asked for a page instead of the contract's plain list."""
    return "limit" in query or "cursor" in query


def _limit_of(query: Mapping[str, str]) -> int:
    if "limit" not in query:
        return LARGEST_PAGE if "cursor" in query else LONGEST_LIST
    text = query["limit"]
    # Short texts only, so that no number is too long to be read.
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= LARGEST_PAGE):
        raise InvalidInput.at("limit", f"must be a whole number from 1 to {LARGEST_PAGE}.")
    return int(text)


def _cursor_after(row: Any) -> str:
    return urlsafe_b64encode(f"{row.created_at.isoformat()} {row.pk}".encode()).decode().rstrip("=")


def _position_of(cursor: str) -> tuple[datetime, int]:
    refusal = InvalidInput.at("cursor", "is not one that a list has given.")
    try:
        text = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)).decode("ascii")
        moment, _, key = text.partition(" ")
        created_at = datetime.fromisoformat(moment)
    except ValueError:
        raise refusal from None
    # Ours are in UTC; another offset could carry a moment out of the years that there are.
    if created_at.utcoffset() != timedelta(0) or not (key.isdigit() and len(key) <= 18):
        raise refusal
    return created_at, int(key)
