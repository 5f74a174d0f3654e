"""/v1/customers: members of organizations, and changing a customer."""

from datetime import UTC, datetime, timedelta

import pytest

from metering.models import UsageDay, UsageEvent
from plans.models import Customer, Seat
from plans.services.customers import update_customer
from tests.factories import CustomerFactory, MetricFactory, SeatFactory
from tests.pro_plan import use

NOON = datetime(2025, 3, 10, 12, tzinfo=UTC)
MEMBER = {"name": "Ann", "email": "ann@x.io", "customerOrganizationId": "acme", "orgRole": "member"}
PRIMARY = {"name": "Acme", "email": "a@acme.io", "customerOrganizationId": "acme", "orgRole": "primary"}


def seats(customer):
    rows = Seat.objects.filter(member=customer).order_by("pk")
    return list(rows.values_list("organization_id", "started_at", "ended_at"))


def change(api, customer, **body):
    return api.post(f"/v1/customers/{customer.public_id}", body)


def test_a_member_is_made_with_a_seat_without_a_start(api):
    created = api.post("/v1/customers", MEMBER).body["customer"]

    assert (created["customerOrganizationId"], created["orgRole"]) == ("acme", "member")
    assert seats(Customer.objects.get()) == [("acme", None, None)]


def test_a_primary_customer_and_one_without_a_role_have_no_seat(api):
    api.post("/v1/customers", PRIMARY)
    api.post("/v1/customers", {"name": "B", "email": "b@x.io", "customerOrganizationId": "acme"})

    assert not Seat.objects.exists()


@pytest.mark.parametrize("role", ["member", "primary"])
def test_refuses_a_role_without_an_organization(api, role):
    answer = api.post("/v1/customers", MEMBER | {"orgRole": role, "customerOrganizationId": None})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "customerOrganizationId")
    assert not Customer.objects.exists()


def test_refuses_a_second_primary_customer_of_an_organization(api):
    api.post("/v1/customers", PRIMARY)

    answer = api.post("/v1/customers", PRIMARY | {"email": "b@acme.io"})

    assert (answer.status, answer.body["code"]) == (409, "organization_has_primary")
    assert answer.body["details"][0]["path"] == "customerOrganizationId"
    assert Customer.objects.count() == 1


def test_a_member_cannot_be_made_the_second_primary_customer(api):
    CustomerFactory(customer_organization_id="acme", org_role="primary")
    member = SeatFactory().member

    answer = change(api, member, orgRole="primary")

    assert (answer.status, answer.body["code"]) == (409, "organization_has_primary")
    assert seats(member) == [("acme", None, None)]


def test_a_deleted_primary_customer_makes_room_for_another(api):
    CustomerFactory(customer_organization_id="acme", org_role="primary", deleted_at=NOON)

    assert api.post("/v1/customers", PRIMARY).status == 200


def test_a_member_moves_to_another_organization_now(api):
    member = SeatFactory().member

    answer = change(api, member, customerOrganizationId="globex")

    assert answer.body["customer"]["customerOrganizationId"] == "globex"
    assert seats(member) == [("acme", None, NOON), ("globex", NOON, None)]


@pytest.mark.parametrize("body", [{"orgRole": None}, {"orgRole": None, "customerOrganizationId": None}])
def test_a_member_that_leaves_has_its_seat_ended(api, body):
    member = SeatFactory().member

    assert change(api, member, **body).body["customer"]["orgRole"] is None

    assert seats(member) == [("acme", None, NOON)]


def test_refuses_a_member_that_gives_up_its_organization_only(api):
    member = SeatFactory().member

    answer = change(api, member, customerOrganizationId=None)

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "customerOrganizationId")
    assert seats(member) == [("acme", None, None)]


def test_a_customer_that_becomes_a_member_is_one_from_now_on_only(api):
    customer = CustomerFactory()

    change(api, customer, customerOrganizationId="acme", orgRole="member")

    assert seats(customer) == [("acme", NOON, None)]


def test_moving_back_and_forth_at_one_instant_leaves_only_the_last_seat(api):
    member = SeatFactory().member

    change(api, member, customerOrganizationId="globex")
    change(api, member, customerOrganizationId="initech")

    assert seats(member) == [("acme", None, NOON), ("initech", NOON, None)]


@pytest.mark.django_db
def test_a_move_whose_clock_was_read_before_another_move_follows_it():
    # Two calls: the later one came first to the customer's lock.
    member = SeatFactory().member
    update_customer(at=NOON, customer=member, customer_organization_id="globex")

    update_customer(at=NOON - timedelta(seconds=1), customer=member, customer_organization_id="initech")

    assert seats(member) == [("acme", None, NOON), ("initech", NOON, None)]


def test_other_changes_leave_the_seat_alone(api):
    member = SeatFactory().member

    change(api, member, name="Ann B", customerOrganizationId="acme")

    assert seats(member) == [("acme", None, None)]


def test_events_count_for_the_organization_that_a_member_was_in_at_their_time(api):
    metric = MetricFactory()
    acme = CustomerFactory(customer_organization_id="acme", org_role="primary")
    globex = CustomerFactory(customer_organization_id="globex", org_role="primary")
    member = SeatFactory().member
    change(api, member, customerOrganizationId="globex")

    use(member, metric, 3, NOON - timedelta(microseconds=1))
    use(member, metric, 5, NOON)

    totals = dict(UsageDay.objects.values_list("customer_id", "total"))
    assert totals == {acme.pk: 3, globex.pk: 5}
    assert set(UsageEvent.objects.values_list("member_id", flat=True)) == {member.pk}


