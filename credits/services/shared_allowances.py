"""What a turn is given that begins while earlier ones still run: after a change, a pause, or an end.

Ruling: the allowances of the turn's parts count by their shares of its days, together, less what plan allowances have
paid for already; what is left, rounded up and never below 0, is the allowance of the part that begins. Used 10,000 of
10,000, and upgraded to 20,000 at half time: 15,000 − 10,000 = 5,000. Where more was taken than the days are worth,
that is owed: it is taken off the allowances of the turns that begin before the turn which was cut would have ended. So
nobody gets more than his days paid for, and nothing makes overage of what is used already.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from django.db.models import Sum

from credits.models import CreditGrant
from credits.services.earlier_turns import EarlierTurns, given_units, have_cut_turns, read_earlier_turns
from credits.services.money_allowances import share_money
from credits.services.positions import lock_balances
from credits.services.renew import grant_for_periods, grants_of_quotas
from credits.services.turn_allowances import TurnAllowances
from credits.services.write_grants import write_grants
from plans.models import PeriodKind, Subscription, SubscriptionItem, SubscriptionPeriod
from plans.services.item_periods import clock_of, is_fee_for_days
from plans.services.metric_versions import hold_versions
from plans.services.parts import is_part, rounded_up

_ZERO = Decimal(0)


def grant_after_change(*, subscription: Subscription, at: datetime) -> list[CreditGrant]:
    """Write the grants of the periods that a version of a subscription has when it begins at an instant, and return
    them.

    A quota becomes a grant that is active from the start of its turn, so that usage of the turn which arrives late
    finds it; the number of a plan's feature goes to the period. The parts before are settled. The caller holds the
    locks of the balances.
    """
    _give_what_is_paid_until_fees_begin(subscription, at)
    periods = SubscriptionPeriod.objects.filter(subscription=subscription).order_by("start_at", "pk")
    granted, whole = [], []
    loaded = list(periods.select_related("item__component__price"))
    for period in loaded:
        units = _units_of(period, subscription, at) if period.start_at == at else None
        if units is not None:
            granted += units
        elif not is_part(period):
            whole.append(period.pk)
    money = share_money([period for period in loaded if period.start_at == at], subscription, at=at)
    # Read again, since items owe by now.
    return write_grants(granted, at=at) + grant_for_periods(
        at=at, periods=periods.filter(pk__in=whole).select_related("item"), money=money
    )


def owe_from_before(*, subscription: Subscription, at: datetime) -> None:
    """Note what a new subscription owes: what plans' allowances paid for in turns of ended subscriptions which still
    run, beyond what the days that were paid for, and kept, are worth. What these left unused is gone. The caller holds
    the customer's lock; grants are written afterwards."""
    items = {item.metric_id: item for item in subscription.items.all() if item.metric_id is not None}
    customer, start_at = subscription.customer_id, subscription.started_at
    if not have_cut_turns(customer=customer, metrics=items.keys(), at=start_at, beside=subscription):
        return
    hold_versions()
    lock_balances([(customer, metric) for metric in items])
    for metric, item in items.items():
        earlier = read_earlier_turns(customer=customer, metric=metric, at=start_at, following=subscription)
        _owe(item, earlier.balance, earlier)


def owe_from_turns_before(*, items: Iterable[SubscriptionItem], at: datetime) -> None:
    """Note what items owe whose clocks start anew at an instant; they are changed in place. The parts before are
    settled. The caller holds the locks of the balances."""
    for item in items:
        if item.metric_id is not None:
            earlier = read_earlier_turns(customer=item.customer_id, metric=item.metric_id, at=at)
            _owe(item, earlier.balance, earlier)


def _owe(item: SubscriptionItem, balance: Fraction, earlier: EarlierTurns) -> None:
    """Let an item owe what a balance is below 0, beside what its periods have withheld so far."""
    withheld = SubscriptionPeriod.objects.filter(item=item).aggregate(units=Sum("withheld_units"))["units"] or _ZERO
    owed = -rounded_up(balance) if balance < 0 else _ZERO
    if owed or item.owed_units:
        item.owed_units, item.owed_until = owed + withheld, earlier.runs_until
        item.save(update_fields=["owed_units", "owed_until"])


