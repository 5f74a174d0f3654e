"""Stripe's lists, read page by page to be compared with what is here."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import stripe

from billing.exchange import CHECKOUT_ID, INVOICE_ID, INVOICE_REVISION, REFUND_ID, ObjectAtStripe
from billing.gateway.connection import PAGE, call, errors_in_our_words, our_id
from billing.stripe_amounts import from_stripe

# As much as a column of ours holds. Stripe's metadata may have more, and what is none of ours may be anything.
LONGEST_ID = 255


@dataclass(frozen=True, slots=True)
class PageAtStripe:
    """A page of a list. `cursor` is where the next one begins, empty when this was the last."""

    objects: list[ObjectAtStripe]
    cursor: str


def read_page(type_: str, *, since: datetime | None, until: datetime, cursor: str) -> PageAtStripe:
    """Read a page of a list of Stripe's, the newest first, of what was made from `since` to `until`.

    `type_` is `invoice`, `payment`, `intent`, `refund` or `dispute`. Raises StripeRefused when the object at `cursor`
    is gone, as drafts may be.
    """
    kind = _KINDS[type_]
    created = {"lte": int(until.timestamp())} | ({"gte": int(since.timestamp())} if since else {})
    place = {"starting_after": cursor} if cursor else {}
    with errors_in_our_words():
        page = kind.resource.list(created=created, limit=PAGE, **kind.filters, **place, **call())
        objects = [kind.shape(one) for one in page.data]
    return PageAtStripe(objects, objects[-1].stripe_id if page.has_more and objects else "")


def look_again(type_: str, stripe_id: str) -> ObjectAtStripe | None:
    """Read one invoice, intent, refund or dispute as it stands now; None when Stripe does not have it."""
    kind = _KINDS[type_]
    with errors_in_our_words():
        try:
            found = kind.resource.retrieve(stripe_id, **call())
        except stripe.InvalidRequestError as error:
            if error.code != "resource_missing":
                raise
            return None
        return None if getattr(found, "deleted", False) else kind.shape(found)


def _common(one: Any) -> dict[str, Any]:
    return {
        "stripe_id": one.id,
        "status": one.status or "",
        "currency": one.currency.upper(),
        "made_at": datetime.fromtimestamp(one.created, UTC),
    }


def _cents(amount: int | None, currency: str) -> int | None:
    try:
        return from_stripe(amount or 0, currency)
    except ValueError:
        return None


def _from_metadata(one: Any, name: str) -> str:
    return our_id(one, name).replace("\0", "")[:LONGEST_ID]


def _id(one: Any) -> str:
    """The id of what Stripe may give whole or by its id."""
    return one if isinstance(one, str) else one.id if one else ""


def _invoice(invoice: Any) -> ObjectAtStripe:
    return ObjectAtStripe(
        **_common(invoice),
        amount_cents=_cents(invoice.total, invoice.currency),
        paid_cents=_cents(invoice.amount_paid, invoice.currency),
        our_id=_from_metadata(invoice, INVOICE_ID),
        revision=_from_metadata(invoice, INVOICE_REVISION) or "0",
    )


def _payment(payment: Any) -> ObjectAtStripe:
    return ObjectAtStripe(
        **_common(payment),
        amount_cents=_cents(payment.amount_paid, payment.currency),
        stripe_invoice_id=_id(payment.invoice),
        intent_id=_id(getattr(payment.payment, "payment_intent", None)),
    )


def _intent(intent: Any) -> ObjectAtStripe:
    return ObjectAtStripe(
        **_common(intent),
        amount_cents=_cents(intent.amount, intent.currency),
        paid_cents=_cents(intent.amount_received, intent.currency),
        our_id=_from_metadata(intent, CHECKOUT_ID) or _from_metadata(intent, INVOICE_ID),
        intent_id=intent.id,
    )


def _refund(refund: Any) -> ObjectAtStripe:
    return ObjectAtStripe(
        **_common(refund),
        amount_cents=_cents(refund.amount, refund.currency),
        our_id=_from_metadata(refund, REFUND_ID),
        intent_id=_id(refund.payment_intent),
    )


def _dispute(dispute: Any) -> ObjectAtStripe:
    return ObjectAtStripe(
        **_common(dispute),
        amount_cents=_cents(dispute.amount, dispute.currency),
        intent_id=_id(dispute.payment_intent),
    )


@dataclass(frozen=True, slots=True)
class _Kind:
    resource: Any
    shape: Callable[[Any], ObjectAtStripe]
    filters: dict[str, Any]


_KINDS = {
    "invoice": _Kind(stripe.Invoice, _invoice, {}),
    "payment": _Kind(stripe.InvoicePayment, _payment, {"status": "paid"}),
    "intent": _Kind(stripe.PaymentIntent, _intent, {}),
    "refund": _Kind(stripe.Refund, _refund, {}),
    "dispute": _Kind(stripe.Dispute, _dispute, {}),
}
