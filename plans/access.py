"""What a plain view of the v1 API tells the guard about itself; class-based views say it by the same attributes."""

from collections.abc import Callable
from typing import Any, TypeVar

View = TypeVar("View", bound=Callable[..., Any])


def needs(*, scope: str, own_idempotency: bool = False, raw_body: bool = False) -> Callable[[View], View]:
    """Mark a view with the scope that a key needs for it.

    `own_idempotency` leaves repeated requests to the view, `raw_body` the reading of the body.
    """

    def mark(view: View) -> View:
        for name, value in (("scope", scope), ("own_idempotency", own_idempotency), ("raw_body", raw_body)):
            setattr(view, name, value)
        return view

    return mark