def test_changes_only_what_is_sent(api):
    customer = CustomerFactory(phone_number="1", billing_city="Bonn", metadata={"a": 1})

    changed = change(api, customer, name="New", billingCity=None, metadata={"b": 2}).body["customer"]

    assert (changed["name"], changed["billingCity"], changed["metadata"]) == ("New", None, {"b": 2})
    assert (changed["phoneNumber"], changed["email"]) == ("1", customer.email)
    assert api.get(f"/v1/customers/{customer.public_id}").body == {"customer": changed}


def test_clears_a_field_to_what_a_new_customer_has(api):
    customer = CustomerFactory(
        timezone="Europe/Berlin", preferred_currency="EUR", metadata={"a": 1}, psp_customer_id="cus_1"
    )

    changed = change(
        api, customer, timezone=None, preferredCurrency="", metadata=None, pspCustomerId="", externalCustomerId=None
    ).body["customer"]

    assert (changed["timezone"], changed["preferredCurrency"], changed["metadata"]) == ("UTC", "USD", {})
    assert (changed["pspCustomerId"], changed["externalCustomerId"]) == (None, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", None),
        ("name", ""),
        ("name", 5),
        ("email", "no address"),
        ("email", None),
        ("billingCountry", "XX"),
        ("taxExempt", "true"),
        ("taxExempt", None),
        ("metadata", []),
        ("orgRole", "boss"),
        ("customerOrganizationId", 7),
        ("customerOrganizationId", "x" * 256),
        ("invoicePrefix", ""),
        ("invoicePrefix", None),
        ("timezone", "Mars"),
        ("dangerouslyAllowSameEmailForDifferentCustomers", 1),
    ],
)
def test_refuses_a_change_of_the_wrong_kind_and_changes_nothing(api, field, value):
    customer = CustomerFactory(name="Old")

    answer = change(api, customer, **{"phoneNumber": "1", field: value})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, field)
    customer.refresh_from_db()
    assert (customer.name, customer.phone_number) == ("Old", "")


@pytest.mark.parametrize("field", ["email", "externalCustomerId", "invoicePrefix", "pspCustomerId"])
def test_refuses_what_another_customer_has(api, field):
    taken = {
        "email": "t@x.io",
        "external_customer_id": "taken",
        "invoice_prefix": "TAKEN",
        "psp_customer_id": "cus_taken",
    }
    CustomerFactory(**taken)
    value = {"email": "T@x.io", "externalCustomerId": "taken", "invoicePrefix": "TAKEN", "pspCustomerId": "cus_taken"}

    answer = change(api, CustomerFactory(), **{field: value[field]})

    assert (answer.status, answer.body["code"]) == (409, "duplicate_customer")


def test_takes_back_what_the_customer_has_already(api):
    customer = CustomerFactory(psp_customer_id="cus_1", email_is_shared=True)
    CustomerFactory(email=customer.email, email_is_shared=True)
    same = {
        "email": customer.email,
        "externalCustomerId": customer.external_customer_id,
        "invoicePrefix": customer.invoice_prefix,
        "pspCustomerId": "cus_1",
    }

    assert change(api, customer, **same).status == 200


def test_shares_an_email_or_gives_it_up_only_where_that_is_wished(api):
    other, customer = CustomerFactory(), CustomerFactory()

    shared = change(api, customer, email=other.email, dangerouslyAllowSameEmailForDifferentCustomers=True)
    without = change(api, customer, email=None, dangerouslyAllowCustomerWithoutEmail=True)

    assert (shared.status, shared.body["customer"]["email"]) == (200, other.email)
    assert (without.status, without.body["customer"]["email"]) == (200, None)


def test_refuses_another_invoice_prefix_once_an_invoice_has_a_number(api):
    customer = CustomerFactory(invoice_prefix="OLD", last_invoice_number=1)

    answer = change(api, customer, invoicePrefix="NEW")

    assert (answer.status, answer.body["code"]) == (409, "invoice_prefix_in_use")
    assert change(api, customer, invoicePrefix="OLD").status == 200


def test_a_new_external_id_brings_the_events_that_waited_for_it(api):
    metric = MetricFactory(event_name="calls")
    api.post("/v1/events", {"eventName": "calls", "extCustomerId": "early", "eventValue": 4})
    customer = CustomerFactory()

    change(api, customer, externalCustomerId="early")

    assert UsageDay.objects.get(customer=customer, version__metric=metric).total == 4


def test_answers_404_for_an_unknown_or_deleted_customer(api):
    deleted = CustomerFactory(deleted_at=NOON)

    for identifier in ("cus_x", deleted.public_id):
        assert api.post(f"/v1/customers/{identifier}", {"name": "A"}).status == 404


def test_changes_a_customer_by_its_external_id(api):
    customer = CustomerFactory(external_customer_id="acme-1")

    api.post("/v1/customers/acme-1?isExtCustId=true", {"name": "By theirs"})

    customer.refresh_from_db()
    assert customer.name == "By theirs"
