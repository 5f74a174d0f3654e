from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from django.db import connection, transaction

from credits.positions import Position
from credits.services.positions import read_positions
from entitlements.decisions import Decision
from entitlements.exact_count import check_counts_exactly
from entitlements.live_balance import LiveBalance
from entitlements.services.balances import Standing, Use, lock_feature, read_standing
from entitlements.services.check import check
from metering.events import NewEvent
from metering.services.record_events import Outcome, record_events, refusal_of
from plans.exact_json import decode_object
from plans.gathering import Gathering
from plans.periods import local_day, local_midnight
from plans.refusals import Refusal
from plans.services.time_zone import billing_zone

MOST_TOGETHER = 100


class TimestampBeforeOpenPeriod(Refusal):
    """The units would have to come out of a period that is over."""

    code = "timestamp_before_open_period"


@dataclass(frozen=True, slots=True)
class Consumption:
    """What somebody wants to consume: `units` of a metric, above 0.

    `properties` is JSON text of an object. `occurred_at` is None for "now". `key_given` tells whether the idempotency
    key is the caller's, who may repeat it. `past_limit=False` asks for units within the limit even where the feature
    was sold with overage.
    """

    units: Decimal
    idempotency_key: str
    key_given: bool
    properties: str = "{}"
    occurred_at: datetime | None = None
    past_limit: bool = True


@dataclass(frozen=True, slots=True)
class Consumed:
    """What became of it. `decision` is the check's answer right after it. `event`, with its `outcome`, is what was
    recorded at `at`; None when it was not allowed, and then nothing was."""

    decision: Decision
    at: datetime
    event: NewEvent | None = None
    outcome: Outcome | None = None


class _Call(NamedTuple):
    wanted: Consumption
    at: datetime


def consume(*, customer: str, slug: str, wanted: Consumption, at: datetime, external: bool = False) -> Consumed:
    """Record the use of units if as many remain or overage is sold, in one transaction; nothing is ever sold twice.

    Calls and reservations of one balance wait for each other and each decides by all that was committed before it.
    Events that are recorded without asking are accepted at any time: what they take counts from the next call on. What
    was sold is read under the same lock as what is left.

    Raises CustomerNotFound, FeatureNotFound, NotConsumable, InvalidInput when the metric would not count exactly these
    units, TimestampBeforeOpenPeriod, and EventConflict when the key stands for an event with other content.
    """
    use, call = Use(customer, external, slug), _Call(wanted, at)
    if wanted.occurred_at is None and not connection.in_atomic_block:
        # Callers of one balance would only wait for each other's commits, one by one.
        return _together.ask(use, call)
    (answer,) = _consume(use, call, lambda: [call])
    if isinstance(answer, Exception):
        raise answer
    return answer


def _consume(use: Use, first: _Call, take: Callable[[], Sequence[_Call]]) -> list[Consumed | Exception]:
    """Decide calls one after the other and record what is allowed, in one transaction and one statement.

    A call with a timestamp of its own comes alone: it is decided by what remains at that instant.
    """
    occurred_at = first.wanted.occurred_at
    with transaction.atomic():
        locked = lock_feature(use, at=occurred_at or first.at)
        calls = take()
        keys = [call.wanted.idempotency_key for call in calls if call.wanted.key_given]
        at = max(call.at for call in calls)
        standing = read_standing(locked.pair, at=at, addressee=locked.addressee, keys=keys)
        position = read_positions([locked.pair], at=standing.at)[locked.pair]
        balance = LiveBalance(locked.usable.feature, position, occurred_at or standing.at)
        decided = _Decided(use, standing, balance)
        for call in calls:
            decided.add(call)
        answers = decided.record()
        return answers if occurred_at is None else [_as_checked_now(use, answer, standing.at) for answer in answers]


class _Decided:
    """The calls of one transaction, decided one after the other, and the events of those that were allowed."""

    def __init__(self, use: Use, standing: Standing, balance: LiveBalance) -> None:
        self._use = use
        self._standing = standing
        self._balance = balance
        self._answers: list[Consumed | Exception] = []
        self._events: list[NewEvent] = []
        # Where the answer to each event stands.
        self._places: list[int] = []
        # Idempotency keys under which an event stands: their repetition takes nothing.
        self._recorded = set(standing.recorded_keys)

    def add(self, call: _Call) -> None:
        """Decide a call."""
        wanted = call.wanted
        try:
            allowed = wanted.idempotency_key in self._recorded or self._takes(call)
        except Refusal as refusal:
            self._answers.append(refusal)
            return
        if allowed:
            self._places.append(len(self._answers))
            self._events.append(_event_of(self._use, self._standing, wanted))
            self._recorded.add(wanted.idempotency_key)
        self._answers.append(Consumed(self._balance.decision, self._standing.at))

    def _takes(self, call: _Call) -> bool:
        wanted = call.wanted
        if wanted.occurred_at is not None and wanted.occurred_at < _open_since(self._balance.position, call.at):
            raise TimestampBeforeOpenPeriod(
                "timestamp lies before the start of the open period. Send usage of earlier periods to /v1/events.",
                details=[{"path": "timestamp", "message": "lies before the start of the open period."}],
            )
        check_counts_exactly(self._standing.counting, wanted.units, decode_object(wanted.properties.encode()))
        return self._balance.take(wanted.units, past_limit=wanted.past_limit)

    def record(self) -> list[Consumed | Exception]:
        """Record the events, and return the answers in the order of the calls."""
        outcomes = record_events(events=self._events, at=self._standing.at) if self._events else []
        for place, event, outcome in zip(self._places, self._events, outcomes, strict=True):
            answer = self._answers[place]
            assert isinstance(answer, Consumed)
            self._answers[place] = refusal_of(event, outcome) or replace(answer, event=event, outcome=outcome)
        return self._answers


def _event_of(use: Use, standing: Standing, wanted: Consumption) -> NewEvent:
    return NewEvent(
        event_name=standing.counting.event_name,
        customer_id=None if use.external else use.customer,
        external_customer_id=use.customer if use.external else None,
        value=wanted.units,
        text_value=None,
        occurred_at=wanted.occurred_at,
        idempotency_key=wanted.idempotency_key,
        properties=wanted.properties,
    )


def _open_since(position: Position, at: datetime) -> datetime:
    """The start of the open period; without a subscription, of the calendar month."""
    period = position.period_at(at)
    zone = billing_zone()
    return period.start_at if period is not None else local_midnight(local_day(at, zone).replace(day=1), zone)


def _as_checked_now(use: Use, answer: Consumed | Exception, at: datetime) -> Consumed | Exception:
    """Put the check of now in the place of the one at the call's own instant."""
    if isinstance(answer, Exception):
        return answer
    return replace(answer, decision=check(customer=use.customer, slug=use.slug, external=use.external, at=at))


_together: Gathering[Use, _Call, Consumed] = Gathering(_consume, most=MOST_TOGETHER)
