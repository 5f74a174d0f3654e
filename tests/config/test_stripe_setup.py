"""`manage.py stripe_setup` checks keys and makes the one webhook endpoint, and says no secret."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
import stripe
import time_machine
from django.core.management import CommandError, call_command
from djstripe.models import WebhookEndpoint

from billing.sandbox import Clock, FaultKind, Sandbox
from billing.sandbox.http_client import SandboxClient
from config.first_start import WEBHOOK_EVENTS
from config.stripe_setup import wrong_settings

AT = datetime(2026, 10, 31, 10, tzinfo=UTC)
DAY = timedelta(days=1)
URL = "https://billing.example.com"
KEY = "sk_test_CandelaTests0123456789abc"
PUBLIC_KEY = "pk_test_CandelaTests0123456789abc"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def sandbox(settings, monkeypatch):
    """A sandbox in the place of the account, and settings that fit it."""
    sandbox = Sandbox(clock=Clock(frozen_at=int(AT.timestamp())))
    settings.STRIPE_SECRET_KEY, settings.STRIPE_PUBLIC_KEY = KEY, PUBLIC_KEY
    settings.STRIPE_LIVE_MODE, settings.PUBLIC_URL = False, URL
    monkeypatch.setattr(stripe, "default_http_client", SandboxClient(sandbox))
    monkeypatch.setattr(stripe, "api_base", stripe.api_base)
    monkeypatch.setattr(stripe, "max_network_retries", stripe.max_network_retries)
    yield sandbox
    sandbox.close()


@pytest.fixture
def at_stripe(sandbox):
    return stripe.StripeClient(KEY, http_client=SandboxClient(sandbox))


def run(*args, at=AT):
    """The exit code and what is printed."""
    out = StringIO()
    with time_machine.travel(at, tick=False):
        try:
            call_command("stripe_setup", *args, stdout=out)
        except SystemExit as end:
            return end.code, out.getvalue()
    return 0, out.getvalue()


def endpoints(at_stripe):
    return at_stripe.v1.webhook_endpoints.list().data


def test_makes_the_endpoint_and_keeps_its_secret(at_stripe):
    code, text = run()

    (endpoint,) = endpoints(at_stripe)
    kept = WebhookEndpoint.objects.get(id=endpoint.id)
    assert code == 0
    assert endpoint.url == f"{URL}/stripe/webhook/{kept.djstripe_uuid}"
    assert (sorted(endpoint.enabled_events), endpoint.api_version) == (sorted(WEBHOOK_EVENTS), "2026-08-26.dahlia")
    assert kept.secret.startswith("whsec_")
    assert "Candela sandbox (not Stripe), US, USD" in text
    assert not any(secret in text for secret in (kept.secret, KEY, PUBLIC_KEY))


def test_run_again_it_changes_nothing(at_stripe):
    run()
    before = endpoints(at_stripe)

    code, text = run()

    assert (code, endpoints(at_stripe)) == (0, before)
    assert text.endswith("Nothing is to be done.\n")


def test_a_check_says_what_is_missing_and_changes_nothing(at_stripe):
    code, text = run("--check")

    assert code == 1
    assert f"Stripe has no webhook endpoint for {URL}." in text
    assert endpoints(at_stripe) == []


def test_a_check_of_what_is_right_is_0(at_stripe):
    run()

    assert run("--check")[0] == 0


def test_events_that_differ_are_put_right(at_stripe):
    run()
    (endpoint,) = endpoints(at_stripe)
    at_stripe.v1.webhook_endpoints.update(
        endpoint.id, {"enabled_events": ["invoice.paid", "customer.created"], "disabled": True}
    )

    code, text = run("--check")
    assert code == 1
    assert "is switched off at Stripe" in text
    assert "does not send charge.dispute.closed" in text
    assert "sends what nobody listens to: customer.created" in text

    assert run()[0] == 0
    (endpoint,) = endpoints(at_stripe)
    assert (sorted(endpoint.enabled_events), endpoint.status) == (sorted(WEBHOOK_EVENTS), "enabled")


def test_an_endpoint_whose_secret_nobody_knows_is_replaced(at_stripe):
    run()
    WebhookEndpoint.objects.all().delete()

    assert "its signing secret is not known here" in run("--check")[1]
    run()

    (endpoint,) = endpoints(at_stripe)
    assert WebhookEndpoint.objects.get().id == endpoint.id


def test_an_endpoint_of_another_version_is_replaced(at_stripe, sandbox):
    run()
    (old,) = endpoints(at_stripe)
    sandbox.store.put({**sandbox.store.find(old.id), "api_version": "2020-08-27"})

    assert "its events are of API version 2020-08-27" in run("--check")[1]
    run()

    assert [one.api_version for one in endpoints(at_stripe)] == ["2026-08-26.dahlia", "2020-08-27"]


def test_a_rotation_has_an_overlap_of_a_day(at_stripe, sandbox):
    run()
    (old,) = endpoints(at_stripe)
    sandbox.clock.set(AT + 5 * DAY)
    code, text = run("--rotate", at=AT + 5 * DAY)

    new, still = endpoints(at_stripe)
    assert (code, still.id) == (0, old.id)
    assert "goes on for a day" in text
    assert WebhookEndpoint.objects.exclude(secret="").count() == 2
    assert len(set(WebhookEndpoint.objects.values_list("secret", flat=True))) == 2
    assert run("--check", at=AT + 5 * DAY)[0] == 0

    assert run("--check", at=AT + 7 * DAY)[0] == 1
    run(at=AT + 7 * DAY)
    assert [one.id for one in endpoints(at_stripe)] == [new.id]
    assert [one.id for one in WebhookEndpoint.objects.all()] == [new.id]


def test_endpoints_of_others_in_the_same_account_are_left_alone(at_stripe):
    at_stripe.v1.webhook_endpoints.create({"url": "https://other.example.com/hook", "enabled_events": ["*"]})

    run()

    assert sorted(one.url.partition("/stripe/")[0] for one in endpoints(at_stripe)) == [
        URL, "https://other.example.com/hook"
    ]  # fmt: skip


def test_an_account_that_cannot_charge_is_said(sandbox):
    (account,) = sandbox.store.run("SELECT id FROM objects WHERE kind = 'account'")
    sandbox.store.put({**sandbox.store.find(account["id"]), "charges_enabled": False})

    code, text = run()

    assert code == 1
    assert "does not let this account charge yet" in text


def test_stripe_unreachable_is_said(sandbox):
    sandbox.faults.add(FaultKind.TIMEOUT, times=9)

    with pytest.raises(CommandError, match="Stripe cannot be asked"):
        run()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"STRIPE_SECRET_KEY": ""}, "STRIPE_SECRET_KEY is not set"),
        ({"STRIPE_SECRET_KEY": PUBLIC_KEY}, "STRIPE_SECRET_KEY is no secret key"),
        ({"STRIPE_PUBLIC_KEY": ""}, "STRIPE_PUBLIC_KEY is not set"),
        ({"STRIPE_PUBLIC_KEY": KEY}, "STRIPE_PUBLIC_KEY is no publishable key"),
        ({"STRIPE_PUBLIC_KEY": "pk_live_1"}, "a test key, but STRIPE_PUBLIC_KEY is a live key"),
        ({"STRIPE_LIVE_MODE": True}, "STRIPE_LIVE_MODE must be false"),
        ({"STRIPE_SECRET_KEY": "rk_live_1", "STRIPE_PUBLIC_KEY": "pk_live_1"}, "STRIPE_LIVE_MODE must be true"),
    ],
)
def test_settings_that_do_not_fit_are_named_and_nothing_is_made(settings, at_stripe, changed, words):
    for name, value in changed.items():
        setattr(settings, name, value)

    code, text = run()

    assert code == 1
    assert words in text
    assert not any(value in text for value in changed.values() if isinstance(value, str) and value)
    assert endpoints(at_stripe) == []


@pytest.mark.parametrize(
    ("url", "count"),
    [
        (URL, 0), ("http://billing.example.com", 1), ("https://localhost", 1), ("http://127.0.0.1:8000", 2),
        ("https://10.0.0.7", 1), ("https://[::1]", 1), ("", 2),
    ],
)  # fmt: skip
def test_a_live_account_needs_an_address_that_stripe_reaches(settings, url, count):
    settings.STRIPE_SECRET_KEY, settings.STRIPE_PUBLIC_KEY = "sk_live_1", "pk_live_1"
    settings.STRIPE_LIVE_MODE, settings.PUBLIC_URL = True, url

    assert len(wrong_settings()) == count
