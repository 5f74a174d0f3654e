from collections.abc import Mapping
from typing import Any

from django.db import transaction

from plans.models import Merchant
from plans.refusals import InvalidInput, NotFound


class MerchantNotFound(NotFound):
    code = "merchant_not_found"


def find_merchant_id() -> str:
    """Return the public id of the seller, which every object of the wire carries as `merchantId`."""
    return Merchant.objects.values_list("public_id", flat=True).get()


def find_merchant(identifier: str | None = None) -> Merchant:
    """Return the seller. Raises MerchantNotFound for an id that is not the seller's."""
    merchant = Merchant.objects.get()
    if identifier not in (None, merchant.public_id):
        raise MerchantNotFound("Merchant not found or access denied")
    return merchant


@transaction.atomic
def update_merchant(changes: Mapping[str, Any]) -> Merchant:
    """Change the seller's columns named in `changes`; `timezone` may only be sent back as it is. Raises InvalidInput
    for another one: all periods were cut at the midnights of the billing time zone."""
    merchant = Merchant.objects.select_for_update(no_key=True).get()
    columns = dict(changes)
    zone = columns.pop("timezone", None)
    if zone and zone != merchant.billing_time_zone:
        raise InvalidInput.at(
            "timezone",
            f"is {merchant.billing_time_zone}, the billing time zone that was set when the database was made, and "
            "cannot be changed.",
        )
    for column, value in columns.items():
        setattr(merchant, column, value)
    merchant.save(update_fields=[*columns, "updated_at"])
    return merchant
