"""GET /v1/invoices/{id}/lines/{lineId}/explain."""

from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine

from billing.models import Invoice
from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.subscribe import subscribe
from config.keys import create_api_key
from metering.models import UsageEvent
from metering.services.void_event import void_event
from tests.billing.explaining import APRIL, AT, BILLED, DAY, month
from tests.conftest import ApiClient
from tests.factories import CustomerFactory, MetricFactory, UsageEventFactory
from tests.pro_plan import make_pro_plan, sweep, use

pytestmark = pytest.mark.django_db

GRADUATED = [{"up_to": "1000", "unit_cost_cents": "5"}, {"up_to": None, "unit_cost_cents": "4"}]


@pytest.fixture(autouse=True)
def now():
    with time_machine.travel(BILLED + DAY, tick=False):
        yield


def address(line):
    return f"/v1/invoices/{line.invoice.public_id}/lines/{line.public_id}/explain"


@pytest.fixture
def explain(api):
    """Explains a line over the wire."""

    def explaining(line):
        answer = api.get(address(line))
        assert answer.status == 200, answer
        return answer.body["explanation"]

    return explaining


def listed(api, query):
    """How many events the address lists, page by page, and how many the count of the same filters says."""
    found, cursor = 0, ""
    while True:
        body = api.get(query + "&limit=2" + cursor).body
        found += len(body["events"])
        if not body["pagination"]["hasMore"]:
            break
        cursor = f"&cursor={body['pagination']['nextCursor']}"
    return found, api.get(query.replace("/v1/events?", "/v1/events/count?")).body["count"]


class TestShape:
    def test_a_line_has_its_price_version_and_each_tier(self, explain):
        march = month(2_500, quotas=[500], hidden=1, model="graduated", tiers=GRADUATED, unit_cost_cents=None)
        (line,) = march.lines
        price = line.component.price

        body = explain(line)

        assert body["price"] == {
            "priceId": price.public_id,
            "planId": price.plan.public_id,
            "stablePlanId": price.plan.stable_plan_id,
            "planName": "Pro",
            "planVersion": 1,
            "currency": "USD",
            "componentId": line.component.component_id,
            "componentType": "usage",
            "label": "Calls",
            "unitLabel": "call",
            "recurrenceRule": "RRULE:FREQ=MONTHLY;INTERVAL=1",
            "model": "graduated",
            "terms": {"tiers": GRADUATED},
        }
        assert body["units"] == {
            "used": 2_500,
            "credited": 500,
            "free": 0,
            "divideBy": None,
            "divideRound": None,
            "divided": 2_000,
            "included": 0,
            "priced": 2_000,
        }
        common = {"of": "units", "ratePercent": None, "flatCostCents": 0}
        assert body["steps"] == [
            common | {"units": 1_000, "from": 0, "to": 1_000, "unitCostCents": 5, "cents": 5_000},
            common | {"units": 1_000, "from": 1_000, "to": None, "unitCostCents": 4, "cents": 4_000},
        ]
        assert body["rounding"] == {"exactCents": 9_000, "roundedCents": 9_000}
        assert (body["amountCents"], body["line"]["subtotalCents"], body["agrees"]) == (9_000, 9_000, True)
        assert body["text"] == (
            "2,500 calls − 500 paid for by Quota 1 = 2,000. 1,000 × $0.05 + 1,000 × $0.04 = $90.00."
        )

    def test_a_grant_tells_what_it_took_off_before_and_after_rounding(self, explain):
        march = month(124, quotas=[98], unit_cost_cents="0.1")
        usage, credit = march.lines

        body = explain(credit)

        # Ruling 15: 12, −9, net 3.
        told = {
            "grantId": credit.grant.public_id,
            "creditDefinitionId": credit.grant.definition.public_id,
            "name": "Quota 1",
            "startDate": "2026-03-01T00:00:00.000Z",
            "units": 98,
            "beforeCents": Decimal("12.4"),
            "afterCents": Decimal("2.6"),
            "exactCents": Decimal("-9.8"),
            "amountCents": -9,
            "hasLine": True,
        }
        assert (body["credits"], body["credit"]) == ([told], told)
        assert explain(usage)["rounding"] == {"exactCents": Decimal("12.4"), "roundedCents": 12}

    def test_usage_stands_by_day_and_the_cut_day_is_exact(self, explain, api):
        pro, customer = make_pro_plan(quota=None), CustomerFactory()
        start = AT + timedelta(hours=10, microseconds=7)
        subscribe(at=start, customer=customer, plan=pro.plan)
        # Before the subscription, at its first instant, and a day later.
        for place, at in enumerate((start - timedelta(microseconds=1), start, start + DAY)):
            use(customer, pro.metric, 10**place, at)
        sweep(BILLED)
        line = Invoice.objects.latest("closes_at").lines.get(type="usage")

        body = explain(line)

        assert body["usage"]["days"][:3] == [
            {"day": "2026-03-01", "value": 10, "events": 1},
            {"day": "2026-03-02", "value": 100, "events": 1},
            {"day": "2026-03-03", "value": 0, "events": 0},
        ]
        assert (body["usage"]["metricId"], body["usage"]["metricVersion"], body["usage"]["timeZone"]) == (
            pro.metric.public_id, 1, "UTC",
        )  # fmt: skip
        assert listed(api, body["events"]["query"]) == (2, 2)

    def test_a_fee_has_no_usage(self, explain):
        pro, customer = make_pro_plan(), CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan)

        body = explain(Invoice.objects.get(customer=customer).lines.get())

        assert (body["text"], body["agrees"]) == ("1 × $29.00 = $29.00.", True)
        assert body["price"]["terms"] == {"amount_cents": 2_900}
        assert [body[name] for name in ("units", "usage", "events", "recompute", "lateUsage")] == [None] * 5
        assert (body["steps"], body["credits"]) == ([], [])

    def test_bounds_are_told_with_what_they_bound(self, explain):
        march = month(10, minimum_cents=2_000, maximum_cents=9_000)

        assert explain(march.lines[1])["bounds"] == {
            "minimumCents": 2_000, "maximumCents": 9_000, "beforeCents": 50, "netCents": 2_000,
        }  # fmt: skip


