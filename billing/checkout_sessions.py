"""Signed words about who is at the checkout: a customer whom the seller's own backend sends, or one visitor's browser.

Nothing else that a browser says of a buyer is believed. A session is signed with SECRET_KEY and ends after a day.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.signing import BadSignature, Signer

from plans.refusals import Refusal

VALID_FOR = timedelta(hours=24)
_signer = Signer(salt="candela.checkout-session", sep=".")


class CheckoutSessionInvalid(Refusal):
    """The session was not signed by this installation, or was cut on its way."""

    code = "checkout_session_invalid"
    status = 403


class CheckoutSessionExpired(Refusal):
    """The session is older than a day."""

    code = "checkout_session_expired"
    status = 403


@dataclass(frozen=True, kw_only=True)
class CheckoutSession:
    """Who is at the checkout: `customer` is a customer's id, or else `visitor` a random name of a browser.

    `price` is the id of a price that the seller chose for the customer, which need not be on sale for everybody.
    """

    customer: str = ""
    visitor: str = ""
    price: str = ""

    @property
    def buyer(self) -> str:
        """The name of the buyer among checkouts."""
        return f"customer:{self.customer}" if self.customer else f"visitor:{self.visitor}"


def sign_session(session: CheckoutSession, *, at: datetime) -> tuple[str, datetime]:
    """Return the token of a session that begins at `at`, and the instant until which it is taken."""
    expires_at = (at + VALID_FOR).replace(microsecond=0)
    words: dict[str, Any] = {"c": session.customer, "v": session.visitor, "p": session.price}
    said = {name: word for name, word in words.items() if word}
    return _signer.sign_object(said | {"e": int(expires_at.timestamp())}), expires_at


def customer_session(token: str, *, at: datetime) -> CheckoutSession:
    """Return the session of a token that came in an address or a request: that of a customer, never of a browser,
    which somebody else could have copied from his own. Raises as read_session."""
    session = read_session(token, at=at)
    if not session.customer:
        raise _invalid()
    return session


def read_session(token: str, *, at: datetime) -> CheckoutSession:
    """Return the session of a token. Raises CheckoutSessionInvalid and CheckoutSessionExpired."""
    try:
        words = _signer.unsign_object(token)
        expires_at = datetime.fromtimestamp(words["e"], UTC)
    except (BadSignature, ValueError, KeyError, TypeError):
        raise _invalid() from None
    if at >= expires_at:
        raise CheckoutSessionExpired(
            "This checkout link has expired. Open the checkout again from the app that you came from."
        )
    return CheckoutSession(customer=words.get("c", ""), visitor=words.get("v", ""), price=words.get("p", ""))


def _invalid() -> CheckoutSessionInvalid:
    return CheckoutSessionInvalid(
        "This checkout link is not valid. Open the checkout again from the app that you came from."
    )
