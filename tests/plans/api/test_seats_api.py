"""/v1/seats and /v1/subscriptions/{id}/quantities."""

from datetime import UTC, datetime

import pytest

from billing.models import Invoice
from billing.services.subscribe import subscribe
from plans.models import AddedUnits, Customer, Seat, SeatChange
from tests.factories import CustomerFactory
from tests.seat_plan import make_organization, make_seat_plan, subscribed, take_seat

# The clock of these tests stands at 10 March 2025, 12:00: 22 of 31 days are left.
MARCH = datetime(2025, 3, 1, tzinfo=UTC)
NOON = datetime(2025, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
def subscription(db):
    """Two seats in acme, 10.00 each."""
    return subscribed(make_seat_plan(component_name="seats"), at=MARCH, seats=2)


def add(api, **body):
    return api.post("/v1/seats/add", {"organization_id": "acme", "created_user_id": "ann"} | body)


def remove(api, **body):
    return api.post("/v1/seats/remove", {"organization_id": "acme", "removed_user_id": "acme-0"} | body)


def test_adds_a_seat(api, subscription):
    answer = add(api, idempotency_key="k", created_user_info={"name": "Ann", "email": "ann@x.io"}, metadata={"a": 1})

    assert answer.status == 200
    assert answer.body == {
        "message": "Seat added successfully",
        "user_id": "acme-owner",
        "organization_id": "acme",
        "created_user_id": "ann",
        "subscription_id": subscription.public_id,
        "idempotency_key": "k",
    }
    member = Customer.objects.get(external_customer_id="ann")
    assert (member.name, member.email) == ("Ann", "ann@x.io")
    assert Invoice.objects.get(kind="seats").total_cents == 710


def test_a_call_without_a_key_is_given_one(api, subscription):
    assert add(api).body["idempotency_key"] == SeatChange.objects.get().idempotency_key != ""


def test_a_seat_begins_at_the_given_instant(api, subscription):
    add(api, timestamp="2025-03-05T08:00:00Z")

    seat = Seat.objects.get(member__external_customer_id="ann")
    assert seat.started_at == datetime(2025, 3, 5, 8, tzinfo=UTC)


@pytest.mark.parametrize("named_by", ["organization", "public id", "external id", "owner"])
def test_an_organization_is_named_by_any_of_its_ids(api, subscription, named_by):
    owner = subscription.customer
    names = {
        "organization": {"organization_id": "acme"},
        "public id": {"organization_id": owner.public_id},
        "external id": {"organization_id": "acme-owner"},
        "owner": {"organization_id": None, "user_id": "acme-owner"},
    }

    answer = add(api, **names[named_by])

    assert (answer.status, answer.body["organization_id"]) == (200, "acme")


def test_an_organization_id_goes_before_the_owner(api, subscription):
    make_organization("globex", since=MARCH)

    assert add(api, user_id="globex-owner").body["organization_id"] == "acme"


def test_the_same_call_again_is_answered_the_same_and_bills_nothing(api, subscription):
    first = add(api, idempotency_key="k")
    again = add(api, idempotency_key="k")

    assert (again.status, again.body) == (200, first.body)
    assert AddedUnits.objects.count() == Invoice.objects.filter(kind="seats").count() == 1


def test_another_call_with_the_same_key_is_refused(api, subscription):
    add(api, idempotency_key="k")

    answer = add(api, idempotency_key="k", created_user_id="bob")

    assert (answer.status, answer.body["code"]) == (409, "idempotency_conflict")
    assert not Customer.objects.filter(external_customer_id="bob").exists()


def test_removes_a_seat(api, subscription):
    answer = remove(api, idempotency_key="k")

    assert answer.status == 200
    assert answer.body == {
        "message": "Seat removed successfully",
        "organization_id": "acme",
        "removed_user_id": "acme-0",
        "subscription_id": subscription.public_id,
        "idempotency_key": "k",
    }
    assert Seat.objects.get(member__external_customer_id="acme-0").ended_at == NOON
    member = Customer.objects.get(external_customer_id="acme-0")
    assert (member.org_role, member.customer_organization_id) == (None, None)


def test_a_seat_that_is_not_there_cannot_be_removed(api, subscription):
    remove(api)

    for answer in (remove(api), remove(api, removed_user_id="nobody")):
        assert (answer.status, answer.body["error"]) == (400, "User not found in active seats or already removed")


@pytest.mark.parametrize("path", ["add", "remove"])
def test_refuses_an_unknown_organization(api, db, path):
    body = {"organization_id": "nobody", "created_user_id": "ann", "removed_user_id": "ann"}

    answer = api.post(f"/v1/seats/{path}", body)

    assert (answer.status, answer.body["code"]) == (404, "organization_not_found")
    assert answer.body["error"].startswith("Organization not found: nobody")


def test_a_member_is_no_organization(api, subscription):
    assert add(api, organization_id="acme-0").status == 404


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"created_user_id": ""}, "created_user_id"),
        ({"created_user_id": None}, "created_user_id"),
        ({"created_user_id": 7}, "created_user_id"),
        ({"organization_id": None}, "organization_id"),
        ({"created_user_info": "Ann"}, "created_user_info"),
        ({"created_user_info": {"email": "no address"}}, "created_user_info.email"),
        ({"metadata": []}, "metadata"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": "2025-03-10T12:06:00Z"}, "timestamp"),
        ({"idempotency_key": "k" * 256}, "idempotency_key"),
    ],
)
def test_refuses_what_cannot_be_read_and_adds_nothing(api, subscription, body, path):
    answer = add(api, **body)

    assert (answer.status, answer.body["details"][0]["path"]) == (400, path)
    assert Seat.objects.count() == 2


