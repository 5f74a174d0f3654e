from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import IntegrityError, transaction
from django.db.models.functions import Coalesce

from credits.models import Reservation, ReservationState
from credits.services.positions import lock_balances, read_positions
from entitlements.decisions import Decision
from entitlements.exact_count import check_counts_exactly, check_value
from entitlements.live_balance import LiveBalance
from entitlements.services.balances import LockedFeature, Use, lock_feature, read_standing
from entitlements.services.check import check
from metering.events import NewEvent
from metering.services.record_events import Outcome, record_events, refusal_of
from plans.exact_json import decode_object
from plans.refusals import NotFound, Refusal

LONGEST_HOLD = timedelta(hours=1)


class ReservationNotFound(NotFound):
    code = "reservation_not_found"


class ReservationConflict(Refusal):
    """The idempotency key was used for a reservation of something else."""

    code = "idempotency_conflict"
    status = 409


class ReservationExpired(Refusal):
    """Nobody committed the reservation in time, so its units are no longer kept back."""

    code = "reservation_expired"
    status = 409


class ReservationReleased(Refusal):
    """Its units were given back."""

    code = "reservation_released"
    status = 409


class ReservationCommitted(Refusal):
    """Its units were used."""

    code = "reservation_committed"
    status = 409


@dataclass(frozen=True, slots=True)
class Reserved:
    """What became of a wish to reserve: the reservation, or None when as many units do not remain, and the check's
    answer right after it."""

    reservation: Reservation | None
    decision: Decision
    deduplicated: bool = False


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed reservation, the event that it recorded (received at `at`), and the check's answer right after it."""

    reservation: Reservation
    event: NewEvent
    outcome: Outcome
    decision: Decision
    at: datetime

    @property
    def is_over_quota(self) -> bool:
        """Tell whether more was used than was kept back for it."""
        return (self.reservation.committed_units or 0) > self.reservation.units


@transaction.atomic
def reserve(
    *,
    customer: str,
    slug: str,
    units: Decimal,
    hold: timedelta,
    at: datetime,
    external: bool = False,
    idempotency_key: str | None = None,
    past_limit: bool = True,
) -> Reserved:
    """Keep units back for `hold`, if as many remain or overage is sold: until then they count as used.

    The same idempotency key with the same content gives the first reservation again, whatever has become of it.
    Raises CustomerNotFound, FeatureNotFound, NotConsumable, InvalidInput when a COUNT is asked for anything but 1, and
    ReservationConflict when the key stands for another reservation.
    """
    locked = lock_feature(Use(customer, external, slug), at=at)
    first = _find_first(locked.addressee, idempotency_key)
    if first is not None:
        _check_same(first, locked.usable.feature.key, units, hold)
        return Reserved(first, check(customer=customer, slug=slug, external=external, at=at), deduplicated=True)
    standing = read_standing(locked.pair, at=at)
    check_value(standing.counting, units)
    position = read_positions([locked.pair], at=standing.at)[locked.pair]
    balance = LiveBalance(locked.usable.feature, position, standing.at)
    if not balance.take(units, past_limit=past_limit):
        return Reserved(None, balance.decision)
    made = _keep_back(locked, units, standing.at, standing.at + hold, idempotency_key)
    return Reserved(made, balance.decision)


def _find_first(addressee: int, idempotency_key: str | None) -> Reservation | None:
    """Find the reservation that a customer or member made with this key."""
    if idempotency_key is None:
        return None
    reservations = Reservation.objects.annotate(asked_by=Coalesce("member_id", "customer_id"))
    return (
        reservations.filter(asked_by=addressee, idempotency_key=idempotency_key)
        .select_related("customer", "member", "feature")
        .first()
    )


def _check_same(first: Reservation, feature: int, units: Decimal, hold: timedelta) -> None:
    differing = [
        name
        for name, differs in (
            ("feature", first.feature_id != feature),
            ("value", first.units != units),
            ("ttlSeconds", first.expires_at - first.reserved_at != hold),
        )
        if differs
    ]
    if differing:
        raise _conflict(first.idempotency_key, differing)


def _conflict(idempotency_key: str | None, differing: list[str]) -> ReservationConflict:
    return ReservationConflict(
        f"idempotencyKey {idempotency_key} was used for another reservation: {', '.join(differing)} differ. "
        "Send a new key for a new reservation.",
        details={"fields": differing},
    )


