from datetime import UTC, datetime
from decimal import Decimal

from credits.late_usage import Booked, BookedGrant, Movement, movements, rate_again
from credits.positions import GrantState, Position, StoredPeriod

MAY, JUNE, JULY = (datetime(2026, month, 1, tzinfo=UTC) for month in (5, 6, 7))
QUOTA, NEXT_QUOTA, ROLLED, BOUGHT, GOODWILL = 1, 2, 3, 4, 5
IN_MAY, IN_JUNE = 10, 11


def day(number, month=5):
    return datetime(2026, month, number, tzinfo=UTC)


def grant(key, left=0, *, starts_at=MAY, ends_at=None, priority=None, **more):
    return GrantState(key, Decimal(left), priority, starts_at, ends_at, **{"period": None} | more)


def quota():
    """May's, of which its settlement left nothing."""
    return grant(QUOTA, ends_at=JUNE, period=IN_MAY)


def position(*grants, usage, included=0):
    """May is settled, June is open; `usage` is of the days of May, or an instant's."""
    return Position(
        periods=(
            StoredPeriod(IN_MAY, MAY, JUNE, settled=True, included_units=Decimal(included)),
            StoredPeriod(IN_JUNE, JUNE, JULY, settled=False),
        ),
        grants=grants,
        usage=tuple(sorted((day(at) if isinstance(at, int) else at, Decimal(units)) for at, units in usage.items())),
    )


def booked(usage, *, included=0, credited=0):
    return Booked(usage=Decimal(usage), included=Decimal(included), credited=Decimal(credited), net_cents=0)


def took(settled=0, expired=0, later=0):
    return BookedGrant(burned=Decimal(settled + later), settled=Decimal(settled), expired=Decimal(expired))


def again(position, booked, grants):
    return rate_again(position, IN_MAY, booked=booked, grants=grants)


class TestWhoPaysForLateUnits:
    def test_what_the_settlement_expired_pays_first(self):
        may = position(quota(), grant(BOUGHT, 500), usage={3: 700, 9: 250})

        rated = again(may, booked(700, credited=700), {QUOTA: took(700, expired=300)})

        assert (rated.usage, rated.by_grant) == (950, {QUOTA: 950})

    def test_then_what_is_left_of_other_grants_that_are_active_on_those_days(self):
        ended, from_june = grant(GOODWILL, 80, ends_at=day(9)), grant(NEXT_QUOTA, 1_000, starts_at=JUNE, ends_at=JULY)
        may = position(quota(), grant(BOUGHT, 40), ended, from_june, usage={3: 700, 9: 350})

        rated = again(may, booked(700, credited=700), {QUOTA: took(700, expired=300)})

        # 300 expired units, 40 bought ones; 10 are charged.
        assert rated.by_grant == {QUOTA: 1_000, BOUGHT: 40}

    def test_usage_of_the_open_period_keeps_what_it_burned(self):
        # 30 of the 40 bought units are June's.
        may = position(quota(), grant(BOUGHT, 40), usage={3: 1_000, 9: 50, day(2, 6): 30})

        rated = again(may, booked(1_000, credited=1_000), {QUOTA: took(1_000)})

        assert rated.by_grant == {QUOTA: 1_000, BOUGHT: 10}

    def test_a_grant_given_afterwards_pays_no_unit_that_was_charged_already(self):
        may = position(quota(), grant(GOODWILL, 500), usage={3: 1_200, 9: 50})

        rated = again(may, booked(1_200, credited=1_000), {QUOTA: took(1_000)})

        assert rated.by_grant == {QUOTA: 1_000, GOODWILL: 50}

    def test_included_units_come_first(self):
        may = position(quota(), usage={3: 60, 9: 90}, included=100)

        rated = again(may, booked(60, included=60), {QUOTA: took(0, expired=1_000)})

        assert (rated.included, rated.by_grant) == (100, {QUOTA: 50})

    def test_the_bought_units_that_it_burned_come_before_the_expired_ones_only_as_far_as_it_burned_them(self):
        # Bought units go first by their priority; they were active from the 20th on.
        bought = grant(BOUGHT, 30, starts_at=day(20), priority=1)
        may = position(quota(), bought, usage={3: 700, 21: 20, 22: 10})

        rated = again(may, booked(720, credited=720), {QUOTA: took(700, expired=300), BOUGHT: took(20)})

        assert rated.by_grant == {BOUGHT: 20, QUOTA: 710}


