"""What no stored period covers, cut at the ends of local months."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from credits.months import gap_at, gap_key, gaps_between, month_end, month_start
from credits.positions import StoredPeriod

ZONE = ZoneInfo("UTC")
HAVANA = ZoneInfo("America/Havana")


def day(month, number, hour=0):
    return datetime(2026, month, number, hour, tzinfo=UTC)


def period(start_at, end_at):
    return StoredPeriod(1, start_at, end_at, settled=False)


def test_without_periods_a_gap_is_a_month():
    assert gaps_between(day(1, 1), day(4, 1), [], ZONE) == [
        (day(1, 1), day(2, 1)),
        (day(2, 1), day(3, 1)),
        (day(3, 1), day(4, 1)),
    ]


def test_a_period_leaves_what_is_before_and_after_it():
    periods = [period(day(1, 10, 14), day(2, 20, 9))]

    assert gaps_between(day(1, 1), day(3, 1), periods, ZONE) == [
        (day(1, 1), day(1, 10, 14)),
        (day(2, 20, 9), day(3, 1)),
    ]


def test_a_month_can_have_several_gaps():
    periods = [period(day(1, 5), day(1, 7)), period(day(1, 7), day(1, 9)), period(day(1, 20), day(1, 21))]

    assert gaps_between(day(1, 1), day(2, 1), periods, ZONE) == [
        (day(1, 1), day(1, 5)),
        (day(1, 9), day(1, 20)),
        (day(1, 21), day(2, 1)),
    ]


def test_a_covered_month_has_none():
    assert gaps_between(day(1, 1), day(2, 1), [period(day(1, 1), day(3, 1))], ZONE) == []


def test_a_gap_is_found_around_an_instant():
    periods = [period(day(1, 5), day(1, 7)), period(day(2, 3), day(3, 3))]

    assert gap_at(day(1, 7), periods, ZONE) == (day(1, 7), day(2, 1))
    assert gap_at(day(2, 1), periods, ZONE) == (day(2, 1), day(2, 3))


def test_months_are_those_of_the_zone():
    # 1 November 2026 begins in Havana at 04:00 UTC, and its midnight comes again at 05:00.
    at = datetime(2026, 11, 1, 4, 30, tzinfo=UTC)

    assert month_start(at, HAVANA) == datetime(2026, 11, 1, 4, tzinfo=UTC)
    assert month_end(at, HAVANA) == datetime(2026, 12, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "end"), [(day(1, 31), day(2, 1)), (day(2, 1), day(3, 1)), (day(12, 31), datetime(2027, 1, 1, tzinfo=UTC))]
)
def test_a_month_ends_where_the_next_one_begins(at, end):
    assert month_end(at, ZONE) == end


def test_a_gap_has_a_key_that_no_period_has():
    assert gap_key(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)) == -1_000_000
