"""Automatic top-ups: what a customer asks for once, and where that stands. The buying is `buy_automatically`'s."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import IntegrityError, models, transaction
from django.db.models import F, Sum

from billing.models import AutoTopUp, Invoice, InvoiceStatus, PaymentMethodStatus
from billing.services.collect import NoPaymentMethod
from billing.services.top_up import compose_purchase, price_of
from credits.months import month_end, month_start
from credits.services.packs import amount_of
from plans.models import Customer
from plans.refusals import InvalidInput, NotFound, Refusal
from plans.services.time_zone import billing_zone
from plans.words import money_text

LARGEST_THRESHOLD = Decimal(10) ** 12


class AutoTopUpNotFound(NotFound):
    code = "auto_top_up_not_found"


class DuplicateAutoTopUp(Refusal):
    """The customer tops this pack up already."""

    code = "duplicate_auto_top_up"
    status = 409


class AutoTopUpState(models.TextChoices):
    """Where an automatic top-up stands: `active` watches the balance, `pending` has an invoice that is not paid yet,
    `limit_reached` waits for the next month, `no_payment_method` for a card, `stopped` for a new card or for somebody
    to enable it again, and `disabled` is switched off."""

    ACTIVE = "active"
    PENDING = "pending"
    LIMIT_REACHED = "limit_reached"
    NO_PAYMENT_METHOD = "no_payment_method"
    STOPPED = "stopped"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an automatic top-up stands at an instant: its state, the invoice that waits for payment, and what its
    purchases of the month come to, in minor units."""

    state: AutoTopUpState
    pending: Invoice | None
    spent_cents: int


@transaction.atomic
def create_auto_top_up(*, auto_top_up: AutoTopUp, at: datetime) -> AutoTopUp:
    """Store an automatic top-up whose terms are filled in; its price is that of the pack now.

    Raises DuplicateAutoTopUp, and what `_check` raises.
    """
    auto_top_up.created_at = at
    _agree_to_price(auto_top_up)
    _check(auto_top_up, at=at)
    try:
        with transaction.atomic():
            auto_top_up.save()
    except IntegrityError as error:
        if not AutoTopUp.objects.filter(customer=auto_top_up.customer_id, pack=auto_top_up.pack_id).exists():
            raise
        raise DuplicateAutoTopUp(
            "This customer has an automatic top-up of this pack already. Change that one.",
            details=[{"path": "packId", "message": "is topped up automatically already."}],
        ) from error
    return auto_top_up


@transaction.atomic
def update_auto_top_up(
    *,
    auto_top_up: AutoTopUp,
    at: datetime,
    threshold: Decimal | None = None,
    quantity: int | None = None,
    monthly_limit_cents: int | None = None,
    is_enabled: bool | None = None,
) -> AutoTopUp:
    """Change the terms of an automatic top-up; None leaves one as it is.

    To enable it agrees to the pack's price of now and lets it go on where it was stopped: an invoice of it that waits
    is charged again. To disable it is never refused, and leaves such an invoice as it is. Raises what `_check` raises.
    """
    Customer.objects.select_for_update(no_key=True).get(pk=auto_top_up.customer_id)
    _hold_open_purchase(auto_top_up)
    held = hold_auto_top_up(auto_top_up.pk)
    held.threshold = held.threshold if threshold is None else threshold
    held.quantity = held.quantity if quantity is None else quantity
    if monthly_limit_cents is not None:
        held.monthly_limit_cents, held.resumes_at = monthly_limit_cents, None
    held.is_enabled = held.is_enabled if is_enabled is None else is_enabled
    if is_enabled or held.pack.price_cents < held.agreed_price_cents:
        _agree_to_price(held)
    if (threshold, quantity, monthly_limit_cents, is_enabled) != (None, None, None, False):
        _check(held, at=at)
    if is_enabled:
        _charge_again(held, at)
        held.stopped_at, held.stop_code, held.stop_message = None, "", ""
    held.save()
    return held


def hold_auto_top_up(key: int) -> AutoTopUp:
    """Lock an automatic top-up and read it as it is now. The caller holds its customer."""
    rows = AutoTopUp.objects.select_for_update(no_key=True, of=("self",))
    return rows.select_related("customer", "pack__definition__metric").get(pk=key)


def _hold_open_purchase(auto_top_up: AutoTopUp) -> None:
    """Lock the invoice that waits, before the automatic top-up itself: so does who books its payment."""
    waiting = Invoice.objects.open_purchases().filter(auto_top_up=auto_top_up.pk)
    list(waiting.select_for_update(no_key=True).order_by("pk").values_list("pk"))


def _charge_again(auto_top_up: AutoTopUp, at: datetime) -> None:
    waiting = Invoice.objects.filter(
        auto_top_up=auto_top_up, status=InvoiceStatus.ISSUED, stripe_sent_at__isnull=False, collect_at=None
    )
    waiting.update(collect_at=at)


