"""How often a clock turns in a stretch of time, and what settled usage comes to at another price."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest

from billing.simulation import SettledPeriod, share, turns, usage_cents
from plans.periods import Clock
from plans.pricing import GRADUATED, VOLUME, Charge, Tier

UTC_ZONE = ZoneInfo("UTC")
JANUARY_31 = datetime(2026, 1, 31, 10, tzinfo=UTC)


def midnight(month, day, year=2026):
    return datetime(year, month, day, tzinfo=UTC)


def settled(used, *, included=0, credited=0, events=0, component_units=0, feature_units=0):
    return SettledPeriod(
        used=Decimal(used),
        included=Decimal(included),
        credited=Decimal(credited),
        events=events,
        net_cents=0,
        component_units=Decimal(component_units),
        feature_units=Decimal(feature_units),
    )


@pytest.mark.parametrize(
    ("clock", "start_at", "end_at", "expected"),
    [
        # 31 Jan 10:00, 28 Feb, 31 Mar, 30 Apr
        (Clock("MONTHLY"), JANUARY_31, midnight(4, 30), Fraction(3)),
        (Clock("MONTHLY"), midnight(2, 28), midnight(3, 31), Fraction(1)),
        # 10 of the 31 days from 28 February to 31 March
        (Clock("MONTHLY"), midnight(2, 28), midnight(3, 10), Fraction(10, 31)),
        (Clock("MONTHLY"), midnight(2, 28), midnight(2, 28), Fraction(0)),
        # 88 days and 14 hours of 364 days and 14 hours: 2,126 of 8,750 hours
        (Clock("YEARLY"), JANUARY_31, midnight(4, 30), Fraction(2_126, 8_750)),
        (Clock("YEARLY"), midnight(1, 31, 2036), midnight(1, 31, 2038), Fraction(2)),
        # weeks from the midnight of 31 January on: 7, 14, 21 and 28 February
        (Clock("WEEKLY"), midnight(2, 7), midnight(2, 28), Fraction(3)),
        (Clock("MONTHLY", 3), midnight(4, 30), midnight(7, 31), Fraction(1)),
        # it ends after two months, 31 January to 31 March
        (Clock("MONTHLY", count=2), JANUARY_31, midnight(7, 31), Fraction(2)),
        (Clock("MONTHLY"), midnight(1, 31, 2046), midnight(2, 28, 2046), Fraction(1)),
    ],
)
def test_a_clock_turns_as_often_as_its_periods_and_shares_of_them_say(clock, start_at, end_at, expected):
    assert turns(clock, started_at=JANUARY_31, start_at=start_at, end_at=end_at, zone=UTC_ZONE) == expected


def test_turns_of_two_stretches_add_up():
    def of(start_at, end_at):
        return turns(Clock("YEARLY"), started_at=JANUARY_31, start_at=start_at, end_at=end_at, zone=UTC_ZONE)

    whole = of(JANUARY_31, midnight(6, 30, 2027))

    assert of(JANUARY_31, midnight(3, 17)) + of(midnight(3, 17), midnight(6, 30, 2027)) == whole


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(1, 11, 1), (1, 6, Fraction(1, 2)), (6, 20, Fraction(1, 2)), (11, 20, 0), (12, 20, 0)],
)
def test_a_share_is_the_part_that_lies_within(start, end, expected):
    assert share(midnight(1, 1), midnight(1, 11), midnight(1, start), midnight(1, end)) == expected


FIVE_CENTS = Charge(unit_cost_cents=Decimal(5))
# Up to 1,000 units 5 cents each, beyond them 3.
TIERS = (Tier(Decimal(1_000), Decimal(5)), Tier(None, Decimal(3)))


@pytest.mark.parametrize(
    ("charge", "period", "expected"),
    [
        (FIVE_CENTS, settled(0), 0),
        (FIVE_CENTS, settled(12_500, credited=10_000), 12_500),
        # 2,500 charged: 1,000 × 5 + 1,500 × 3
        (Charge(model=GRADUATED, tiers=TIERS), settled(12_500, credited=10_000), 9_500),
        # 12,500 reach the tier of 3 cents: 2,500 × 3
        (Charge(model=VOLUME, tiers=TIERS), settled(12_500, credited=10_000), 7_500),
        # the new price includes 1,000; 10,000 were credited; 1,500 × 5
        (Charge(unit_cost_cents=Decimal(5), included_units=Decimal(1_000)), settled(12_500, credited=10_000), 7_500),
        # the new price includes 11,000, so credits pay for the other 1,500 and not for 10,000
        (Charge(unit_cost_cents=Decimal(5), included_units=Decimal(11_000)), settled(12_500, credited=10_000), 0),
        # the same of a volume price, which takes an equal part off for each credited unit
        (
            Charge(model=VOLUME, tiers=TIERS, included_units=Decimal(11_000)),
            settled(12_500, credited=10_000),
            0,
        ),
        # the old price included 2,000, which the new one does not: 12,500 − 10,000 credited
        (FIVE_CENTS, settled(12_500, included=2_000, credited=10_000, component_units=2_000), 12_500),
        # what the plan's feature gives stays: 12,500 − 2,000
        (FIVE_CENTS, settled(12_500, included=2_000, feature_units=2_000), 52_500),
        # a quota took the place of the feature's number, so nothing was included: 12,500 − 10,000
        (FIVE_CENTS, settled(12_500, credited=10_000, feature_units=2_000), 12_500),
        (Charge(unit_cost_cents=Decimal(5), minimum_cents=700), settled(0), 700),
        (Charge(unit_cost_cents=Decimal(5), maximum_cents=700), settled(1_000), 700),
        # 1 % of $200.00 and twice 30 cents
        (
            Charge(model="percentage", rate_percent=Decimal(1), fixed_cost_cents=Decimal(30)),
            settled(200, events=2),
            260,
        ),
    ],
)
def test_settled_usage_is_priced_with_the_credits_that_paid_for_it(charge, period, expected):
    assert usage_cents(charge, period) == expected
