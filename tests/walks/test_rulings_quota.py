"""The rulings on quota, checks and events, over HTTP, with the numbers of their examples: base 29.00 a month, 10,000
calls included, 5 cents a call."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
import time_machine

from billing.books import check_books
from billing.services.subscribe import subscribe
from credits.models import CreditGrant
from metering.models import UsageEvent
from plans.models import PlanFeature
from tests.factories import CreditDefinitionFactory, CustomerFactory
from tests.pro_plan import bills, make_pro_plan, sweep

pytestmark = pytest.mark.django_db

JAN_1, JAN_20 = datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 1, 20, 12, tzinfo=UTC)
FEB_1, MARCH_1 = datetime(2027, 2, 1, tzinfo=UTC), datetime(2027, 3, 1, tzinfo=UTC)
SOON = timedelta(hours=2)


@pytest.fixture(autouse=True)
def clock(api):
    """It is the 20th of January until a test moves on."""
    with time_machine.travel(JAN_20, tick=False) as clock:
        yield clock


@pytest.fixture
def sold(api):
    """Sell a plan from the 1st of January on, and give the calls that its customer makes."""

    def sold(*, overage="block", value="usage_based", **plan):
        pro, customer = make_pro_plan(**plan), CustomerFactory()
        PlanFeature.objects.filter(plan=pro.plan).update(overage=overage, value=value)
        subscribe(at=JAN_1, customer=customer, plan=pro.plan)
        return Sold(api, pro, customer)

    return sold


class Sold:
    """A customer with a plan, and the calls of an application that works for it."""

    def __init__(self, api, pro, customer):
        self.api, self.pro, self.customer = api, pro, customer
        self.path = f"/v1/entitlements/{customer.public_id}/feature/{pro.feature.slug}"

    def use(self, units, **fields):
        body = {"eventName": self.pro.metric.event_name, "customerId": self.customer.public_id, "eventValue": units}
        return self.api.post("/v1/events", body | fields)

    def check(self):
        return self.api.get(self.path).body

    def numbers(self):
        body = self.check()
        return body["entitled"], body["usage"], body["limit"], body["remaining"]

    def grant(self, units, **definition):
        goodwill = CreditDefinitionFactory(
            scope="merchant", plan=None, renew_on_billing=False, feature=self.pro.feature, **definition
        )
        sent = {"customerId": self.customer.public_id, "creditDefinitionId": goodwill.public_id, "initialAmount": units}
        answer = self.api.post("/v1/credits/grants", sent)
        assert answer.status == 200, answer
        return answer.body["grant"]["id"]

    def revoke(self, grant_id):
        return self.api.post(f"/v1/credits/grants/{grant_id}/revoke", {})

    def quota(self):
        return CreditGrant.objects.get(customer=self.customer, starts_at=JAN_1).public_id

    def invoice(self):
        """The latest invoice as the API shows it: its total, and of each line quantity and subtotal."""
        listed = self.api.get("/v1/invoices", {"customerId": self.customer.public_id}).body["invoices"]
        shown = self.api.get(f"/v1/invoices/{listed[0]['id']}").body["invoice"]
        return shown["totalAmountCents"], [(line["quantity"], line["subtotalCents"]) for line in shown["lineItems"]]


def books_add_up(at):
    return [offender for finding in check_books(at=at) for offender in finding.offenders] == []


class TestRuling1CappedOrNotIsDecidedByThePlan:
    def test_a_hard_cap_with_nothing_left_is_zero_and_never_unlimited(self, sold):
        acme = sold(unit_cost_cents=None)
        acme.use(10_000)

        assert acme.numbers() == (False, 10_000, 10_000, 0)
        assert acme.api.post(f"{acme.path}/consume", {"value": "0.000001"}).body["allowed"] is False

    def test_pay_as_you_go_has_no_limit_and_a_grant_only_reduces_the_charge(self, sold):
        acme = sold(quota=None)
        acme.grant(10)
        acme.use(50)

        assert acme.numbers() == (True, 50, None, None)
        sweep(FEB_1 + SOON)
        # 40 of the 50 calls are charged, and the next base fee.
        assert acme.invoice()[0] == 2_900 + 40 * 5

    def test_a_goodwill_grant_never_lowers_a_limit(self, sold):
        capped, number, free = sold(), sold(quota=None, unit_cost_cents=None, value=100), sold(quota=None)

        for acme in (capped, number, free):
            acme.grant(1)

        assert [acme.numbers()[2] for acme in (capped, number, free)] == [10_001, 101, None]

    def test_a_revoke_never_lifts_a_limit(self, sold, clock):
        capped, number, free = sold(), sold(quota=None, unit_cost_cents=None, value=100), sold(quota=None)
        capped.use(300)
        number.use(100)
        clock.shift(timedelta(minutes=1))

        capped.revoke(capped.quota())
        for acme in (number, free):
            acme.revoke(acme.grant(500))

        # What was credited of the revoked quota stays in the limit.
        assert capped.numbers() == (False, 300, 300, 0)
        assert number.numbers() == (False, 100, 100, 0)
        assert free.numbers() == (True, 0, None, None)


class TestRuling2EntitledWhileSomethingRemains:
    def test_at_9999_yes_and_at_10000_no(self, sold):
        acme = sold()

        acme.use(9_999)
        assert acme.numbers() == (True, 9_999, 10_000, 1)

        acme.use(1)
        assert acme.numbers() == (False, 10_000, 10_000, 0)

    def test_a_fraction_that_remains_is_a_yes(self, sold):
        acme = sold()

        acme.use("9999.999999")

        assert acme.numbers()[0] is True
        assert acme.numbers()[3] == Decimal("0.000001")

    def test_never_below_zero(self, sold):
        acme = sold()

        acme.use(12_500)

        assert acme.numbers() == (False, 12_500, 10_000, 0)


class TestRuling3BeyondTheQuota:
    def test_event_10001_of_a_block_feature_is_taken_and_billed_5_cents(self, sold, clock):
        acme = sold()
        acme.use(10_000)

        answer = acme.use(1)

        assert (answer.status, acme.check()["entitled"]) == (202, False)
        assert acme.api.post(f"{acme.path}/consume", {"value": 1}).body["allowed"] is False
        sweep(FEB_1 + SOON)
        # 10,001 × 5 = 50,005, of which the quota pays 50,000; and the next base fee of 2,900.
        assert acme.invoice() == (2_905, [(1, 2_900), (10_001, 50_005), (10_000, -50_000)])
        assert books_add_up(FEB_1 + SOON)

    def test_allow_says_yes_past_the_quota_consumes_and_bills_the_same(self, sold):
        acme = sold(overage="allow")
        acme.use(10_000)

        consumed = acme.api.post(f"{acme.path}/consume", {"value": 1})

        assert (consumed.status, consumed.body["allowed"]) == (200, True)
        body = acme.check()
        assert (body["entitled"], body["overageAllowed"], body["remaining"], body["usage"]) == (True, True, 0, 10_001)
        sweep(FEB_1 + SOON)
        assert acme.invoice()[0] == 2_905

    def test_block_says_that_overage_is_not_allowed(self, sold):
        assert sold().check()["overageAllowed"] is False


class TestRuling4CreditInfo:
    @pytest.mark.parametrize(
        "plan",
        [
            {"quota": None},
            {"quota": None, "unit_cost_cents": None, "value": 100},
            {"quota": None, "unit_cost_cents": None, "value": True},
        ],
    )
    def test_is_null_where_no_credit_applies(self, sold, plan):
        assert sold(**plan).check()["creditInfo"] is None

    def test_tells_allowance_rest_and_the_earliest_expiry(self, sold):
        acme = sold()
        acme.use(2_500)
        acme.grant(500, expiry_days=3)

        # Three days from noon of the 20th, widened to midnight: the 24th, before the quota's end on the 1st.
        assert acme.check()["creditInfo"] == {
            "creditAllowance": 10_500,
            "creditsRemaining": 8_000,
            "nextExpiryDate": "2027-01-24T00:00:00.000Z",
        }


class TestRuling5LiveNumbers:
    def test_overage_of_the_old_period_takes_nothing_from_the_new_one(self, sold, clock):
        acme = sold()
        acme.use(12_500)
        clock.move_to(FEB_1 + timedelta(minutes=30))
        acme.use(100)

        before = acme.check()
        clock.move_to(FEB_1 + SOON)
        sweep(FEB_1 + SOON)

        # Not 7,400.
        assert (before["usage"], before["limit"], before["remaining"]) == (100, 10_000, 9_900)
        assert acme.check() == before
        assert acme.api.post(f"{acme.path}/consume", {"value": 9_901}).body["allowed"] is False
        assert acme.api.post(f"{acme.path}/consume", {"value": 9_900}).body["allowed"] is True

    def test_an_event_at_the_very_boundary_counts_in_the_new_period(self, sold, clock):
        acme = sold()
        clock.move_to(FEB_1 + timedelta(minutes=1))
        acme.use(12_500, eventTimestamp="2027-01-31T23:59:59.999999Z")
        acme.use(100, eventTimestamp="2027-02-01T00:00:00Z")

        assert acme.numbers() == (True, 100, 10_000, 9_900)
        sweep(FEB_1 + SOON)
        # 2,500 calls over the quota, and the fee of February.
        assert acme.invoice()[0] == 2_500 * 5 + 2_900
        sweep(MARCH_1 + SOON)
        assert acme.invoice() == (2_900, [(1, 2_900), (100, 500), (100, -500)])
        assert books_add_up(MARCH_1 + SOON)


class TestRuling34Values:
    def test_of_18_digits_and_6_decimals_are_kept_exactly_as_numbers_and_as_texts(self, sold):
        acme = sold(quota=None)
        largest = "999999999999999999.999999"

        first, second = acme.use(Decimal(largest)), acme.use(f"-{largest}")

        assert (first.body["event"]["eventValue"], second.body["event"]["eventValue"]) == (
            Decimal(largest),
            -Decimal(largest),
        )
        assert acme.numbers()[1] == 0

    def test_sums_of_more_digits_than_a_value_may_have_are_exact(self, sold):
        acme = sold(quota=None)

        for _ in range(11):
            assert acme.use("999999999999999999.999999").status == 202

        assert acme.numbers()[1] == Decimal("10999999999999999999.999989")

    def test_usage_below_zero_is_billed_as_none_and_the_rest_is_dropped(self, sold, clock):
        acme = sold(quota=None)
        acme.use(3)
        acme.use(-10)
        clock.move_to(FEB_1 + timedelta(minutes=1))
        acme.use(4)

        sweep(FEB_1 + SOON)
        assert acme.invoice()[0] == 2_900
        sweep(MARCH_1 + SOON)
        # 4 calls, not 4 − 7.
        assert acme.invoice()[0] == 2_900 + 4 * 5


class TestRuling35Timestamps:
    def test_five_minutes_ahead_are_taken_and_no_more(self, sold):
        acme = sold()

        taken = acme.use(1, eventTimestamp="2027-01-20T12:05:00Z")
        refused = acme.use(1, eventTimestamp="2027-01-20T12:05:00.000001Z")

        assert taken.status == 202
        assert (refused.status, refused.body["code"]) == (400, "timestamp_in_future")
        assert refused.body["details"][0]["path"] == "eventTimestamp"

    def test_usage_from_before_the_subscription_is_kept_and_billed_by_nobody(self, sold):
        acme = sold(quota=None)

        answer = acme.use(7, eventTimestamp="1970-01-01T00:00:00Z")

        assert (answer.status, acme.numbers()[1]) == (202, 0)
        sweep(FEB_1 + SOON)
        assert acme.invoice()[0] == 2_900


class TestRuling36DeduplicationForEver:
    def test_a_key_of_a_settled_period_is_still_taken_two_years_later(self, sold, clock):
        acme = sold()
        first = acme.use(5, idempotencyKey="k")
        sweep(FEB_1 + SOON)
        clock.move_to(datetime(2029, 1, 20, tzinfo=UTC))

        again = acme.use(5, idempotencyKey="k")

        assert (again.status, again.body["deduplicated"]) == (202, True)
        assert again.body["event"] == first.body["event"]
        assert acme.numbers()[1] == 0

    def test_properties_are_compared_as_values_and_not_as_texts(self, sold):
        acme = sold()
        acme.use(5, idempotencyKey="k", properties={"a": 1, "b": [Decimal("2.50")]})

        same = acme.use(Decimal("5.0"), idempotencyKey="k", properties={"b": [Decimal("2.5")], "a": 1})

        assert (same.status, same.body["deduplicated"]) == (202, True)


class TestRuling37UnknownCustomersAndNames:
    def test_an_event_that_waited_never_changes_a_settled_bill(self, sold, clock):
        acme = sold()
        acme.use(11_000)
        waiting = {"eventName": acme.pro.metric.event_name, "extCustomerId": "later", "eventValue": 700}
        assert acme.api.post("/v1/events", waiting).status == 202
        sweep(FEB_1 + SOON)
        billed = bills(acme.customer)
        clock.move_to(FEB_1 + SOON)

        renamed = acme.api.post(f"/v1/customers/{acme.customer.public_id}", {"externalCustomerId": "later"})

        assert renamed.status == 200, renamed
        assert acme.api.get("/v1/events/count", {"customerId": acme.customer.public_id}).body == {"count": 2}
        assert bills(acme.customer) == billed
        assert acme.numbers() == (True, 0, 10_000, 10_000)
        assert books_add_up(FEB_1 + SOON)

    def test_an_unknown_customer_is_404_and_an_unknown_external_id_waits_in_the_list(self, sold):
        acme = sold()

        unknown = acme.use(1, customerId="cus_nobody")
        waiting = acme.use(1, customerId=None, extCustomerId="later")

        assert (unknown.status, waiting.status) == (404, 202)
        (listed,) = acme.api.get("/v1/events", {"extCustomerId": "later"}).body["events"]
        assert "customerId" not in listed


class TestRuling39Void:
    def test_gives_the_quota_back_before_the_bill_and_keeps_the_key(self, sold):
        acme = sold()
        acme.use(9_000)
        event = acme.use(3_000, idempotencyKey="k").body["event"]

        voided = acme.api.post(f"/v1/events/{event['id']}/void", {"reason": "sent twice"})

        assert voided.status == 200
        assert acme.numbers() == (True, 9_000, 10_000, 1_000)
        assert acme.use(3_000, idempotencyKey="k").body["deduplicated"] is True
        assert acme.numbers()[1] == 9_000
        sweep(FEB_1 + SOON)
        assert acme.invoice()[0] == 2_900


class TestRuling40Batch:
    def test_takes_1000_and_not_1001(self, sold):
        acme = sold()
        entry = {"eventName": acme.pro.metric.event_name, "customerId": acme.customer.public_id}

        refused = acme.api.post("/v1/events/batch", {"events": [entry] * 1_001})
        nothing = UsageEvent.objects.count()
        taken = acme.api.post("/v1/events/batch", {"events": [entry] * 1_000})

        assert (refused.status, refused.body["code"], nothing) == (400, "invalid_batch", 0)
        assert (taken.status, taken.body["accepted"], taken.body["rejected"]) == (202, 1_000, 0)
        assert acme.numbers() == (True, 1_000, 10_000, 9_000)

    def test_a_repetition_inside_is_accepted_and_counts_once(self, sold):
        acme = sold()
        entry = {"eventName": acme.pro.metric.event_name, "customerId": acme.customer.public_id, "eventValue": 4}
        entry |= {"idempotencyKey": "k"}

        answer = acme.api.post("/v1/events/batch", {"events": [entry, entry, entry | {"eventValue": 5}]})

        assert (answer.body["accepted"], answer.body["rejected"]) == (2, 1)
        assert [(one["index"], one["code"]) for one in answer.body["errors"]] == [(2, "idempotency_conflict")]
        assert acme.numbers()[1] == 4


@pytest.mark.parametrize("kind", ["value", "count"])
def test_windows_that_adjoin_at_any_instant_have_each_event_once(sold, kind):
    acme = sold()
    cuts = ["2027-01-09T00:00:00Z", "2027-01-10T10:17:33Z", "2027-01-12T15:30:00Z", "2027-01-13T00:00:00Z"]
    for units, at in (
        (1, "2027-01-09T23:00:00Z"), (2, "2027-01-10T10:17:32.999999Z"), (4, "2027-01-10T10:17:33Z"),
        (8, "2027-01-11T00:00:00Z"), (16, "2027-01-12T15:29:59.999999Z"), (32, "2027-01-12T15:30:00Z"),
    ):  # fmt: skip
        acme.use(units, eventTimestamp=at)

    def between(start, end):
        if kind == "count":
            who = {"customerId": acme.customer.public_id, "startTime": start, "endTime": end}
            return acme.api.get("/v1/events/count", who).body["count"]
        asked = {"customerId": acme.customer.public_id, "timeframe": "ABSOLUTE", "start": start, "end": end}
        return acme.api.get(f"/v1/metrics/{acme.pro.metric.public_id}/value", asked).body["value"]

    parts = [between(start, end) for start, end in pairwise(cuts)]

    assert parts == ([3, 28, 32] if kind == "value" else [2, 3, 1])
    assert between(cuts[0], cuts[-1]) == sum(parts)
