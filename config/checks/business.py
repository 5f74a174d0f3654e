"""What is billed and collected by: time, Stripe's keys and address, and mail."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

STRIPE_API = "https://api.stripe.com"
FILES = "django.core.mail.backends.filebased.EmailBackend"
# Restricted keys begin with rk.
SECRET_PREFIXES = ("sk_test_", "sk_live_", "rk_test_", "rk_live_")


@register("business", deploy=True)
def check_business(**_: Any) -> list[CheckMessage]:
    """Check the settings of time, of Stripe and of mail."""
    return [*_time(), *_secret_key(), *_public_key(), *_webhook_secret(), *_address(), *_mail()]


def _time() -> Iterator[CheckMessage]:
    try:
        ZoneInfo(settings.BILLING_TIME_ZONE)
    except (KeyError, ValueError, OSError):
        yield Error(
            f"BILLING_TIME_ZONE is {settings.BILLING_TIME_ZONE!r}, which is no time zone.",
            hint="Set it to a name of the IANA list, such as Europe/Berlin. It is frozen by the first migrate.",
            id="candela.E012",
        )
    for name in ("INVOICE_GRACE_HOURS", "LATE_USAGE_DAYS"):
        if getattr(settings, name) < 0:
            yield Error(
                f"{name} is {getattr(settings, name)}, but time to wait cannot be negative.",
                hint=f"Set {name} to 0 or more.",
                id="candela.E013",
            )


def _secret_key() -> Iterator[CheckMessage]:
    key = settings.STRIPE_SECRET_KEY
    if not key:
        yield Error(
            "STRIPE_SECRET_KEY is not set: a sandbox stands in for Stripe, or nothing does, and no money is collected.",
            hint="Set STRIPE_SECRET_KEY to the secret key of your Stripe account.",
            id="candela.E021",
        )
    elif not key.startswith(SECRET_PREFIXES):
        yield Error(
            "STRIPE_SECRET_KEY is no secret key of Stripe's: they begin with sk_live_, sk_test_, rk_live_ or rk_test_.",
            hint="Take it from Developers, API keys, in Stripe's dashboard.",
            id="candela.E022",
        )
    elif _is_live(key) != settings.STRIPE_LIVE_MODE:
        yield _mode_differs(key)


def _mode_differs(key: str) -> CheckMessage:
    if _is_live(key):
        return Error(
            "STRIPE_SECRET_KEY is a live key, but STRIPE_LIVE_MODE is not true: real money is collected by what says "
            "of itself that it is a test.",
            hint="Set STRIPE_LIVE_MODE=true, or take a test key.",
            id="candela.E024",
        )
    return Error(
        "STRIPE_LIVE_MODE is true, but STRIPE_SECRET_KEY is a test key: no money is collected.",
        hint="Set STRIPE_SECRET_KEY to a live key, or leave STRIPE_LIVE_MODE out.",
        id="candela.E023",
    )


def _public_key() -> Iterator[CheckMessage]:
    key = settings.STRIPE_PUBLIC_KEY
    if not key:
        if settings.STRIPE_SECRET_KEY:
            yield Error(
                "STRIPE_PUBLIC_KEY is not set: the checkout refuses every card with 503.",
                hint="Set STRIPE_PUBLIC_KEY to the publishable key that stands beside the secret one at Stripe.",
                id="candela.E025",
            )
    elif not key.startswith(("pk_test_", "pk_live_")):
        yield Error(
            "STRIPE_PUBLIC_KEY is no publishable key of Stripe's, and it is sent to every browser at the checkout.",
            hint="Set it to the key that begins with pk_live_ or pk_test_; if a secret key stood here, roll that one.",
            id="candela.E026",
        )
    elif settings.STRIPE_SECRET_KEY and _is_live(key) != _is_live(settings.STRIPE_SECRET_KEY):
        yield Error(
            "STRIPE_PUBLIC_KEY and STRIPE_SECRET_KEY are of different modes: cards that one has taken are unknown to "
            "the other.",
            hint="Set both to live keys or both to test keys, of the same account.",
            id="candela.E027",
        )


def _webhook_secret() -> Iterator[CheckMessage]:
    secret = settings.STRIPE_WEBHOOK_SECRET
    if secret and not secret.startswith("whsec_"):
        yield Error(
            "STRIPE_WEBHOOK_SECRET is no signing secret of Stripe's: every webhook is refused.",
            hint="Set it to the endpoint's signing secret, which begins with whsec_.",
            id="candela.E028",
        )


def _address() -> Iterator[CheckMessage]:
    if settings.STRIPE_SECRET_KEY and settings.STRIPE_API_ADDRESS.rstrip("/") != STRIPE_API:
        host = urlsplit(settings.STRIPE_API_ADDRESS).hostname
        yield Error(
            f"STRIPE_API_HOST leads to {host}, not to Stripe: it is sent your key, and what it says is paid is not.",
            hint="Leave STRIPE_API_HOST out.",
            id="candela.E029",
        )


def _mail() -> Iterator[CheckMessage]:
    if settings.EMAIL_BACKEND == FILES:
        yield Warning(
            f"EMAIL_URL is not set: mail is not sent but written to files in {settings.EMAIL_FILE_PATH}.",
            hint="Set EMAIL_URL to a mail server, such as smtp+tls://USER:PASSWORD@HOST:587.",
            id="candela.W031",
        )
    if settings.DEFAULT_FROM_EMAIL.rstrip(">").endswith("@localhost"):
        yield Warning(
            f"DEFAULT_FROM_EMAIL is {settings.DEFAULT_FROM_EMAIL}, an address that nobody can answer.",
            hint="Set it to an address of yours that the mail server may send from.",
            id="candela.W032",
        )


def _is_live(key: str) -> bool:
    return "_live_" in key
