"""Keys, parameters, errors, lists and expansion: what every request has in common."""

import asyncio
import base64

import pytest
import stripe
from stripe._api_version import _ApiVersion
from typing_extensions import get_type_hints

from billing.sandbox.errors import API_VERSION
from billing.sandbox.messages import Request
from billing.sandbox.params import OPTION_TYPES
from billing.sandbox.registry import ROUTES

from .conftest import NOON, client_of


def test_speaks_the_version_that_the_library_is_pinned_to():
    assert API_VERSION == _ApiVersion.CURRENT


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.pattern}")
def test_supports_only_parameters_that_stripe_has(route):
    assert set(route.supports) <= set(get_type_hints(route.params, localns=OPTION_TYPES))


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"emial": "ada@example.com"}, "emial"),
        ({"invoice_settings": {"default_card": "pm_1"}}, "invoice_settings[default_card]"),
    ],
)
def test_refuses_an_unknown_parameter_by_name(stripe_api, given, param, wrong_requests):
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.raw_request("post", "/v1/customers", **given)

    assert (refusal.value.http_status, refusal.value.code, refusal.value.param) == (400, "parameter_unknown", param)


@pytest.mark.parametrize(
    ("path", "given", "param", "message"),
    [
        ("payment_intents", {"currency": "usd"}, "amount", "Missing required param: amount"),
        ("payment_intents", {"amount": "ten", "currency": "usd"}, "amount", "Invalid integer: ten"),
        ("payment_intents", {"amount": "10.5", "currency": "usd"}, "amount", "Invalid integer"),
        ("payment_intents", {"amount": 900, "currency": "usd", "confirm": "yes"}, "confirm", "Invalid boolean: yes"),
        ("invoices", {"collection_method": "by_post"}, "collection_method", "must be one of charge_automatically"),
        ("customers", {"metadata": "none"}, "metadata", "Invalid object"),
        ("customers", {"preferred_locales": "de"}, "preferred_locales", "Invalid array"),
        ("customers", {"address": {"city": {"name": "Bonn"}}}, "address[city]", "nested value"),
        ("invoices", {"customer": ""}, "customer", "You passed an empty string for 'customer'"),
        ("webhook_endpoints", {"url": "http://x.test", "enabled_events": ["paid"]}, "enabled_events[0]", "one of"),
    ],
)
def test_refuses_what_stripe_would_refuse(stripe_api, path, given, param, message, wrong_requests):
    with pytest.raises(stripe.InvalidRequestError, match=message) as refusal:
        stripe_api.raw_request("post", f"/v1/{path}", **given)

    assert (refusal.value.http_status, refusal.value.param) == (400, param)


@pytest.mark.parametrize(
    ("path", "given", "param", "message"),
    [
        ("payment_intents", {"amount": 900, "currency": "dollars"}, "currency", "Invalid currency"),
        ("invoices", {"customer": "cus_nobody"}, "customer", "No such customer: 'cus_nobody'"),
    ],
)
def test_refuses_values_that_mean_nothing(stripe_api, path, given, param, message):
    with pytest.raises(stripe.InvalidRequestError, match=message) as refusal:
        stripe_api.raw_request("post", f"/v1/{path}", **given)

    assert (refusal.value.http_status, refusal.value.param) == (400, param)


def test_refuses_by_name_what_stripe_has_and_the_sandbox_has_not(stripe_api, customer, wrong_requests):
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.v1.invoices.create({"customer": customer.id, "automatic_tax": {"enabled": True}})

    assert (refusal.value.code, refusal.value.param) == ("sandbox_unsupported", "automatic_tax")


def test_an_unknown_path_is_not_found(stripe_api, wrong_requests):
    with pytest.raises(stripe.InvalidRequestError, match="Unrecognized request URL") as refusal:
        stripe_api.raw_request("get", "/v1/subscriptions")
    assert refusal.value.http_status == 404


@pytest.mark.parametrize("key", ["sk_live_candela", "hunter2", "pk_live_candela_0123456789"])
def test_takes_test_keys_only(sandbox, key):
    with pytest.raises(stripe.AuthenticationError) as refusal:
        client_of(sandbox, key).v1.customers.list()
    assert key not in str(refusal.value)


def test_refuses_a_request_without_a_key(sandbox):
    answer = sandbox.handle(Request("GET", "/v1/customers"))

    assert answer.status == 401
    assert "You did not provide an API key" in answer.body


def test_takes_the_key_as_a_user_name_too(sandbox):
    credentials = base64.b64encode(b"sk_test_candela:").decode()

    assert (
        sandbox.handle(Request("GET", "/v1/customers", headers={"authorization": f"Basic {credentials}"})).status == 200
    )


def test_answers_the_asynchronous_library(stripe_api):
    customer = asyncio.run(stripe_api.v1.customers.create_async({"name": "Ada"}))

    assert stripe_api.v1.customers.retrieve(customer.id).name == "Ada"


def test_a_restricted_key_may_do_what_a_secret_key_may(sandbox):
    assert client_of(sandbox, "rk_test_candela").v1.customers.list().data == []


