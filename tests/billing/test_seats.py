"""Seats within a period: who is added is billed by the days that are left, who is removed stays paid until its end."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.books import check_books
from billing.explain_text import explanation_sentences
from billing.models import Invoice, InvoiceLine
from billing.services.explain import explain_lines
from billing.services.pause import pause
from billing.services.seats import NoActiveSubscription, SeatChangeConflict, add_seat
from billing.services.subscribe import subscribe
from metering.models import UsageDay
from metering.services.record_events import record_events
from plans.models import Customer, Seat, SeatChange, SubscriptionPeriod
from plans.refusals import InvalidInput
from plans.services.customers import DuplicateCustomer, create_customer
from plans.services.seats import MemberOfAnother, SeatNotFound
from plans.services.subscriptions import SubscriptionNotActive
from plans.services.time_zone import billing_zone
from tests.credits.conftest import in_billing_zone  # noqa: F401 a fixture
from tests.factories import CustomerFactory, MetricFactory
from tests.pro_plan import bills, event, make_pro_plan, sweep, use
from tests.seat_plan import added, give_seat, make_organization, make_seat_plan, subscribed, take_seat

MARCH, APRIL, MAY = (datetime(2026, month, 1, tzinfo=UTC) for month in (3, 4, 5))
# The 10th is the first of 22 days that are left of March's 31.
MARCH_10 = datetime(2026, 3, 10, 15, 30, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def seats_billed(customer):
    """What was billed for seats: kind of the invoice, quantity and amount of each line."""
    lines = InvoiceLine.objects.filter(invoice__customer=customer, type="per_unit").select_related("invoice")
    return [
        (line.invoice.kind, int(line.quantity), line.amount_cents)
        for line in lines.order_by("invoice__closes_at", "position")
    ]


def assert_books_are_clean(at):
    assert [finding for finding in check_books(at=at) if finding.offenders] == []


def test_ruling_32_an_added_seat_is_billed_at_once_for_the_days_that_are_left():
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=2)

    give_seat(subscription, "ann", MARCH_10)

    # 1,000 × 22 / 31 = 709.68
    assert seats_billed(subscription.customer) == [("cycle", 2, 2_000), ("seats", 1, 710)]
    line = InvoiceLine.objects.get(invoice__kind="seats")
    period = SubscriptionPeriod.objects.get(subscription=subscription, start_at=MARCH)
    assert (line.type, line.period, line.effective_at) == ("per_unit", period, MARCH_10)
    assert (line.billing_period_start_at, line.billing_period_end_at) == (MARCH_10, APRIL)
    assert line.description == "Seats: 1 added, 10–31 March"
    assert (period.quantity, added(subscription)) == (2, [(2, 3, MARCH_10)])
    assert_books_are_clean(MARCH_10)


@pytest.mark.parametrize(
    ("start", "joined", "cents"),
    [
        # February 2026 has 28 days; from the 15th on 14 of them: the half.
        (datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 15, 12, tzinfo=UTC), 500),
        # 2028 has a 29th: from the 15th on 15 of 29 days, 517.24.
        (datetime(2028, 2, 1, tzinfo=UTC), datetime(2028, 2, 15, 12, tzinfo=UTC), 517),
        # April has 30 days; from the 21st on 10 of them, 333.33.
        (APRIL, datetime(2026, 4, 21, tzinfo=UTC), 333),
        # On the last day one of March's 31, 32.26, even at its last second.
        (MARCH, datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC), 32),
        # On the first day all of it.
        (MARCH, datetime(2026, 3, 1, 23, tzinfo=UTC), 1_000),
    ],
)
def test_the_share_of_an_added_seat_is_that_of_the_days_left(start, joined, cents):
    subscription = subscribed(make_seat_plan(), at=start, seats=1)

    give_seat(subscription, "ann", joined)

    assert seats_billed(subscription.customer)[1:] == [("seats", 1, cents)]


def test_days_are_those_of_the_billing_time_zone(in_billing_zone):  # noqa: F811 the fixture
    in_billing_zone("America/New_York")
    # Local midnights: 1 March is in winter time (−5), 1 April in summer time (−4).
    subscription = subscribed(make_seat_plan(), at=datetime(2026, 3, 1, 5, tzinfo=UTC), seats=1)

    # In New York it is still the 30th: 2 of 31 days, 64.52.
    give_seat(subscription, "ann", datetime(2026, 3, 31, 3, 59, tzinfo=UTC))

    assert seats_billed(subscription.customer)[1:] == [("seats", 1, 65)]


def test_ruling_32_the_next_period_bills_the_seats_at_its_start():
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=2)
    give_seat(subscription, "ann", MARCH_10)

    sweep(APRIL)

    assert seats_billed(subscription.customer)[2:] == [("cycle", 3, 3_000)]
    assert_books_are_clean(APRIL)


def test_ruling_32_replacing_a_removed_seat_in_the_same_period_is_free():
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=3)
    take_seat(subscription, "acme-0", MARCH_10)

    give_seat(subscription, "ann", MARCH_10 + timedelta(days=2))

    assert seats_billed(subscription.customer) == [("cycle", 3, 3_000)]
    sweep(APRIL)
    assert seats_billed(subscription.customer)[1:] == [("cycle", 3, 3_000)]


def test_ruling_32_a_removed_seat_is_paid_until_the_period_ends_and_no_longer():
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=3)

    take_seat(subscription, "acme-0", MARCH_10)
    sweep(APRIL)

    assert seats_billed(subscription.customer) == [("cycle", 3, 3_000), ("cycle", 2, 2_000)]
    assert_books_are_clean(APRIL)


def test_ruling_32_the_minimum_is_always_billed_and_seats_below_it_are_free():
    subscription = subscribed(make_seat_plan(minimum_quantity=3), at=MARCH, seats=1)

    give_seat(subscription, "ann", MARCH_10)
    give_seat(subscription, "bob", MARCH_10)
    give_seat(subscription, "cid", MARCH_10)

    # The fourth seat is the first one beyond the minimum.
    assert seats_billed(subscription.customer) == [("cycle", 3, 3_000), ("seats", 1, 710)]
    for member in ("ann", "bob", "cid"):
        take_seat(subscription, member, MARCH_10 + timedelta(days=1))
    sweep(APRIL)
    assert seats_billed(subscription.customer)[2:] == [("cycle", 3, 3_000)]


def test_ruling_32_without_bill_immediately_the_next_invoice_has_the_days():
    subscription = subscribed(make_seat_plan(bill_immediately=False), at=MARCH, seats=2)

    give_seat(subscription, "ann", MARCH_10)
    assert seats_billed(subscription.customer) == [("cycle", 2, 2_000)]
    sweep(APRIL)

    assert bills(subscription.customer)[1:] == [("issued", 3_710, [("per_unit", 3, 3_000), ("per_unit", 1, 710)])]
    sweep(MAY)
    assert seats_billed(subscription.customer)[3:] == [("cycle", 3, 3_000)]
    assert_books_are_clean(MAY)


def test_seats_added_at_one_instant_are_billed_each_once():
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=1)

    for member in ("ann", "bob", "cid", "dan"):
        give_seat(subscription, member, MARCH_10)

    assert seats_billed(subscription.customer)[1:] == [("seats", 1, 710)] * 4
    assert added(subscription) == [(units, units + 1, MARCH_10) for units in range(1, 5)]
    assert_books_are_clean(MARCH_10)


def test_an_added_seat_costs_what_it_adds_to_the_price_by_tiers():
    tiers = [
        {"up_to": "2", "unit_cost_cents": "1000", "flat_cost_cents": "0"},
        {"up_to": None, "unit_cost_cents": "400", "flat_cost_cents": "0"},
    ]
    sold = make_seat_plan(model="graduated", tiers=tiers, amount_cents=None)
    subscription = subscribed(sold, at=APRIL, seats=2)

    give_seat(subscription, "ann", datetime(2026, 4, 16, tzinfo=UTC))

    # The third seat costs 400; from the 16th on 15 of 30 days: 200.
    assert seats_billed(subscription.customer) == [("cycle", 2, 2_000), ("seats", 1, 200)]


def test_crossing_a_bound_of_a_volume_price_gives_nothing_back():
    tiers = [
        {"up_to": "2", "unit_cost_cents": "1000", "flat_cost_cents": "0"},
        {"up_to": None, "unit_cost_cents": "400", "flat_cost_cents": "0"},
    ]
    sold = make_seat_plan(model="volume", tiers=tiers, amount_cents=None)
    subscription = subscribed(sold, at=APRIL, seats=2)

    give_seat(subscription, "ann", datetime(2026, 4, 16, tzinfo=UTC))
    sweep(MAY)

    # Two cost 2,000, three 1,200.
    assert seats_billed(subscription.customer) == [("cycle", 2, 2_000), ("cycle", 3, 1_200)]


def test_seats_of_a_free_component_are_not_billed():
    subscription = subscribed(make_seat_plan(amount_cents=0), at=MARCH, seats=1)

    give_seat(subscription, "ann", MARCH_10)

    assert Invoice.objects.shown().count() == 0
    assert_books_are_clean(MARCH_10)


def test_a_seat_added_after_midnight_is_billed_the_same_before_and_after_the_sweep():
    soon = APRIL + timedelta(minutes=10)
    swept = subscribed(make_seat_plan(), at=MARCH, seats=2)
    sweep(APRIL)
    unswept = subscribed(make_seat_plan(), at=MARCH, seats=2, name="globex")

    give_seat(swept, "ann", soon)
    give_seat(unswept, "bob", soon)
    sweep(soon)

    assert seats_billed(swept.customer) == seats_billed(unswept.customer)
    assert seats_billed(swept.customer)[1:] == [("cycle", 2, 2_000), ("seats", 1, 1_000)]


def test_a_due_boundary_is_closed_before_a_seat_is_added():
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=2)

    # No sweep has run since: April bills the two seats that it began with, and the third from the 16th on.
    give_seat(subscription, "ann", datetime(2026, 4, 16, tzinfo=UTC))
    sweep(datetime(2026, 4, 16, tzinfo=UTC))

    assert seats_billed(subscription.customer) == [("cycle", 2, 2_000), ("cycle", 2, 2_000), ("seats", 1, 500)]
    assert_books_are_clean(datetime(2026, 4, 16, tzinfo=UTC))


def test_a_seat_that_began_in_an_earlier_period_is_billed_in_each():
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=2)
    sweep(APRIL)

    give_seat(subscription, "ann", APRIL + timedelta(days=3), seated_at=MARCH_10)

    # 22 of March's days, and all of April.
    assert seats_billed(subscription.customer)[2:] == [("seats", 1, 710), ("seats", 1, 1_000)]
    invoice = Invoice.objects.get(kind="seats")
    assert (invoice.period_start_at, invoice.period_end_at) == (MARCH_10, MAY)
    assert Seat.objects.get(member__external_customer_id="ann").started_at == MARCH_10
    assert_books_are_clean(APRIL + timedelta(days=3))


def test_a_seat_that_was_told_of_late_is_paid_from_when_it_was_needed():
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=1)
    give_seat(subscription, "ann", MARCH_10)

    give_seat(subscription, "bob", MARCH_10 + timedelta(days=2), seated_at=datetime(2026, 3, 3, tzinfo=UTC))

    # Two seats are needed from the 3rd on (29 of 31 days, 935.48), three from the 10th on, as was billed.
    assert added(subscription) == [(1, 2, MARCH_10), (2, 3, datetime(2026, 3, 3, tzinfo=UTC))]
    assert seats_billed(subscription.customer)[2:] == [("seats", 1, 935)]


def test_who_is_not_a_customer_yet_becomes_one_with_a_seat_from_that_instant_on():
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=1)

    change = give_seat(subscription, "ann", MARCH_10, name="Ann", email="ann@x.io", metadata={"team": "a"})

    member = Customer.objects.get(external_customer_id="ann")
    assert (member.name, member.email, member.customer_organization_id, member.org_role) == (
        "Ann", "ann@x.io", "acme", "member",
    )  # fmt: skip
    assert list(member.seats.values_list("organization_id", "started_at", "ended_at")) == [("acme", MARCH_10, None)]
    assert (change.subscription, change.metadata) == (subscription, {"team": "a"})


def test_ruling_32_an_event_counts_for_the_organization_that_the_member_was_in_at_its_time():
    metric = MetricFactory()
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=1)
    # It arrived before anybody knew who ann is.
    for hours, key in ((-1, "before"), (1, "after")):
        sent = event(metric.event_name, 5, MARCH_10 + timedelta(hours=hours), key, external="ann")
        record_events(events=[sent], at=MARCH_10 + timedelta(hours=2))

    give_seat(subscription, "ann", MARCH_10 + timedelta(hours=3), seated_at=MARCH_10)
    member = Customer.objects.get(external_customer_id="ann")
    take_seat(subscription, "ann", MARCH_10 + timedelta(days=1))
    use(member, metric, 7, MARCH_10 + timedelta(days=1, hours=1))

    counted = dict(UsageDay.objects.filter(customer=subscription.customer).values_list("day", "total"))
    assert counted == {MARCH_10.date(): 5}
    assert sum(UsageDay.objects.filter(customer=member).values_list("total", flat=True)) == 5 + 7


def test_a_customer_without_an_organization_begins_its_own_with_its_first_seat():
    sold, owner = make_seat_plan(), CustomerFactory(external_customer_id="owner")
    subscription = subscribe(at=MARCH, customer=owner, plan=sold.plan)

    change = give_seat(subscription, "ann", MARCH_10)

    owner.refresh_from_db()
    assert (owner.org_role, owner.customer_organization_id) == ("primary", owner.public_id)
    assert change.organization_id == owner.public_id
    # One unit was paid from the start, which is the first seat now.
    assert seats_billed(owner) == [("cycle", 1, 1_000)]


def test_the_same_key_again_changes_nothing():
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=1)

    first = give_seat(subscription, "ann", MARCH_10, idempotency_key="k")
    again = give_seat(subscription, "ann", MARCH_10 + timedelta(hours=1), idempotency_key="k")

    assert again.pk == first.pk
    assert Seat.objects.filter(member__external_customer_id="ann").count() == 1
    assert len(seats_billed(subscription.customer)) == 2


def test_the_same_key_does_not_give_a_seat_back_that_was_taken_since():
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=1)
    give_seat(subscription, "ann", MARCH_10, idempotency_key="k")
    take_seat(subscription, "ann", MARCH_10 + timedelta(hours=1), idempotency_key="l")

    give_seat(subscription, "ann", MARCH_10 + timedelta(hours=2), idempotency_key="k")
    take_seat(subscription, "ann", MARCH_10 + timedelta(hours=2), idempotency_key="l")

    assert not Seat.objects.filter(member__external_customer_id="ann", ended_at=None).exists()


@pytest.mark.parametrize(("act", "member"), [(give_seat, "bob"), (give_seat, "acme-0"), (take_seat, "ann")])
def test_refuses_a_key_of_another_change(act, member):
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=1)
    give_seat(subscription, "ann", MARCH_10, idempotency_key="k")

    with pytest.raises(SeatChangeConflict):
        act(subscription, member, MARCH_10, idempotency_key="k")

    assert SeatChange.objects.count() == 1


def test_somebody_who_has_the_seat_already_is_not_billed_again():
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=1)

    give_seat(subscription, "acme-0", MARCH_10)

    assert seats_billed(subscription.customer) == [("cycle", 1, 1_000)]


def test_members_made_otherwise_are_billed_by_days_with_the_next_invoice():
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=2)
    create_customer(at=MARCH_10, name="Ann", email="ann@x.io", customer_organization_id="acme", org_role="member")

    sweep(APRIL)

    assert seats_billed(subscription.customer) == [("cycle", 2, 2_000), ("cycle", 3, 3_000), ("cycle", 1, 710)]
    assert_books_are_clean(APRIL)


def test_of_a_yearly_fee_an_added_seat_costs_the_days_of_the_year():
    subscription = subscribed(make_seat_plan(frequency="YEARLY", amount_cents=36_500), at=MARCH, seats=1)

    give_seat(subscription, "ann", MARCH_10)

    # From 10 March 2026 to 28 February 2027 are 356 of 365 days, at 100 each.
    assert seats_billed(subscription.customer)[1:] == [("seats", 1, 35_600)]


def test_seats_of_a_parked_customer_wait_for_the_operator():
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=1)
    Customer.objects.filter(pk=subscription.customer_id).update(parked_at=MARCH)

    give_seat(subscription, "ann", MARCH_10)
    assert seats_billed(subscription.customer) == [("cycle", 1, 1_000)]
    Customer.objects.filter(pk=subscription.customer_id).update(parked_at=None)
    sweep(APRIL)

    assert seats_billed(subscription.customer)[1:] == [("cycle", 2, 2_000), ("cycle", 1, 710)]


def test_a_boundary_of_a_parked_customer_waits_although_a_seat_is_added():
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=1)
    Customer.objects.filter(pk=subscription.customer_id).update(parked_at=MARCH)

    give_seat(subscription, "ann", APRIL + timedelta(days=9))

    assert not SubscriptionPeriod.objects.filter(subscription=subscription, start_at=APRIL, closed_at__isnull=False)
    assert Invoice.objects.count() == 1


def test_a_seat_belongs_to_the_subscription_that_has_seats_although_another_is_older():
    sold = make_seat_plan()
    primary = make_organization(since=MARCH)
    subscribe(at=MARCH, customer=primary, plan=make_pro_plan().plan)
    with_seats = subscribe(at=MARCH, customer=primary, plan=sold.plan, beside_others=True)

    assert give_seat(with_seats, "ann", MARCH_10).subscription == with_seats


def test_a_paused_subscription_beside_a_running_one_gets_no_seats():
    paused = subscribed(make_seat_plan(), at=MARCH, seats=1)
    running = subscribe(at=MARCH, customer=paused.customer, plan=make_seat_plan().plan, beside_others=True)
    pause(subscription=paused, at=MARCH + timedelta(days=2))

    give_seat(running, "ann", MARCH_10)

    assert (added(paused), added(running)) == ([], [(1, 2, MARCH_10)])


class TestRefusals:
    def test_a_seat_of_a_paused_subscription(self):
        subscription = subscribed(make_seat_plan(), at=MARCH, seats=1)
        pause(subscription=subscription, at=MARCH + timedelta(days=2))

        with pytest.raises(SubscriptionNotActive, match="is paused"):
            give_seat(subscription, "ann", MARCH_10)

        assert not Customer.objects.filter(external_customer_id="ann").exists()

    def test_a_seat_without_a_subscription(self):
        primary = make_organization(since=MARCH)

        with pytest.raises(NoActiveSubscription):
            add_seat(at=MARCH, organization=primary, member_id="ann")

        assert not Customer.objects.filter(external_customer_id="ann").exists()

    def test_a_time_to_come(self):
        subscription = subscribed(make_seat_plan(), at=MARCH, seats=1)

        with pytest.raises(InvalidInput, match="timestamp"):
            give_seat(subscription, "ann", MARCH_10, seated_at=MARCH_10 + timedelta(minutes=6))

    def test_a_member_of_another_organization(self):
        subscription = subscribed(make_seat_plan(), at=MARCH, seats=1)
        make_organization("globex", seats=1, since=MARCH)

        with pytest.raises(MemberOfAnother):
            give_seat(subscription, "globex-0", MARCH_10)

        assert seats_billed(subscription.customer) == [("cycle", 1, 1_000)]

    @pytest.mark.parametrize("member", ["acme-owner", "globex-owner"])
    def test_who_pays_for_an_organization_himself(self, member):
        subscription = subscribed(make_seat_plan(), at=MARCH, seats=1)
        make_organization("globex", since=MARCH)

        with pytest.raises(MemberOfAnother):
            give_seat(subscription, member, MARCH_10)

    def test_an_email_address_of_somebody_else(self):
        subscription = subscribed(make_seat_plan(), at=MARCH, seats=1)
        CustomerFactory(email="ann@x.io")

        with pytest.raises(DuplicateCustomer, match=r"created_user_info\.email"):
            give_seat(subscription, "ann", MARCH_10, email="ann@x.io")

        assert not Customer.objects.filter(external_customer_id="ann").exists()

    @pytest.mark.parametrize("member", ["nobody", "globex-0", "acme-owner"])
    def test_a_seat_that_nobody_has(self, member):
        subscription = subscribed(make_seat_plan(), at=MARCH, seats=1)
        make_organization("globex", seats=1, since=MARCH)

        with pytest.raises(SeatNotFound, match="User not found in active seats or already removed"):
            take_seat(subscription, member, MARCH_10)

    def test_a_seat_that_was_taken_before(self):
        subscription = subscribed(make_seat_plan(), at=MARCH, seats=1)
        take_seat(subscription, "acme-0", MARCH_10)

        with pytest.raises(SeatNotFound):
            take_seat(subscription, "acme-0", MARCH_10)


def test_an_added_seat_is_explained():
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=2)
    give_seat(subscription, "ann", MARCH_10)

    (explanation,) = explain_lines(invoice=Invoice.objects.get(kind="seats"), at=MARCH_10)

    assert explanation.adds_up
    assert explanation_sentences(explanation, billing_zone()) == [
        "For the whole period 2 cost $20.00 and 3 cost $30.00. For 22 of its 31 days the difference is $7.10."
    ]
