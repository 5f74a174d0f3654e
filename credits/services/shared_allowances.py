"""What a part of a period is given, when a change split the turn of its clock.

Ruling: the allowances of the turn's parts count by their shares of its days, together, less what plan allowances have
paid for already; what is left, rounded up and never below 0, is the allowance of the part that begins. Used 10,000 of
10,000, and upgraded to 20,000 at half time: 15,000 − 10,000 = 5,000. So nobody gets more out of changing back and forth
than his days paid for, and a change never makes overage of what is used already.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from django.db.models import Sum

from credits.models import CreditGrant, CreditTransaction, SubscriptionCredit, TransactionKind
from credits.services.renew import amount_of_period, grant_for_periods, grant_of_period, item_of
from credits.services.write_grants import write_grants
from plans.models import PeriodKind, Subscription, SubscriptionItem, SubscriptionPeriod
from plans.services.parts import is_part, rounded_up, share_from, share_of
from plans.services.units import PaidUnits

_ZERO = Decimal(0)


def grant_after_change(*, subscription: Subscription, at: datetime) -> list[CreditGrant]:
    """Write the grants of the periods that a version of a subscription has when it begins at an instant, and return
    them.

    A quota becomes a grant that is active from the start of its turn, so that usage of the turn which arrives late
    finds it; the number of a plan's feature goes to the period. The parts before are settled. The caller holds the
    locks of the balances.
    """
    periods = SubscriptionPeriod.objects.filter(subscription=subscription).select_related("item__component__price")
    granted, whole = [], []
    for period in periods.order_by("start_at", "pk"):
        before = _parts_before(period, subscription, at)
        if not before and not is_part(period):
            whole.append(period)
        elif period.metric_id is not None:
            granted += _allow(period, before, at)
        granted += _money_of_part(period, subscription, at)
    return write_grants(granted, at=at) + grant_for_periods(at=at, periods=whole)


def _parts_before(period: SubscriptionPeriod, subscription: Subscription, at: datetime) -> list[SubscriptionPeriod]:
    """The parts that versions before had of turns which still run, if a period is the one that begins at an instant:
    whatever their clocks, and whether or not the last version metered them. Pauses among them are paid for, too."""
    if period.metric_id is None or period.start_at != at:
        return []
    parts = SubscriptionPeriod.objects.filter(
        customer=period.customer_id,
        metric=period.metric_id,
        subscription__stable_subscription_id=subscription.stable_subscription_id,
        end_at__lte=at,
        kind__in=(period.kind, PeriodKind.PAUSE),
    ).select_related("item__component")
    running = [part for part in parts.order_by("start_at") if part.kind != PeriodKind.PAUSE and part.whole[1] > at]
    if not running:
        return []
    pauses = [part for part in parts if part.kind == PeriodKind.PAUSE and part.start_at >= running[0].start_at]
    for pause in pauses:
        pause.whole_start_at, pause.whole_end_at = _whole_around(pause, running)
    return sorted([*running, *pauses], key=lambda part: part.start_at)


def _whole_around(pause: SubscriptionPeriod, running: Sequence[SubscriptionPeriod]) -> tuple[datetime, datetime]:
    """The turn in which a pause began."""
    return max((part for part in running if part.start_at < pause.start_at), key=lambda part: part.start_at).whole


def _allow(period: SubscriptionPeriod, before: Sequence[SubscriptionPeriod], at: datetime) -> list[CreditGrant]:
    allowed = sum((share_of(part) * Fraction(_allowance(part)) for part in [*before, period]), Fraction(0))
    left = max(rounded_up(allowed - Fraction(_taken(before))), _ZERO)
    credits = _quotas(period)
    _keep_to_what_was_given(before)
    if not credits:
        SubscriptionPeriod.objects.filter(pk=period.pk).update(feature_units=left)
        return []
    return _grants(period, credits, left, before[0].start_at if before else period.start_at, at)


def _grants(
    period: SubscriptionPeriod,
    credits: Sequence[SubscriptionCredit],
    left: Decimal,
    active_from: datetime,
    at: datetime,
) -> list[CreditGrant]:
    """Spread what is left over the plan's quotas for the metric, the first ones whole."""
    grants = []
    for place, credit in enumerate(credits, start=1):
        amount = left if place == len(credits) else min(left, _amount(credit, period))
        left -= amount
        if amount > 0:
            grant = grant_of_period(credit, period, at, amount=amount, seats=_seats(credit, period))
            grant.starts_at = active_from
            grants.append(grant)
    return grants