def _keep_back(
    locked: LockedFeature, units: Decimal, at: datetime, expires_at: datetime, idempotency_key: str | None
) -> Reservation:
    try:
        with transaction.atomic():
            made = Reservation.objects.create(
                customer_id=locked.usable.payer,
                member_id=locked.usable.member,
                feature_id=locked.usable.feature.key,
                metric_id=locked.pair[1],
                units=units,
                reserved_at=at,
                expires_at=expires_at,
                idempotency_key=idempotency_key,
            )
    except IntegrityError:
        # The lock is that of one balance, so the same key can only have come at once for another feature.
        raise _conflict(idempotency_key, ["feature"]) from None
    return made


@transaction.atomic
def commit_reservation(
    *, identifier: str, at: datetime, units: Decimal | None = None, properties: str = "{}"
) -> Committed:
    """Record the use of a reservation's units at the instant at which they were reserved; without `units`, of all.

    Fewer units free the rest, more are recorded all the same. A second commit of the same content gives the first one
    again. `properties` is JSON text of an object. Raises ReservationNotFound, ReservationExpired, ReservationReleased,
    InvalidInput when the metric would not count exactly these units, and EventConflict for a second commit with other
    content.
    """
    reservation = _lock_reservation(identifier)
    state = reservation.state(at)
    if state == ReservationState.EXPIRED:
        raise ReservationExpired("The reservation has expired and its units are free again. Consume or reserve anew.")
    if state == ReservationState.RELEASED:
        raise ReservationReleased("The reservation was released and its units are free again. Consume or reserve anew.")
    event = _event_of(reservation, reservation.units if units is None else units, properties)
    if state == ReservationState.HELD:
        assert event.value is not None
        standing = read_standing((reservation.customer_id, reservation.metric_id), at=at)
        check_counts_exactly(standing.counting, event.value, decode_object(properties.encode()))
    (outcome,) = record_events(events=[event], at=at)
    refusal = refusal_of(event, outcome)
    if refusal is not None:
        raise refusal
    if state == ReservationState.HELD:
        reservation.committed_at, reservation.committed_units = at, event.value
        reservation.event_id = outcome.event_id
        reservation.save(update_fields=["committed_at", "committed_units", "event_id"])
    return Committed(reservation, event, outcome, _check_again(reservation, at), at)


def _event_of(reservation: Reservation, units: Decimal, properties: str) -> NewEvent:
    return NewEvent(
        event_name=reservation.metric.event_name,
        customer_id=reservation.addressee.public_id,
        external_customer_id=None,
        value=units,
        text_value=None,
        occurred_at=reservation.reserved_at,
        # The same for each commit of it, so that no other one can record a second event.
        idempotency_key=f"reservation:{reservation.public_id}",
        properties=properties,
    )


def _check_again(reservation: Reservation, at: datetime) -> Decision:
    return check(customer=reservation.addressee.public_id, slug=reservation.feature.slug, at=at)


@transaction.atomic
def release_reservation(*, identifier: str, at: datetime) -> Reservation:
    """Give a reservation's units back; one that is released or has expired stays as it is. Raises
    ReservationNotFound and ReservationCommitted."""
    reservation = _lock_reservation(identifier)
    state = reservation.state(at)
    if state == ReservationState.COMMITTED:
        raise ReservationCommitted("The reservation was committed: its units are used and cannot be given back.")
    if state == ReservationState.HELD:
        reservation.released_at = at
        reservation.save(update_fields=["released_at"])
    return reservation


def find_reservation(identifier: str) -> Reservation:
    """Return the reservation with this id. Raises ReservationNotFound."""
    found = (
        Reservation.objects.filter(public_id=identifier)
        .select_related("customer", "member", "feature", "metric__current")
        .first()
    )
    if found is None:
        raise ReservationNotFound("Reservation not found")
    return found


def _lock_reservation(identifier: str) -> Reservation:
    """Return the reservation as it stands once its balance, and then it itself, are locked."""
    found = find_reservation(identifier)
    lock_balances([(found.customer_id, found.metric_id)])
    found.refresh_from_db(from_queryset=Reservation.objects.select_for_update(no_key=True, of=("self",)))
    return found
