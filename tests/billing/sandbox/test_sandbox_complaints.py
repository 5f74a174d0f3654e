"""What the library's types do not allow is refused by name, and the whole suite hears of it."""

import pytest
import stripe

from billing.sandbox.registry import ROUTES

from .conftest import open_invoice

pytest_plugins = ["pytester"]

LINE = {"type": "custom_line_item", "unit_amount": 100}


@pytest.fixture
def invoice(stripe_api, customer):
    return open_invoice(stripe_api, customer, 1_000)


@pytest.mark.parametrize(
    ("path", "given", "param", "message"),
    [
        ("/v1/credit_notes", {"reason": "whim"}, "reason", "must be one of duplicate, fraudulent, order_change, or"),
        ("/v1/credit_notes", {"lines": [{**LINE, "type": "gift"}]}, "lines[0][type]", "must be one of"),
        ("/v1/credit_notes", {"lines": [{**LINE, "price": 5}]}, "lines[0][price]", "unknown parameter"),
        ("/v1/credit_notes", {"lines": [{"unit_amount": 5}]}, "lines[0][type]", "Missing required param"),
        ("/v1/credit_notes", {"lines": {"type": "gift"}}, "lines", "Invalid array"),
        ("/v1/credit_notes", {"amount": "1e2"}, "amount", "Invalid integer"),
        (
            "/v1/credit_notes",
            {"refunds": [{"refund": "re_1", "amount_refunded": "x"}]},
            "refunds[0][amount_refunded]",
            "Invalid integer",
        ),
        ("/v1/refunds", {"reason": "expired_uncaptured_charge"}, "reason", "must be one of duplicate, fraudulent, or"),
        ("/v1/refunds", {"sum": 5}, "sum", "unknown parameter"),
        (
            "/v1/invoices",
            {"automatic_tax": {"liability": {"type": "self"}}},
            "automatic_tax[enabled]",
            "Missing required param",
        ),
        ("/v1/invoices", {"automatic_tax": {"enabled": "true", "rate": 5}}, "automatic_tax[rate]", "unknown parameter"),
        ("/v1/payment_intents", {"currency": "usd"}, "amount", "Missing required param"),
    ],
)
def test_names_a_wrong_word_an_unknown_key_and_a_missing_key(
    stripe_api, invoice, wrong_requests, path, given, param, message
):
    if path == "/v1/credit_notes":
        given = {"invoice": invoice.id, **given}

    with pytest.raises(stripe.InvalidRequestError, match=message) as refusal:
        stripe_api.raw_request("post", path, **given)

    assert refusal.value.param == param
    assert len(wrong_requests) == 1


def test_a_decline_and_a_refused_amount_are_no_complaints(stripe_api, invoice, stripe_complaints):
    with pytest.raises(stripe.InvalidRequestError):
        stripe_api.v1.credit_notes.create({"invoice": invoice.id, "amount": 5_000})
    with pytest.raises(stripe.InvalidRequestError):
        stripe_api.v1.refunds.retrieve("re_nobody")

    assert stripe_complaints == []


@pytest.mark.parametrize(
    ("path", "given", "param"),
    [
        ("/v1/invoices", {"auto_advance": "true"}, "auto_advance=true"),
        ("/v1/credit_notes", {"lines": [{**LINE, "tax_rates": ["txr_1"]}]}, "lines[0][tax_rates]"),
        ("/v1/payment_methods", {"type": "sepa_debit"}, "type=sepa_debit"),
    ],
)
def test_hears_of_values_that_are_not_imitated(stripe_api, customer, invoice, wrong_requests, path, given, param):
    subject = {"/v1/invoices": {"customer": customer.id}, "/v1/credit_notes": {"invoice": invoice.id}}.get(path, {})

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.raw_request("post", path, **subject, **given)

    assert (refusal.value.code, refusal.value.param) == ("sandbox_unsupported", param)
    assert len(wrong_requests) == 1


@pytest.mark.parametrize("path", ["/v1/subscriptions", "/v1/products"])
def test_hears_of_requests_for_what_is_not_imitated(stripe_api, wrong_requests, path):
    with pytest.raises(stripe.InvalidRequestError):
        stripe_api.raw_request("get", path)

    assert wrong_requests[0].startswith(f"GET {path}: Unrecognized request URL")


def test_a_wrong_request_fails_the_test_that_sends_it(pytester, wrong_requests):
    pytester.makeconftest("from tests.stripe_requests import *")
    pytester.makepyfile(
        """
        import pytest
        import stripe
        from billing.sandbox import Sandbox
        from billing.sandbox.http_client import SandboxClient

        def send(**given):
            api = stripe.StripeClient("sk_test_x", http_client=SandboxClient(Sandbox()), max_network_retries=0)
            try:
                api.raw_request("post", "/v1/customers", **given)
            except stripe.InvalidRequestError:
                pass

        def test_right():
            send(name="Ada")

        def test_wrong():
            send(nmae="Ada")

        def test_wrong_on_purpose(wrong_requests):
            send(nmae="Ada")

        def test_right_by_mistake(wrong_requests):
            send(name="Ada")
        """
    )

    result = pytester.runpytest_inprocess("-p", "no:django", "-p", "no:xdist", "-p", "no:playwright")

    result.assert_outcomes(passed=4, errors=2)
    result.stdout.fnmatch_lines(["*Stripe has no such requests: POST /v1/customers: *unknown parameter: nmae*"])
    result.stdout.fnmatch_lines(["*ERROR*test_wrong *", "*ERROR*test_right_by_mistake*"])


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.pattern}")
def test_every_route_refuses_an_unknown_parameter(stripe_api, wrong_requests, route):
    path = route.pattern.replace("{", "").replace("}", "")

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.raw_request(route.method.lower(), path, colour="red")

    assert (refusal.value.code, refusal.value.param) == ("parameter_unknown", "colour")
