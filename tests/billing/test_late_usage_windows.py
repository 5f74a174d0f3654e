"""Until when late usage is billed by itself: to the second, and what of it the operator's list shows afterwards."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.models import Invoice
from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.late_usage import close_windows
from billing.services.subscribe import subscribe
from billing.services.upcoming import draft_as_it_stands, upcoming_invoice
from credits.services.late_usage import charged_periods, periods_to_look_at
from metering.services.record_events import record_events
from metering.services.void_event import void_event
from tests.factories import CustomerFactory
from tests.pro_plan import event, make_pro_plan, sweep

MAY, JUNE, JULY, AUGUST = (datetime(2026, month, 1, tzinfo=UTC) for month in (5, 6, 7, 8))
HOUR, MINUTE, SECOND, DAY = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1), timedelta(days=1)
# The 35 days after the end of May are over.
JULY_6 = JUNE + 35 * DAY

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme():
    """29.00 a month and 5 cents a call, from the 1st of May on; May is billed."""
    pro, customer = make_pro_plan(quota=None), CustomerFactory()
    subscribe(at=MAY, customer=customer, plan=pro.plan)
    sweep(JUNE + HOUR)
    return pro, customer


def use_in_may(acme, units, *, arrives_at):
    pro, customer = acme
    sent = event(pro.metric.event_name, units, MAY + DAY, f"{arrives_at}", customer=customer.public_id)
    (outcome,) = record_events(events=[sent], at=arrives_at)
    return outcome.event_id


def late_cents(tried):
    return [line.amount_cents for line in tried.lines if line.type == "late_usage"]


class TestTheUpcomingInvoice:
    @pytest.fixture
    def late(self, acme):
        """100 calls in May of which word came in July, when June was billed."""
        sweep(JULY + HOUR)
        use_in_may(acme, 100, arrives_at=JULY + DAY)
        return acme[1]

    def test_bills_what_would_be_found_until_the_window_ends(self, late):
        assert late_cents(upcoming_invoice(customer=late, at=JULY_6)) == [500]

    def test_bills_nothing_of_a_window_that_is_over(self, late):
        assert late_cents(upcoming_invoice(customer=late, at=JULY_6 + SECOND)) == []

    def test_bills_what_the_last_look_found(self, late):
        close_windows(periods=[charged_periods().get(start_at=MAY).pk], at=JULY_6)

        assert late_cents(upcoming_invoice(customer=late, at=JULY_6 + DAY)) == [500]

    def test_leaves_to_a_draft_in_its_grace_time_what_that_will_bill(self, acme):
        use_in_may(acme, 100, arrives_at=JUNE + DAY)
        close_periods(subscriptions=due_subscriptions(JULY), at=JULY)
        draft = Invoice.objects.get(status="draft")

        assert late_cents(draft_as_it_stands(draft=draft, at=JULY + MINUTE)) == [500]
        assert late_cents(upcoming_invoice(customer=acme[1], at=JULY + MINUTE)) == []


class TestTheOperatorsList:
    """What came in the hour before the last look may have been committed after it."""

    def close_may(self):
        may = charged_periods().get(start_at=MAY)
        close_windows(periods=[may.pk], at=JULY_6)
        return may

    @pytest.mark.parametrize(("before", "is_listed"), [(59 * MINUTE, True), (HOUR, False), (61 * MINUTE, False)])
    def test_looks_back_an_hour_for_what_arrived(self, acme, before, is_listed):
        may = self.close_may()
        use_in_may(acme, 100, arrives_at=JULY_6 - before)

        assert list(periods_to_look_at()) == ([may] if is_listed else [])

    @pytest.mark.parametrize(("before", "is_listed"), [(59 * MINUTE, True), (61 * MINUTE, False)])
    def test_looks_back_an_hour_for_what_was_voided(self, acme, before, is_listed):
        mistake = use_in_may(acme, 100, arrives_at=MAY + DAY)
        may = self.close_may()
        void_event(event_id=mistake, reason="test", by="operator", at=JULY_6 - before)

        assert list(periods_to_look_at()) == ([may] if is_listed else [])
