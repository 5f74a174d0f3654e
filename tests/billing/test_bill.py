"""`manage.py bill`: every sweep in time order, in one jump or many."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from billing.books import check_books
from billing.models import Invoice, InvoiceKind, Payment, StripeInbox
from billing.services.due import next_due
from billing.services.inbox import store_event
from billing.services.park import park_customer
from billing.services.subscribe import subscribe
from credits.models import CreditTransaction
from plans.models import Customer, SubscriptionPeriod
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan, use

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
ENDS = [datetime(2026, month, day, tzinfo=UTC) for month, day in ((2, 28), (3, 31), (4, 30), (5, 31), (6, 30), (7, 31))]
# What is used in each of the six periods, and the bill at its end: 29.00 in advance, 5 cents beyond 10,000.
WORKED = [
    (12_500, 15_400, [("fixed", 1, 2_900), ("usage", 12_500, 62_500), ("credit", 10_000, -50_000)]),
    (8_000, 2_900, [("fixed", 1, 2_900), ("usage", 8_000, 40_000), ("credit", 8_000, -40_000)]),
    (10_001, 2_905, [("fixed", 1, 2_900), ("usage", 10_001, 50_005), ("credit", 10_000, -50_000)]),
    (0, 2_900, [("fixed", 1, 2_900)]),
    (25_000, 77_900, [("fixed", 1, 2_900), ("usage", 25_000, 125_000), ("credit", 10_000, -50_000)]),
    (10_000, 2_900, [("fixed", 1, 2_900), ("usage", 10_000, 50_000), ("credit", 10_000, -50_000)]),
]
AUGUST = datetime(2026, 8, 31, tzinfo=UTC)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("stripe_sandbox")]


@pytest.fixture(autouse=True)
def clock():
    """The command reads the clock; it stands still until it is moved."""
    with time_machine.travel(AT, tick=False) as clock:
        yield clock


def bill(*arguments):
    out = StringIO()
    call_command("bill", *arguments, stdout=out)
    return out.getvalue()


def bill_at(instant):
    return bill("--at", instant.isoformat())


@pytest.fixture
def ada(give_card):
    """Subscribed with a good card, and six months of usage to come."""
    pro, customer = make_pro_plan(), CustomerFactory(name="Ada", invoice_prefix="ADA")
    subscribe(at=AT, customer=customer, plan=pro.plan)
    give_card(customer)
    for end, (units, _, _) in zip(ENDS, WORKED, strict=True):
        if units:
            use(customer, pro.metric, units, end - 3 * DAY)
    return customer


def invoices(customer):
    return [
        (
            invoice.number,
            invoice.closes_at,
            (invoice.period_start_at, invoice.period_end_at),
            invoice.finalized_at,
            invoice.status,
            invoice.total_cents,
            [(line.type, line.quantity, line.amount_cents) for line in invoice.lines.all()],
        )
        for invoice in Invoice.objects.filter(customer=customer).order_by("closes_at")
    ]


def six_periods():
    """The invoices of Ada worked out by hand."""
    first = ("ADA-001", AT, (AT, ENDS[0]), AT, "paid", 2_900, [("fixed", 1, 2_900)])
    return [first] + [
        (f"ADA-{number:03}", end, (end, until), end + HOUR, "paid", total, lines)
        for number, (end, until, (_, total, lines)) in enumerate(
            zip(ENDS, [*ENDS[1:], AUGUST], WORKED, strict=True), start=2
        )
    ]


class TestTimeOrder:
    def test_one_jump_over_six_periods(self, ada):
        bill_at(ENDS[-1] + HOUR)

        assert invoices(ada) == six_periods()

    def test_six_small_jumps_give_the_same(self, ada):
        for end in ENDS:
            bill_at(end + HOUR)

        assert invoices(ada) == six_periods()

    def test_jumps_that_do_not_fit_the_periods_give_the_same(self, ada):
        for days in range(0, 190, 7):
            bill_at(AT + days * DAY)

        assert invoices(ada) == six_periods()

    def test_the_clock_itself_moving_on_gives_the_same(self, ada, clock):
        bill()
        for end in ENDS:
            clock.move_to(end + HOUR, tick=False)
            bill()

        assert invoices(ada) == six_periods()

    def test_the_money_is_taken_once_for_each(self, ada, at_stripe):
        bill_at(ENDS[-1] + HOUR)
        bill_at(ENDS[-1] + HOUR)

        taken = [charge.amount for charge in at_stripe.v1.charges.list({"limit": 100}).data]
        assert sorted(taken) == sorted([2_900, *(total for _, total, _ in WORKED)])
        assert Payment.objects.filter(status="succeeded").count() == 7

    def test_the_books_add_up(self, ada):
        bill_at(ENDS[-1] + HOUR)

        assert [offender for finding in check_books(at=ENDS[-1] + HOUR) for offender in finding.offenders] == []

    def test_an_instant_before_the_grace_time_is_over_leaves_a_draft(self, ada):
        said = bill_at(ENDS[0] + HOUR / 2)

        assert [status for _, _, _, _, status, _, _ in invoices(ada)] == ["paid", "draft"]
        assert "draft" in said

    def test_an_instant_in_the_past_does_nothing_of_later(self, ada, clock):
        clock.move_to(ENDS[2], tick=False)

        bill_at(ENDS[0] - HOUR)

        assert Invoice.objects.filter(customer=ada).count() == 1

    def test_what_was_missed_is_done_now(self, ada, clock):
        now = ENDS[1] + 5 * DAY
        clock.move_to(now, tick=False)

        bill()

        assert [(number, finalized) for number, _, _, finalized, _, _, _ in invoices(ada)[1:]] == [
            ("ADA-002", now),
            ("ADA-003", now),
        ]


class TestWhatItSays:
    def test_a_table_of_the_invoices_and_of_the_sweeps(self, ada):
        said = bill_at(ENDS[0] + HOUR)

        assert "ADA-002        2026-02-28 00:00  Ada                                 $154.00  paid" in said
        assert "invoices paid" in said

    def test_nothing_due(self):
        said = bill()

        assert "Invoice" not in said
        assert f"{'close':<18} {0:>6}  boundaries closed" in said

    def test_parked_customers_with_their_reason(self, ada):
        park_customer(customers=[ada.pk], reason="It does not add up.", at=AT)

        said = bill_at(ENDS[0] + HOUR)

        assert f"Parked, not billed: {ada.public_id} Ada: It does not add up." in said
        assert Invoice.objects.filter(customer=ada).count() == 1

    @pytest.mark.parametrize("instant", ["tomorrow", "2026-13-01T00:00Z", "2026-03-01", "2026-03-01T02:00:00", ""])
    def test_an_instant_that_is_none_is_one_sentence(self, instant):
        with pytest.raises(CommandError) as caught:
            bill("--at", instant)

        assert str(caught.value) == (
            f"--at {instant!r} is no instant with a time zone; write it like 2026-03-01T02:00:00Z."
        )

    def test_a_declined_card_is_named(self, ada, give_card):
        give_card(ada, "pm_card_chargeCustomerFail", at=AT)

        said = bill()

        assert "Your card was declined." in said
        assert Invoice.objects.get(customer=ada).status == "issued"


class TestDryRun:
    def test_shows_what_would_be_invoiced(self, ada):
        said = bill("--at", (ENDS[0] + HOUR).isoformat(), "--dry-run")

        assert "ADA-002        2026-02-28 00:00  Ada                                 $154.00  issued" in said
        assert "Dry run: nothing was changed. This is what is due at 2026-02-28 01:00 UTC." in said

    def test_changes_nothing(self, ada, wire):
        def rows():
            return [
                list(model.objects.order_by("pk").values())
                for model in (Invoice, SubscriptionPeriod, CreditTransaction, Customer, Payment)
            ]

        before = rows()
        wire.heal()

        bill("--at", (ENDS[-1] + HOUR).isoformat(), "--dry-run")

        assert rows() == before
        assert wire.calls == []

    def test_shows_the_same_as_what_is_then_done(self, ada):
        rehearsed = bill("--at", (ENDS[-1] + HOUR).isoformat(), "--dry-run")
        done = bill_at(ENDS[-1] + HOUR)

        def table(said):
            return [line.rsplit("  ", 1)[0] for line in said.splitlines() if line.startswith("ADA-")]

        assert table(rehearsed) == table(done)
        assert len(table(done)) == 6


class TestLive:
    @pytest.mark.parametrize("key", ["sk_live_0123456789abcdefghijklmn", "rk_live_0123456789abcdefghijklmn"])
    def test_a_future_instant_is_refused_with_a_live_key(self, ada, settings, wire, key):
        settings.STRIPE_SECRET_KEY = key
        wire.heal()

        with pytest.raises(CommandError, match="--at lies in the future, and this installation charges real cards"):
            bill_at(ENDS[0] + HOUR)

        assert Invoice.objects.filter(customer=ada).count() == 1
        assert wire.calls == []

    def test_a_future_instant_is_refused_in_live_mode(self, ada, settings):
        settings.STRIPE_LIVE_MODE = True

        with pytest.raises(CommandError, match="--at lies in the future"):
            bill_at(ENDS[0] + HOUR)


class TestStripeOutOfReach:
    @pytest.fixture
    def unreachable(self, ada, settings, tmp_path):
        settings.STRIPE_SECRET_KEY = ""
        settings.CANDELA_DATA = tmp_path

    @pytest.mark.usefixtures("unreachable")
    def test_invoices_wait_and_it_says_so(self, ada):
        said = bill_at(ENDS[-1] + HOUR)

        assert "Stripe cannot be reached, so invoices wait: STRIPE_SECRET_KEY is not set and no sandbox" in said
        assert [(status, total) for _, _, _, _, status, total, _ in invoices(ada)] == [
            ("issued", 2_900),
            *(("issued", total) for _, total, _ in WORKED),
        ]

    def test_they_are_sent_and_paid_once_it_is_back(self, ada, unreachable, settings, at_stripe, clock):
        bill_at(ENDS[-1] + HOUR)
        settings.STRIPE_SECRET_KEY = "sk_test_0123456789abcdefghijklmn"

        clock.move_to(ENDS[-1] + DAY, tick=False)
        bill()

        assert {status for _, _, _, _, status, _, _ in invoices(ada)} == {"paid"}
        assert len(at_stripe.v1.invoices.list({"limit": 100}).data) == 7


def test_a_far_jump_ends_whatever_is_stuck(ada, give_card, at_stripe):
    """Whoever cannot be billed on the way: declined, refused, without a card, parked, with an event that fails."""
    price = make_pro_plan()

    def customer(**fields):
        made = CustomerFactory(**fields)
        subscribe(at=AT, customer=made, plan=price.plan)
        return made

    give_card(customer(), "pm_card_chargeCustomerFail")
    at_stripe.v1.payment_methods.detach(give_card(customer()).external_id)
    customer(psp_customer_id="cus_nobody")
    customer()
    park_customer(customers=[customer().pk], reason="It does not add up.", at=AT)
    paid_wrongly = {"id": "in_1", "metadata": {"candela_invoice": Invoice.objects.get(customer=ada).public_id}}
    store_event(event={"id": "evt_1", "type": "invoice.paid", "data": {"object": paid_wrongly}}, at=AT)

    bill_at(ENDS[0] + DAY)

    assert [(number, status) for number, _, _, _, status, _, _ in invoices(ada)] == [
        ("ADA-001", "paid"),
        ("ADA-002", "paid"),
    ]
    assert StripeInbox.objects.get().processed_at is None


minutes = st.integers(min_value=-100, max_value=100)
STATES = ("draft", "issued", "paid", "skipped")


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(STATES),
            minutes,
            st.none() | minutes,
            st.booleans(),
            st.none() | minutes,
            st.booleans(),
        ),
        max_size=5,
    ),
    events=st.lists(st.tuples(minutes, st.booleans()), max_size=4),
    until=minutes,
    with_stripe=st.booleans(),
)
@example(rows=[("issued", 0, 5, False, None, False)] * 2, events=[(5, False)] * 2, until=5, with_stripe=True)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_due_next_only_moves_forward_and_ends(rows, events, until, with_stripe):
    def instant(minute):
        return None if minute is None else AT + timedelta(minutes=minute)

    with transaction.atomic():
        for number, (status, finalize, send, sent, collect, parked) in enumerate(rows):
            is_issued = status in ("issued", "paid")
            Invoice.objects.create(
                customer=CustomerFactory(parked_at=AT if parked else None),
                kind=InvoiceKind.CYCLE,
                status=status,
                number=f"N-{number}" if is_issued else None,
                currency="USD",
                closes_at=AT,
                created_at=AT,
                finalize_at=instant(finalize),
                finalized_at=AT if is_issued else None,
                paid_at=AT if status == "paid" else None,
                send_at=instant(send),
                stripe_sent_at=AT if sent else None,
                collect_at=instant(collect),
            )
        for number, (process, is_done) in enumerate(events):
            StripeInbox.objects.create(
                stripe_event_id=f"evt_{number}",
                type="invoice.paid",
                payload={},
                received_at=AT,
                process_at=instant(process),
                processed_at=AT if is_done else None,
            )

        seen, after = [], None
        while (due := next_due(until=instant(until), after=after, with_stripe=with_stripe)) is not None:
            seen.append(due)
            after = due
            assert len(seen) <= 3 * len(rows) + len(events)
        transaction.set_rollback(True)

    assert seen == sorted(set(seen))
    assert all(due <= instant(until) for due in seen)
