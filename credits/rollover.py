"""What becomes of the rest of a grant that rolls over. No clock, no database.

Ruling: at the end of its period the unused rest of such a grant becomes a new grant, once: what was rolled over does
not roll again. At most `cap` units are held that way together, of all grants of one definition.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from plans.periods import local_day, local_midnight, midnight_after


@dataclass(frozen=True, slots=True)
class Rollover:
    """The terms by which the rest of a grant rolls over: `cap` units at most are held that way (None: all), and they
    end at `ends_at` (None: never)."""

    cap: Decimal | None = None
    ends_at: datetime | None = None


def rolled_until(ends_at: datetime, days: int | None, zone: ZoneInfo) -> datetime | None:
    """Tell when the units that roll over at `ends_at` expire: that many local days later, at a local midnight; None for
    never. A day on which the clock is changed is a day like others."""
    if days is None:
        return None
    return local_midnight(local_day(midnight_after(ends_at, zone), zone) + timedelta(days=days), zone)
