"""A reconciliation, slice by slice: Stripe is read between transactions, and each page is kept before the next one."""

import logging
from datetime import datetime

from billing import gateway
from billing.jobs.swept import KeepGoing, SweepClock, Swept, to_the_end
from billing.models import Reconciliation, ReconciliationStage
from billing.services import reconcile

logger = logging.getLogger(__name__)

LOOKS_AT_ONCE = 25


def reconcile_nightly(at: datetime, keep_going: KeepGoing = to_the_end) -> Swept:
    """Go on with this night's reconciliation where the slice before has stopped. `done` is 1 when it is finished."""
    swept, clock = Swept(), SweepClock(at)
    run = reconcile.claim_nightly(at=at, now=clock.now())
    if run is None:
        return swept
    try:
        swept.done = int(reconcile_with_stripe(run, clock, keep_going))
        if not swept.done:
            reconcile.release(run)
    except gateway.StripeUnavailable as error:
        reconcile.release(run)
        swept.unavailable = str(error)
    except gateway.StripeRefused as error:
        reconcile.release(run)
        logger.error("Stripe refuses to be compared with: %s", error)
        swept.fail(str(error))
    except reconcile.AnotherSlice:
        logger.info("another worker is at the reconciliation %s", run)
    return swept


def reconcile_with_stripe(run: Reconciliation, clock: SweepClock, keep_going: KeepGoing = to_the_end) -> bool:
    """Take a reconciliation on until it is finished, or `keep_going` says no; tell whether it is finished. Raises
    StripeUnavailable, StripeRefused and AnotherSlice."""
    while run.stage != ReconciliationStage.LOOK_AGAIN:
        if not keep_going():
            return False
        _read_page(run, clock)
    reconcile.begin_to_look_again()
    while looked := reconcile.to_look_at_again(run=run, at=clock.at, most=LOOKS_AT_ONCE):
        if not keep_going():
            return False
        looks = [(found, gateway.look_again(reconcile.type_there(found), found.stripe_id)) for found in looked]
        reconcile.keep_looks(run=run, looks=looks, now=clock.now())
    reconcile.finish(run=run, at=clock.at, now=clock.now())
    return True


def _read_page(run: Reconciliation, clock: SweepClock) -> None:
    try:
        page = gateway.read_page(run.stage, since=run.since, until=run.until, cursor=run.cursor)
    except gateway.StripeRefused:
        if not run.cursor:
            raise
        # The object at the cursor is gone: a draft was deleted meanwhile.
        reconcile.begin_list_again(run=run, now=clock.now())
        return
    reconcile.keep_page(run=run, objects=page.objects, cursor=page.cursor, now=clock.now())
