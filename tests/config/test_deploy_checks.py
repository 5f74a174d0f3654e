"""`manage.py check --deploy` names each setting that is missing or unsafe, and what to do about it."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.checks import CheckMessage
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import OperationalError
from django.utils import timezone
from django_q.models import Schedule
from djstripe.models import WebhookEndpoint

from billing import gateway
from config.checks.business import check_business
from config.checks.server import check_server
from config.checks.stored import check_stored
from config.schedules import sync_schedules
from plans.models import Merchant

KEY = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
WEBHOOKS = "https://billing.example/stripe/webhook/7a0c9a52-2d0f-4b52-9a52-0d1f6f1f3b11"
PRODUCTION = {
    "DEBUG": False,
    "SECRET_KEY": KEY,
    "PUBLIC_URL": "https://billing.example",
    "ALLOWED_HOSTS": ["billing.example"],
    "CSRF_TRUSTED_ORIGINS": ["https://billing.example"],
    "SESSION_COOKIE_SECURE": True,
    "CSRF_COOKIE_SECURE": True,
    "SECURE_HSTS_SECONDS": 2_592_000,
    "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
    "BILLING_TIME_ZONE": "UTC",
    "STRIPE_SECRET_KEY": "sk_live_x",
    "STRIPE_PUBLIC_KEY": "pk_live_x",
    "STRIPE_WEBHOOK_SECRET": "",
    "STRIPE_LIVE_MODE": True,
    "STRIPE_API_ADDRESS": "https://api.stripe.com",
    "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
    "DEFAULT_FROM_EMAIL": "Billing <billing@billing.example>",
}


@pytest.fixture
def production(settings, monkeypatch, tmp_path):
    """Settings with which there is nothing to say."""
    for name, value in PRODUCTION.items():
        setattr(settings, name, value)
    settings.CANDELA_DATA = tmp_path
    monkeypatch.setitem(django_settings.DATABASES["default"], "ENGINE", "django.db.backends.postgresql")
    return settings


def said() -> dict[str, CheckMessage]:
    return {message.id: message for message in [*check_server(), *check_business()]}


def test_says_nothing_of_a_sound_production(production):
    assert said() == {}


@pytest.mark.parametrize(
    ("number", "broken", "words"),
    [
        ("candela.E001", {"DEBUG": True}, "DEBUG is true"),
        ("candela.E002", {"SECRET_KEY": KEY[:49]}, "SECRET_KEY can be guessed"),
        ("candela.E002", {"SECRET_KEY": "abcd" * 20}, "SECRET_KEY can be guessed"),
        ("candela.E002", {"SECRET_KEY": "django-insecure-" + KEY}, "SECRET_KEY can be guessed"),
        (
            "candela.E004",
            {"PUBLIC_URL": "http://billing.example", "CSRF_TRUSTED_ORIGINS": ["http://billing.example"]},
            "http://billing.example, which is not https",
        ),
        ("candela.W005", {"PUBLIC_URL": "https://billing.example/"}, "a part after the host"),
        ("candela.E006", {"ALLOWED_HOSTS": ["127.0.0.1"]}, "lacks billing.example"),
        ("candela.W007", {"ALLOWED_HOSTS": ["*"]}, "ALLOWED_HOSTS has *"),
        ("candela.E008", {"CSRF_TRUSTED_ORIGINS": ["https://other.example"]}, "lacks https://billing.example"),
        (
            "candela.W009",
            {"CSRF_TRUSTED_ORIGINS": ["https://billing.example", "http://old.example"]},
            "has http://old.example",
        ),
        ("candela.E010", {"SESSION_COOKIE_SECURE": False}, "SESSION_COOKIE_SECURE is off"),
        ("candela.E010", {"CSRF_COOKIE_SECURE": False}, "CSRF_COOKIE_SECURE is off"),
        ("candela.E010", {"SECURE_HSTS_SECONDS": 0}, "SECURE_HSTS_SECONDS is off"),
        ("candela.E010", {"SECURE_PROXY_SSL_HEADER": None}, "SECURE_PROXY_SSL_HEADER is off"),
        ("candela.E012", {"BILLING_TIME_ZONE": "Europe/Atlantis"}, "'Europe/Atlantis', which is no time zone"),
        ("candela.E012", {"BILLING_TIME_ZONE": "../etc/passwd"}, "which is no time zone"),
        ("candela.E013", {"INVOICE_GRACE_HOURS": -1}, "INVOICE_GRACE_HOURS is -1"),
        ("candela.E013", {"LATE_USAGE_DAYS": -1}, "LATE_USAGE_DAYS is -1"),
        ("candela.E021", {"STRIPE_SECRET_KEY": ""}, "STRIPE_SECRET_KEY is not set"),
        ("candela.E022", {"STRIPE_SECRET_KEY": "pk_live_x"}, "no secret key of Stripe's"),
        (
            "candela.E023",
            {"STRIPE_SECRET_KEY": "rk_test_x", "STRIPE_PUBLIC_KEY": "pk_test_x"},
            "STRIPE_LIVE_MODE is true, but",
        ),
        ("candela.E024", {"STRIPE_LIVE_MODE": False}, "STRIPE_SECRET_KEY is a live key, but"),
        ("candela.E025", {"STRIPE_PUBLIC_KEY": ""}, "the checkout refuses every card"),
        ("candela.E026", {"STRIPE_PUBLIC_KEY": "sk_live_x"}, "it is sent to every browser"),
        ("candela.E027", {"STRIPE_PUBLIC_KEY": "pk_test_x"}, "are of different modes"),
        ("candela.E028", {"STRIPE_WEBHOOK_SECRET": "we_123"}, "STRIPE_WEBHOOK_SECRET is no signing secret"),
        ("candela.E029", {"STRIPE_API_ADDRESS": "http://127.0.0.1:12111"}, "leads to 127.0.0.1, not to Stripe"),
        (
            "candela.W031",
            {"EMAIL_BACKEND": "django.core.mail.backends.filebased.EmailBackend", "EMAIL_FILE_PATH": "/data/mail"},
            "written to files in /data/mail",
        ),
        ("candela.W032", {"DEFAULT_FROM_EMAIL": "billing@localhost"}, "DEFAULT_FROM_EMAIL is billing@localhost"),
        ("candela.W032", {"DEFAULT_FROM_EMAIL": "Us <us@localhost>"}, "an address that nobody can answer"),
    ],
)
def test_names_what_is_wrong_and_nothing_else(production, number, broken, words):
    for name, value in broken.items():
        setattr(production, name, value)

    found = said()

    assert list(found) == [number]
    assert words in found[number].msg
    assert found[number].hint


def test_a_secret_key_that_was_made_at_the_first_start_is_named_with_its_file(production, tmp_path):
    (tmp_path / "secret_key").write_text(f"{KEY}\n")

    assert list(said()) == ["candela.W003"]
    assert str(tmp_path / "secret_key") in said()["candela.W003"].msg


def test_a_kept_secret_key_that_is_not_used_is_no_matter(production, tmp_path):
    (tmp_path / "secret_key").write_text(KEY[::-1])

    assert said() == {}


def test_the_embedded_postgresql_is_named(production, monkeypatch):
    monkeypatch.setitem(django_settings.DATABASES["default"], "ENGINE", "config.embedded_postgres")

    assert list(said()) == ["candela.E011"]


def test_origins_with_a_star_stand_for_those_below(production):
    production.CSRF_TRUSTED_ORIGINS = ["https://*.example"]

    assert said() == {}


def test_no_message_shows_a_key(production):
    production.SECRET_KEY = "short-secret"
    production.STRIPE_SECRET_KEY = "sk_wrong_secret"
    production.STRIPE_PUBLIC_KEY = "sk_live_secret"
    production.STRIPE_WEBHOOK_SECRET = "not-a-secret"

    words = " ".join(f"{message.msg} {message.hint}" for message in said().values())

    assert len(said()) == 4
    assert "short-secret" not in words
    assert "_secret" not in words.replace("secret_key", "")
    assert "not-a-secret" not in words


class TestOfTheDatabase:
    pytestmark = pytest.mark.django_db

    @pytest.fixture(autouse=True)
    def _sound(self, production):
        gateway.keep_webhook_secret(url=WEBHOOKS, uuid=WEBHOOKS[-36:], secret="whsec_x")
        sync_schedules(entries=production.SCHEDULES)

    def said(self):
        return {message.id: message.msg for message in check_stored(databases=["default"])}

    def test_says_nothing_of_a_sound_one(self):
        assert self.said() == {}

    def test_it_is_left_alone_unless_asked_for(self, django_assert_num_queries):
        Schedule.objects.all().delete()

        with django_assert_num_queries(0):
            assert check_stored(databases=None) == []

    def test_another_time_zone_is_named_with_the_right_one(self):
        Merchant.objects.update(billing_time_zone="Europe/Berlin")

        assert "set up with Europe/Berlin" in self.said()["candela.E041"]

    @pytest.mark.parametrize(
        "endpoint",
        [
            {"url": "https://old.example/stripe/webhook/7a0c9a52-2d0f-4b52-9a52-0d1f6f1f3b11"},
            {"secret": ""},
            {"status": "disabled"},
        ],
    )
    def test_an_endpoint_for_webhooks_that_is_elsewhere_or_takes_nothing_is_none(self, endpoint):
        WebhookEndpoint.objects.update(**endpoint)

        assert list(self.said()) == ["candela.W042"]

    def test_a_missing_schedule_is_named(self):
        Schedule.objects.filter(name="candela: send").delete()

        assert "lacks candela: send." in self.said()["candela.E043"]

    def test_a_sweep_that_is_long_due_tells_that_nobody_runs_them(self):
        Schedule.objects.filter(name="candela: books").update(next_run=timezone.now() - timedelta(minutes=11))
        Schedule.objects.filter(name="candela: send").update(next_run=timezone.now() - timedelta(minutes=9))

        assert "candela: books was due" in self.said()["candela.E044"]

    def test_a_database_that_cannot_be_read_is_told(self, monkeypatch):
        def fail(*args, **kwargs):
            raise OperationalError("connection refused")

        monkeypatch.setattr(Merchant.objects, "values_list", fail)

        assert self.said() == {"candela.E040": "The database cannot be read: connection refused"}

    def test_the_command_asks_it_when_told_to(self):
        Schedule.objects.filter(name="candela: send").delete()

        call_command("check", deploy=True)
        with pytest.raises(SystemCheckError, match=r"candela\.E043"):
            call_command("check", deploy=True, databases=["default"])


def test_the_command_exits_with_an_error_where_nothing_is_set(tmp_path):
    """Of a fresh checkout, in a process of its own."""
    names = ("DEBUG", "SECRET_KEY", "PUBLIC_URL", "DATABASE_URL", "EMAIL_URL", "STRIPE_SECRET_KEY", "STRIPE_PUBLIC_KEY")
    answer = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy"],
        cwd=Path(__file__).parents[2],
        env=os.environ | dict.fromkeys(names, "") | {"DEBUG": "false", "CANDELA_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert answer.returncode == 1
    for number in ("W003", "E004", "E011", "E021", "W031", "W032"):
        assert f"candela.{number}" in answer.stderr
