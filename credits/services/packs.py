"""Top-up packs: what can be bought at any time, and the grant that a bought one becomes."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection, transaction

from credits.models import ApplicationType, CreditDefinition, CreditGrant, GrantSource, TopUpPack
from credits.services.write_grants import expiry_after, write_grants
from plans.models import Customer
from plans.money import currency_exponent, exactly, is_currency
from plans.periods import midnight_before
from plans.price_language import LARGEST_AMOUNT_CENTS
from plans.refusals import InvalidInput, NotFound, Refusal
from plans.services.time_zone import billing_zone

LARGEST_AMOUNT = Decimal(10) ** 12


class PackNotFound(NotFound):
    code = "pack_not_found"


class PackNotOffered(Refusal):
    """The pack is retired, or its definition is no longer live; whoever has bought it keeps it."""

    code = "pack_not_offered"
    status = 409


def find_pack(identifier: str) -> TopUpPack:
    """Return the pack with this id, retired ones too. Raises PackNotFound."""
    pack = TopUpPack.objects.select_related("definition__metric").filter(public_id=identifier).first()
    if pack is None:
        raise PackNotFound("Top-up pack not found")
    return pack


def create_pack(
    *, at: datetime, name: str, definition: CreditDefinition, amount: Decimal, price_cents: int, currency: str = ""
) -> TopUpPack:
    """Offer `amount` of a definition for `price_cents` minor units of `currency`.

    Credits of money are sold in their own currency, which is taken when none is given; those of units in any. Raises
    InvalidInput at the field that does not fit.
    """
    currency = currency.upper() or definition.currency
    check_pack(definition=definition, amount=amount, price_cents=price_cents, currency=currency)
    return TopUpPack.objects.create(
        name=name, definition=definition, amount=amount, price_cents=price_cents, currency=currency, created_at=at
    )


def check_pack(*, definition: CreditDefinition, amount: Decimal, price_cents: int, currency: str) -> None:
    """Raise InvalidInput unless such a pack can be offered."""
    if not _is_live(definition):
        raise InvalidInput.at("creditDefinitionId", "is a definition that is deleted or switched off.")
    if not is_currency(currency):
        raise InvalidInput.at("currency", "must be an ISO 4217 code such as USD.")
    if not 0 < amount <= LARGEST_AMOUNT:
        raise InvalidInput.at("amount", f"must be more than 0 and at most {LARGEST_AMOUNT}.")
    if definition.application_type == ApplicationType.MONETARY:
        if currency != definition.currency:
            raise InvalidInput.at("currency", f"must be {definition.currency}, the currency of its credits.")
        if amount != amount.to_integral_value():
            raise InvalidInput.at("amount", f"must be whole: it counts {_minor_unit(currency)}.")
    _check_price(price_cents)


def _is_live(definition: CreditDefinition) -> bool:
    return definition.deleted_at is None and definition.is_active


def _minor_unit(currency: str) -> str:
    exponent = currency_exponent(currency)
    return f"{currency} with {exponent} decimals, in minor units" if exponent else f"whole {currency}"


def _check_price(price_cents: int) -> None:
    if not 0 < price_cents <= LARGEST_AMOUNT_CENTS:
        raise InvalidInput.at("priceCents", f"must be a whole number of minor units from 1 to {LARGEST_AMOUNT_CENTS}.")


@transaction.atomic
def update_pack(
    *, pack: TopUpPack, name: str | None = None, price_cents: int | None = None, is_active: bool | None = None
) -> TopUpPack:
    """Rename a pack, change its price from now on, retire it or offer it again; None leaves a field as it is.

    What it holds never changes: an invoice may wait for its payment. Raises InvalidInput for a price that is not
    positive.
    """
    pack = (
        TopUpPack.objects.select_for_update(no_key=True, of=("self",))
        .select_related("definition__metric")
        .get(pk=pack.pk)
    )
    if price_cents is not None:
        _check_price(price_cents)
        pack.price_cents = price_cents
    if name is not None:
        pack.name = name
    if is_active is not None:
        pack.is_active = is_active
    pack.save(update_fields=["name", "price_cents", "is_active", "updated_at"])
    return pack


def hold_pack(pack: TopUpPack) -> TopUpPack:
    """Read a pack that is on offer, and keep it as it is until the transaction ends; many buyers may hold it at once.

    Raises PackNotOffered.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM credits_topuppack WHERE id = %s FOR SHARE", [pack.pk])
    pack = TopUpPack.objects.select_related("definition__metric").get(pk=pack.pk)
    if not pack.is_active or not _is_live(pack.definition):
        raise PackNotOffered(f"The pack {pack.name} is no longer offered.")
    return pack


@dataclass(frozen=True, slots=True)
class SoldPack:
    """What was sold, as it was at the purchase: `amount` units of the definition's metric, or minor units of its money,
    for all packs together; after how many days they expire once they are granted (None: never); their place in the burn
    order; and what the purchase is called."""

    definition: CreditDefinition
    amount: Decimal
    expiry_days: int | None
    priority: int | None
    title: str


@exactly
def amount_of(pack: TopUpPack, quantity: int) -> Decimal:
    """What several packs hold together."""
    return pack.amount * quantity


def sold_now(pack: TopUpPack, quantity: int) -> SoldPack:
    """What is sold with several packs at this moment."""
    return SoldPack(
        definition=pack.definition,
        amount=amount_of(pack, quantity),
        expiry_days=pack.definition.expiry_days,
        priority=pack.definition.priority,
        title=f"{quantity} × {pack.name}",
    )


@transaction.atomic
def grant_of_pack(*, at: datetime, customer: Customer, sold: SoldPack, reference_code: str) -> CreditGrant:
    """Give a customer what he has bought and paid for at `at`: units count from the local midnight before it.

    The same `reference_code` again returns the first grant. The caller holds the lock of what was paid, so that nobody
    else makes the same grant at once; the customer's row is not locked, since whoever holds that may wait for invoices.
    """
    first = CreditGrant.objects.filter(customer=customer, reference_code=reference_code).first()
    if first is not None:
        return first
    definition = sold.definition
    grant = CreditGrant(
        customer=customer,
        metric_id=definition.metric_id,
        currency=definition.currency,
        definition=definition,
        source=GrantSource.TOP_UP,
        initial_amount=sold.amount,
        priority=sold.priority,
        starts_at=midnight_before(at, billing_zone()),
        expires_at=expiry_after(sold.expiry_days, at),
        reference_code=reference_code,
        notes=f"Bought: {sold.title}",
        created_at=at,
    )
    return write_grants([grant], at=at)[0]
