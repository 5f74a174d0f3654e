"""What the seller says of his taxes."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction

from billing.models import TaxNexus, TaxRate, TaxRegistration, TaxSettings
from billing.tax_areas import area_of, us_state
from plans.refusals import InvalidInput, NotFound, Refusal


class TaxRateNotFound(NotFound):
    code = "tax_rate_not_found"


class JurisdictionHasRate(Refusal):
    """Another active definition applies to the jurisdiction; two rates cannot both be the one of a place."""

    code = "jurisdiction_has_rate"
    status = 409


class AlreadyRegistered(Refusal):
    """The same registration is noted already."""

    code = "already_registered"
    status = 409


def read_settings() -> TaxSettings:
    """Return the tax settings, which are made when they are first asked for."""
    return TaxSettings.objects.get_or_create()[0]


@transaction.atomic
def update_settings(changes: Mapping[str, Any]) -> TaxSettings:
    """Change the tax settings' columns named in `changes`. Invoices that are finalized from now on follow them."""
    read_settings()
    settings = TaxSettings.objects.select_for_update(no_key=True).get()
    for column, value in changes.items():
        setattr(settings, column, value)
    settings.save(update_fields=[*changes, "updated_at"])
    return settings


def find_rate(identifier: str) -> TaxRate:
    """Return the rate definition with this id. Raises TaxRateNotFound."""
    rate = TaxRate.objects.filter(public_id=identifier).first()
    if rate is None:
        raise TaxRateNotFound("Tax rate definition not found")
    return rate


def create_rate(
    *,
    at: datetime,
    name: str,
    rate: Decimal,
    jurisdiction: str = "",
    applies: bool | None = None,
    is_active: bool = True,
    **words: str,
) -> TaxRate:
    """Define a rate, a share of the net amount.

    With `applies` it is that of its jurisdiction for everybody there, else only for customers who were given it. By
    default it applies where the jurisdiction is one that we know and no other active rate applies there. Raises
    InvalidInput for a jurisdiction that cannot be told from an address, and JurisdictionHasRate.
    """
    area = area_of(jurisdiction)
    if applies is None:
        applies = bool(area) and is_active and not _applying(area).exists()
    made = TaxRate(
        name=name,
        rate=rate,
        jurisdiction=jurisdiction,
        area=area,
        applies_to_area=applies,
        is_active=is_active,
        created_at=at,
        **words,
    )
    return _store(made)


@transaction.atomic
def update_rate(*, rate: TaxRate, changes: Mapping[str, Any]) -> TaxRate:
    """Rename a definition, switch it on or off, or say whether it applies to its jurisdiction. The rate itself stays:
    invoices were made with it. Raises InvalidInput and JurisdictionHasRate."""
    locked = TaxRate.objects.select_for_update(no_key=True).get(pk=rate.pk)
    for column, value in changes.items():
        setattr(locked, column, value)
    return _store(locked)


def _store(rate: TaxRate) -> TaxRate:
    if rate.applies_to_area and not rate.area:
        raise InvalidInput.at(
            "jurisdiction",
            "must be a country such as DE, or a state such as US-CA, for the rate to apply there by itself. Send "
            "appliesToJurisdiction: false for a rate that is given to customers one by one.",
        )
    try:
        with transaction.atomic():
            rate.save()
    except IntegrityError as error:
        if "area_has_one_active_tax_rate" not in str(error):
            raise
        there = _applying(rate.area).exclude(pk=rate.pk).first()
        raise JurisdictionHasRate(
            f"jurisdiction: {there.name if there else 'another rate'} applies to {rate.area} already. Deactivate it, or"
            " send appliesToJurisdiction: false for a rate that is given to customers one by one.",
            details=[{"path": "jurisdiction", "message": "has an active rate already."}],
        ) from None
    return rate


def _applying(area: str) -> Any:
    return TaxRate.objects.filter(area=area, is_active=True, applies_to_area=True)


def set_nexus(*, state: str, changes: Mapping[str, Any]) -> TaxNexus:
    """Say whether sales tax is charged in a state of the US, and why; what is not named stays. Raises InvalidInput for
    what is no state, and for a new state without `has_nexus`."""
    code = us_state(state)
    if not code:
        raise InvalidInput("Invalid US state or territory code", details=[{"path": "state", "message": "is unknown."}])
    if "has_nexus" not in changes and not TaxNexus.objects.filter(state=code).exists():
        raise InvalidInput.at("hasNexus", "is required.")
    return TaxNexus.objects.update_or_create(state=code, defaults=dict(changes))[0]


def register(
    *, at: datetime, jurisdiction: str, registration_number: str, tax_type: str, is_active: bool = True
) -> TaxRegistration:
    """Note a number under which the seller is registered for tax. Raises AlreadyRegistered."""
    try:
        with transaction.atomic():
            return TaxRegistration.objects.create(
                jurisdiction=jurisdiction,
                area=area_of(jurisdiction),
                registration_number=registration_number,
                tax_type=tax_type,
                is_active=is_active,
                created_at=at,
            )
    except IntegrityError as error:
        if "tax_registration_is_noted_once" not in str(error):
            raise
        raise AlreadyRegistered("registrationNumber: this registration is noted already.") from None