class TestEvents:
    def test_the_query_lists_exactly_the_events_that_count(self, explain, api):
        metric = MetricFactory(property_filter={"region": ["eu"]})
        march = month(metric=metric, minimum_cents=100)
        of_march = {"customer": march.customer, "event_name": metric.event_name, "at": AT + 3 * DAY}
        for key in range(5):
            UsageEventFactory(**of_march, idempotency_key=f"eu-{key}", properties='{"region": "eu"}')
        UsageEventFactory(**of_march, idempotency_key="us", properties='{"region": "us"}')
        UsageEventFactory(**of_march | {"customer": CustomerFactory()}, properties='{"region": "eu"}')
        UsageEventFactory(**of_march | {"at": APRIL}, idempotency_key="april", properties='{"region": "eu"}')
        void_event(event_id=UsageEvent.objects.get(idempotency_key="eu-0").pk, reason="twice", by="x", at=BILLED)

        body = explain(march.lines[0])

        assert body["events"]["count"] == 4
        assert listed(api, body["events"]["query"]) == (4, 4)

    def test_an_older_version_of_the_metric_is_asked_for_by_its_number(self, explain, api):
        march = month(7, 8)
        api.post(f"/v1/metrics/{march.metric.public_id}/update", {"eventName": "renamed"})

        body = explain(march.lines[0])

        assert "metricVersion=1" in body["events"]["query"]
        assert (body["events"]["count"], listed(api, body["events"]["query"])) == (2, (2, 2))
        assert body["agrees"]


