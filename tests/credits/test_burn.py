from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credits.burn import BurnableGrant, Segment, burn, cancel_negative

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
NEVER = None


def day(number):
    """Midnight of a day of March 2026; 32 is 1 April."""
    return MARCH + timedelta(days=number - 1)


def grant(key, remaining, *, starts=1, ends=32, priority=None):
    return BurnableGrant(
        key=key,
        remaining=Decimal(remaining),
        starts_at=day(starts),
        ends_at=NEVER if ends is NEVER else day(ends),
        priority=priority,
    )


def used(number, quantity, period=1):
    return Segment(start_at=day(number), quantity=Decimal(quantity), period=period)


def shares(outcome):
    return [(share.start_at.day, share.grant, int(share.units)) for share in outcome.shares]


def left(outcome):
    return {key: int(units) for key, units in outcome.remaining.items()}


class TestOrder:
    def test_burns_the_lowest_priority_first_and_none_last(self):
        grants = [grant(1, 10), grant(2, 10, priority=7), grant(3, 10, priority=-1), grant(4, 10, priority=0)]

        assert shares(burn([used(5, 35)], grants)) == [(5, 3, 10), (5, 4, 10), (5, 2, 10), (5, 1, 5)]

    def test_burns_the_soonest_expiring_grant_first_and_never_expiring_last(self):
        grants = [grant(1, 10, ends=NEVER), grant(2, 10, ends=32), grant(3, 10, ends=20)]

        assert shares(burn([used(5, 25)], grants)) == [(5, 3, 10), (5, 2, 10), (5, 1, 5)]

    def test_priority_comes_before_expiry(self):
        grants = [grant(1, 10, ends=10), grant(2, 10, ends=NEVER, priority=1)]

        assert shares(burn([used(5, 15)], grants)) == [(5, 2, 10), (5, 1, 5)]

    @pytest.mark.parametrize("ends", [32, NEVER])
    def test_of_equal_expiry_burns_the_earlier_start_first(self, ends):
        grants = [grant(1, 10, starts=3, ends=ends), grant(2, 10, starts=2, ends=ends)]

        assert shares(burn([used(5, 15)], grants)) == [(5, 2, 10), (5, 1, 5)]

    def test_of_equal_start_burns_the_earlier_grant_first(self):
        assert shares(burn([used(5, 15)], [grant(2, 10), grant(1, 10)])) == [(5, 1, 10), (5, 2, 5)]


class TestSegments:
    def test_a_unit_burns_only_grants_active_in_its_segment(self):
        early, late = grant(1, 100, starts=1, ends=10), grant(2, 100, starts=10, ends=20)

        outcome = burn([used(9, 30), used(10, 40), used(20, 50)], [early, late])

        assert shares(outcome) == [(9, 1, 30), (10, 2, 40)]
        assert left(outcome) == {1: 70, 2: 60}

    def test_a_grant_ends_right_before_its_end(self):
        half_open = grant(1, 100, starts=5, ends=6)

        assert burn([used(4, 1), used(6, 1)], [half_open]).shares == []
        assert left(burn([used(5, 1)], [half_open])) == {1: 99}

    def test_overage_of_a_segment_is_never_carried_to_a_later_one(self):
        # The grace hour after a period with 12,500 used, with 100 used in the new one: 9,900 remain, not 7,400.
        old, new = grant(1, 10_000, starts=1, ends=32), grant(2, 10_000, starts=32, ends=62)

        outcome = burn([used(5, 12_500, period=1), used(32, 100, period=2)], [old, new])

        assert left(outcome) == {1: 0, 2: 9_900}
        assert outcome.credited_in(1) == 10_000
        assert outcome.credited_in(2) == 100

    def test_earlier_usage_burns_first_however_it_is_listed(self):
        scarce = grant(1, 10)

        assert shares(burn([used(8, 7), used(3, 6)], [scarce])) == [(3, 1, 6), (8, 1, 4)]

    def test_tells_the_units_of_a_period_by_grant_in_burn_order(self):
        grants = [grant(1, 10, ends=10), grant(2, 50), grant(3, 50, ends=NEVER)]

        outcome = burn([used(3, 4), used(5, 20), used(12, 30), used(14, 5, period=2)], grants)

        assert list(outcome.by_grant(1).items()) == [(1, 10), (2, 44)]
        assert list(outcome.by_grant(2).items()) == [(2, 5)]
        assert outcome.credited_since(day(12)) == 35

    def test_usage_outside_every_period_burns_too(self):
        assert left(burn([used(3, 4, period=None)], [grant(1, 10)])) == {1: 6}

    def test_without_grants_nothing_is_credited(self):
        outcome = burn([used(3, 4)], [])

        assert (outcome.shares, outcome.remaining, outcome.credited_in(1)) == ([], {}, 0)


