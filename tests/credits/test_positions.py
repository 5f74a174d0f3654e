from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest

from credits.burn import BurnableGrant, Segment, burn
from credits.positions import GrantState, Position, StoredPeriod

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def period(key, start_at, end_at, settled=False):
    return StoredPeriod(key=key, start_at=start_at, end_at=end_at, settled=settled)


def grant(key, units, starts_at, ends_at=None, *, period=None, left=None, revoked=False):
    return GrantState(
        key=key,
        ledger_remaining=Decimal(units if left is None else left),
        priority=None,
        starts_at=starts_at,
        ends_at=ends_at,
        period=period,
    )


def position(*, periods=(), grants=(), usage=()):
    return Position(
        periods=tuple(periods),
        grants=tuple(grants),
        usage=tuple((at, Decimal(units)) for at, units in usage),
    )


def renewing(*, march_settled=False, march_left=10_000, usage=()):
    """10,000 in March and 10,000 in April, each with its period."""
    return position(
        periods=[period(3, MARCH, APRIL, march_settled), period(4, APRIL, MAY), period(5, MAY, JUNE)],
        grants=[
            grant(30, 10_000, MARCH, APRIL, period=3, left=march_left),
            grant(40, 10_000, APRIL, MAY, period=4),
            grant(50, 10_000, MAY, JUNE, period=5),
        ],
        usage=usage,
    )


class TestRemaining:
    @pytest.mark.parametrize(("used", "remaining"), [(0, 10_000), (9_999, 1), (10_000, 0), (12_500, 0)])
    def test_is_what_the_burn_has_left_and_never_below_zero(self, used, remaining):
        assert renewing(usage=[(MARCH, used)]).remaining(MARCH + HOUR) == remaining

    def test_in_the_grace_hour_overage_of_the_old_period_takes_nothing_from_the_new_one(self):
        # Ruling 5: 9,900, not 7,400.
        live = renewing(usage=[(MARCH, 12_500), (APRIL, 100)])

        assert live.remaining(APRIL + HOUR) == 9_900

    def test_is_the_same_before_and_after_the_old_period_is_settled(self):
        unsettled = renewing(usage=[(MARCH, 12_500), (APRIL, 100)])
        settled = renewing(march_settled=True, march_left=0, usage=[(MARCH, 12_500), (APRIL, 100)])

        assert settled.remaining(APRIL + HOUR) == unsettled.remaining(APRIL + HOUR) == 9_900

    def test_counts_only_grants_active_at_the_instant(self):
        live = renewing()

        assert live.remaining(MARCH - HOUR) == 0
        assert live.remaining(APRIL - timedelta(microseconds=1)) == 10_000
        assert live.remaining(APRIL) == 10_000
        assert [one.key for one in live.active_grants(APRIL)] == [40]

    def test_usage_of_settled_periods_burns_nothing_again(self):
        # A manual grant of 500 without end: the ledger has 200 left of it after March was settled.
        live = position(
            periods=[period(3, MARCH, APRIL, settled=True), period(4, APRIL, MAY)],
            grants=[grant(1, 500, MARCH, left=200)],
            usage=[(MARCH, 300), (APRIL, 50)],
        )

        assert live.remaining(APRIL) == 150

    def test_usage_outside_of_every_period_burns_what_is_active(self):
        live = position(grants=[grant(1, 500, MARCH)], usage=[(MARCH, 120)])

        assert live.remaining(APRIL) == 380

    def test_of_a_revoked_grant_is_zero_from_its_end_on(self):
        live = position(grants=[grant(1, 500, MARCH, MARCH + 5 * HOUR, left=120, revoked=True)], usage=[(MARCH, 120)])

        assert live.remaining(MARCH + 5 * HOUR) == 0


class TestUsage:
    def test_of_a_period_is_the_sum_of_its_pieces_alone(self):
        live = renewing(usage=[(MARCH, 7), (APRIL - HOUR, 5), (APRIL, 100)])

        assert (live.used_in(3), live.used_in(4), live.used_in(5)) == (12, 100, 0)

    def test_of_a_period_is_never_below_zero(self):
        assert renewing(usage=[(MARCH, 7), (MARCH + HOUR, -9)]).used_in(3) == 0

    def test_since_an_instant_leaves_out_what_came_before(self):
        live = renewing(usage=[(MARCH, 7), (APRIL, 5), (APRIL + HOUR, -2)])

        assert (live.used_since(MARCH), live.used_since(APRIL), live.used_since(MAY)) == (10, 3, 0)
        assert live.used_since(APRIL + HOUR) == 0


