"""A balance that units are taken out of: after each taking it is what reading and deciding anew would give."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from credits.positions import GrantState, Position, StoredPeriod
from entitlements.decisions import SoldFeature, decide
from entitlements.live_balance import LiveBalance

JAN_1 = datetime(2025, 1, 1, tzinfo=UTC)
FEB_1 = datetime(2025, 2, 1, tzinfo=UTC)
NOW = datetime(2025, 1, 20, 12, tzinfo=UTC)

hundredths = st.integers(1, 500).map(lambda number: Decimal(number).scaleb(-2))
instants = st.integers(0, 30).map(lambda days: JAN_1 + timedelta(days=days))


def feature(value="usage_based", *, source="plan", overage="block", quota=True):
    return SoldFeature(
        key=1, slug="f", name="F", value=value, overage=overage, source=source, metrics=((1, "met"),), quota=quota
    )


def grant(key, units, *, starts_at=JAN_1, ends_at=FEB_1, priority=None, period=None):
    return GrantState(key, units, priority, starts_at, ends_at, period)


features = st.builds(
    feature,
    st.sampled_from(["usage_based", True, False, 3, "text"]),
    source=st.sampled_from(["plan", "override", None]),
    overage=st.sampled_from(["block", "allow"]),
    quota=st.booleans(),
)
grants = st.lists(
    st.tuples(
        hundredths,
        instants,
        st.one_of(st.none(), st.just(FEB_1)),
        st.sampled_from([None, 1]),
        st.sampled_from([None, 7]),
    ),
    max_size=3,
)


@st.composite
def positions(draw):
    period = StoredPeriod(7, JAN_1, FEB_1, False, draw(st.sampled_from([Decimal(0), Decimal(2)])))
    return Position(
        periods=draw(st.sampled_from([(), (period,)])),
        grants=tuple(
            grant(key, units, starts_at=start, ends_at=end, priority=priority, period=renews)
            for key, (units, start, end, priority, renews) in enumerate(draw(grants))
        ),
        usage=tuple(
            sorted(
                draw(
                    st.lists(
                        st.tuples(instants.filter(lambda at: at <= NOW), hundredths.map(lambda n: n - 1)), max_size=4
                    )
                )
            )
        ),
        reserved=tuple(draw(st.lists(st.tuples(st.just(NOW), hundredths), max_size=1))),
    )


@given(features, positions(), st.lists(st.tuples(hundredths, st.booleans()), min_size=1, max_size=8))
def test_taking_units_is_recording_them_and_deciding_anew(sold, position, takings):
    balance = LiveBalance(sold, position, NOW)
    for units, past_limit in takings:
        before = decide(sold, [position], NOW)
        taken = balance.take(units, past_limit=past_limit)

        within = before.remaining is not None and units <= before.remaining
        beyond = (past_limit and before.overage_allowed) or (before.remaining is None and before.entitled)
        if not (sold.source is not None and isinstance(sold.value, bool) and not sold.quota):
            assert taken == (within or beyond)
        if taken:
            position = replace(position, usage=(*position.usage, (NOW, units)))
        assert balance.decision == decide(sold, [position], NOW)


def test_a_switch_that_is_on_gives_more_than_its_grants_have():
    balance = LiveBalance(feature(True, quota=False), Position((), (grant(1, Decimal(3)),), ()), NOW)

    assert balance.take(Decimal(5), past_limit=False)
    assert (balance.decision.entitled, balance.decision.remaining) == (True, 0)


def test_a_switch_that_is_off_gives_what_its_grants_have():
    balance = LiveBalance(feature(False, quota=False), Position((), (grant(1, Decimal(3)),), ()), NOW)

    assert balance.take(Decimal(3))
    assert not balance.take(Decimal("0.000001"))


def test_the_limit_follows_where_a_refill_began_within_the_period():
    period = StoredPeriod(7, JAN_1, FEB_1, False, Decimal(2))
    refill = grant(1, Decimal(3), starts_at=JAN_1 + timedelta(days=10), period=7)
    balance = LiveBalance(feature(), Position((period,), (refill,), ()), NOW)

    balance.take(Decimal(1))

    # The 2 included units go first. They belong to the whole period and not to the refill's window.
    assert (balance.decision.remaining, balance.decision.limit) == (4, 4)


def test_sums_beyond_28_digits_stay_exact():
    huge = Decimal("123456789012345678901234567890.123456")
    balance = LiveBalance(feature(), Position((), (grant(1, huge),), ()), NOW)

    assert balance.take(Decimal("0.000001"))

    assert balance.decision.remaining == Decimal("123456789012345678901234567890.123455")
