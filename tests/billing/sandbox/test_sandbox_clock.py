"""The settable clock."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from billing.sandbox import Clock
from billing.sandbox.clock import real_seconds


def test_shows_real_time_until_it_is_set():
    clock = Clock()

    assert real_seconds() - 1 <= clock.now() <= real_seconds() + 1
    clock.set(datetime(2030, 1, 31, 12, 0, tzinfo=UTC))
    assert clock.now() == 1_896_091_200
    clock.set(None)
    assert clock.now() <= real_seconds() + 1


def test_reads_a_moment_in_any_time_zone():
    clock = Clock()

    clock.set(datetime(2030, 1, 31, 14, 0, tzinfo=timezone(timedelta(hours=2))))

    assert clock.now() == 1_896_091_200


def test_goes_forward_only_while_it_is_set():
    clock = Clock(frozen_at=1_000)

    clock.advance(60)
    with pytest.raises(ValueError, match="only goes forward"):
        clock.set(1_000)
    assert clock.now() == 1_060


def test_refuses_a_moment_without_a_time_zone():
    with pytest.raises(ValueError, match="time zone"):
        Clock().set(datetime.fromisoformat("2030-01-31T12:00:00"))


def test_everything_is_dated_by_it(stripe_api, clock):
    clock.set(datetime(2030, 1, 31, 12, 0, tzinfo=UTC))

    assert stripe_api.v1.customers.create({}).created == 1_896_091_200
    assert stripe_api.v1.events.list().data[0].created == 1_896_091_200
