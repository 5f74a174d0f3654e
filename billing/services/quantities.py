from collections.abc import Iterable, Sequence
from datetime import datetime

from django.db.models import prefetch_related_objects

from billing.models import Invoice, InvoiceKind
from plans.models import AddedUnits, SubscriptionPeriod
from plans.services.units import is_of_units, units_at_start

# The invoices that bill a subscription's fees.
_BILLS_UNITS = (InvoiceKind.CYCLE, InvoiceKind.CHANGE, InvoiceKind.FINAL, InvoiceKind.SEATS)


def billed_quantities(periods: Iterable[SubscriptionPeriod]) -> dict[int, int]:
    """Tell how many units each period of a per-unit component bills in advance, by the period's key; what was added
    within it is left out. Item and component must be loaded."""
    in_units = [period for period in periods if is_of_units(period.item)]
    prefetch_related_objects(in_units, "customer")
    return units_at_start(in_units)


def added_units_of(drafts: Iterable[Invoice]) -> dict[int, list[AddedUnits]]:
    """Find the units that were added until the drafts close and that no invoice has charged, by the draft's key: the
    earliest one of their subscription takes them."""
    takers = sorted(
        (draft for draft in drafts if draft.subscription_id is not None and draft.kind in _BILLS_UNITS),
        key=lambda draft: (draft.closes_at, draft.pk or 0),
    )
    waiting = list(
        AddedUnits.objects.filter(billed_at=None, period__subscription__in={one.subscription_id for one in takers})
        .select_related("period__item__component__price")
        .order_by("period__item__component__position", "period__start_at", "from_quantity")
    )
    taken: dict[int, list[AddedUnits]] = {}
    for draft in takers:
        mine = [one for one in waiting if _is_for(one, draft)]
        waiting = [one for one in waiting if one not in mine]
        if mine:
            taken[draft.pk] = mine
    return taken


def _is_for(added: AddedUnits, draft: Invoice) -> bool:
    return added.period.subscription_id == draft.subscription_id and added.needed_at <= draft.closes_at


def note_billed(added: Iterable[Sequence[AddedUnits]], *, at: datetime) -> None:
    """Write down that these units are on an invoice."""
    keys = [one.pk for batch in added for one in batch]
    if keys:
        AddedUnits.objects.filter(pk__in=keys).update(billed_at=at)