class TestRolledOver:
    """1,000 a month, 700 used in May, 300 expired; of those `rolled` went into a grant from June on."""

    def rated(self, *, kept, left, late, grants=()):
        rolled = grant(ROLLED, left, starts_at=JUNE, rolled_from=QUOTA)
        may = position(quota(), rolled, *grants, usage={3: 700, 9: late})
        return again(may, booked(700, credited=700), {QUOTA: took(700, expired=kept)}).by_grant

    def test_units_that_rolled_over_are_taken_from_where_they_are_now(self):
        assert self.rated(kept=0, left=300, late=250) == {QUOTA: 700, ROLLED: 250}

    def test_units_that_were_spent_after_they_rolled_over_are_gone(self):
        assert self.rated(kept=0, left=100, late=250) == {QUOTA: 700, ROLLED: 100}

    def test_what_the_cap_let_expire_comes_first(self):
        # 200 rolled over, 40 of them are left: 100 + 40, and 110 are charged.
        assert self.rated(kept=100, left=40, late=250) == {QUOTA: 800, ROLLED: 40}

    def test_other_grants_come_after_it(self):
        bought = grant(BOUGHT, 500)

        assert self.rated(kept=100, left=40, late=250, grants=[bought]) == {QUOTA: 800, ROLLED: 40, BOUGHT: 110}

    def test_what_it_paid_before_it_pays_again(self):
        rolled = grant(ROLLED, 0, starts_at=JUNE, rolled_from=QUOTA)
        may = position(quota(), rolled, usage={3: 700, 9: 250, 10: 5})

        rated = again(may, booked(950, credited=800), {QUOTA: took(700), ROLLED: took(later=100)})

        assert rated.by_grant == {QUOTA: 700, ROLLED: 100}


class TestFewerUnits:
    def test_the_units_that_were_charged_go_first(self):
        may = position(quota(), usage={3: 1_150})

        rated = again(may, booked(1_200, credited=1_000), {QUOTA: took(1_000)})

        assert rated.by_grant == {QUOTA: 1_000}

    def test_below_zero_is_nothing(self):
        may = position(quota(), usage={3: 10, 9: -40})

        rated = again(may, booked(10, credited=10), {QUOTA: took(10, expired=990)})

        assert (rated.usage, rated.by_grant) == (0, {})

    def test_what_was_burned_last_comes_back_first(self):
        may = position(quota(), grant(BOUGHT, 10), usage={3: 1_020})

        rated = again(may, booked(1_050, credited=1_050), {QUOTA: took(1_000), BOUGHT: took(settled=30, later=20)})

        assert rated.by_grant == {QUOTA: 1_000, BOUGHT: 20}


class TestMovements:
    def moved(self, position, booked, grants):
        return movements(again(position, booked, grants), grants, position)

    def test_expired_units_come_back_before_they_are_burned(self):
        may = position(quota(), grant(BOUGHT, 500), usage={3: 1_350})

        moved = self.moved(may, booked(700, credited=700), {QUOTA: took(700, expired=300)})

        assert moved == [
            Movement(QUOTA, returned=Decimal(300), burned=Decimal(300)),
            Movement(BOUGHT, burned=Decimal(350)),
        ]
        assert [one.change for one in moved] == [0, -350]

    def test_what_comes_back_to_a_grant_that_has_ended_expires_again(self):
        may = position(quota(), usage={3: 600})

        moved = self.moved(may, booked(700, credited=700), {QUOTA: took(700, expired=300)})

        assert moved == [Movement(QUOTA, returned=Decimal(100), expired=Decimal(100))]

    def test_what_comes_back_to_a_grant_that_goes_on_is_there_again(self):
        may = position(grant(BOUGHT, 10), usage={3: 20})

        moved = self.moved(may, booked(50, credited=50), {BOUGHT: took(50)})

        assert (moved, moved[0].change) == ([Movement(BOUGHT, returned=Decimal(30))], 30)

    def test_without_any_change_nothing_moves(self):
        may = position(quota(), grant(GOODWILL, 500), usage={3: 1_200})

        assert self.moved(may, booked(1_200, credited=1_000), {QUOTA: took(1_000)}) == []