class TestNegativeUsage:
    def test_cancels_the_latest_positive_usage_of_its_period_first(self):
        # 30 on the 2nd, 20 on the 8th, 10 on the 9th; −25 takes 10 off the 9th and 15 off the 8th.
        segments = [used(2, 30), used(5, -25), used(8, 20), used(9, 10)]

        kept = cancel_negative(segments)

        assert [(one.start_at.day, int(one.quantity)) for one in kept] == [(2, 30), (5, 0), (8, 5), (9, 0)]

    def test_gives_back_the_units_of_the_grant_that_the_cancelled_usage_would_burn(self):
        early, late = grant(1, 10, ends=6), grant(2, 10, starts=6)

        assert left(burn([used(2, 5), used(7, 5), used(8, -5)], [early, late])) == {1: 5, 2: 10}

    def test_of_another_period_cancels_nothing(self):
        outcome = burn([used(2, 30, period=1), used(32, -30, period=2)], [grant(1, 100, ends=NEVER)])

        assert left(outcome) == {1: 70}

    def test_beyond_the_usage_of_the_period_is_dropped(self):
        outcome = burn([used(2, 3), used(3, -10), used(32, 4, period=2)], [grant(1, 100, ends=NEVER)])

        assert left(outcome) == {1: 96}


QUANTITIES = st.decimals(min_value=-50, max_value=100, places=6)
SEGMENTS = st.lists(
    st.builds(Segment, st.integers(1, 40).map(day), QUANTITIES, st.sampled_from([None, 1, 2])), max_size=12
)


@st.composite
def grants_lists(draw):
    grants = []
    for key in range(draw(st.integers(0, 6))):
        starts = draw(st.integers(1, 35))
        ends = draw(st.none() | st.integers(starts + 1, 45))
        remaining = draw(st.decimals(min_value=0, max_value=150, places=6))
        grants.append(grant(key, remaining, starts=starts, ends=ends, priority=draw(st.none() | st.integers(-2, 2))))
    return grants


GRANTS = grants_lists()


class TestProperties:
    @given(SEGMENTS, GRANTS)
    def test_never_burns_more_than_was_granted(self, segments, grants):
        outcome = burn(segments, grants)

        for given_grant in grants:
            burned = sum(share.units for share in outcome.shares if share.grant == given_grant.key)
            assert 0 <= outcome.remaining[given_grant.key] == given_grant.remaining - burned

    @given(SEGMENTS, GRANTS)
    def test_never_credits_more_than_was_used_in_a_period(self, segments, grants):
        outcome = burn(segments, grants)

        for period in (None, 1, 2):
            usage = max(sum(one.quantity for one in segments if one.period == period), Decimal(0))
            assert 0 <= outcome.credited_in(period) <= usage

    @given(SEGMENTS, GRANTS)
    def test_never_leaves_usage_uncredited_while_an_active_grant_has_units(self, segments, grants):
        outcome = burn(segments, grants)
        kept = cancel_negative(sorted(segments, key=lambda one: one.start_at))

        for given_grant in grants:
            if outcome.remaining[given_grant.key] > 0:
                for at in {one.start_at for one in kept if given_grant.covers(one.start_at)}:
                    usage = sum(one.quantity for one in kept if one.start_at == at)
                    assert usage == sum(share.units for share in outcome.shares if share.start_at == at)

    @given(SEGMENTS, GRANTS, st.randoms(use_true_random=False))
    def test_the_order_in_which_grants_are_listed_does_not_matter(self, segments, grants, shuffler):
        shuffled = list(grants)
        shuffler.shuffle(shuffled)

        assert burn(segments, shuffled).shares == burn(segments, grants).shares

    @given(SEGMENTS, GRANTS, st.randoms(use_true_random=False))
    def test_the_order_in_which_segments_are_listed_does_not_matter(self, segments, grants, shuffler):
        # Segments of one instant are one in practice: the statement that reads them groups by it.
        distinct = list({one.start_at: one for one in segments}.values())
        shuffled = list(distinct)
        shuffler.shuffle(shuffled)

        assert burn(shuffled, grants) == burn(distinct, grants)

    @given(SEGMENTS, GRANTS, st.decimals(min_value=0, max_value=1, places=2))
    def test_cutting_a_segment_in_two_changes_no_balance(self, segments, grants, part):
        pieces = []
        for one in segments:
            first = (one.quantity * part).quantize(Decimal("0.000001"))
            pieces += [
                Segment(one.start_at, first, one.period), Segment(one.start_at, one.quantity - first, one.period),
            ]  # fmt: skip
        whole, cut = burn(segments, grants), burn(pieces, grants)

        assert cut.remaining == whole.remaining
        for period in (None, 1, 2):
            assert cut.by_grant(period) == whole.by_grant(period)

    @given(SEGMENTS, GRANTS, st.integers(0, 45))
    def test_ending_a_grant_with_what_it_has_left_changes_no_charge_for_the_past(self, segments, grants, end):
        past = [one for one in segments if one.start_at < day(end)]
        before = burn(past, grants)
        revoked = [
            BurnableGrant(
                key=one.key,
                remaining=one.remaining - before.remaining[one.key],
                starts_at=one.starts_at,
                ends_at=min(one.ends_at or day(end), max(day(end), one.starts_at)),
                priority=one.priority,
            )
            if one.key == 0
            else one
            for one in grants
        ]
        after = burn(past, revoked)

        for period in (None, 1, 2):
            assert after.credited_in(period) == before.credited_in(period)
