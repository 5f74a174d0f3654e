import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from plans.models import Customer
from plans.refusals import InvalidInput, Refusal
from plans.services.customers import find_customer


class CheckoutSessionRequired(Refusal):
    """The named customer exists; that somebody is this customer must come signed, from the seller's backend."""

    code = "checkout_session_required"
    status = 403


class CheckoutSessionOfAnother(Refusal):
    """A request names another customer than the one its session was signed for."""

    code = "checkout_session_of_another"
    status = 403


@dataclass(frozen=True, kw_only=True)
class Buyer:
    """Who wishes to subscribe: a customer of ours, or somebody who becomes one.

    `key` names the buyer among checkouts. `name` and `email` are what a new customer typed; those of a customer of
    ours are kept ones. `profile` holds further fields of a new Customer.
    """

    key: str
    customer: Customer | None
    name: str
    email: str
    external_customer_id: str | None
    profile: Mapping[str, Any]


def known_buyer(*, customer_id: str, claimed_external_id: str | None = None) -> Buyer:
    """Return the customer whom a signed session names.

    Raises CustomerNotFound, and CheckoutSessionOfAnother when the request claims to be somebody else.
    """
    customer = find_customer(customer_id)
    if claimed_external_id not in (None, "", customer.external_customer_id, customer.public_id):
        raise CheckoutSessionOfAnother("This checkout session was made for another customer.")
    return Buyer(
        key=f"customer:{customer.public_id}",
        customer=customer,
        name=customer.name,
        email=customer.email,
        external_customer_id=None,
        profile={},
    )


def new_buyer(*, visitor: str, name: str, email: str, external_customer_id: str | None = None, **profile: Any) -> Buyer:
    """Return somebody who becomes a customer, named by his browser's `visitor` key where it has one.

    Without one he is named by all that was typed: who sends the same again gets the same checkout, and who sends
    something else touches nobody's. Raises InvalidInput without a name or an e-mail.
    """
    if not name:
        raise InvalidInput.at("customerName", "is required.")
    if not email:
        raise InvalidInput.at("customerEmail", "is required: invoices are sent there.")
    external_id = external_customer_id or None
    given = {field: value for field, value in profile.items() if value not in (None, "")}
    typed = json.dumps([external_id, name, email, given], sort_keys=True, ensure_ascii=True)
    key = f"{visitor}:{_digest(external_id or '')}" if visitor else f"typed:{_digest(typed)}"
    return Buyer(key=key, customer=None, name=name, email=email, external_customer_id=external_id, profile=given)


def refuse_claimed_customer(buyer: Buyer) -> None:
    """Raise CheckoutSessionRequired when somebody who says that he is new names a customer of ours."""
    external_id = buyer.external_customer_id
    if buyer.customer is None and external_id is not None and _is_customer(external_id):
        raise CheckoutSessionRequired(
            "This customer exists already. Have your backend call POST /v1/customers/{id}/checkout-session"
            " and send its session as checkoutSession."
        )


def visitor_key(visitor: str) -> str:
    """Name a visitor's browser that claims no external id, as `new_buyer` does."""
    return f"{visitor}:{_digest('')}"


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _is_customer(identifier: str) -> bool:
    by_either_id = Customer.objects.addressed_by(identifier, external=True) | Customer.objects.addressed_by(
        identifier, external=False
    )
    return by_either_id.exists()
