"""What rolls over, how much of it, and what pays first: quotas of 1,000 a month in March, April and May 2026."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credits.positions import GrantState, Position, StoredPeriod
from credits.rollover import Rollover, rolled_until

MARCH, APRIL, MAY, JUNE, JULY = (datetime(2026, month, 1, tzinfo=UTC) for month in range(3, 8))
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MONTHS = {3: (MARCH, APRIL), 4: (APRIL, MAY), 5: (MAY, JUNE), 6: (JUNE, JULY)}
QUOTA = 7


def period(month, *, settled=False, feature_units=0):
    start_at, end_at = MONTHS[month]
    return StoredPeriod(month, start_at, end_at, settled, feature_units=Decimal(feature_units))


def quota(month, *, left=1_000, cap=None, days=None, rolls=True, priority=None, definition=QUOTA):
    """The quota of a month; its key is ten times the month's number."""
    start_at, end_at = MONTHS[month]
    return GrantState(
        key=month * 10,
        ledger_remaining=Decimal(left),
        priority=priority,
        starts_at=start_at,
        ends_at=end_at,
        period=month,
        definition=definition,
        rollover=Rollover(
            cap=None if cap is None else Decimal(cap), ends_at=None if days is None else end_at + days * DAY
        )
        if rolls
        else None,
    )


def rolled_before(key, left, *, starts_at=MARCH, ends_at=None, definition=QUOTA, rolled_from=1):
    return GrantState(key, Decimal(left), None, starts_at, ends_at, None, definition, rolled_from)


def position(grants, usage=(), *, settled=(), feature_units=0):
    return Position(
        periods=tuple(period(month, settled=month in settled, feature_units=feature_units) for month in MONTHS),
        grants=tuple(grants),
        usage=tuple((at, Decimal(units)) for at, units in usage),
    )


def months(usage=(), **terms):
    return position([quota(month, **terms) for month in MONTHS], usage)


def begun_with(live):
    """What each provisional grant begins with, by the grant that it is left of."""
    return {grant.rolled_from: grant.ledger_remaining for grant in live.provisional_grants}


class TestInTheGraceHour:
    def test_the_rest_of_the_ended_month_is_there_from_its_end_on(self):
        live = months([(MARCH, 400)])

        assert live.remaining(APRIL - HOUR) == 600
        assert live.remaining(APRIL) == 1_000 + 600

    def test_without_the_terms_it_is_gone(self):
        assert months([(MARCH, 400)], rolls=False).remaining(APRIL) == 1_000

    def test_nothing_rolls_over_from_a_month_that_is_used_up(self):
        live = months([(MARCH, 1_200)])

        assert live.remaining(APRIL) == 1_000
        assert 30 not in begun_with(live)

    def test_what_rolled_over_is_burned_like_the_grant_it_will_become(self):
        # Without an end it comes after April's quota: 1,000 + 150 of the 600.
        live = months([(MARCH, 400), (APRIL, 1_150)])

        assert live.burn.by_grant(4) == {40: 1_000, -30: 150}
        assert live.remaining(APRIL + HOUR) == 450

    def test_what_ends_sooner_than_the_quota_is_burned_before_it(self):
        live = months([(MARCH, 400), (APRIL, 700)], days=10)

        assert live.burn.by_grant(4) == {-30: 600, 40: 100}

    def test_of_equal_end_and_start_the_quota_is_burned_first_since_its_id_is_older(self):
        live = months([(MARCH, 400), (APRIL, 1_010)], days=30)

        assert list(live.burn.by_grant(4).items()) == [(40, 1_000), (-30, 10)]

    def test_the_priority_of_the_grant_goes_on(self):
        extra = GrantState(1, Decimal(500), 2, APRIL, MAY, None)
        live = position([quota(3, priority=1), extra], [(MARCH, 400), (APRIL, 700)])

        assert live.burn.by_grant(4) == {-30: 600, 1: 100}

    def test_it_expires_by_its_own_end(self):
        live = months([(MARCH, 400)], days=10)

        assert [live.remaining(at) for at in (APRIL + 10 * DAY - HOUR, APRIL + 10 * DAY)] == [1_600, 1_000]

    def test_late_usage_of_the_ended_month_takes_from_it(self):
        before, after = months([(MARCH, 400)]), months([(MARCH, 400), (APRIL - HOUR, 100)])

        assert (before.remaining(APRIL), after.remaining(APRIL)) == (1_600, 1_500)

    def test_negative_usage_of_the_new_month_does_not_reach_the_old_one(self):
        assert months([(MARCH, 400), (APRIL, -50)]).remaining(APRIL + HOUR) == 1_600

    def test_it_moves_no_allowance_window_and_is_no_quota(self):
        live = position([quota(3)], [(MARCH, 400)], feature_units=70)

        assert live.window_start(APRIL) == APRIL
        assert [live.free_in(live.period(month)) for month in (3, 4)] == [0, 70]
        assert live.remaining(APRIL) == 600 + 70

    def test_it_counts_as_covered_when_it_is_used(self):
        live = months([(MARCH, 400), (APRIL, 1_150)])

        assert live.covered_since(APRIL) == 1_150
        assert live.used_since(APRIL) == 1_150

    def test_it_is_active_and_says_that_it_is_provisional(self):
        active = months([(MARCH, 400)], days=10).active_grants(APRIL)

        assert [(grant.key, grant.is_provisional, grant.stored_key, grant.ends_at) for grant in active] == [
            (40, False, 40, MAY),
            (-30, True, 30, APRIL + 10 * DAY),
        ]


