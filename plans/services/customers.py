import secrets
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from plans.models import Customer
from plans.refusals import InvalidInput, NotFound, Refusal

# Without characters that are easily taken for another.
_PREFIX_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


class CustomerNotFound(NotFound):
    code = "customer_not_found"


class DuplicateCustomer(Refusal):
    """Another customer has this e-mail or external id."""

    code = "duplicate_customer"
    status = 409


def find_customer(identifier: str, *, external: bool = False) -> Customer:
    """Return the live customer with this id, or with this external id. Raises CustomerNotFound."""
    customer = Customer.objects.addressed_by(identifier, external=external).first()
    if customer is None:
        raise CustomerNotFound("Customer not found or access denied")
    return customer


def create_customer(
    *,
    at: datetime,
    name: str,
    email: str = "",
    external_customer_id: str | None = None,
    without_email: bool = False,
    share_email: bool = False,
    invoice_prefix: str = "",
    **profile: Any,
) -> Customer:
    """Create a customer.

    `without_email` and `share_email` are the caller's explicit wish to have no e-mail, or one that another customer
    has. Raises InvalidInput for a missing e-mail and DuplicateCustomer for an e-mail, external id or invoice prefix in
    use.
    """
    if not email and not without_email:
        raise InvalidInput.at(
            "email", "is required. Send dangerouslyAllowCustomerWithoutEmail to create a customer without one."
        )
    if email and not share_email and Customer.objects.live().filter(email__iexact=email).exists():
        raise _same_email()
    if external_customer_id and Customer.objects.addressed_by(external_customer_id, external=True).exists():
        raise _same_external_id()
    if invoice_prefix and Customer.objects.filter(invoice_prefix=invoice_prefix).exists():
        raise _same_invoice_prefix()
    try:
        with transaction.atomic():
            return Customer.objects.create(
                name=name,
                email=email,
                email_is_shared=share_email,
                external_customer_id=external_customer_id or None,
                invoice_prefix=invoice_prefix or _free_invoice_prefix(),
                created_at=at,
                **profile,
            )
    except IntegrityError as error:
        # A concurrent call was faster; the constraint's name tells which value is taken.
        if "customer_email" in str(error):
            raise _same_email() from None
        if "customer_external_id" in str(error):
            raise _same_external_id() from None
        if "customer_invoice_prefix" in str(error):
            raise _same_invoice_prefix() from None
        if "customer_psp_id" in str(error):
            raise DuplicateCustomer("Another customer has this pspCustomerId.") from None
        raise


def _same_email() -> DuplicateCustomer:
    return DuplicateCustomer(
        "Another customer has this email. Send dangerouslyAllowSameEmailForDifferentCustomers to create one more."
    )


def _same_external_id() -> DuplicateCustomer:
    return DuplicateCustomer("Another customer has this externalCustomerId.")


def _same_invoice_prefix() -> DuplicateCustomer:
    return DuplicateCustomer("Another customer has this invoicePrefix; invoice numbers would repeat.")


def _free_invoice_prefix() -> str:
    while True:
        prefix = "".join(secrets.choice(_PREFIX_ALPHABET) for _ in range(6))
        if not Customer.objects.filter(invoice_prefix=prefix).exists():
            return prefix