def _agree_to_price(auto_top_up: AutoTopUp) -> None:
    auto_top_up.agreed_price_cents = auto_top_up.pack.price_cents


def _check(auto_top_up: AutoTopUp, *, at: datetime) -> None:
    """Raise why an automatic top-up cannot be as it is: InvalidInput at a field; for one that is enabled also
    NoPaymentMethod, PackNotOffered and TooLittleToCharge."""
    pack, quantity = auto_top_up.pack, auto_top_up.quantity
    price_cents = price_of(pack, quantity)
    _check_threshold(auto_top_up)
    _check_limit(auto_top_up, max(price_cents, auto_top_up.agreed_price_cents * quantity))
    if not auto_top_up.is_enabled:
        return
    if not has_payment_method(auto_top_up.customer):
        raise NoPaymentMethod("This customer has no payment method to charge. Add one first.")
    purchase = compose_purchase(customer=auto_top_up.customer, pack=pack, quantity=quantity, at=at)
    _check_limit(auto_top_up, purchase.invoice.total_cents)


def _check_threshold(auto_top_up: AutoTopUp) -> None:
    definition, bought = auto_top_up.pack.definition, amount_of(auto_top_up.pack, auto_top_up.quantity)
    threshold = auto_top_up.threshold
    if not 0 < threshold <= LARGEST_THRESHOLD:
        raise InvalidInput.at("threshold", f"must be more than 0 and at most {LARGEST_THRESHOLD}.")
    if threshold > bought:
        raise InvalidInput.at(
            "threshold", f"must not be more than one purchase gives ({bought.normalize():f}): it would buy on and on."
        )
    if definition.currency and threshold != threshold.to_integral_value():
        raise InvalidInput.at("threshold", f"must be whole: it counts minor units of {definition.currency}.")


def _check_limit(auto_top_up: AutoTopUp, least_cents: int) -> None:
    if auto_top_up.monthly_limit_cents < least_cents:
        raise InvalidInput.at(
            "monthlyLimitCents",
            f"must be at least {least_cents}: one purchase comes to "
            f"{money_text(least_cents, auto_top_up.pack.currency)}.",
        )


def has_payment_method(customer: Customer) -> bool:
    """Tell whether a customer has a default payment method that can be charged."""
    return customer.payment_methods.filter(is_default=True, status=PaymentMethodStatus.ACTIVE).exists()


def find_auto_top_up(identifier: str) -> AutoTopUp:
    """Return the automatic top-up with this id. Raises AutoTopUpNotFound."""
    rows = AutoTopUp.objects.select_related("customer", "pack__definition__metric")
    found = rows.filter(public_id=identifier).first()
    if found is None:
        raise AutoTopUpNotFound("Automatic top-up not found")
    return found


def spent_in_month(keys: Collection[int], *, at: datetime) -> dict[int, int]:
    """What the purchases of automatic top-ups in the local month of an instant come to, in minor units: those that are
    not paid yet too, and without what was voided or credited."""
    zone = billing_zone()
    purchases = Invoice.objects.filter(
        auto_top_up__in=keys, closes_at__gte=month_start(at, zone), closes_at__lt=month_end(at, zone)
    ).exclude(status=InvoiceStatus.VOID)
    spent = purchases.values_list("auto_top_up").annotate(cents=Sum(F("total_cents") - F("credited_cents")))
    return dict.fromkeys(keys, 0) | {key: int(cents) for key, cents in spent}


def standings(auto_top_ups: Collection[AutoTopUp], *, at: datetime) -> dict[int, Standing]:
    """Tell where automatic top-ups stand, by their keys."""
    keys = [one.pk for one in auto_top_ups]
    pending = {one.auto_top_up_id: one for one in Invoice.objects.open_purchases().filter(auto_top_up__in=keys)}
    chargeable = set(AutoTopUp.objects.chargeable().filter(pk__in=keys).values_list("pk", flat=True))
    spent = spent_in_month(keys, at=at)
    return {
        one.pk: Standing(
            state_of(one, is_pending=one.pk in pending, has_method=one.pk in chargeable, at=at),
            pending.get(one.pk),
            spent[one.pk],
        )
        for one in auto_top_ups
    }


def state_of(auto_top_up: AutoTopUp, *, is_pending: bool, has_method: bool, at: datetime) -> AutoTopUpState:
    """Tell the state of an automatic top-up of which is known whether a purchase of it is open, and whether its
    customer has a payment method."""
    if not auto_top_up.is_enabled:
        return AutoTopUpState.DISABLED
    if auto_top_up.stopped_at is not None:
        return AutoTopUpState.STOPPED
    if is_pending:
        return AutoTopUpState.PENDING
    if not has_method:
        return AutoTopUpState.NO_PAYMENT_METHOD
    if auto_top_up.resumes_at is not None and auto_top_up.resumes_at > at:
        return AutoTopUpState.LIMIT_REACHED
    return AutoTopUpState.ACTIVE