def test_a_publishable_key_may_not_read_customers(sandbox):
    with pytest.raises(stripe.AuthenticationError) as refusal:
        client_of(sandbox, "pk_test_candela").v1.customers.list()
    assert refusal.value.error.code == "secret_key_required"


def test_a_publishable_key_may_make_a_payment_method(sandbox):
    card = {"number": "4242424242424242", "exp_month": 1, "exp_year": 2040}

    made = client_of(sandbox, "pk_test_candela").v1.payment_methods.create({"type": "card", "card": card})

    assert made.card.last4 == "4242"


def test_refuses_another_api_version(stripe_api):
    with pytest.raises(stripe.InvalidRequestError, match="Invalid Stripe API version: 2020-08-27"):
        stripe_api.v1.customers.list(options={"stripe_version": "2020-08-27"})


def test_refuses_another_account(stripe_api):
    with pytest.raises(stripe.PermissionError):
        stripe_api.v1.customers.list(options={"stripe_account": "acct_somebody"})


def test_every_answer_has_a_request_id_and_the_version(stripe_api):
    customer = stripe_api.v1.customers.create({})

    assert customer.last_response.request_id.startswith("req_")
    assert customer.last_response.headers["Stripe-Version"] == API_VERSION


def test_finds_customers_by_email(stripe_api):
    ada = stripe_api.v1.customers.create({"email": "ada@example.com"})
    stripe_api.v1.customers.create({"email": "bob@example.com"})

    assert [one.id for one in stripe_api.v1.customers.list({"email": "ada@example.com"})] == [ada.id]


def test_pages_through_a_list_in_both_directions(stripe_api):
    made = [stripe_api.v1.customers.create({"name": str(number)}).id for number in range(5)]
    newest_first = made[::-1]

    first = stripe_api.v1.customers.list({"limit": 2})
    second = stripe_api.v1.customers.list({"limit": 2, "starting_after": first.data[-1].id})
    back = stripe_api.v1.customers.list({"limit": 2, "ending_before": second.data[0].id})

    assert [one.id for one in first] == newest_first[:2]
    assert [one.id for one in second] == newest_first[2:4]
    assert [one.id for one in back] == newest_first[:2]
    assert (first.has_more, second.has_more) == (True, True)
    assert [one.id for one in stripe_api.v1.customers.list({"limit": 2}).auto_paging_iter()] == newest_first


def test_filters_events_by_time_and_type(stripe_api, clock):
    stripe_api.v1.customers.create({})
    clock.advance(3_600)
    later = stripe_api.v1.customers.create({})
    stripe_api.v1.payment_methods.attach("pm_card_visa", {"customer": later.id})

    since = stripe_api.v1.events.list({"created": {"gte": NOON + 1}, "type": "customer.*"})
    both = stripe_api.v1.events.list({"types": ["customer.created", "payment_method.attached"]})

    assert [event.data.object["id"] for event in since] == [later.id]
    assert [event.type for event in both] == ["payment_method.attached", "customer.created", "customer.created"]


def test_an_update_tells_the_former_values(stripe_api, customer):
    stripe_api.v1.customers.update(customer.id, {"name": "Ada L.", "email": "ada@example.com"})

    event = stripe_api.v1.events.list({"type": "customer.updated"}).data[0]

    assert event.data.previous_attributes.to_dict() == {"name": "Ada"}
    assert event["request"].id.startswith("req_")


def test_an_update_without_a_difference_is_no_event(stripe_api, customer):
    stripe_api.v1.customers.update(customer.id, {"name": "Ada"})

    assert stripe_api.v1.events.list({"type": "customer.updated"}).data == []


def test_expands_ids_into_objects(stripe_api, customer, visa):
    method = stripe_api.v1.payment_methods.retrieve(visa.id, {"expand": ["customer"]})
    listed = stripe_api.v1.payment_methods.list({"customer": customer.id, "expand": ["data.customer"]})

    assert method.customer.email == "ada@example.com"
    assert listed.data[0].customer.email == "ada@example.com"


@pytest.mark.parametrize("path", ["name", "nothing", "created", "a.b.c.d.e"])
def test_refuses_to_expand_what_is_no_id(stripe_api, customer, path):
    with pytest.raises(stripe.InvalidRequestError, match="expand"):
        stripe_api.v1.customers.retrieve(customer.id, {"expand": [path]})


@pytest.mark.parametrize("metadata", [{"k" * 41: "v"}, {"k": "v" * 501}, {str(n): "v" for n in range(51)}])
def test_keeps_metadata_within_stripes_limits(stripe_api, metadata):
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.v1.customers.create({"metadata": metadata})
    assert refusal.value.param.startswith("metadata")


def test_creates_a_customer_with_a_default_card(stripe_api):
    made = stripe_api.v1.customers.create(
        {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    )

    default = made.invoice_settings.default_payment_method
    assert stripe_api.v1.payment_methods.retrieve(default).customer == made.id


def test_shows_its_one_account(stripe_api):
    account = stripe_api.v1.accounts.retrieve_current()

    assert account.id.startswith("acct_")
    assert "not Stripe" in account.settings.dashboard.display_name
    assert stripe_api.v1.accounts.retrieve(account.id).id == account.id