def _money_of_part(period: SubscriptionPeriod, subscription: Subscription, at: datetime) -> list[CreditGrant]:
    """The money that a plan gives with each period, shared by days for a part, less what such money of versions before
    has paid in the turn; whole minor units, rounded down."""
    if not is_part(period) or period.start_at != at:
        return []
    items = list(SubscriptionItem.objects.filter(subscription=subscription).select_related("component"))
    sold = SubscriptionCredit.objects.filter(
        subscription=subscription, renew_on_billing=True, definition__metric=None
    ).select_related("definition")
    grants = []
    for credit in sold.order_by("pk"):
        if item_of(credit.definition, items).pk != period.item_id:
            continue
        allowed = Fraction(_amount(credit, period)) * share_of(period) + _money_before(credit, period, subscription)
        cents = int(allowed)
        if cents > 0:
            grants.append(grant_of_period(credit, period, at, amount=Decimal(cents)))
    return grants


def _money_before(credit: SubscriptionCredit, period: SubscriptionPeriod, subscription: Subscription) -> Fraction:
    """What versions before were allowed of a turn by their shares of its days, less what was spent of it."""
    given = CreditGrant.objects.filter(
        subscription__stable_subscription_id=subscription.stable_subscription_id,
        period__isnull=False,
        metric=None,
        currency=credit.definition.currency,
        starts_at__gte=period.whole[0],
        starts_at__lt=period.start_at,
    ).exclude(subscription=subscription)
    allowed = sum(
        (
            Fraction(grant.initial_amount)
            * (1 - share_from(grant.period, period.start_at) / (share_of(grant.period) or 1))
            for grant in given.select_related("period")
            if grant.period is not None
        ),
        Fraction(0),
    )
    spent = CreditTransaction.objects.filter(
        grant__in=given, kind__in=(TransactionKind.BURNED, TransactionKind.RETURNED)
    ).aggregate(cents=Sum("amount"))["cents"]
    return allowed + Fraction(spent or 0)


def _allowance(period: SubscriptionPeriod) -> Decimal:
    """What the plan gives for the whole turn: its quotas, which take the place of its feature's number."""
    quotas = _quotas(period)
    if quotas:
        return sum((_amount(credit, period) for credit in quotas), _ZERO)
    return period.item.feature_units


def _amount(credit: SubscriptionCredit, period: SubscriptionPeriod) -> Decimal:
    seats = _seats(credit, period)
    return amount_of_period(credit, period) * (1 if seats is None else seats)


def _seats(credit: SubscriptionCredit, period: SubscriptionPeriod) -> int | None:
    """The units that a quota per seat counts for a period; None for one that counts none."""
    if not credit.per_seat:
        return None
    return PaidUnits({period.subscription_id}, since=period.start_at).at(period.subscription_id, period.start_at)


def _quotas(period: SubscriptionPeriod) -> list[SubscriptionCredit]:
    """What was sold with the period's subscription and renews with its item."""
    sold = SubscriptionCredit.objects.filter(
        subscription=period.subscription_id, renew_on_billing=True, definition__metric=period.metric_id
    ).select_related("definition")
    items = list(SubscriptionItem.objects.filter(subscription=period.subscription_id).select_related("component"))
    return [credit for credit in sold.order_by("pk") if item_of(credit.definition, items).pk == period.item_id]


def _keep_to_what_was_given(parts: Iterable[SubscriptionPeriod]) -> None:
    """Take from ended parts what they have left of the number of the plan's feature: it has moved on, and usage of them
    that arrives late must not find it twice."""
    ended = [part for part in parts if part.kind != PeriodKind.PAUSE and part.given_units]
    for part in ended:
        part.feature_units = _given(part)
    SubscriptionPeriod.objects.bulk_update(ended, ["feature_units"])


def _given(part: SubscriptionPeriod) -> Decimal:
    """Units of a settled part that the number of the plan's feature paid for."""
    return max((part.settled_included or _ZERO) - part.units_in_price, _ZERO)


def _taken(parts: Iterable[SubscriptionPeriod]) -> Decimal:
    """What the plan's allowances have paid for in parts that are settled: units that quotas of the turn covered, and
    those of the number of the plan's feature."""
    parts = list(parts)
    burned = CreditTransaction.objects.filter(
        period__in=parts,
        grant__period__isnull=False,
        grant__rolled_from=None,
        kind__in=(TransactionKind.BURNED, TransactionKind.RETURNED),
    ).aggregate(units=Sum("amount"))["units"]
    return sum((_given(part) for part in parts), -(burned or _ZERO))
