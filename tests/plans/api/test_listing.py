"""Pages: `limit`, `cursor`, `hasMore`, `nextCursor`, the same for every list."""

import base64

import pytest

from plans import listing
from tests.factories import START, CustomerFactory, FeatureFactory, MetricFactory, PlanFactory, PriceFactory


def ids(body):
    return [customer["id"] for customer in body["customers"]]


def test_pages_through_rows_of_the_same_instant_without_gap_or_repetition(api):
    customers = [CustomerFactory(created_at=START) for _ in range(5)]

    first = api.get("/v1/customers", {"limit": "2"}).body
    second = api.get("/v1/customers", {"limit": "2", "cursor": first["nextCursor"]}).body
    third = api.get("/v1/customers", {"limit": "2", "cursor": second["nextCursor"]}).body

    assert ids(first) + ids(second) + ids(third) == [customer.public_id for customer in reversed(customers)]
    assert (first["hasMore"], second["hasMore"], third["hasMore"]) == (True, True, False)
    assert third["nextCursor"] is None


def test_a_row_made_meanwhile_does_not_shift_the_next_page(api, now):
    customers = [CustomerFactory(created_at=START) for _ in range(3)]
    first = api.get("/v1/customers", {"limit": "2"}).body

    CustomerFactory(created_at=now)
    second = api.get("/v1/customers", {"cursor": first["nextCursor"]}).body

    assert ids(second) == [customers[0].public_id]


def test_a_page_of_nothing_has_no_cursor(api):
    assert api.get("/v1/customers", {"limit": "200"}).body == {"customers": [], "hasMore": False, "nextCursor": None}


@pytest.mark.parametrize("limit", ["0", "201", "-1", "1.5", "abc", "", "٣", "9" * 5000])
def test_refuses_a_limit_out_of_range(api, limit):
    answer = api.get("/v1/customers", {"limit": limit})

    assert (answer.status, answer.body["error"]) == (400, "limit: must be a whole number from 1 to 200.")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "%%%",
        "é",
        base64.urlsafe_b64encode(b"2025-01-01T00:00:00 1").decode(),
        base64.urlsafe_b64encode(b"2025-01-01T00:00:00+00:00 x").decode(),
        base64.urlsafe_b64encode(b"2025-01-01T00:00:00+00:00 " + b"9" * 30).decode(),
        base64.urlsafe_b64encode(b"2025-01-01T00:00:00+00:00").decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    ],
)
def test_refuses_a_cursor_that_no_list_has_given(api, cursor):
    answer = api.get("/v1/customers", {"cursor": cursor})

    assert (answer.status, answer.body["error"]) == (400, "cursor: is not one that a list has given.")


def test_says_so_when_the_plain_list_had_to_be_cut(api, monkeypatch):
    monkeypatch.setattr(listing, "LONGEST_LIST", 2)
    for _ in range(3):
        CustomerFactory()

    body = api.get("/v1/customers").body

    assert len(body["customers"]) == 2
    assert body["hasMore"] is True
    assert len(api.get("/v1/customers", {"cursor": body["nextCursor"]}).body["customers"]) == 1


def test_every_list_knows_pages(api):
    plan = PlanFactory()
    FeatureFactory()
    MetricFactory()
    PriceFactory(plan=plan)

    for path, name in [
        ("/v1/features", "features"),
        ("/v1/plans", "plans"),
        ("/v1/metrics", "metrics"),
        (f"/v1/prices?planId={plan.public_id}", "prices"),
        ("/v1/subscriptions", "subscriptions"),
    ]:
        body = api.get(path + ("&" if "?" in path else "?") + "limit=1").body
        assert list(body) == [name, "hasMore", "nextCursor"]
