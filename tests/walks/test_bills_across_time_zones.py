"""Periods, bills, days of usage and shares of days in time zones far from UTC, where clocks change, on the last days of
months, on leap days and over the end of the year. All instants are UTC; local ones stand in comments."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from billing.models import CreditNote, Invoice, InvoiceLine
from billing.services.cancel import cancel_now
from billing.services.change import change_now
from billing.services.subscribe import subscribe
from metering.models import UsageDay
from plans.models import SubscriptionPeriod
from tests.billing.lives import in_advance, invoices, run_sweeps
from tests.credits.conftest import in_billing_zone  # noqa: F401 a fixture
from tests.factories import CustomerFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, remaining, use
from tests.seat_plan import give_seat, make_seat_plan, subscribed

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
INSTANT = timedelta(microseconds=1)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("in_billing_zone")]


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


@pytest.fixture
def ada():
    return CustomerFactory(invoice_prefix="ADA")


def units_billed(customer):
    """When each invoice with usage closed, and how much it billed."""
    lines = InvoiceLine.objects.filter(invoice__customer=customer, type="usage").order_by("invoice__closes_at")
    return [(closes_at, int(units)) for closes_at, units in lines.values_list("invoice__closes_at", "quantity")]


# A zone, the instant of subscription, and the next three boundaries.
BOUNDARIES = [
    # Clocks go forward on 29 March at 2:00: 15 March 10:00; 15 April 0:00 is an hour earlier than in winter.
    ("Europe/Berlin", utc(2026, 3, 15, 9), [utc(2026, 4, 14, 22), utc(2026, 5, 14, 22), utc(2026, 6, 14, 22)]),
    # Clocks go back on 25 October at 3:00.
    ("Europe/Berlin", utc(2026, 9, 15, 8), [utc(2026, 10, 14, 22), utc(2026, 11, 14, 23), utc(2026, 12, 14, 23)]),
    # On 29 March there is no midnight: clocks go from 0:00 to 1:00.
    ("Asia/Beirut", utc(2026, 1, 29, 10), [utc(2026, 2, 27, 22), utc(2026, 3, 28, 22), utc(2026, 4, 28, 21)]),
    # On 25 October clocks go from 0:00 back to 23:00 of the 24th.
    ("Asia/Beirut", utc(2026, 9, 25, 10), [utc(2026, 10, 24, 22), utc(2026, 11, 24, 22), utc(2026, 12, 24, 22)]),
    # On 4 November 2018 there was no midnight.
    ("America/Sao_Paulo", utc(2018, 10, 4, 12), [utc(2018, 11, 4, 3), utc(2018, 12, 4, 2), utc(2019, 1, 4, 2)]),
    # The day before 17 February 2019 had 25 hours.
    ("America/Sao_Paulo", utc(2019, 1, 17, 12), [utc(2019, 2, 17, 3), utc(2019, 3, 17, 3), utc(2019, 4, 17, 3)]),
    # UTC+14: 1 February 0:30, so the anchor is the 1st.
    (
        "Pacific/Kiritimati",
        utc(2026, 1, 31, 10, 30),
        [utc(2026, 2, 28, 10), utc(2026, 3, 31, 10), utc(2026, 4, 30, 10)],
    ),
    # UTC−11: 31 January 23:30, so the anchor is the 31st; local 28 February, 31 March, 30 April.
    ("Pacific/Pago_Pago", utc(2026, 2, 1, 10, 30), [utc(2026, 2, 28, 11), utc(2026, 3, 31, 11), utc(2026, 4, 30, 11)]),
    # Over the end of the year: 31 December 0:00 and 30 December 23:59.
    ("Pacific/Kiritimati", utc(2025, 12, 30, 10), [utc(2026, 1, 30, 10), utc(2026, 2, 27, 10), utc(2026, 3, 30, 10)]),
    (
        "Pacific/Pago_Pago",
        utc(2025, 12, 31, 10, 59),
        [utc(2026, 1, 30, 11), utc(2026, 2, 28, 11), utc(2026, 3, 30, 11)],
    ),
]


@pytest.mark.parametrize(("zone", "start", "ends"), BOUNDARIES)
def test_each_unit_is_billed_by_the_period_that_has_its_instant(in_billing_zone, ada, zone, start, ends):  # noqa: F811
    in_billing_zone(zone)
    pro = make_pro_plan(quota=5, unit_cost_cents="100")
    subscribe(at=start, customer=ada, plan=pro.plan)
    # 7 at the very start, 11 in the last instant; the boundary belongs to what begins.
    edges = [start, *ends]
    for number, (begin, end) in enumerate(pairwise(edges)):
        use(ada, pro.metric, 7 + number, begin)
        use(ada, pro.metric, 11, end - INSTANT)

    for end in ends:
        run_sweeps(end - INSTANT)
        run_sweeps(end + HOUR)

    assert [closes_at for _, closes_at, _ in invoices(ada)] == edges
    assert units_billed(ada) == [(ends[0], 18), (ends[1], 19), (ends[2], 20)]
    # Each month has its own five units.
    assert [cents for _, _, cents in invoices(ada)] == [2_900, 4_200, 4_300, 4_400]
    periods = SubscriptionPeriod.objects.filter(customer=ada, metric=None).order_by("start_at")
    assert list(periods.values_list("start_at", "end_at"))[:3] == list(zip(edges, ends, strict=False))
    assert_books_add_up(ends[-1] + HOUR)


@pytest.mark.parametrize(("zone", "start", "ends"), [BOUNDARIES[0], BOUNDARIES[2], BOUNDARIES[6], BOUNDARIES[9]])
def test_one_sweep_months_later_bills_the_same(in_billing_zone, zone, start, ends):  # noqa: F811
    in_billing_zone(zone)
    pro = make_pro_plan()
    swept, left = CustomerFactory(), CustomerFactory()
    for customer, sweeps in ((swept, ends), (left, ends[-1:])):
        subscribe(at=start, customer=customer, plan=pro.plan)
        use(customer, pro.metric, 10_100, ends[0] - INSTANT)
        use(customer, pro.metric, 10_200, ends[0])
        for end in sweeps:
            run_sweeps(end + HOUR)

    assert invoices(left) == invoices(swept)
    assert [cents for _, _, cents in invoices(left)] == [2_900, 3_400, 3_900, 2_900]


@pytest.mark.parametrize(
    ("zone", "day", "first", "last"),
    [
        ("Europe/Berlin", date(2026, 3, 29), utc(2026, 3, 28, 23), utc(2026, 3, 29, 22) - INSTANT),  # 23 hours
        ("Europe/Berlin", date(2026, 10, 25), utc(2026, 10, 24, 22), utc(2026, 10, 25, 23) - INSTANT),  # 25 hours
        ("Asia/Beirut", date(2026, 3, 29), utc(2026, 3, 28, 22), utc(2026, 3, 29, 21) - INSTANT),  # from 1:00 on
        ("America/Sao_Paulo", date(2019, 2, 16), utc(2019, 2, 16, 2), utc(2019, 2, 17, 3) - INSTANT),  # 25 hours
        ("Pacific/Kiritimati", date(2026, 1, 1), utc(2025, 12, 31, 10), utc(2026, 1, 1, 10) - INSTANT),
        ("Pacific/Pago_Pago", date(2025, 12, 31), utc(2025, 12, 31, 11), utc(2026, 1, 1, 11) - INSTANT),
        ("Pacific/Pago_Pago", date(2028, 2, 29), utc(2028, 2, 29, 11), utc(2028, 3, 1, 11) - INSTANT),
    ],
)
def test_a_day_of_usage_has_the_hours_of_the_local_day(in_billing_zone, ada, zone, day, first, last):  # noqa: F811
    in_billing_zone(zone)
    pro = make_pro_plan()

    for at, units in ((first - INSTANT, 1), (first, 20), (last, 300), (last + INSTANT, 4_000)):
        use(ada, pro.metric, units, at)

    counted = dict(UsageDay.objects.filter(customer=ada).order_by("day").values_list("day", "total"))
    assert counted == {day - DAY: 1, day: 320, day + DAY: 4_000}


@pytest.mark.parametrize(
    ("anchor", "days"),
    [
        (29, "01-29 02-28 03-29 04-29 05-29 06-29 07-29 08-29 09-29 10-29 11-29 12-29 01-29"),
        (30, "01-30 02-28 03-30 04-30 05-30 06-30 07-30 08-30 09-30 10-30 11-30 12-30 01-30"),
        (31, "01-31 02-28 03-31 04-30 05-31 06-30 07-31 08-31 09-30 10-31 11-30 12-31 01-31"),
    ],
)
def test_ruling_19_late_anchors_clamp_and_do_not_drift_in_a_year_of_bills(in_billing_zone, ada, anchor, days):  # noqa: F811
    in_billing_zone("Pacific/Kiritimati")
    # Local midnight is 10:00 of the day before.
    start = utc(2026, 1, anchor - 1, 10)
    pro = make_pro_plan(unit_cost_cents=None, quota=None)
    subscribe(at=start, customer=ada, plan=pro.plan)

    run_sweeps(utc(2027, 1, 31, 12))

    closed = [closes_at + 14 * HOUR for _, closes_at, _ in invoices(ada)]
    assert [f"{at:%m-%d}" for at in closed] == days.split()
    assert {at.hour for at in closed} == {0}
    assert {cents for _, _, cents in invoices(ada)} == {2_900}


def test_ruling_19_the_31st_turns_on_the_29th_of_a_leap_february(in_billing_zone, ada):  # noqa: F811
    in_billing_zone("Europe/Berlin")
    # 31 December 2027 0:00.
    subscribe(at=utc(2027, 12, 30, 23), customer=ada, plan=make_pro_plan(unit_cost_cents=None, quota=None).plan)

    run_sweeps(utc(2028, 4, 1))

    assert [closes_at for _, closes_at, _ in invoices(ada)] == [
        utc(2027, 12, 30, 23), utc(2028, 1, 30, 23), utc(2028, 2, 28, 23), utc(2028, 3, 30, 22),
    ]  # fmt: skip


@pytest.mark.parametrize(("zone", "offset"), [("UTC", 0), ("Pacific/Kiritimati", 14), ("Pacific/Pago_Pago", -11)])
def test_ruling_19_a_yearly_leap_day_bills_on_28_february_and_on_the_29th_again(in_billing_zone, ada, zone, offset):  # noqa: F811
    in_billing_zone(zone)
    yearly = make_pro_plan(unit_cost_cents=None, quota=None, frequency="YEARLY", base_cents=29_000)
    shift = timedelta(hours=offset)
    subscribe(at=utc(2028, 2, 29) - shift, customer=ada, plan=yearly.plan)

    run_sweeps(utc(2032, 3, 2))

    assert [f"{closes_at + shift:%Y-%m-%d %H}" for _, closes_at, _ in invoices(ada)] == [
        "2028-02-29 00", "2029-02-28 00", "2030-02-28 00", "2031-02-28 00", "2032-02-29 00",
    ]  # fmt: skip


def test_a_yearly_quota_of_a_leap_day_lasts_until_its_last_instant(in_billing_zone, ada):  # noqa: F811
    in_billing_zone("Pacific/Pago_Pago")
    start, end = utc(2028, 2, 29, 11), utc(2029, 2, 28, 11)
    yearly = make_pro_plan(frequency="YEARLY", base_cents=29_000, quota=100)
    subscribe(at=start, customer=ada, plan=yearly.plan)
    use(ada, yearly.metric, 90, end - INSTANT)

    assert remaining(ada, yearly.metric, end - INSTANT) == 10
    use(ada, yearly.metric, 30, end)
    run_sweeps(end + HOUR)

    assert remaining(ada, yearly.metric, end + HOUR) == 70
    assert invoices(ada)[-1] == ("cycle", end, 29_000)


# An instant in a month of 31 days in which clocks change, and the days that are left then: 2,900 and 9,900 of them.
SHARES = [
    # 743 hours, from 1 March 0:00 on; the 15th, and the first and the last instant of the 29th, of 23 hours.
    (utc(2026, 2, 28, 23), utc(2026, 3, 15, 12), 1_590, 5_429),  # 17
    (utc(2026, 2, 28, 23), utc(2026, 3, 28, 23) - INSTANT, 374, 1_277),  # 4: 374.19 and 1,277.42
    (utc(2026, 2, 28, 23), utc(2026, 3, 28, 23), 281, 958),  # 3: 280.65 and 958.06
    (utc(2026, 2, 28, 23), utc(2026, 3, 29, 22) - INSTANT, 281, 958),
    (utc(2026, 2, 28, 23), utc(2026, 3, 29, 22), 187, 639),  # 2: 187.10 and 638.71
    # 745 hours, from 1 October 0:00 on; the 15th, and the first and the last instant of the 25th, of 25 hours.
    (utc(2026, 9, 30, 22), utc(2026, 10, 15, 12), 1_590, 5_429),
    (utc(2026, 9, 30, 22), utc(2026, 10, 24, 22), 655, 2_235),  # 7: 654.84 and 2,235.48
    (utc(2026, 9, 30, 22), utc(2026, 10, 25, 23) - INSTANT, 655, 2_235),
    (utc(2026, 9, 30, 22), utc(2026, 10, 25, 23), 561, 1_916),  # 6: 561.29 and 1,916.13
]


@pytest.mark.parametrize(("start", "changed_at", "credited", "charged"), SHARES)
def test_ruling_28_fees_are_shared_by_days_and_not_by_hours(
    in_billing_zone,  # noqa: F811
    ada,
    start,
    changed_at,
    credited,
    charged,
):
    in_billing_zone("Europe/Berlin")
    pro = make_pro_plan()
    big = make_pro_plan(base_cents=9_900, beside=pro)
    subscription = subscribe(at=start, customer=ada, plan=pro.plan)

    change = change_now(subscription=subscription, price=big.price, at=changed_at)

    assert in_advance(change.invoice) == [("fixed", charged), ("proration", -credited)]
    assert_books_add_up(changed_at + HOUR)


@pytest.mark.parametrize(
    ("zone", "cancelled_at", "cents"),
    [
        # 11 May 0:00 at UTC+14 and at UTC−11, and the instant before: 21 and 22 of 31 days.
        ("Pacific/Kiritimati", utc(2026, 5, 10, 10), 1_965),
        ("Pacific/Kiritimati", utc(2026, 5, 10, 10) - INSTANT, 2_058),
        ("Pacific/Pago_Pago", utc(2026, 5, 11, 11), 1_965),
        ("Pacific/Pago_Pago", utc(2026, 5, 11, 11) - INSTANT, 2_058),
    ],
)
def test_ruling_29_unused_days_are_those_of_the_billing_time_zone(in_billing_zone, ada, zone, cancelled_at, cents):  # noqa: F811
    in_billing_zone(zone)
    offset = {"Pacific/Kiritimati": 14, "Pacific/Pago_Pago": -11}[zone]
    pro = make_pro_plan()
    subscription = subscribe(at=utc(2026, 5, 1) - timedelta(hours=offset), customer=ada, plan=pro.plan)

    cancel_now(subscription=subscription, at=cancelled_at, prorate=True)

    assert CreditNote.objects.get().total_cents == cents


@pytest.mark.parametrize(
    ("seated_at", "cents"),
    [
        # October of 745 hours: 25 October 0:00 and its last instant, 26 October 0:00.
        (utc(2026, 10, 24, 22), 226),  # 7 of 31 days: 225.81
        (utc(2026, 10, 25, 23) - INSTANT, 226),
        (utc(2026, 10, 25, 23), 194),  # 6: 193.55
    ],
)
def test_ruling_32_an_added_seat_is_shared_by_days_and_not_by_hours(in_billing_zone, seated_at, cents):  # noqa: F811
    in_billing_zone("Europe/Berlin")
    subscription = subscribed(make_seat_plan(), at=utc(2026, 9, 30, 22), seats=1)

    give_seat(subscription, "ann", seated_at)

    assert Invoice.objects.get(kind="seats").total_cents == cents


@pytest.mark.parametrize(
    ("zone", "start", "end"),
    [
        # 20 March 14:30, then 14 days from 21 March 0:00 on, of which one has 23 hours.
        ("Europe/Berlin", utc(2026, 3, 20, 13, 30), utc(2026, 4, 3, 22)),
        # 20 October 14:30, then 14 days from 21 October 0:00 on, of which one has 25 hours.
        ("Europe/Berlin", utc(2026, 10, 20, 12, 30), utc(2026, 11, 3, 23)),
        # Up to 29 March, which begins at 1:00.
        ("Asia/Beirut", utc(2026, 3, 14, 12), utc(2026, 3, 28, 22)),
        # 18 December 0:00 is no rounding: up to 1 January 0:00.
        ("Pacific/Kiritimati", utc(2025, 12, 17, 10), utc(2025, 12, 31, 10)),
        ("Pacific/Pago_Pago", utc(2025, 12, 18, 11), utc(2026, 1, 1, 11)),
    ],
)
def test_ruling_31_a_trial_has_14_full_local_days(in_billing_zone, ada, zone, start, end):  # noqa: F811
    in_billing_zone(zone)
    trial = subscribe(at=start, customer=ada, plan=make_pro_plan().plan, trial_days=14)

    run_sweeps(end + HOUR)

    assert trial.trial_ends_at == end
    assert invoices(ada) == [("cycle", end, 2_900)]


def test_an_allowance_is_shared_by_days_where_a_day_has_25_hours(in_billing_zone, ada):  # noqa: F811
    in_billing_zone("Europe/Berlin")
    pro = make_pro_plan(quota=3_100)
    big = make_pro_plan(base_cents=9_900, quota=6_200, beside=pro)
    subscription = subscribe(at=utc(2026, 9, 30, 22), customer=ada, plan=pro.plan)
    use(ada, pro.metric, 3_000, utc(2026, 10, 2))
    last_of_the_25th = utc(2026, 10, 25, 23) - INSTANT

    change_now(subscription=subscription, price=big.price, at=last_of_the_25th)

    # 24 days at 100 and 7 at 200, less 3,000.
    assert remaining(ada, pro.metric, last_of_the_25th + HOUR) == 800


def test_late_usage_of_december_names_the_local_days_and_their_year(in_billing_zone, ada):  # noqa: F811
    in_billing_zone("Pacific/Pago_Pago")
    pro = make_pro_plan(quota=None)
    # 1 December 0:00.
    subscribe(at=utc(2025, 12, 1, 11), customer=ada, plan=pro.plan)
    run_sweeps(utc(2026, 1, 1, 12))
    # The last instant of December, told of in January.
    use(ada, pro.metric, 20, utc(2026, 1, 1, 11) - INSTANT)

    run_sweeps(utc(2026, 2, 1, 12))

    line = InvoiceLine.objects.get(type="late_usage")
    assert (line.description, line.amount_cents) == ("Late usage, 1–31 December 2025 (Calls)", 100)
    assert (line.usage_period_start_at, line.usage_period_end_at) == (utc(2025, 12, 1, 11), utc(2026, 1, 1, 11))


def test_clocks_of_weeks_and_years_turn_at_local_midnight(in_billing_zone, ada):  # noqa: F811
    in_billing_zone("Europe/Berlin")
    # Monday, 16 March 10:00; clocks change on Sunday the 29th.
    weekly = make_pro_plan(unit_cost_cents=None, quota=None, frequency="WEEKLY", base_cents=700)
    subscribe(at=utc(2026, 3, 16, 9), customer=ada, plan=weekly.plan)

    run_sweeps(utc(2026, 4, 6))

    assert [closes_at for _, closes_at, _ in invoices(ada)] == [
        utc(2026, 3, 16, 9), utc(2026, 3, 22, 23), utc(2026, 3, 29, 22), utc(2026, 4, 5, 22),
    ]  # fmt: skip