def test_a_seat_needs_a_subscription(api, db):
    make_organization(since=MARCH)

    answer = add(api)

    assert (answer.status, answer.body) == (
        404, {"error": "No active subscription", "code": "no_active_subscription", "details": None},
    )  # fmt: skip


def test_shows_the_seats_in_use_and_what_stays_paid(api, subscription):
    take_seat(subscription, "acme-0", NOON)

    answer = api.get(f"/v1/seats/usage/{subscription.customer.public_id}")

    assert answer.status == 200
    assert answer.body["customerId"] == subscription.customer.public_id
    assert answer.body["subscriptionId"] == subscription.public_id
    assert answer.body["seatUsages"] == [
        {
            "componentId": "comp_seats",
            "componentName": "seats",
            "unitLabel": "seat",
            "metricId": None,
            "currentUsage": 1,
            "pendingRemovals": 1,
            "unitAmountCents": 1_000,
        }
    ]
    (detail,) = answer.body["subscriptionDetails"]
    assert (detail["componentId"], detail["nextBillingDate"]) == ("comp_seats", "2025-04-01T00:00:00.000Z")
    (component,) = answer.body["priceComponents"]
    assert component == {
        "type": "per_unit",
        "component_id": "comp_seats",
        "component_name": "seats",
        "unit_label": "seat",
        "amount_cents": 1_000,
        "metric_id": None,
        "bill_immediately": True,
        "minimum_quantity": 0,
    }


def test_a_replaced_seat_is_no_pending_removal(api, subscription):
    remove(api)
    add(api)

    (usage,) = api.get(f"/v1/seats/usage/{subscription.customer.public_id}").body["seatUsages"]
    assert (usage["currentUsage"], usage["pendingRemovals"]) == (2, 0)


def test_below_the_minimum_no_removal_is_pending(api, db):
    subscription = subscribed(make_seat_plan(minimum_quantity=3), at=MARCH, seats=2)
    take_seat(subscription, "acme-0", NOON)

    (usage,) = api.get(f"/v1/seats/usage/{subscription.customer.public_id}").body["seatUsages"]
    assert (usage["currentUsage"], usage["pendingRemovals"]) == (1, 0)


def test_a_member_sees_the_seats_of_its_organization(api, subscription):
    member = Customer.objects.get(external_customer_id="acme-1")

    answer = api.get(f"/v1/seats/usage/{member.external_customer_id}", {"isExtCustId": "true"})

    assert (answer.body["customerId"], answer.body["subscriptionId"]) == (member.public_id, subscription.public_id)


def test_without_a_subscription_there_are_no_seats_to_show(api, db):
    customer = CustomerFactory()

    answer = api.get(f"/v1/seats/usage/{customer.public_id}")

    assert (answer.status, answer.body["subscriptionId"], answer.body["seatUsages"]) == (200, None, [])


def test_an_unknown_customer_has_no_seats(api, db):
    answer = api.get("/v1/seats/usage/cus_nobody")

    assert (answer.status, answer.body["error"]) == (404, "Customer not found")


class TestQuantities:
    @pytest.fixture
    def licences(self, db):
        return subscribe(at=MARCH, customer=CustomerFactory(), plan=make_seat_plan().plan)

    def test_sets_a_quantity_and_tells_what_is_paid(self, api, licences):
        path = f"/v1/subscriptions/{licences.public_id}/quantities"

        more = api.post(path, {"componentId": "comp_seats", "quantity": 3})
        fewer = api.post(path, {"componentId": "comp_seats", "quantity": 2})

        invoice = Invoice.objects.get(kind="seats")
        # 2 × 1,000 × 22 / 31 = 1,419.35
        assert invoice.total_cents == 1_419
        words = {"subscriptionId": licences.public_id, "componentId": "comp_seats"}
        assert (more.status, more.body) == (
            200, words | {"quantity": 3, "paidQuantity": 3, "invoiceId": invoice.public_id},
        )  # fmt: skip
        assert fewer.body == words | {"quantity": 2, "paidQuantity": 3, "invoiceId": None}

    @pytest.mark.parametrize(
        ("body", "path"),
        [
            ({"quantity": -1}, "quantity"),
            ({"quantity": 1.5}, "quantity"),
            ({"quantity": "3"}, "quantity"),
            ({"quantity": 1_000_001}, "quantity"),
            ({"quantity": None}, "quantity"),
            ({"componentId": "comp_other"}, "componentId"),
        ],
    )
    def test_refuses_what_is_no_quantity(self, api, licences, body, path):
        answer = api.post(
            f"/v1/subscriptions/{licences.public_id}/quantities", {"componentId": "comp_seats", "quantity": 3} | body
        )

        assert (answer.status, answer.body["details"][0]["path"]) == (400, path)
        assert not AddedUnits.objects.exists()

    def test_refuses_fewer_than_the_seats_in_use(self, api, subscription):
        body = {"componentId": "comp_seats", "quantity": 1}

        answer = api.post(f"/v1/subscriptions/{subscription.public_id}/quantities", body)

        assert (answer.status, answer.body["code"]) == (409, "quantity_below_seats_in_use")

    def test_refuses_a_subscription_that_is_not_there(self, api, db):
        answer = api.post("/v1/subscriptions/sub_int_x/quantities", {"componentId": "c", "quantity": 1})

        assert (answer.status, answer.body["error"]) == (404, "Subscription not found or access denied")
