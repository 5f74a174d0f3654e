"""Members of an organization: one pool of its primary customer, and the list of all of them."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from billing.services.subscribe import subscribe
from entitlements.services.check import check, check_many, find_feature_for_use, list_entitlements
from plans.services.customers import CustomerNotFound
from plans.services.features import FeatureNotFound
from tests.factories import CustomerFactory, SeatFactory
from tests.pro_plan import make_pro_plan, use

pytestmark = pytest.mark.django_db

JAN_1 = datetime(2025, 1, 1, tzinfo=UTC)
JAN_20 = datetime(2025, 1, 20, 12, tzinfo=UTC)


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def acme(pro):
    """The primary customer of the organization `acme`, with 10,000 calls a month."""
    customer = CustomerFactory(customer_organization_id="acme", org_role="primary")
    subscribe(at=JAN_1, customer=customer, plan=pro.plan)
    return customer


def checked(customer, pro, at=JAN_20):
    return check(customer=customer.public_id, slug=pro.feature.slug, at=at)


def test_a_member_is_answered_with_the_pool_of_its_organization(pro, acme):
    ann, bob = SeatFactory().member, SeatFactory().member
    use(ann, pro.metric, 3_000, JAN_20)
    use(bob, pro.metric, 500, JAN_20)

    answers = [checked(customer, pro) for customer in (ann, bob, acme)]

    assert [(one.entitled, one.usage, one.remaining) for one in answers] == [(True, 3_500, 6_500)] * 3


def test_list_and_batch_of_a_member_are_those_of_its_organization(pro, acme):
    ann = SeatFactory().member

    of_member = list_entitlements(customer=ann.public_id, at=JAN_20)
    batch = check_many(customer=ann.external_customer_id, external=True, slugs=[pro.feature.slug], at=JAN_20)

    assert of_member == list_entitlements(customer=acme.public_id, at=JAN_20) == batch
    assert of_member[0].remaining == 10_000


def test_a_seat_counts_from_its_start_until_just_before_its_end(pro, acme):
    start, end, instant = JAN_20, JAN_20 + timedelta(days=2), timedelta(microseconds=1)
    ann = SeatFactory(started_at=start, ended_at=end).member

    answers = [checked(ann, pro, at).entitled for at in (start - instant, start, end - instant, end)]

    assert answers == [False, True, True, False]


def test_without_a_primary_customer_a_member_is_answered_for_itself(pro, acme):
    acme.deleted_at = JAN_1
    acme.save()
    ann = SeatFactory().member
    subscribe(at=JAN_1, customer=ann, plan=pro.plan)
    use(ann, pro.metric, 10, JAN_20)

    assert checked(ann, pro).remaining == 9_990


def test_what_a_member_has_of_its_own_is_not_asked_for(pro, acme):
    other = make_pro_plan()
    ann = SeatFactory().member
    subscribe(at=JAN_1, customer=ann, plan=other.plan)

    assert checked(ann, other).entitled is False


def test_a_primary_customer_of_another_organization_is_nobody(pro, acme):
    stranger = SeatFactory(organization_id="globex").member

    assert checked(stranger, pro).entitled is False


def test_checks_of_a_member_cost_two_queries(pro, acme):
    ann = SeatFactory().member
    use(ann, pro.metric, 10, JAN_20)
    # The kind of a metric, which never changes, is asked for once.
    checked(ann, pro)

    with CaptureQueriesContext(connection) as queries:
        checked(ann, pro)

    assert len(queries) == 2


def test_finds_for_use_the_payer_the_member_and_the_feature(pro, acme):
    ann = SeatFactory().member

    found = find_feature_for_use(customer=ann.public_id, slug=pro.feature.slug, at=JAN_20)
    own = find_feature_for_use(customer=acme.external_customer_id, external=True, slug=pro.feature.slug, at=JAN_20)

    payer, member, feature = found
    assert (payer, member, feature.key) == (acme.pk, ann.pk, pro.feature.pk)
    assert feature.metrics == ((pro.metric.pk, pro.metric.public_id),)
    assert own == (acme.pk, None, feature)


def test_finds_for_use_also_what_was_not_bought(pro):
    assert (
        find_feature_for_use(customer=CustomerFactory().public_id, slug=pro.feature.slug, at=JAN_20)[2].source is None
    )


def test_finds_nothing_for_use_for_unknown_customers_and_slugs(pro, acme):
    with pytest.raises(CustomerNotFound):
        find_feature_for_use(customer="cus_x", slug=pro.feature.slug, at=JAN_20)
    with pytest.raises(FeatureNotFound):
        find_feature_for_use(customer=acme.public_id, slug="no-such", at=JAN_20)


def seat_aware(api, customer, query=None):
    answer = api.get(f"/v1/entitlements/{customer.public_id}/seat-aware", query)
    assert answer.status == 200, answer
    return answer.body


@pytest.mark.parametrize("asked", ["primary", "member"])
def test_lists_every_customer_of_the_organization(api, pro, acme, asked):
    ann, bob = SeatFactory().member, SeatFactory().member
    SeatFactory(ended_at=JAN_1)
    SeatFactory(organization_id="globex")
    use(ann, pro.metric, 100, timezone.now())

    body = seat_aware(api, acme if asked == "primary" else ann)

    assert list(body) == ["entitlements"]
    entries = body["entitlements"]
    assert {(one["customerId"], one["externalCustomerId"]) for one in entries} == {
        (one.public_id, one.external_customer_id) for one in (acme, ann, bob)
    }
    one = api.get(f"/v1/entitlements/{bob.public_id}").body["entitlements"][0]
    for entry in entries:
        assert {name: value for name, value in entry.items() if name not in ("customerId", "externalCustomerId")} == one


def test_lists_a_single_customer_where_there_is_no_organization(api, pro):
    customer = CustomerFactory(customer_organization_id="acme")
    subscribe(at=timezone.now(), customer=customer, plan=pro.plan)

    (entry,) = seat_aware(api, customer)["entitlements"]

    assert (entry["customerId"], entry["remaining"]) == (customer.public_id, 10_000)


def test_lists_nothing_of_a_customer_that_has_nothing(api):
    assert seat_aware(api, CustomerFactory()) == {"entitlements": []}


def test_members_without_a_primary_customer_are_listed_with_what_is_their_own(api, pro):
    ann, bob = SeatFactory().member, SeatFactory().member
    subscribe(at=timezone.now(), customer=bob, plan=pro.plan)

    (entry,) = seat_aware(api, ann)["entitlements"]

    assert entry["customerId"] == bob.public_id


def test_pages_through_the_customers_of_an_organization(api, pro, acme):
    members = [SeatFactory().member for _ in range(4)]

    first = seat_aware(api, acme, {"limit": "3"})
    rest = seat_aware(api, acme, {"limit": "3", "cursor": first["nextCursor"]})

    assert (len(first["entitlements"]), first["hasMore"], rest["hasMore"]) == (3, True, False)
    listed = [entry["customerId"] for entry in first["entitlements"] + rest["entitlements"]]
    assert sorted(listed) == sorted(customer.public_id for customer in [acme, *members])


def test_the_queries_of_a_list_do_not_grow_with_its_members(api, pro, acme):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            seat_aware(api, acme)
        return len(captured)

    SeatFactory()
    # The kind of a metric, which never changes, is asked for once.
    queries()
    few = queries()
    for _ in range(20):
        SeatFactory()

    assert queries() == few


def test_an_unknown_customer_has_no_list(api):
    answer = api.get("/v1/entitlements/cus_x/seat-aware")

    assert (answer.status, answer.body["code"]) == (404, "customer_not_found")


@pytest.mark.parametrize(
    ("query", "path"), [({"limit": "0"}, "limit"), ({"cursor": "x"}, "cursor"), ({"isExtCustId": "1"}, "isExtCustId")]
)
def test_refuses_a_wrong_parameter_of_the_list(api, acme, query, path):
    answer = api.get(f"/v1/entitlements/{acme.public_id}/seat-aware", query)

    assert (answer.status, answer.body["details"][0]["path"]) == (400, path)
