from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credits.burn import BurnableGrant
from credits.money_credits import Bill, Coverage, MoneyGrant, OpenLine, burn_money, spread

JANUARY, FEBRUARY = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
DAY = timedelta(days=1)
LONG_AGO = JANUARY - 100 * DAY


def grant(key, cents, *, starts_at=LONG_AGO, ends_at=None, priority=None, **coverage):
    burnable = BurnableGrant(key=key, remaining=Decimal(cents), starts_at=starts_at, ends_at=ends_at, priority=priority)
    return MoneyGrant(burnable, Coverage(**coverage))


def bill(*cents, due=None, arrears_from=JANUARY, origins=()):
    lines = [OpenLine(key, amount, origins[key] if origins else Coverage()) for key, amount in enumerate(cents)]
    return Bill(
        closes_at=FEBRUARY, arrears_from=arrears_from, due_cents=sum(cents) if due is None else due, lines=lines
    )


class TestHowMuch:
    def test_5_000_over_lines_of_2_900_and_12_500_are_spread_in_proportion(self):
        # 5,000 × 2,900 / 15,400 = 941.56, 5,000 × 12,500 / 15,400 = 4,058.44: the odd cent goes to the first.
        burn = burn_money(bill(2_900, 12_500), [grant(1, 5_000)])

        assert (burn.by_grant, burn.by_line) == ({1: 5_000}, {0: 942, 1: 4_058})

    def test_a_credit_of_more_than_the_bill_pays_the_bill(self):
        burn = burn_money(bill(2_900, 12_500), [grant(1, 100_000)])

        assert (burn.by_grant, burn.by_line) == ({1: 15_400}, {0: 2_900, 1: 12_500})

    def test_no_more_is_taken_than_negative_lines_leave_to_pay(self):
        # A line of −400 beside them: 15,000 are due.
        burn = burn_money(bill(2_900, 12_500, due=15_000), [grant(1, 100_000)])

        assert burn.by_grant == {1: 15_000}

    def test_the_second_grant_pays_what_the_first_one_left(self):
        burn = burn_money(bill(1_000, 2_000), [grant(1, 2_500), grant(2, 2_500)])

        assert (burn.by_grant, burn.by_line) == ({1: 2_500, 2: 500}, {0: 1_000, 1: 2_000})

    def test_nothing_due_takes_nothing(self):
        assert burn_money(bill(), [grant(1, 5_000)]).by_grant == {}


class TestOrder:
    def test_by_priority_expiry_start_and_key(self):
        grants = [
            grant(5, 100),
            grant(4, 100),
            grant(3, 100, starts_at=LONG_AGO - DAY),
            grant(2, 100, ends_at=FEBRUARY + DAY),
            grant(1, 100, ends_at=FEBRUARY + 2 * DAY),
            grant(6, 100, priority=9),
        ]

        assert list(burn_money(bill(550), grants).by_grant.items()) == [
            (6, 100), (2, 100), (1, 100), (3, 100), (4, 100), (5, 50),
        ]  # fmt: skip


class TestWhen:
    @pytest.mark.parametrize(
        ("starts_at", "ends_at", "pays"),
        [
            (LONG_AGO, None, True),
            (LONG_AGO, JANUARY, False),
            (LONG_AGO, JANUARY + DAY, True),
            (JANUARY + 5 * DAY, JANUARY + 6 * DAY, True),
            (FEBRUARY, FEBRUARY + DAY, True),
            (FEBRUARY + DAY, None, False),
        ],
    )
    def test_a_grant_pays_when_it_is_active_on_a_day_of_the_arrears_or_at_the_close(self, starts_at, ends_at, pays):
        burn = burn_money(bill(1_000), [grant(1, 100, starts_at=starts_at, ends_at=ends_at)])

        assert burn.by_grant == ({1: 100} if pays else {})

    @pytest.mark.parametrize(
        ("ends_at", "pays"), [(FEBRUARY, False), (FEBRUARY + DAY, True), (None, True), (JANUARY + DAY, False)]
    )
    def test_without_arrears_only_the_closing_instant_counts(self, ends_at, pays):
        burn = burn_money(bill(1_000, arrears_from=None), [grant(1, 100, ends_at=ends_at)])

        assert burn.by_grant == ({1: 100} if pays else {})


