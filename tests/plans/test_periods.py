from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plans.periods import (
    Clock,
    boundary,
    is_local_midnight,
    local_day,
    local_midnight,
    midnight_after,
    midnight_before,
    nests,
    parse_recurrence,
    shortest,
)
from plans.refusals import InvalidInput

WEEKLY = Clock("WEEKLY")
MONTHLY = Clock("MONTHLY")
YEARLY = Clock("YEARLY")
# Clock changes at midnight (Asuncion, Beirut, Santiago, Havana, Azores), half an hour (Lord Howe), the ends of the
# date line (Kiritimati, Pago Pago), a day that never was (Apia, 30 December 2011).
ZONES = [
    ZoneInfo(name)
    for name in (
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/Asuncion",
        "Asia/Beirut",
        "America/Santiago",
        "America/Havana",
        "Atlantic/Azores",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Pacific/Kiritimati",
        "Pacific/Pago_Pago",
        "Pacific/Apia",
    )
]
WHOLE_CALENDARS = [zone for zone in ZONES if zone.key != "Pacific/Apia"]
CLOCKS = st.one_of(
    st.builds(Clock, st.just("WEEKLY"), st.integers(1, 52)),
    st.builds(Clock, st.just("MONTHLY"), st.integers(1, 60)),
    st.builds(Clock, st.just("YEARLY"), st.integers(1, 5)),
)
INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2037, 12, 31), timezones=st.just(UTC))
ANY_ZONE = st.sampled_from(ZONES)


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


def days_of(clock, start, count, zone=ZONES[0]):
    return [local_day(boundary(clock, start, number, zone), zone).isoformat() for number in range(count)]


