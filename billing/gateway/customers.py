"""Customers at Stripe and the cards that are kept for them."""

from typing import Any

import stripe
from djstripe import models as mirrored

from billing.exchange import Card, CustomerToSend
from billing.gateway.connection import PAGE, call, errors_in_our_words, mirror, our_id

CUSTOMER_ID = "candela_customer"


def ensure_customer(customer: CustomerToSend, *, is_new: bool = False) -> str:
    """Return Stripe's id of a customer, creating it there first where it is missing.

    `is_new` says that an attempt of more than a day ago cannot have made it: then it is not looked for among all who
    have the same e-mail.
    """
    if customer.stripe_id:
        return customer.stripe_id
    with errors_in_our_words():
        if customer.email and not is_new:
            known = stripe.Customer.list(email=customer.email, limit=PAGE, **call())
            for candidate in known.auto_paging_iter():
                if our_id(candidate, CUSTOMER_ID) == customer.id:
                    return candidate.id
        # Created with what never changes: a repeated key with another name or e-mail would be refused for a day.
        created = stripe.Customer.create(metadata={CUSTOMER_ID: customer.id}, **call(f"{customer.id}-create"))
        details: dict[str, Any] = {"email": customer.email} if customer.email else {}
        created = stripe.Customer.modify(created.id, name=customer.name, **details, **call())
    mirror(mirrored.Customer, created)
    return created.id


def attach_payment_method(*, stripe_customer: str, payment_method: str) -> Card:
    """Attach a payment method to a customer and make it the one for invoices. Raises CardDeclined or StripeRefused."""
    with errors_in_our_words():
        method = stripe.PaymentMethod.attach(payment_method, customer=stripe_customer, **call())
        stripe.Customer.modify(stripe_customer, invoice_settings={"default_payment_method": method.id}, **call())
    mirror(mirrored.PaymentMethod, method)
    return card_of(method)


def card_of(method: stripe.PaymentMethod) -> Card:
    card = method.card
    return Card(
        stripe_id=method.id,
        payment_type=method.type,
        brand=card.brand if card else "",
        last_four=card.last4 or "" if card else "",
        expiry_month=card.exp_month if card else None,
        expiry_year=card.exp_year if card else None,
    )


def forget_card(card: str) -> None:
    """Detach a payment method from its customer, so that it can never be charged."""
    with errors_in_our_words():
        stripe.PaymentMethod.detach(card, **call())


def update_customer(*, stripe_customer: str, name: str, email: str, payment_method: str) -> None:
    """Tell Stripe a customer's name and e-mail, and which payment method pays invoices."""
    details: dict[str, Any] = {"email": email} if email else {}
    with errors_in_our_words():
        updated = stripe.Customer.modify(
            stripe_customer,
            name=name,
            invoice_settings={"default_payment_method": payment_method},
            **details,
            **call(),
        )
    mirror(mirrored.Customer, updated)
