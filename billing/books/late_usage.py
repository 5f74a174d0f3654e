"""What was found of periods after they were settled."""

from datetime import datetime

from billing.books.statements import Outcome, compare
from billing.late_usage_sql import FOUND_IS_BILLED_ONCE, FOUND_UNITS_COST_THEIR_PRICE


def found_units_cost_their_price(at: datetime) -> Outcome:
    """Compare what periods came to, together with what was found of them later, with the price of their charged units
    where that is plain; and find gaps in the numbers of the differences."""
    return compare(FOUND_UNITS_COST_THEIR_PRICE, at)


def found_usage_is_billed_once(at: datetime) -> Outcome:
    """Compare each difference that was found of a settled period with the line that bills it, or the credit note or
    grant that gives it back, if it is billed. One that comes to nothing may have no line."""
    return compare(FOUND_IS_BILLED_ONCE, at)
