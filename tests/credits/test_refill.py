"""Refills on a calendar of their own."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice

import pytest

from billing.bill import bill
from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.due import next_due
from billing.services.finalize import drafts_to_finalize
from billing.services.subscribe import subscribe
from credits.models import CreditGrant, SubscriptionCredit
from credits.services.definitions import create_definition, delete_definition
from credits.services.refill import due_refills, refill_clock, refill_credits, turns_after
from entitlements.services.check import check
from plans.models import Customer, PlanFeature, Subscription
from plans.refusals import InvalidInput
from tests.factories import CustomerFactory
from tests.pro_plan import bills, make_pro_plan, remaining, sweep, use

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
DAY = timedelta(days=1)

pytestmark = pytest.mark.django_db


def day(year, month, number):
    return datetime(year, month, number, tzinfo=UTC)


def refilled_plan(rule="FREQ=MONTHLY", **terms):
    return make_pro_plan(
        **{"quota": 100, "renew_on_billing": False, "refill_rrule": rule, "frequency": "YEARLY"} | terms
    )


def subscribed(pro, at=AT):
    customer = CustomerFactory()
    subscribe(at=at, customer=customer, plan=pro.plan)
    return customer


def written(customer):
    grants = CreditGrant.objects.filter(customer=customer).order_by("starts_at", "pk")
    return [(grant.refill_number, grant.starts_at, grant.expires_at, int(grant.initial_amount)) for grant in grants]


def refill(at):
    while refill_credits(credits=due_refills(at), at=at):
        pass


class TestTurns:
    @pytest.mark.parametrize(
        ("rule", "started_at", "expected"),
        [
            ("FREQ=DAILY", AT, [day(2026, 2, 1), day(2026, 2, 2), day(2026, 2, 3)]),
            ("FREQ=WEEKLY;INTERVAL=2", AT, [day(2026, 2, 14), day(2026, 2, 28), day(2026, 3, 14)]),
            # The day of the month clamps and does not drift.
            ("FREQ=MONTHLY", AT, [day(2026, 2, 28), day(2026, 3, 31), day(2026, 4, 30)]),
            ("FREQ=MONTHLY;INTERVAL=3", AT, [day(2026, 4, 30), day(2026, 7, 31), day(2026, 10, 31)]),
            ("FREQ=YEARLY", day(2028, 2, 29), [day(2029, 2, 28), day(2030, 2, 28), day(2031, 2, 28)]),
        ],
    )
    def test_are_local_midnights_counted_from_the_start(self, rule, started_at, expected):
        turns = list(islice(turns_after(refill_clock(rule), started_at, started_at), 3))

        assert turns == list(zip([1, 2, 3], expected, strict=True))

    def test_are_midnights_of_the_billing_zone(self, in_billing_zone):
        in_billing_zone("Europe/Berlin")
        turns = turns_after(refill_clock("FREQ=MONTHLY"), AT, AT)

        # Winter time, then summer time.
        assert [at for _, at in islice(turns, 2)] == [
            datetime(2026, 2, 27, 23, tzinfo=UTC),
            datetime(2026, 3, 30, 22, tzinfo=UTC),
        ]

    @pytest.mark.parametrize(
        ("rule", "number", "at"),
        [
            ("FREQ=DAILY", 1096, day(2029, 1, 31)),
            ("FREQ=WEEKLY", 157, day(2029, 2, 3)),
            ("FREQ=MONTHLY", 36, day(2029, 1, 31)),
            ("FREQ=YEARLY", 3, day(2029, 1, 31)),
        ],
    )
    def test_long_after_the_start_have_their_numbers(self, rule, number, at):
        assert next(turns_after(refill_clock(rule), AT, day(2029, 1, 30) + timedelta(hours=12))) == (number, at)

    def test_never_come_at_the_instant_that_they_are_asked_after(self):
        assert next(turns_after(refill_clock("FREQ=DAILY"), AT, day(2026, 2, 1))) == (2, day(2026, 2, 2))

    @pytest.mark.parametrize("rule", ["FREQ=HOURLY", "FREQ=MONTHLY;BYDAY=MO", "MONTHLY", "", "FREQ=DAILY;COUNT=0"])
    def test_of_what_is_no_calendar_of_days_are_refused(self, rule):
        with pytest.raises(InvalidInput) as refused:
            refill_clock(rule)

        assert refused.value.details[0]["path"] == "refillRrule"


class TestWriting:
    def test_a_subscription_begins_with_its_first_grant_and_the_refill_after_it(self):
        customer = subscribed(refilled_plan(refill_amount=20))

        assert written(customer) == [
            (0, AT, day(2026, 2, 28), 100),
            (1, day(2026, 2, 28), day(2026, 3, 31), 20),
        ]

    def test_the_refill_is_there_at_its_midnight_though_no_sweep_has_run(self):
        pro = refilled_plan(refill_amount=20)
        customer = subscribed(pro)

        assert remaining(customer, pro.metric, day(2026, 2, 28) - timedelta(microseconds=1)) == 100
        assert remaining(customer, pro.metric, day(2026, 2, 28)) == 20

    def test_is_one_turn_ahead_and_can_be_done_again(self):
        customer = subscribed(refilled_plan())

        refill(day(2026, 2, 28) - timedelta(microseconds=1))
        assert len(written(customer)) == 2
        refill(day(2026, 2, 28))
        refill(day(2026, 2, 28))

        assert [start for _, start, _, _ in written(customer)] == [AT, day(2026, 2, 28), day(2026, 3, 31)]

    def test_catches_up_in_order_of_time_after_a_long_pause(self):
        customer = subscribed(refilled_plan())

        refill(day(2026, 6, 1))

        assert written(customer) == [
            (0, AT, day(2026, 2, 28), 100),
            (1, day(2026, 2, 28), day(2026, 3, 31), 100),
            (2, day(2026, 3, 31), day(2026, 4, 30), 100),
            (3, day(2026, 4, 30), day(2026, 5, 31), 100),
            (4, day(2026, 5, 31), day(2026, 6, 30), 100),
            (5, day(2026, 6, 30), day(2026, 7, 31), 100),
        ]

    def test_every_grant_has_its_ledger_row(self):
        customer = subscribed(refilled_plan())
        refill(day(2026, 6, 1))

        for grant in CreditGrant.objects.filter(customer=customer):
            assert list(grant.transactions.values_list("kind", "amount")) == [("granted", 100)]

    def test_a_subscription_that_began_in_the_past_has_what_it_missed(self):
        pro, customer = refilled_plan("FREQ=WEEKLY"), CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan, started_at=AT - 20 * DAY)

        # 11 January, and the midnights of 18, 25 January and 1 February.
        starts = [AT - 20 * DAY, day(2026, 1, 18), day(2026, 1, 25), day(2026, 2, 1)]
        assert [start for _, start, _, _ in written(customer)] == starts

    def test_one_that_begins_later_is_refilled_from_then_on(self):
        pro, customer = refilled_plan("FREQ=DAILY"), CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan, started_at=AT + 10 * DAY)
        refill(AT + 9 * DAY)

        assert [start for _, start, _, _ in written(customer)] == [AT + 10 * DAY, day(2026, 2, 11)]

    def test_expiry_days_take_the_place_of_the_next_turn(self):
        customer = subscribed(refilled_plan(expiry_days=45))

        assert [end for _, _, end, _ in written(customer)] == [day(2026, 3, 18), day(2026, 4, 14)]

    @pytest.mark.parametrize(
        ("rule", "starts"),
        [
            ("FREQ=MONTHLY;COUNT=3", [AT, day(2026, 2, 28), day(2026, 3, 31)]),
            ("FREQ=MONTHLY;COUNT=1", [AT]),
            ("FREQ=MONTHLY;UNTIL=20260331", [AT, day(2026, 2, 28), day(2026, 3, 31)]),
            ("FREQ=MONTHLY;UNTIL=20260330T235959Z", [AT, day(2026, 2, 28)]),
        ],
    )
    def test_ends_with_its_calendar(self, rule, starts):
        customer = subscribed(refilled_plan(rule))

        refill(day(2027, 1, 1))

        assert [start for _, start, _, _ in written(customer)] == starts
        assert due_refills(day(2030, 1, 1)) == []
        # The last one lives as long as the ones before it.
        assert written(customer)[-1][2] == next(turns_after(refill_clock("FREQ=MONTHLY"), AT, starts[-1]))[1]

    @pytest.mark.parametrize("until", ["20260130", "20260131T095959Z"])
    def test_that_has_ended_before_the_subscription_gives_nothing(self, until):
        customer = subscribed(refilled_plan(f"FREQ=MONTHLY;UNTIL={until}", unit_cost_cents=None))

        refill(day(2027, 1, 1))

        assert (written(customer), due_refills(day(2030, 1, 1))) == ([], [])
        assert SubscriptionCredit.objects.get().refilled_until is None

    @pytest.mark.parametrize("until", ["20260131", "20260131T100000Z"])
    def test_that_ends_with_the_start_of_the_subscription_gives_its_first_refill(self, until):
        customer = subscribed(refilled_plan(f"FREQ=MONTHLY;UNTIL={until}"))

        refill(day(2027, 1, 1))

        assert [(number, start, units) for number, start, _, units in written(customer)] == [(0, AT, 100)]

    def test_stops_with_its_subscription(self):
        customer = subscribed(refilled_plan())
        Subscription.objects.update(ended_at=day(2026, 2, 10))

        refill(day(2026, 6, 1))

        assert len(written(customer)) == 2
        assert SubscriptionCredit.objects.get().refilled_until is None

    def test_leaves_parked_customers_alone(self):
        customer = subscribed(refilled_plan())
        Customer.objects.update(parked_at=AT)

        refill(day(2026, 6, 1))

        assert len(written(customer)) == 2

    def test_money_is_refilled_too(self):
        pro = make_pro_plan(quota=None)
        create_definition(
            at=AT, name="Credit", scope="plan", application_type="monetary", plan=pro.plan, currency="USD",
            default_amount=Decimal(500), refill_rrule="FREQ=WEEKLY",
        )  # fmt: skip
        customer = subscribed(pro)
        refill(day(2026, 2, 14))

        grants = CreditGrant.objects.filter(customer=customer).order_by("starts_at")
        assert [(grant.currency, grant.metric, grant.starts_at) for grant in grants] == [
            ("USD", None, start) for start in (AT, day(2026, 2, 7), day(2026, 2, 14), day(2026, 2, 21))
        ]


class TestSweep:
    def test_the_run_of_all_sweeps_refills_in_order_of_time(self):
        customer = subscribed(refilled_plan(unit_cost_cents=None))

        run = bill(until=day(2026, 5, 1), now=AT)

        assert [start for _, start, _, _ in written(customer)] == [
            AT, day(2026, 2, 28), day(2026, 3, 31), day(2026, 4, 30), day(2026, 5, 31),
        ]  # fmt: skip
        assert run.swept["refill"].done == 3

    def test_a_refill_that_is_due_is_work_for_the_run(self):
        subscribed(refilled_plan())

        assert next_due(until=day(2026, 12, 1), after=AT, with_stripe=False) == day(2026, 2, 28)

    def test_no_invoice_is_finalized_before_the_refills_that_its_usage_may_burn(self):
        pro = refilled_plan("FREQ=WEEKLY", frequency="MONTHLY")
        customer = subscribed(pro)
        use(customer, pro.metric, 80, day(2026, 2, 23))
        later = day(2026, 3, 1)
        while close_periods(subscriptions=due_subscriptions(later), at=later):
            pass

        assert drafts_to_finalize(later) == []
        refill(later)
        assert len(drafts_to_finalize(later)) == 1


class TestAMonthlyQuotaOfAYearlyPlan:
    """1,000 calls a month on a plan that is billed once a year, 5 cents for each further call."""

    def use_it(self, pro, customer):
        # 200 more than the first month has, exactly what the second has, and 100 in each later one.
        use(customer, pro.metric, 1_200, day(2026, 2, 10))
        use(customer, pro.metric, 1_000, day(2026, 3, 10))
        for month in range(4, 13):
            use(customer, pro.metric, 100, day(2026, month, 10))
        use(customer, pro.metric, 100, day(2027, 1, 10))

    @pytest.mark.parametrize("sweeps", ["each month", "once"])
    def test_renews_twelve_times_by_its_calendar_and_is_billed_once(self, sweeps):
        pro = refilled_plan(quota=1_000, base_cents=24_000)
        customer = subscribed(pro, at=day(2026, 1, 31))
        self.use_it(pro, customer)

        for month in range(2, 13) if sweeps == "each month" else ():
            sweep(day(2026, month, 28))
        sweep(day(2027, 1, 31) + timedelta(hours=1))

        started = [start for _, start, _, _ in written(customer) if start < day(2027, 1, 31)]
        assert len(started) == 12
        # Of 3,200 calls all but the 200 beyond the first month's quota were included.
        paid = [
            ("credit", Decimal(-units * 5))
            for units in (1_000, 1_000, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100)
        ]
        first, second = bills(customer)
        assert first == ("issued", 24_000, [("fixed", 1, 24_000)])
        status, total, lines = second
        assert (status, total) == ("issued", 24_000 + 200 * 5)
        assert [(kind, cents) for kind, _, cents in lines] == [("fixed", 24_000), ("usage", 3_200 * 5), *paid]

    def test_gives_a_month_no_more_than_its_own_share(self):
        pro = refilled_plan(quota=1_000, unit_cost_cents=None)
        customer = subscribed(pro, at=day(2026, 1, 31))
        use(customer, pro.metric, 400, day(2026, 2, 10))

        assert remaining(customer, pro.metric, day(2026, 2, 27)) == 600
        assert remaining(customer, pro.metric, day(2026, 2, 28)) == 1_000

    def test_shows_what_was_used_since_the_month_turned(self):
        pro = refilled_plan(quota=1_000, unit_cost_cents=None)
        customer = subscribed(pro, at=day(2026, 1, 31))
        use(customer, pro.metric, 1_500, day(2026, 2, 10))
        use(customer, pro.metric, 30, day(2026, 3, 1))

        decision = check(customer=customer.public_id, slug=pro.feature.slug, at=day(2026, 3, 2))

        assert (decision.usage, decision.limit, decision.remaining) == (30, 1_000, 970)

    def test_takes_the_place_of_a_number_that_the_plan_gives(self):
        pro = make_pro_plan(quota=None, frequency="YEARLY")
        PlanFeature.objects.update(value=40)
        customer = subscribed(pro, at=day(2026, 1, 31))
        create_definition(
            at=AT, name="Monthly", scope="plan", application_type="usage", plan=pro.plan, feature=pro.feature,
            default_amount=Decimal(100), refill_rrule="FREQ=YEARLY",
        )  # fmt: skip
        sweep(day(2027, 1, 31))

        # The number until the definition renews, then the quota alone.
        assert remaining(customer, pro.metric, day(2027, 1, 30)) == 40
        assert remaining(customer, pro.metric, day(2027, 1, 31)) == 100

    def test_stays_a_cap_when_its_definition_is_deleted(self):
        pro = refilled_plan(quota=10, unit_cost_cents=None)
        customer = subscribed(pro, at=day(2026, 1, 31))
        use(customer, pro.metric, 10, day(2026, 2, 1))
        delete_definition(at=day(2026, 2, 1), definition=pro.quota)

        decision = check(customer=customer.public_id, slug=pro.feature.slug, at=day(2026, 2, 2))

        assert (decision.entitled, decision.remaining) == (False, 0)

    def test_renews_twelve_times_with_a_monthly_component_beside_a_yearly_fee(self):
        pro = make_pro_plan(quota=1_000, base_cents=24_000, base_frequency="YEARLY")
        customer = subscribed(pro, at=day(2026, 1, 31))
        self.use_it(pro, customer)

        sweep(day(2027, 1, 31) + timedelta(hours=1))

        grants = CreditGrant.objects.filter(customer=customer, starts_at__lt=day(2027, 1, 31))
        assert grants.count() == 12
        fees = [lines for _, _, lines in bills(customer) if ("fixed", 1, 24_000) in lines]
        assert len(fees) == 2
        assert sum(total for _, total, _ in bills(customer)) == 2 * 24_000 + 200 * 5