class TestBoundaries:
    def test_the_first_period_starts_at_the_instant_and_the_next_ones_at_midnight(self):
        start = utc(2026, 1, 10, 14, 46, 12, 345)

        assert boundary(MONTHLY, start, 0, ZONES[0]) == start
        assert boundary(MONTHLY, start, 1, ZONES[0]) == utc(2026, 2, 10)
        assert boundary(MONTHLY, start, 2, ZONES[0]) == utc(2026, 3, 10)

    @pytest.mark.parametrize(
        ("day", "days"),
        [
            (29, ["2026-01-29", "2026-02-28", "2026-03-29", "2026-04-29"]),
            (30, ["2026-01-30", "2026-02-28", "2026-03-30", "2026-04-30"]),
            (31, ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31", "2026-06-30"]),
        ],
    )
    def test_short_months_clamp_and_do_not_drift(self, day, days):
        assert days_of(MONTHLY, utc(2026, 1, day, 10), len(days)) == days

    def test_the_31st_falls_on_the_29th_in_a_leap_february(self):
        assert days_of(MONTHLY, utc(2023, 12, 31), 4) == ["2023-12-31", "2024-01-31", "2024-02-29", "2024-03-31"]

    def test_a_leap_day_bills_on_28_february_in_common_years(self):
        assert days_of(YEARLY, utc(2024, 2, 29, 8), 5) == [
            "2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29",
        ]  # fmt: skip

    def test_months_cross_the_end_of_the_year(self):
        assert days_of(MONTHLY, utc(2025, 11, 30), 4) == ["2025-11-30", "2025-12-30", "2026-01-30", "2026-02-28"]

    def test_quarters_count_from_the_anchor(self):
        assert days_of(Clock("MONTHLY", 3), utc(2025, 8, 31), 4) == [
            "2025-08-31", "2025-11-30", "2026-02-28", "2026-05-31",
        ]  # fmt: skip

    def test_weeks_keep_their_weekday(self):
        assert days_of(Clock("WEEKLY", 2), utc(2025, 12, 22, 23, 59), 3) == ["2025-12-22", "2026-01-05", "2026-01-19"]

    def test_the_anchor_day_is_the_local_one(self):
        # 10:30 UTC on 31 January is 00:30 on 1 February at UTC+14, and 23:30 on 30 January at UTC−11.
        at = utc(2026, 1, 31, 10, 30)

        assert boundary(MONTHLY, at, 1, ZoneInfo("Pacific/Kiritimati")) == utc(2026, 2, 28, 10)
        assert boundary(MONTHLY, at, 1, ZoneInfo("Pacific/Pago_Pago")) == utc(2026, 2, 28, 11)
        assert boundary(MONTHLY, at - timedelta(hours=1), 1, ZoneInfo("Pacific/Kiritimati")) == utc(2026, 2, 27, 10)

    def test_local_midnight_moves_in_utc_when_the_clocks_go_forward_and_back(self):
        berlin = ZoneInfo("Europe/Berlin")
        march, october = utc(2026, 3, 15, 9), utc(2026, 10, 15, 9)

        assert [boundary(MONTHLY, march, number, berlin) for number in (1, 8)] == [
            utc(2026, 4, 14, 22), utc(2026, 11, 14, 23),
        ]  # fmt: skip
        assert boundary(WEEKLY, october, 2, berlin) - boundary(WEEKLY, october, 1, berlin) == timedelta(days=7, hours=1)
        assert boundary(WEEKLY, march, 3, berlin) - boundary(WEEKLY, march, 2, berlin) == timedelta(days=6, hours=23)

    @pytest.mark.parametrize(
        ("zone", "day", "start"),
        [
            # 00:00 does not exist: the clocks go from 00:00 to 01:00.
            ("America/Asuncion", date(2023, 10, 1), utc(2023, 10, 1, 4)),
            ("Asia/Beirut", date(2025, 3, 30), utc(2025, 3, 29, 22)),
            ("America/Santiago", date(2025, 9, 7), utc(2025, 9, 7, 4)),
            ("America/Havana", date(2025, 3, 9), utc(2025, 3, 9, 5)),
        ],
    )
    def test_a_day_whose_midnight_is_skipped_starts_with_the_change(self, zone, day, start):
        zone = ZoneInfo(zone)

        assert local_midnight(day, zone) == start
        assert local_day(start, zone) == day
        assert local_day(start - timedelta(microseconds=1), zone) == day - timedelta(days=1)
        assert is_local_midnight(start, zone)

    @pytest.mark.parametrize(
        ("zone", "day", "start"),
        [
            # 00:00 comes twice: the clocks go from 01:00 back to 00:00. The day starts at the first one.
            ("America/Havana", date(2025, 11, 2), utc(2025, 11, 2, 4)),
            ("Atlantic/Azores", date(2025, 10, 26), utc(2025, 10, 26, 0)),
        ],
    )
    def test_a_day_whose_midnight_comes_twice_starts_at_the_first(self, zone, day, start):
        zone = ZoneInfo(zone)

        assert local_midnight(day, zone) == start
        assert not is_local_midnight(start + timedelta(hours=1), zone)
        assert midnight_after(start + timedelta(hours=1), zone) == start + timedelta(hours=25)

    @given(CLOCKS, INSTANTS, ANY_ZONE, st.integers(0, 30))
    def test_boundaries_strictly_increase(self, clock, start, zone, first):
        bounds = [boundary(clock, start, number, zone) for number in range(first, first + 6)]

        assert all(one < other for one, other in pairwise(bounds))

    @given(st.sampled_from([MONTHLY, YEARLY, WEEKLY]), INSTANTS, st.sampled_from(WHOLE_CALENDARS), st.integers(1, 20))
    def test_every_later_boundary_is_the_midnight_of_the_anchor_day_or_of_the_last_of_a_short_month(
        self, clock, start, zone, number
    ):
        at = boundary(clock, start, number, zone)
        day, anchor = local_day(at, zone), local_day(start, zone)

        assert is_local_midnight(at, zone)
        if clock is WEEKLY:
            assert (day - anchor).days == 7 * number
        elif day.day != anchor.day:
            assert day.day < anchor.day and (day + timedelta(days=1)).day == 1

    @given(CLOCKS, INSTANTS, ANY_ZONE, st.integers(1, 20))
    def test_a_boundary_depends_on_the_start_alone_not_on_the_ones_before(self, clock, start, zone, number):
        day = clock.after(local_day(start, zone), number)

        assert boundary(clock, start, number, zone) == local_midnight(day, zone)

    @given(INSTANTS, ANY_ZONE, st.integers(1, 4), st.integers(1, 10))
    def test_each_boundary_of_a_year_is_one_of_its_months(self, start, zone, years, number):
        outer, inner = Clock("YEARLY", years), MONTHLY

        assert boundary(outer, start, number, zone) == boundary(inner, start, 12 * years * number, zone)


class TestMidnights:
    @given(INSTANTS, ANY_ZONE)
    def test_the_midnights_around_an_instant_enclose_it(self, at, zone):
        before, after = midnight_before(at, zone), midnight_after(at, zone)

        assert before <= at <= after
        assert after - before <= timedelta(hours=49)
        assert (before == after) == is_local_midnight(at, zone)

    @given(INSTANTS, ANY_ZONE)
    def test_widening_to_midnight_twice_changes_nothing(self, at, zone):
        assert midnight_after(midnight_after(at, zone), zone) == midnight_after(at, zone)
        assert midnight_before(midnight_before(at, zone), zone) == midnight_before(at, zone)


class TestReadingARule:
    @pytest.mark.parametrize(
        ("rule", "clock"),
        [
            ("RRULE:FREQ=MONTHLY;INTERVAL=1", MONTHLY),
            ("FREQ=MONTHLY", MONTHLY),
            ("RRULE:INTERVAL=2;FREQ=WEEKLY", Clock("WEEKLY", 2)),
            ("RRULE:freq=yearly;interval=5;", Clock("YEARLY", 5)),
            ("RRULE:FREQ=MONTHLY;INTERVAL=60", Clock("MONTHLY", 60)),
        ],
    )
    def test_reads_frequency_and_interval(self, rule, clock):
        assert parse_recurrence(rule, path="r") == clock

    @given(CLOCKS)
    def test_writes_what_it_reads(self, clock):
        assert parse_recurrence(clock.rule, path="r") == clock

    @pytest.mark.parametrize(
        "rule",
        [
            None,
            5,
            ["FREQ=MONTHLY"],
            "",
            "RRULE:",
            "MONTHLY",
            "RRULE:INTERVAL=1",
            "RRULE:FREQ=DAILY",
            "RRULE:FREQ=HOURLY",
            "RRULE:FREQ=MONTHLY;FREQ=YEARLY",
            "RRULE:FREQ=MONTHLY;;INTERVAL=1",
            "RRULE:FREQ=MONTHLY;INTERVAL=",
            "RRULE:FREQ=MONTHLY;INTERVAL=0",
            "RRULE:FREQ=MONTHLY;INTERVAL=-1",
            "RRULE:FREQ=MONTHLY;INTERVAL=61",
            "RRULE:FREQ=WEEKLY;INTERVAL=53",
            "RRULE:FREQ=YEARLY;INTERVAL=6",
            "RRULE:FREQ=MONTHLY;INTERVAL=1.5",
            "RRULE:FREQ=MONTHLY;INTERVAL=٣",
            "RRULE:FREQ=MONTHLY;INTERVAL=²",
            "RRULE:FREQ=MONTHLY;INTERVAL=" + "9" * 100_000,
            "RRULE:FREQ=MONTHLY;COUNT=3",
            "RRULE:FREQ=MONTHLY;BYMONTHDAY=1",
            "RRULE:FREQ=MONTHLY;UNTIL=20300101",
            "RRULE:FREQ=MONTHLY\nRRULE:FREQ=YEARLY",
        ],
    )
    def test_refuses_everything_else_at_its_path(self, rule):
        with pytest.raises(InvalidInput) as refused:
            parse_recurrence(rule, path="pricingData.components[3].recurrence_rule")

        assert refused.value.details[0]["path"] == "pricingData.components[3].recurrence_rule"


class TestSeveralClocks:
    @pytest.mark.parametrize(
        ("inner", "outer", "answer"),
        [
            (MONTHLY, YEARLY, True),
            (YEARLY, MONTHLY, False),
            (MONTHLY, MONTHLY, True),
            (Clock("MONTHLY", 3), YEARLY, True),
            (Clock("MONTHLY", 5), YEARLY, False),
            (Clock("MONTHLY", 12), YEARLY, True),
            (WEEKLY, Clock("WEEKLY", 4), True),
            (Clock("WEEKLY", 2), Clock("WEEKLY", 3), False),
            (WEEKLY, MONTHLY, False),
            (WEEKLY, YEARLY, False),
            (MONTHLY, Clock("WEEKLY", 4), False),
        ],
    )
    def test_knows_which_clocks_nest(self, inner, outer, answer):
        assert nests(inner, outer) is answer

    def test_the_shortest_clock_turns_most_often(self):
        assert shortest([YEARLY, Clock("MONTHLY", 2), MONTHLY, Clock("YEARLY", 2)]) == MONTHLY
        assert shortest([Clock("WEEKLY", 2), WEEKLY]) == WEEKLY