class TestCap:
    def test_no_more_than_the_cap_rolls_over(self):
        assert months([(MARCH, 400)], cap=250).remaining(APRIL) == 1_250

    def test_a_rest_below_the_cap_rolls_over_whole(self):
        assert months([(MARCH, 900)], cap=250).remaining(APRIL) == 1_100

    def test_what_is_still_held_leaves_less_room(self):
        # 250 roll into April, which burns its 1,000 and 100 of them. 150 are held when May, unused, ends, so 100 have
        # room.
        live = months([(MARCH, 400), (APRIL, 1_100)], cap=250)

        assert begun_with(live) == {30: 250, 50: 100}
        assert live.remaining(JUNE) == 1_000 + 250

    def test_what_was_written_before_and_is_held_counts(self):
        live = position([rolled_before(1, 180), quota(3, cap=250)])

        assert begun_with(live) == {30: 70}

    def test_what_expires_at_that_instant_is_not_held(self):
        live = position([rolled_before(1, 180, ends_at=APRIL), quota(3, cap=250)])

        assert begun_with(live) == {30: 250}

    def test_other_definitions_have_caps_of_their_own(self):
        live = position([rolled_before(1, 180, definition=8), quota(3, cap=250)])

        assert begun_with(live) == {30: 250}

    def test_more_held_than_the_cap_leaves_no_room(self):
        # The cap was higher when the 400 rolled over.
        live = position([rolled_before(1, 400), quota(3, cap=250)])

        assert begun_with(live) == {}
        assert live.remaining(APRIL) == 400


class TestOnce:
    def test_what_rolled_over_does_not_roll_again(self):
        live = months(days=10)

        assert begun_with(live) == {30: 1_000, 40: 1_000, 50: 1_000, 60: 1_000}
        assert live.remaining(APRIL + 10 * DAY) == 1_000

    def test_a_grant_that_was_rolled_over_before_is_left_alone(self):
        # Units returned to a settled quota are not worth a second grant.
        live = position([quota(3, left=50), rolled_before(1, 20, starts_at=APRIL, rolled_from=30)], settled=[3])

        assert begun_with(live) == {}
        assert live.remaining(APRIL) == 20


class TestSeveralUnsettledMonths:
    def test_each_rest_is_there_until_it_is_burned(self):
        # March leaves 600. April burns its 1,000 and 150 of them. May burns its 1,000 and 300 more; 150 stay.
        live = months([(MARCH, 400), (APRIL, 1_150), (MAY, 1_300)])

        assert live.burn.by_grant(5) == {50: 1_000, -30: 300}
        assert live.remaining(JUNE) == 1_000 + 150

    def test_the_older_rest_is_burned_first(self):
        live = months([(MARCH, 900), (APRIL, 800), (MAY, 1_250)])

        assert list(live.burn.by_grant(5).items()) == [(50, 1_000), (-30, 100), (-40, 150)]
        assert live.remaining(JUNE) == 1_000 + 50


class TestWhatTheOldGrantHasLeft:
    def test_is_its_rest_less_what_was_burned_of_it_later(self):
        live = months([(MARCH, 400), (APRIL, 1_150)])

        assert (live.burn.rest_of(30), live.burn.remaining[30], live.burn.remaining[-30]) == (600, 450, 450)

    def test_units_beyond_the_cap_are_of_its_rest_only(self):
        live = months([(MARCH, 400), (APRIL, 1_150)], cap=200)

        assert (live.burn.rest_of(30), live.burn.remaining[30], live.burn.remaining[-30]) == (600, 450, 50)


