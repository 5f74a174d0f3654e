import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from plans.models import Customer, Merchant
from plans.refusals import InvalidInput, NotFound, Refusal
from plans.services.seats import OrganizationHasPrimary, check_role, move_member, open_first_seat

# Without characters that are easily taken for another.
_PREFIX_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


class CustomerNotFound(NotFound):
    code = "customer_not_found"


class DuplicateCustomer(Refusal):
    """Another customer has this e-mail or external id."""

    code = "duplicate_customer"
    status = 409


class InvoicePrefixInUse(Refusal):
    """Invoices were numbered with the prefix: another customer could take it over and repeat their numbers."""

    code = "invoice_prefix_in_use"
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
    has. A member of an organization gets its seat. Raises InvalidInput for a missing e-mail or a role without an
    organization, DuplicateCustomer for an e-mail, external id or invoice prefix in use, and OrganizationHasPrimary for
    a second primary customer.
    """
    if not email and not without_email:
        raise _no_email()
    check_role(organization_id=profile.get("customer_organization_id"), role=profile.get("org_role"))
    _refuse_taken(
        email="" if share_email else email, external_customer_id=external_customer_id, invoice_prefix=invoice_prefix
    )
    with _conflicts_named(), transaction.atomic():
        customer = Customer.objects.create(
            name=name,
            email=email,
            email_is_shared=share_email,
            external_customer_id=external_customer_id or None,
            invoice_prefix=invoice_prefix or _free_invoice_prefix(),
            created_at=at,
            **profile,
        )
        open_first_seat(customer)
        return customer


@transaction.atomic
def update_customer(
    *,
    at: datetime,
    customer: Customer,
    without_email: bool = False,
    share_email: bool = False,
    **changes: Any,
) -> Customer:
    """Change a customer's columns named in `changes`, and leave the others; see create_customer for the two wishes.

    With another organization or role, its seat ends or begins at `at`: what it used before counts where it sat then.
    Raises CustomerNotFound if it was deleted meanwhile, InvalidInput, DuplicateCustomer, OrganizationHasPrimary, and
    InvoicePrefixInUse once an invoice has a number with the prefix.
    """
    locked = Customer.objects.live().select_for_update(no_key=True).filter(pk=customer.pk).first()
    if locked is None:
        raise CustomerNotFound("Customer not found or access denied")
    if changes.get("email") == locked.email and not share_email:
        # Sent back as it was: whoever else has it is known.
        del changes["email"]
    if "email" in changes:
        if not changes["email"] and not without_email:
            raise _no_email()
        changes["email_is_shared"] = share_email
    _check_invoice_prefix(locked, changes.get("invoice_prefix", locked.invoice_prefix))
    _refuse_taken(
        email="" if share_email else changes.get("email", ""),
        external_customer_id=changes.get("external_customer_id"),
        invoice_prefix=changes.get("invoice_prefix", ""),
        others=Customer.objects.exclude(pk=locked.pk),
    )
    for column, value in changes.items():
        setattr(locked, column, value)
    if "customer_organization_id" in changes or "org_role" in changes:
        check_role(organization_id=locked.customer_organization_id, role=locked.org_role)
    with _conflicts_named(), transaction.atomic():
        locked.save(update_fields=[*changes, "updated_at"])
        move_member(customer=locked, at=at)
    return locked


def _check_invoice_prefix(customer: Customer, prefix: str) -> None:
    if prefix != customer.invoice_prefix and customer.last_invoice_number > 0:
        raise InvoicePrefixInUse(
            "invoicePrefix: cannot change any more: there are invoices whose numbers begin with it.",
            details=[{"path": "invoicePrefix", "message": "cannot change any more."}],
        )


def _refuse_taken(
    *,
    email: str,
    external_customer_id: str | None,
    invoice_prefix: str,
    others: QuerySet[Customer] | None = None,
) -> None:
    """Raise DuplicateCustomer if one of the `others` (by default all) has one of these. Empty ones are free."""
    others = Customer.objects.all() if others is None else others
    living = others.filter(deleted_at__isnull=True)
    if email and living.filter(email__iexact=email).exists():
        raise _same_email()
    if external_customer_id and living.filter(external_customer_id=external_customer_id).exists():
        raise _same_external_id()
    if invoice_prefix and others.filter(invoice_prefix=invoice_prefix).exists():
        raise _same_invoice_prefix()


@contextmanager
def _conflicts_named() -> Iterator[None]:
    """Say which value is taken when a concurrent call was faster; the constraint's name tells."""
    try:
        yield
    except IntegrityError as error:
        for constraint, refusal in _BY_CONSTRAINT.items():
            if constraint in str(error):
                raise refusal() from None
        raise


def _no_email() -> InvalidInput:
    return InvalidInput.at(
        "email", "is required. Send dangerouslyAllowCustomerWithoutEmail to have a customer without one."
    )


def _same_email() -> DuplicateCustomer:
    return DuplicateCustomer(
        "Another customer has this email. Send dangerouslyAllowSameEmailForDifferentCustomers to create one more."
    )


def _same_external_id() -> DuplicateCustomer:
    return DuplicateCustomer("Another customer has this externalCustomerId.")


def _same_invoice_prefix() -> DuplicateCustomer:
    return DuplicateCustomer("Another customer has this invoicePrefix; invoice numbers would repeat.")


def _same_psp_id() -> DuplicateCustomer:
    return DuplicateCustomer("Another customer has this pspCustomerId.")


def _two_primaries() -> OrganizationHasPrimary:
    return OrganizationHasPrimary(
        "customerOrganizationId: this organization has a primary customer already. Give this one the orgRole member.",
        details=[{"path": "customerOrganizationId", "message": "has a primary customer already."}],
    )


def _no_such_tax_rate() -> InvalidInput:
    return InvalidInput.at("taxRateDefinitionId", "is no tax rate definition. Create it with /v1/tax/rate-definitions.")


_BY_CONSTRAINT: dict[str, Callable[[], Refusal]] = {
    "customer_email": _same_email,
    "customer_external_id": _same_external_id,
    "customer_invoice_prefix": _same_invoice_prefix,
    "customer_psp_id": _same_psp_id,
    "customer_tax_rate_exists": _no_such_tax_rate,
    "organization_has_one_primary": _two_primaries,
}


def _free_invoice_prefix() -> str:
    """Make a prefix that no customer has, beginning with the seller's if he has one."""
    sellers = Merchant.objects.values_list("invoice_prefix", flat=True).get()
    while True:
        own = "".join(secrets.choice(_PREFIX_ALPHABET) for _ in range(6))
        prefix = f"{sellers}-{own}" if sellers else own
        if not Customer.objects.filter(invoice_prefix=prefix).exists():
            return prefix
