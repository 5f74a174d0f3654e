from collections.abc import Collection, Iterable
from datetime import datetime
from decimal import Decimal

from credits.late_usage import Movement, after_movements
from credits.models import CreditGrant
from credits.services.positions import read_positions
from credits.services.settle import SettledUsage, asks_for_events
from metering.services.count_positive_events import count_positive_events
from plans.models import SubscriptionPeriod


def live_usage(
    *, periods: Collection[SubscriptionPeriod], moved: Iterable[Movement] = (), at: datetime
) -> tuple[dict[int, SettledUsage], dict[int, CreditGrant]]:
    """Return what periods would be settled with as it stands, by their keys, and the grants that would pay, by theirs;
    `moved` is what late usage would take of grants or give back to them before.

    What is only kept back by a reservation is not used. A grant that a rest would roll over into is not there yet: its
    key is negative, and the grant that it is left of stands for it. The periods' items, with components, must be
    loaded; unsettled ones only.
    """
    metered = [period for period in periods if period.metric_id is not None]
    moved = list(moved)
    stored_positions = read_positions(
        {(period.customer_id, period.metric_id) for period in metered if period.metric_id is not None},
        at=at,
        with_reservations=False,
    )
    positions = {pair: after_movements(position, moved) for pair, position in stored_positions.items()}
    events = count_positive_events([period for period in metered if asks_for_events(period)])
    usage = {}
    for period in metered:
        assert period.metric_id is not None
        position = positions[period.customer_id, period.metric_id]
        usage[period.pk] = SettledUsage(
            used=position.used_in(period.pk),
            included=position.burn.included.get(period.pk, Decimal(0)),
            free=position.free_in(position.period(period.pk)),
            by_grant=position.burn.by_grant(period.pk),
            events=events.get(period.pk, 0),
        )
    keys = {key for one in usage.values() for key in one.by_grant}
    stored = CreditGrant.objects.select_related("definition").in_bulk({abs(key) for key in keys})
    return usage, {key: stored[abs(key)] for key in keys}
