import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from plans.models import Customer
from plans.refusals import InvalidInput, Refusal
from plans.services.customers import CustomerNotFound

# Line breaks and the like, and what turns the direction of writing: on an invoice one line could look like another.
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


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

    `key` names the buyer among checkouts; `is_proven` tells that nobody else can have it, since a session or a cookie
    was signed for it. `name` and `email` are what a new customer typed; those of a customer of ours are kept ones.
    `profile` holds further fields of a new Customer.
    """

    key: str
    is_proven: bool
    customer: Customer | None
    name: str
    email: str
    external_customer_id: str | None
    profile: Mapping[str, Any]


def known_buyer(*, customer_id: str, claimed_external_id: str | None = None) -> Buyer:
    """Return the customer whom a signed session names.

    Raises CustomerNotFound, and CheckoutSessionOfAnother when the request claims to be somebody else.
    """
    customer = Customer.objects.addressed_by(customer_id, external=False).first()
    if customer is None:
        raise CustomerNotFound("This account was closed. Open the checkout again from the app that you came from.")
    if claimed_external_id not in (None, "", customer.external_customer_id, customer.public_id):
        raise CheckoutSessionOfAnother("This checkout session was made for another customer.")
    return Buyer(
        key=f"customer:{customer.public_id}",
        is_proven=True,
        customer=customer,
        name=customer.name,
        email=customer.email,
        external_customer_id=None,
        profile={},
    )


def new_buyer(
    *, name: str, email: str, visitor: str = "", external_customer_id: str | None = None, **profile: Any
) -> Buyer:
    """Return somebody who becomes a customer, named by his browser's `visitor` key where it has one.

    Without one he is named by all that was typed, which somebody else may type too: that tells doubled requests, and
    opens nothing. Raises InvalidInput for a name or an e-mail that is missing or has characters that cannot be seen.
    """
    if not name:
        raise InvalidInput.at("customerName", "is required.")
    if not email:
        raise InvalidInput.at("customerEmail", "is required: it stands on the invoices.")
    if UNSEEN.search(name):
        raise InvalidInput.at(
            "customerName", "must be one line, without characters that turn the direction of writing."
        )
    external_id = external_customer_id or None
    given = {field: value for field, value in profile.items() if value not in (None, "")}
    typed = json.dumps([external_id, name, email, given], sort_keys=True)
    return Buyer(
        key=visitor or f"typed:{sha256(typed.encode()).hexdigest()}",
        is_proven=bool(visitor),
        customer=None,
        name=name,
        email=email,
        external_customer_id=external_id,
        profile=given,
    )


def refuse_claimed_customer(buyer: Buyer) -> None:
    """Raise CheckoutSessionRequired when somebody who says that he is new names a customer of ours."""
    external_id = buyer.external_customer_id
    if buyer.customer is None and external_id is not None and _is_customer(external_id):
        raise CheckoutSessionRequired(
            "This customer exists already. Have your backend call POST /v1/customers/{id}/checkout-session"
            " and send its session as checkoutSession."
        )


def _is_customer(identifier: str) -> bool:
    by_either_id = Customer.objects.addressed_by(identifier, external=True) | Customer.objects.addressed_by(
        identifier, external=False
    )
    return by_either_id.exists()
