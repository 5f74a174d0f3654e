"""How a statement is asked for the rows that break an invariant."""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from plans.services.time_zone import billing_zone

# The share of a `period` in the turn of its clock that it belongs to, by local days: 1 where it is a whole one.
SHARE_OF_WHOLE = """COALESCE(
    ((period.end_at AT TIME ZONE %(zone)s::text)::date - (period.start_at AT TIME ZONE %(zone)s::text)::date)::numeric
    / NULLIF((period.whole_end_at AT TIME ZONE %(zone)s::text)::date
        - (period.whole_start_at AT TIME ZONE %(zone)s::text)::date, 0), 1)"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one invariant's statements gave."""

    rows_checked: int
    offenders: list[str]


def compare(statement: str, at: datetime) -> Outcome:
    """Run a statement that gives `(sentence, is broken)` per row; only broken rows and the count leave the database."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT count(*), COALESCE(json_agg(sentence ORDER BY row_number) FILTER (WHERE broken), '[]')
            FROM (SELECT *, row_number() OVER () FROM ({statement}) AS compared(sentence, broken)) AS numbered
            """,
            {"zone": billing_zone().key, "at": at},
        )
        rows_checked, offenders = cursor.fetchone()
    return Outcome(rows_checked, offenders)
