"""Late usage as the API and the operator's pages show it."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client

from billing.jobs import look_for_late_usage
from billing.services.cancel import cancel_now
from billing.services.subscribe import subscribe
from credits.models import UsageDifference
from metering.services.record_events import record_events
from plans.models import SubscriptionPeriod
from tests.factories import CustomerFactory
from tests.pro_plan import event, make_pro_plan, sweep, use
from tests.walks.test_late_usage import JULY, JULY_6, JUNE, JUNE_10, MAY, Story

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
NOW = JULY_6 + timedelta(days=3)
PAGE = "/admin/plans/subscriptionperiod/"


@pytest.fixture
def acme():
    """12,000 calls in May, 100 more found in time, and 40 when that was over."""
    acme = Story()
    acme.use(12_000)
    acme.billed(JUNE)
    acme.use(100, arrives_at=JUNE_10)
    acme.billed(JULY)
    look_for_late_usage(JULY_6)
    acme.use(40, arrives_at=JULY_6 + HOUR)
    return acme


@pytest.fixture
def operator(admin_user):
    client = Client()
    client.force_login(admin_user)
    return client


class TestApi:
    def get(self, api, **query):
        with time_machine.travel(NOW, tick=False):
            return api.get("/v1/late-usage", query)

    def test_says_what_was_billed_and_what_waits_for_an_operator(self, api, acme):
        waits, billed = self.get(api, customerId=acme.customer.public_id).body["lateUsage"]

        assert [(one["status"], one["usage"], one["netCents"]) for one in (waits, billed)] == [
            ("operator", 40, 200), ("billed", 100, 500),
        ]  # fmt: skip
        assert (billed["usagePeriodStart"], billed["usagePeriodEnd"]) == (
            "2026-05-01T00:00:00.000Z", "2026-06-01T00:00:00.000Z",
        )  # fmt: skip
        assert billed["invoiceId"].startswith("inv_") and billed["billedAt"] == "2026-07-01T01:00:00.000Z"
        assert waits["invoiceId"] is None
        assert UsageDifference.objects.count() == 1

    def test_says_what_the_next_invoice_will_find(self, api):
        acme = Story()
        acme.billed(JUNE)
        acme.use(10_010, arrives_at=JUNE_10)

        (waits,) = self.get(api, customerId=acme.customer.external_customer_id, isExtCustId="true").body["lateUsage"]

        assert (waits["status"], waits["credited"], waits["netCents"]) == ("next_invoice", 10_000, 50)

    def test_is_empty_without_any(self, api):
        assert self.get(api, customerId=Story().customer.public_id).body == {"lateUsage": []}

    def test_wants_a_customer(self, api, db):
        assert self.get(api).status == 400
        assert self.get(api, customerId="cus_nobody").status == 404


class TestAfterACancel:
    @pytest.fixture
    def ada(self):
        """1,000 calls (50.00) on the final invoice of a subscription that has ended, and 300 fewer since."""
        pro, customer = make_pro_plan(base_cents=None, quota=None), CustomerFactory(invoice_prefix="ADA")
        subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
        use(customer, pro.metric, 1_000, MAY + HOUR)
        cancel_now(subscription=subscription, at=JUNE)
        sweep(JUNE + HOUR)
        return customer, pro.metric

    def get(self, api, customer, at):
        with time_machine.travel(at, tick=False):
            (found,) = api.get("/v1/late-usage", {"customerId": customer.public_id}).body["lateUsage"]
        return found["status"], found["netCents"]

    def test_the_api_says_that_no_next_invoice_comes(self, api, ada):
        customer, metric = ada
        use(customer, metric, 300, MAY + HOUR, key="late")
        assert self.get(api, customer, JUNE_10) == ("own_invoice", 1_500)

        use(customer, metric, -700, MAY + HOUR, key="fewer")
        assert self.get(api, customer, JUNE_10) == ("credit", -2_000)

        look_for_late_usage(JULY_6)
        assert self.get(api, customer, NOW) == ("billed", -2_000)

    @pytest.mark.parametrize(
        ("units", "asked", "done"),
        [
            (300, "Billed by an invoice of its own, at once.",
             "1 of 1 of subscriptions that have ended have invoices of their own now."),
            (-300, "Billed as a credit note or as credit, at once.",
             "1 of 1 of subscriptions that have ended are credited."),
        ],
    )  # fmt: skip
    def test_the_operator_is_told_how_it_is_billed(self, operator, ada, units, asked, done):
        customer, metric = ada
        look_for_late_usage(JULY_6)
        sent = event(metric.event_name, units, MAY + HOUR, "late", customer=customer.public_id)
        record_events(events=[sent], at=JULY_6 + HOUR)
        chosen = {"action": "bill", "_selected_action": [SubscriptionPeriod.objects.get(settled_net_cents=5_000).pk]}

        with time_machine.travel(NOW, tick=False):
            question = operator.post(PAGE, chosen).content.decode()
            answer = operator.post(PAGE, chosen | {"confirmed": "yes"}, follow=True).content.decode()

        assert asked in question and "next invoice" not in question
        assert done in answer and "will be on the next invoices" not in answer
        assert LogEntry.objects.get().get_change_message().startswith("Late usage billed ")


class TestOperatorsPage:
    def test_lists_what_waits_for_a_decision(self, operator, acme):
        page = operator.get(PAGE).content.decode()

        assert acme.customer.name in page
        assert ">+40<" in page and ">+$2.00<" in page
        assert "1–31 May" in page

    def test_says_what_it_would_bill_and_bills_nothing_before_that_is_confirmed(self, operator, acme):
        chosen = {"action": "bill", "_selected_action": [acme.may().pk]}

        with time_machine.travel(NOW, tick=False):
            page = operator.post(PAGE, chosen).content.decode()

        assert "<strong>+$2.00</strong>" in page and "Together +$2.00." in page
        assert "Billed with the next invoice of its subscription." in page
        assert UsageDifference.objects.count() == 1

    def test_bills_with_the_next_invoice(self, operator, acme):
        chosen = {"action": "bill", "confirmed": "yes", "_selected_action": [acme.may().pk]}

        with time_machine.travel(NOW, tick=False):
            answer = operator.post(PAGE, chosen, follow=True).content.decode()

        assert "1 of 1 will be on the next invoices" in answer
        assert acme.customer.name not in answer
        assert acme.billed(datetime(2026, 8, 1, tzinfo=UTC)) == (2_900 + 200, [200])

    def test_shows_what_was_billed_for_the_period(self, operator, acme):
        page = operator.get(f"{PAGE}{acme.may().pk}/change/").content.decode()

        assert "12,000" in page and "$100.00" in page

    def test_lists_nothing_that_comes_to_the_same(self, operator, acme):
        acme.use(-40, MAY + HOUR, arrives_at=JULY_6 + 2 * HOUR)

        assert acme.customer.name not in operator.get(PAGE).content.decode()

    def test_only_who_may_change_invoices_decides(self, acme):
        looker = User.objects.create_user("looker", is_staff=True)
        looker.user_permissions.add(Permission.objects.get(codename="view_subscriptionperiod"))
        client = Client()
        client.force_login(looker)

        client.post(PAGE, {"action": "bill", "confirmed": "yes", "_selected_action": [acme.may().pk]}, follow=True)

        assert UsageDifference.objects.count() == 1