def _units_of(period: SubscriptionPeriod, subscription: Subscription, at: datetime) -> list[CreditGrant] | None:
    """The grants of a period of a metric's clock that begins while earlier turns of the metric still run; None for one
    that is given what every turn is."""
    if period.metric_id is None:
        return None
    earlier = read_earlier_turns(
        customer=period.customer_id, metric=period.metric_id, at=at, kind=period.kind, following=subscription,
        goes_on=True,
    )  # fmt: skip
    if period.kind == PeriodKind.TRIAL:
        _carry_over_debt(period, subscription, at)
    if earlier.runs_until is None and not is_part(period):
        return None
    return _allow(period, earlier, at)


def _carry_over_debt(trial: SubscriptionPeriod, subscription: Subscription, at: datetime) -> None:
    """Let what was owed before a trial wait for the turns that follow it."""
    assert trial.metric_id is not None
    earlier = read_earlier_turns(
        customer=trial.customer_id, metric=trial.metric_id, at=at, following=subscription, goes_on=True
    )
    _owe(trial.item, earlier.balance, earlier)


def _allow(period: SubscriptionPeriod, earlier: EarlierTurns, at: datetime) -> list[CreditGrant]:
    allowances = TurnAllowances({period.subscription_id}, metric=period.metric_id, since=period.start_at)
    worth = allowances.worth(period, period.start_at, period.end_at, paid_until=earlier.paid_until)
    balance = earlier.balance + worth
    left = max(rounded_up(balance), _ZERO)
    if period.kind == PeriodKind.REGULAR:
        _owe(period.item, balance, earlier)
    _keep_to_what_was_given(earlier.parts)
    quotas = allowances.quotas(period)
    if not quotas:
        SubscriptionPeriod.objects.filter(pk=period.pk).update(feature_units=left)
        return []
    grants = grants_of_quotas(
        period,
        [(one, allowances.amount(one, period, at), allowances.seats(one, at)) for one in quotas],
        left,
        at,
    )
    for grant in grants:
        grant.starts_at = min([period.start_at, *(part.start_at for part in earlier.parts)])
    return grants


def _keep_to_what_was_given(parts: Sequence[SubscriptionPeriod]) -> None:
    """Take from ended parts what they have left of the number of the plan's feature: it has moved on, and usage of them
    that arrives late must not find it twice."""
    ended = [part for part in parts if part.given_units]
    given = given_units(ended)
    for part in ended:
        part.feature_units = given[part.pk]
    SubscriptionPeriod.objects.bulk_update(ended, ["feature_units"])


def _give_what_is_paid_until_fees_begin(subscription: Subscription, at: datetime) -> None:
    """Where the fees of a version begin later than itself, let its turns give until then what the version before was
    paid for."""
    items = list(subscription.items.select_related("component"))
    begin = [one.started_at for one in items if is_fee_for_days(one) and not clock_of(one).has_end]
    before = _version_before(subscription)
    if before is None or max(begin, default=at) <= at:
        return
    for item in items:
        if item.metric_id is not None:
            item.fees_begin_at, item.units_before_fees = max(begin), _units_of_turn_before(item, before, at)
    SubscriptionItem.objects.bulk_update(items, ["fees_begin_at", "units_before_fees"])


def _version_before(subscription: Subscription) -> Subscription | None:
    versions = Subscription.objects.filter(stable_subscription_id=subscription.stable_subscription_id)
    return versions.filter(version_number__lt=subscription.version_number).order_by("-version_number").first()


def _units_of_turn_before(item: SubscriptionItem, before: Subscription, at: datetime) -> Decimal:
    """What the version before gave of an item's metric, for a turn as long as the item's."""
    periods = SubscriptionPeriod.objects.filter(subscription=before, metric=item.metric_id, start_at__lt=at)
    last = periods.exclude(kind=PeriodKind.PAUSE).select_related("item").order_by("-start_at").first()
    if last is None:
        return _ZERO
    if last.item.fees_begin_at is not None and last.item.fees_begin_at > at:
        units = last.item.units_before_fees or _ZERO
    else:
        units = TurnAllowances({before.pk}, metric=item.metric_id, since=last.start_at).of_turn(last, at)
    days, days_before = item.clock.approximate_days, last.item.clock.approximate_days
    return rounded_up(Fraction(units) * days / days_before)