class TestAgreement:
    def test_a_late_event_is_a_difference_until_it_is_billed(self, explain):
        march = month(12_500, quotas=[10_000])
        usage = march.lines[0]
        assert explain(usage)["agrees"]

        march.late(500)
        body = explain(usage)
        told = body["recompute"]
        assert not body["agrees"]
        assert (told["usage"], told["differenceUsage"]) == (13_000, 500)
        assert (told["netCents"], told["differenceCents"]) == (15_000, 2_500)
        assert told["billed"] == {"usage": 12_500, "included": 0, "credited": 10_000, "netCents": 12_500}
        assert told["lateUsage"] == []

        use(march.customer, march.metric, 1, APRIL + DAY)
        sweep(BILLED + 30 * DAY)
        late = Invoice.objects.latest("closes_at").lines.get(type="late_usage")
        body = explain(usage)
        assert body["agrees"]
        (one,) = body["recompute"]["lateUsage"]
        assert (one["usage"], one["netCents"]) == (500, 2_500)
        assert (one["invoiceId"], one["lineId"]) == (late.invoice.public_id, late.public_id)

    def test_a_late_usage_line_tells_before_and_after_and_what_grants_did(self, explain):
        march = month(9_500, quotas=[10_000])
        march.late(800)
        use(march.customer, march.metric, 1, APRIL + DAY)
        sweep(BILLED + 30 * DAY)
        late = Invoice.objects.latest("closes_at").lines.get(type="late_usage")

        body = explain(late)

        # The quota had 500 left, which expired: they come back and are burned. 300 × 5 are charged.
        assert body["lateUsage"]["before"] == {"usage": 9_500, "included": 0, "credited": 9_500, "netCents": 0}
        assert body["lateUsage"]["after"] == {"usage": 10_300, "included": 0, "credited": 10_000, "netCents": 1_500}
        assert [(one["kind"], one["amount"]) for one in body["lateUsage"]["transactions"]] == [
            ("returned", 500),
            ("burned", -500),
        ]
        assert (body["amountCents"], body["agrees"]) == (1_500, True)

    def test_a_void_is_a_difference(self, explain):
        march = month(400, 100)
        void_event(event_id=UsageEvent.objects.get(value=100).pk, reason="twice", by="x", at=BILLED)

        body = explain(march.lines[0])

        assert not body["agrees"]
        assert (body["recompute"]["differenceUsage"], body["recompute"]["differenceCents"]) == (-100, -500)


class TestRefusals:
    def test_a_line_of_another_invoice_is_not_found(self, api):
        march = month(5)
        pro, other = make_pro_plan(), CustomerFactory()
        subscribe(at=AT, customer=other, plan=pro.plan)
        line = Invoice.objects.get(customer=other, status="issued").lines.first()

        answer = api.get(f"/v1/invoices/{march.invoice.public_id}/lines/{line.public_id}/explain")

        assert (answer.status, answer.body["code"]) == (404, "invoice_line_not_found")
        assert answer.body["error"] == (
            "This invoice has no line with this id. GET /v1/invoices/{id} lists its lineItems."
        )

    def test_a_draft_has_no_lines_yet(self, api):
        pro, customer = make_pro_plan(), CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan)
        close_periods(subscriptions=due_subscriptions(APRIL), at=APRIL)
        draft = Invoice.objects.get(status="draft")

        answer = api.get(f"/v1/invoices/{draft.public_id}/lines/inv_item_any/explain")

        assert (answer.status, answer.body["code"]) == (404, "invoice_is_draft")
        assert answer.body["error"] == (
            "This invoice is a draft: it has no lines yet. They are made at 2026-04-01T01:00:00Z, after the time in "
            "which late usage is waited for."
        )

    def test_an_unknown_invoice_is_not_found(self, api):
        answer = api.get("/v1/invoices/inv_nothing/lines/inv_item_nothing/explain")

        assert (answer.status, answer.body["error"]) == (404, "Invoice not found")

    def test_needs_a_key_that_may_read_invoices(self):
        march = month(5)
        keys = {
            scope: ApiClient(create_api_key(name="k", key_type="secret", scopes=[scope], at=AT)[1])
            for scope in ("invoices:read", "events:write")
        }

        assert keys["invoices:read"].get(address(march.lines[0])).status == 200
        assert keys["events:write"].get(address(march.lines[0])).status == 403


def test_many_events_cost_no_more_than_few(explain, django_assert_max_num_queries):
    march = month(*range(1, 20), quotas=[100])

    with django_assert_max_num_queries(14):
        body = explain(march.lines[0])

    assert body["events"]["count"] == 19
