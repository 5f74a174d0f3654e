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
DAILY_3 = Clock("DAILY", 3, count=10)
CLOCKS = st.one_of(
    st.builds(Clock, st.just("WEEKLY"), st.integers(1, 52)),
    st.builds(Clock, st.just("MONTHLY"), st.integers(1, 60)),
    st.builds(Clock, st.just("YEARLY"), st.integers(1, 5)),
)
# The daily ones are apart: in Apia a day is missing, so that two midnights are one instant.
DAILY_CLOCKS = st.builds(Clock, st.just("DAILY"), st.integers(1, 366), st.integers(1, 10_000))
ENDING_CLOCKS = st.one_of(
    DAILY_CLOCKS,
    st.builds(Clock, st.just("MONTHLY"), st.integers(1, 60), st.integers(1, 10_000)),
    st.builds(
        Clock,
        st.sampled_from(["WEEKLY", "YEARLY"]),
        st.integers(1, 5),
        until=st.dates(date(1000, 1, 1)).map(lambda day: f"{day:%Y%m%d}")
        | st.datetimes(datetime(1000, 1, 1)).map(lambda at: f"{at:%Y%m%dT%H%M%SZ}"),
    ),
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


class TestDaysAreCountedFromTheFirstMidnight:
    def test_ruling_19_the_first_period_of_a_daily_clock_ends_at_the_second_midnight(self):
        start = utc(2026, 1, 10, 14, 46)

        # The midnights are those of the 11th and of the 12th.
        assert [boundary(Clock("DAILY", count=9), start, number, ZONES[0]) for number in range(4)] == [
            start, utc(2026, 1, 12), utc(2026, 1, 13), utc(2026, 1, 14),
        ]  # fmt: skip

    def test_ruling_19_a_start_exactly_at_midnight_is_the_first_of_them(self):
        assert days_of(Clock("DAILY", count=9), utc(2026, 1, 10), 3) == ["2026-01-10", "2026-01-11", "2026-01-12"]
        assert days_of(Clock("DAILY", count=9), utc(2026, 1, 10, 0, 0, 1), 2) == ["2026-01-10", "2026-01-12"]

    def test_several_days_are_counted_from_it_too(self):
        assert days_of(DAILY_3, utc(2026, 1, 10, 14, 46), 3) == ["2026-01-10", "2026-01-14", "2026-01-17"]

    def test_the_midnights_are_local(self):
        berlin = ZoneInfo("Europe/Berlin")

        # 23:30 UTC is 00:30 of the 11th in Berlin, so the first midnight begins the 12th and the second the 13th.
        assert boundary(Clock("DAILY", count=9), utc(2026, 1, 10, 23, 30), 1, berlin) == utc(2026, 1, 12, 23)

    @given(DAILY_CLOCKS, INSTANTS, st.sampled_from(WHOLE_CALENDARS), st.integers(1, 20))
    def test_no_period_is_shorter_than_its_days(self, clock, start, zone, number):
        one, other = (boundary(clock, start, which, zone) for which in (number - 1, number))

        assert is_local_midnight(other, zone)
        assert (local_day(other, zone) - local_day(one, zone)).days >= clock.interval

    @given(st.one_of(CLOCKS, DAILY_CLOCKS), INSTANTS, st.sampled_from(WHOLE_CALENDARS), st.integers(1, 6))
    def test_each_boundary_of_any_clock_is_one_of_its_days(self, clock, start, zone, number):
        at = boundary(clock, start, number, zone)
        days = Clock("DAILY", count=10_000)
        which = (local_day(at, zone) - local_day(midnight_after(start, zone), zone)).days

        assert nests(days, clock)
        assert boundary(days, start, which, zone) == at


class TestTheEndOfAClock:
    def test_after_count_periods_there_is_no_other(self):
        clock = Clock("MONTHLY", count=2)

        assert [clock.has_period(number, utc(2026, 1, 1), ZONES[0]) for number in (0, 1, 2, 3)] == [
            True, True, False, False,
        ]  # fmt: skip

    def test_the_day_of_until_still_belongs_to_it(self):
        clock, berlin = Clock("MONTHLY", until="20261231"), ZoneInfo("Europe/Berlin")

        assert clock.has_period(9, utc(2026, 12, 31, 22, 59, 59), berlin)
        assert not clock.has_period(9, utc(2026, 12, 31, 23), berlin)

    def test_an_instant_of_until_is_the_last_at_which_a_period_may_begin(self):
        clock = Clock("MONTHLY", until="20261231T235959Z")

        assert clock.has_period(0, utc(2026, 12, 31, 23, 59, 59), ZoneInfo("Europe/Berlin"))
        assert not clock.has_period(0, utc(2027, 1, 1), ZoneInfo("Europe/Berlin"))

    def test_a_clock_without_an_end_goes_on(self):
        assert MONTHLY.has_period(10**6, utc(9000, 1, 1), ZONES[0])
        assert not MONTHLY.has_end
        assert Clock("MONTHLY", count=1).has_end and Clock("MONTHLY", until="20261231").has_end


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
            ("FREQ=MONTHLY;COUNT=1", Clock("MONTHLY", count=1)),
            ("RRULE:FREQ=DAILY;INTERVAL=366;COUNT=10000", Clock("DAILY", 366, count=10_000)),
            ("RRULE:FREQ=DAILY;UNTIL=20261231", Clock("DAILY", until="20261231")),
            ("RRULE:FREQ=WEEKLY;until=20280229t235959z", Clock("WEEKLY", until="20280229T235959Z")),
        ],
    )
    def test_reads_frequency_interval_and_end(self, rule, clock):
        assert parse_recurrence(rule, path="r") == clock

    @given(st.one_of(CLOCKS, ENDING_CLOCKS))
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
            "RRULE:FREQ=DAILY;INTERVAL=1",
            "RRULE:FREQ=DAILY;INTERVAL=367;COUNT=3",
            "RRULE:FREQ=MONTHLY;COUNT=0",
            "RRULE:FREQ=MONTHLY;COUNT=10001",
            "RRULE:FREQ=MONTHLY;COUNT=",
            "RRULE:FREQ=MONTHLY;COUNT=1.0",
            "RRULE:FREQ=MONTHLY;COUNT=2;UNTIL=20300101",
            "RRULE:FREQ=MONTHLY;UNTIL=20300230",
            "RRULE:FREQ=MONTHLY;UNTIL=2030-01-01",
            "RRULE:FREQ=MONTHLY;UNTIL=20300101T000000",
            "RRULE:FREQ=MONTHLY;UNTIL=20300101T250000Z",
            "RRULE:FREQ=MONTHLY;UNTIL=00000101",
            "RRULE:FREQ=MONTHLY;UNTIL=",
            "RRULE:FREQ=MONTHLY;UNTIL=٢٠٣٠٠١٠١",
            "RRULE:FREQ=MONTHLY;BYMONTHDAY=1",
            "RRULE:FREQ=MONTHLY;TZID=Europe/Berlin",
            "RRULE:FREQ=MONTHLY\nRRULE:FREQ=YEARLY",
        ],
    )
    def test_refuses_everything_else_at_its_path(self, rule):
        with pytest.raises(InvalidInput) as refused:
            parse_recurrence(rule, path="pricingData.components[3].recurrence_rule")

        assert refused.value.details[0]["path"] == "pricingData.components[3].recurrence_rule"

    def test_reads_days_without_an_end_only_for_who_asks_for_them(self):
        assert parse_recurrence("FREQ=DAILY;INTERVAL=7", path="r", endless_daily=True) == Clock("DAILY", 7)

    @pytest.mark.parametrize("part", ["TZID=Europe/Berlin", "BYDAY=MO", "WKST=SU", "DTSTART=20260101"])
    def test_names_what_it_cannot_use(self, part):
        with pytest.raises(InvalidInput) as refused:
            parse_recurrence(f"FREQ=MONTHLY;{part}", path="r")

        assert f"{part.partition('=')[0]} cannot be used here" in refused.value.message


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
            (Clock("DAILY", count=1), MONTHLY, True),
            (Clock("DAILY", until="20261231"), WEEKLY, True),
            (Clock("DAILY", count=1), DAILY_3, True),
            (Clock("DAILY", count=1), Clock("DAILY", count=1), True),
            (DAILY_3, Clock("DAILY", 9, count=1), True),
            (DAILY_3, Clock("DAILY", 8, count=1), False),
            (DAILY_3, Clock("DAILY", count=1), False),
            (DAILY_3, MONTHLY, False),
            (Clock("DAILY", 7, count=1), WEEKLY, False),
            (WEEKLY, Clock("DAILY", 7, count=1), False),
            (MONTHLY, Clock("DAILY", count=1), False),
        ],
    )
    def test_knows_which_clocks_nest(self, inner, outer, answer):
        assert nests(inner, outer) is answer

    def test_the_shortest_clock_turns_most_often(self):
        assert shortest([YEARLY, Clock("MONTHLY", 2), MONTHLY, Clock("YEARLY", 2)]) == MONTHLY
        assert shortest([Clock("WEEKLY", 2), WEEKLY]) == WEEKLY

    def test_one_that_ends_is_the_shortest_only_where_all_end(self):
        one_time, first_days = Clock("MONTHLY", count=1), Clock("DAILY", count=3)

        assert shortest([one_time, YEARLY, first_days]) == YEARLY
        assert shortest([one_time, first_days]) == first_days