class TestAllowanceWindow:
    def test_starts_with_the_latest_renewing_grant(self):
        assert renewing().window_start(APRIL + HOUR) == APRIL

    def test_without_renewing_grant_it_starts_with_the_period(self):
        live = position(periods=[period(3, MARCH, APRIL)], grants=[grant(1, 5, MARCH - HOUR)])

        assert live.window_start(MARCH + HOUR) == MARCH

    def test_without_period_it_starts_with_the_earliest_active_grant(self):
        live = position(grants=[grant(1, 5, MARCH + HOUR), grant(2, 5, MARCH), grant(3, 5, MAY)])

        assert live.window_start(APRIL) == MARCH

    def test_without_anything_there_is_none(self):
        assert position().window_start(MARCH) is None


class TestUnitsOfThePlansNumber:
    """A part of March with 300 units of the plan's number, then one with a quota that is active from 1 March on."""

    MARCH_11 = MARCH + timedelta(days=10)

    @pytest.fixture
    def parts(self):
        return position(
            periods=[
                StoredPeriod(1, MARCH, self.MARCH_11, settled=True, feature_units=Decimal(300)),
                StoredPeriod(2, self.MARCH_11, APRIL, settled=False, feature_units=Decimal(70)),
            ],
            grants=[grant(20, 500, MARCH, APRIL, period=2)],
        )

    def test_stay_with_a_part_when_a_later_one_has_a_quota(self, parts):
        assert parts.free_in(parts.period(1)) == 300

    def test_are_none_in_the_part_that_has_the_quota(self, parts):
        assert parts.free_in(parts.period(2)) == 0


class TestSegments:
    """What was used between two bounds burns alike, so it is burned at once: with the same outcome."""

    BOUGHT = (grant(60, 500, MARCH + 9 * DAY), grant(70, 300, MARCH + 20 * DAY, APRIL + 4 * DAY))

    def test_usage_between_two_bounds_is_one_segment(self):
        live = renewing(usage=[(MARCH + day * DAY, 10) for day in range(40)])

        assert [(share.start_at, share.grant, share.units) for share in live.burn.shares] == [
            (MARCH, 30, 310),
            (APRIL, 40, 90),
        ]

    def test_a_grant_that_begins_within_the_period_cuts_it(self):
        live = position(
            periods=[period(3, MARCH, APRIL)], grants=self.BOUGHT[:1], usage=[(MARCH, 200), (MARCH + 10 * DAY, 100)]
        )

        assert [(share.start_at, share.units) for share in live.burn.shares] == [(MARCH + 10 * DAY, 100)]

    def test_a_correction_takes_off_the_latest_usage_although_it_is_older(self):
        # 5 on the 1st, 4 taken off on the 5th, 3 on the 20th: 1 is left of the 20th's 3 and 4, which is 0, and 4 of 5.
        live = position(
            periods=[period(3, MARCH, APRIL)],
            grants=[grant(60, 500, MARCH + 9 * DAY)],
            usage=[(MARCH, 5), (MARCH + 4 * DAY, -4), (MARCH + 19 * DAY, 3)],
        )

        assert live.burn.shares == []

    @pytest.mark.parametrize("seed", range(20))
    def test_the_outcome_is_that_of_burning_piece_by_piece(self, seed):
        chance = Random(seed)
        usage = [
            (MARCH + chance.randrange(61) * DAY, chance.randrange(-20 if seed % 4 == 0 else 0, 90)) for _ in range(50)
        ]
        live = position(
            periods=[period(3, MARCH, APRIL), period(4, APRIL, MAY)],
            grants=[grant(30, 700, MARCH, APRIL, period=3), grant(40, 700, APRIL, MAY, period=4), *self.BOUGHT],
            usage=usage,
        )

        by_piece = burn(
            [Segment(at, Decimal(units), 3 if at < APRIL else 4) for at, units in usage],
            [BurnableGrant(one.key, one.ledger_remaining, one.starts_at, one.ends_at) for one in live.grants],
        )

        assert live.burn.remaining == by_piece.remaining
        assert [live.burn.by_grant(key) for key in (3, 4)] == [by_piece.by_grant(key) for key in (3, 4)]
