import logging
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from django.db import DataError, IntegrityError

from credits.services.settle import BooksDoNotAddUp
from plans.models import Customer
from plans.services.storable_amounts import AmountTooLarge

logger = logging.getLogger(__name__)

GUILTY = (BooksDoNotAddUp, AmountTooLarge, IntegrityError, DataError, ArithmeticError, ValueError, AssertionError)


def park_customer(*, customers: Collection[int], reason: str, at: datetime) -> None:
    """Stop billing customers whose books do not add up, until an operator has looked. Everybody else goes on."""
    Customer.objects.filter(pk__in=customers, parked_at__isnull=True).update(parked_at=at, parked_reason=reason)


def unpark_customer(*, customer: Customer) -> None:
    """Bill a customer again from the next sweep on."""
    Customer.objects.filter(pk=customer.pk).update(parked_at=None, parked_reason="")


def work_in_halves(
    keys: Sequence[int], work: Callable[[Sequence[int]], int], give_up: Callable[[int, Exception], None]
) -> int:
    """Do `work` on all keys at once; when that fails, on each half, until the guilty key stands alone and is given up.

    Returns how many keys were worked on. Only what the data of a key can cause counts as its guilt. Anything else, such
    as a deadlock, a missing column or a wrong setting, is raised: the next sweep tries again, and nobody is parked.
    """
    if not keys:
        return 0
    try:
        return work(keys)
    except GUILTY as error:
        if len(keys) == 1:
            logger.exception("gave up on %s", keys[0])
            give_up(keys[0], error)
            return 0
    middle = len(keys) // 2
    return work_in_halves(keys[:middle], work, give_up) + work_in_halves(keys[middle:], work, give_up)