class TestEnd:
    @pytest.mark.parametrize(
        ("ends_at", "days", "end"),
        [
            (datetime(2026, 3, 1, tzinfo=UTC), 30, datetime(2026, 3, 31, tzinfo=UTC)),
            (datetime(2026, 2, 28, tzinfo=UTC), 1, datetime(2026, 3, 1, tzinfo=UTC)),
            # A period that was ended early: its rest lives until a midnight.
            (datetime(2026, 3, 1, 14, tzinfo=UTC), 30, datetime(2026, 4, 1, tzinfo=UTC)),
        ],
    )
    def test_is_that_many_days_later_at_a_midnight(self, ends_at, days, end):
        assert rolled_until(ends_at, days, ZoneInfo("UTC")) == end

    def test_counts_local_days_over_a_change_of_the_clock(self):
        # Midnight in Berlin is 23:00 UTC in winter and 22:00 UTC in summer, and the other way around in October.
        berlin = ZoneInfo("Europe/Berlin")
        spring, autumn = datetime(2026, 2, 28, 23, tzinfo=UTC), datetime(2026, 9, 30, 22, tzinfo=UTC)

        assert rolled_until(spring, 31, berlin) == datetime(2026, 3, 31, 22, tzinfo=UTC)
        assert rolled_until(autumn, 31, berlin) == datetime(2026, 10, 31, 23, tzinfo=UTC)

    def test_is_never_without_a_limit(self):
        assert rolled_until(MARCH, None, ZoneInfo("UTC")) is None


CAPS = st.none() | st.integers(0, 400)


@st.composite
def positions(draw, caps=CAPS):
    """Three months of usage and of a quota that rolls over, beside other grants."""
    cap, days, priority = draw(caps), draw(st.none() | st.integers(1, 90)), draw(st.none() | st.integers(0, 2))
    quotas = [quota(month, left=draw(st.integers(0, 300)), cap=cap, days=days, priority=priority) for month in MONTHS]
    usage = draw(
        st.lists(st.tuples(st.integers(0, 121).map(lambda day: MARCH + day * DAY), st.integers(-150, 400)), max_size=10)
    )
    return position([*quotas, *draw(st.lists(others(), max_size=3, unique_by=lambda grant: grant.key))], usage)


@st.composite
def others(draw):
    begin = draw(st.integers(-10, 110))
    length = draw(st.none() | st.integers(1, 100))
    starts_at = MARCH + begin * DAY
    return GrantState(
        key=draw(st.integers(100, 120)),
        ledger_remaining=Decimal(draw(st.integers(1, 300))),
        priority=draw(st.none() | st.integers(0, 2)),
        starts_at=starts_at,
        ends_at=None if length is None else starts_at + length * DAY,
        period=None,
    )


class TestProperties:
    @given(positions())
    def test_nothing_is_burned_twice_whether_before_or_after_it_rolled_over(self, live):
        for grant in live.grants:
            burned = sum(share.units for share in live.burn.shares if share.grant in (grant.key, -grant.key))
            assert 0 <= live.burn.remaining[grant.key] == grant.ledger_remaining - burned
            assert live.burn.rest_of(grant.key) >= live.burn.remaining[grant.key]

    @given(positions())
    def test_never_more_than_the_rest_and_the_cap_rolls_over(self, live):
        caps = {grant.key: grant.rollover.cap for grant in live.grants if grant.rollover}

        for grant in live.provisional_grants:
            cap = caps[grant.rolled_from]
            assert 0 < grant.ledger_remaining <= live.burn.rest_of(grant.rolled_from)
            assert cap is None or grant.ledger_remaining <= cap
            assert 0 <= live.burn.remaining[grant.key] <= grant.ledger_remaining

    @given(positions())
    def test_all_usage_is_included_credited_or_charged(self, live):
        for month in MONTHS:
            charged = live.used_in(month) - live.burn.credited_in(month) - live.burn.included.get(month, 0)
            assert 0 <= charged <= live.used_in(month)

    @given(positions(caps=st.none()), others())
    def test_one_more_grant_never_charges_more_units(self, live, more):
        # With a cap a rest may find less room because of a grant that left more; with an end besides it may be missed.
        richer = replace(live, grants=(*live.grants, replace(more, key=200)))

        for month in MONTHS:
            assert richer.burn.credited_in(month) >= live.burn.credited_in(month)
        for grant in live.grants:
            assert richer.burn.remaining[grant.key] >= live.burn.remaining[grant.key]
