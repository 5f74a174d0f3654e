"""Webhooks that are not what they seem: forged, replayed, or about something that nobody knows."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from stripe import WebhookSignature

from billing.sandbox.faults import FaultKind
from billing.sandbox.ids import new_id, random_text
from billing.sandbox.messages import as_json
from billing.sandbox.store import JsonObject

REPLAYED_AFTER_SECONDS = 3_600


@dataclass(frozen=True)
class Posting:
    """What is posted to an endpoint: an event, signed with a secret at a second."""

    event: JsonObject
    secret: str
    signed_at: int

    @property
    def body(self) -> str:
        """The event as JSON."""
        return as_json(self.event)

    def headers(self) -> dict[str, str]:
        """The headers with the signature."""
        signature = WebhookSignature.generate_signature_header(self.body, self.secret, timestamp=self.signed_at)
        return {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature,
            "User-Agent": "Candela sandbox (this is not Stripe)",
        }


def _stale(right: Posting) -> Posting:
    """Somebody has listened in, and sends it again an hour later."""
    return replace(right, signed_at=right.signed_at - REPLAYED_AFTER_SECONDS)


def _forged(right: Posting) -> Posting:
    """Somebody who does not know the secret makes an event up, which says more than what happened."""
    return replace(right, event={**right.event, "id": new_id("evt")}, secret=f"whsec_{random_text(32)}")


def _unknown(right: Posting) -> Posting:
    """Stripe tells of an object that is none of ours, and whose metadata name nothing of ours."""
    told = right.event["data"]["object"]
    metadata = dict.fromkeys(told.get("metadata") or {}, "unknown")
    stranger = {**told, "id": f"{told['id'].split('_')[0]}_unknown{random_text(17)}", "metadata": metadata}
    return replace(right, event={**right.event, "id": new_id("evt"), "data": {"object": stranger}})


DISGUISES: dict[FaultKind | None, Callable[[Posting], Posting]] = {
    FaultKind.WEBHOOK_STALE: _stale,
    FaultKind.WEBHOOK_FORGED: _forged,
    FaultKind.WEBHOOK_UNKNOWN: _unknown,
}


def disguised(right: Posting, disguise: FaultKind | None) -> Posting:
    """Return what is posted instead of the right webhook."""
    return DISGUISES[disguise](right) if disguise else right