class TestScope:
    ORIGINS = (
        Coverage(subscription=1, plan=1, price=1, component_id="fee"),
        Coverage(subscription=1, plan=1, price=1, component_id="calls"),
        Coverage(subscription=2, plan=1, price=2, component_id="calls"),
    )

    @pytest.mark.parametrize(
        ("coverage", "lines"),
        [
            ({}, {0, 1, 2}),
            ({"plan": 1}, {0, 1, 2}),
            ({"plan": 1, "subscription": 2}, {2}),
            ({"plan": 1, "price": 1}, {0, 1}),
            ({"plan": 1, "component_id": "calls"}, {1, 2}),
            ({"plan": 1, "subscription": 1, "component_id": "calls"}, {1}),
            ({"plan": 3}, set()),
        ],
    )
    def test_a_grant_pays_for_the_lines_of_its_scope_alone(self, coverage, lines):
        burn = burn_money(bill(1_000, 1_000, 1_000, origins=self.ORIGINS), [grant(1, 90_000, **coverage)])

        assert set(burn.by_line) == lines
        assert sum(burn.by_grant.values()) == 1_000 * len(lines)

    def test_a_narrow_grant_leaves_the_rest_of_the_bill_to_a_wide_one(self):
        burn = burn_money(
            bill(1_000, 3_000, 1_000, origins=self.ORIGINS), [grant(2, 600), grant(1, 5_000, component_id="fee")]
        )

        # The fee is paid by the first; 600 over 3,000 and 1,000.
        assert (burn.by_grant, burn.by_line) == ({1: 1_000, 2: 600}, {0: 1_000, 1: 450, 2: 150})


class TestSpread:
    def test_equal_remainders_go_to_the_first_lines(self):
        assert spread(100, {7: 1_000, 8: 1_000, 9: 1_000}) == {7: 34, 8: 33, 9: 33}

    def test_over_nothing_is_nothing(self):
        assert spread(0, {}) == {}

    @given(st.data())
    def test_sums_to_the_cent_and_never_exceeds_a_line(self, data):
        over = dict(enumerate(data.draw(st.lists(st.integers(0, 10**12), min_size=1, max_size=20))))
        cents = data.draw(st.integers(0, sum(over.values())))

        shares = spread(cents, over)

        assert sum(shares.values()) == cents
        assert all(0 <= share <= over[key] for key, share in shares.items())
        total = sum(over.values())
        assert all(abs(share * total - cents * over[key]) < total for key, share in shares.items())


class TestProperties:
    @given(
        st.lists(st.integers(1, 10**6), max_size=6),
        st.lists(st.tuples(st.integers(1, 10**6), st.sampled_from([None, 1, 2])), max_size=6),
        st.integers(-(10**6), 10**6),
    )
    def test_never_below_zero_and_what_grants_pay_is_what_lines_are_paid(self, cents, given_grants, other_cents):
        origins = [Coverage(plan=1 + key % 2) for key in range(len(cents))]
        due = sum(cents) + min(other_cents, 0)
        grants = [grant(key, amount, plan=plan) for key, (amount, plan) in enumerate(given_grants)]

        burn = burn_money(bill(*cents, due=due, origins=origins), grants)

        assert sum(burn.by_grant.values()) == sum(burn.by_line.values()) <= max(due, 0)
        assert all(0 < burn.by_grant[key] <= given_grants[key][0] for key in burn.by_grant)
        assert all(0 < paid <= cents[key] for key, paid in burn.by_line.items())
