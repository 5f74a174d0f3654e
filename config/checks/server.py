"""How the server is reached, and what its secrets and cookies are worth."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.http.request import validate_host

# As many as Django asks for; a key that `manage.py` makes has 50 of about as many.
SHORTEST_SECRET_KEY = 50
FEWEST_CHARACTERS = 5


@register(Tags.security, deploy=True)
def check_server(**_: Any) -> list[CheckMessage]:
    """Check the settings of addresses, secrets and database, and what follows from them."""
    address = urlsplit(settings.PUBLIC_URL)
    return [
        *_debug(),
        *_secret_key(),
        *_public_url(address),
        *_allowed_hosts(address),
        *_trusted_origins(address),
        *_https_alone(address),
        *_database(),
    ]


def _debug() -> Iterator[CheckMessage]:
    if settings.DEBUG:
        yield Error(
            "DEBUG is true: whoever causes an error reads settings and source code.",
            hint="Set DEBUG=false.",
            id="candela.E001",
        )


def _secret_key() -> Iterator[CheckMessage]:
    key = settings.SECRET_KEY
    if len(key) < SHORTEST_SECRET_KEY or len(set(key)) < FEWEST_CHARACTERS or key.startswith("django-insecure-"):
        yield Error(
            "SECRET_KEY can be guessed: who knows it makes sessions of operators and addresses of invoices, and runs "
            "code through the job queue.",
            hint=f"Set SECRET_KEY to at least {SHORTEST_SECRET_KEY} random characters.",
            id="candela.E002",
        )
    kept = settings.CANDELA_DATA / "secret_key"
    if kept.exists() and kept.read_text().strip() == key:
        yield Warning(
            f"SECRET_KEY is the one that was made at the first start and lies in {kept}: a second machine makes "
            "another, and then sessions, invoice addresses and queued tasks of the one are nothing to the other.",
            hint="Set SECRET_KEY where the other secrets are; to keep what is signed, take the text of that file.",
            id="candela.W003",
        )


def _public_url(address: SplitResult) -> Iterator[CheckMessage]:
    if address.scheme != "https" or not address.hostname:
        yield Error(
            f"PUBLIC_URL is {settings.PUBLIC_URL}, which is not https: keys and passwords travel in the clear, cookies "
            "are not kept for https alone, and no HSTS is sent.",
            hint="Set PUBLIC_URL to the https:// address that the outside sees, and let the proxy in front speak TLS.",
            id="candela.E004",
        )
    if address.path or address.query or address.fragment:
        yield Warning(
            f"PUBLIC_URL is {settings.PUBLIC_URL}: addresses are made by adding a path to it, and this one has a part "
            "after the host already.",
            hint=f"Set PUBLIC_URL={address.scheme}://{address.netloc}",
            id="candela.W005",
        )


def _allowed_hosts(address: SplitResult) -> Iterator[CheckMessage]:
    if address.hostname and not validate_host(address.hostname, settings.ALLOWED_HOSTS):
        yield Error(
            f"ALLOWED_HOSTS lacks {address.hostname}, the host of PUBLIC_URL: requests for it are refused with 400.",
            hint=f"Add {address.hostname} to ALLOWED_HOSTS.",
            id="candela.E006",
        )
    if "*" in settings.ALLOWED_HOSTS:
        yield Warning(
            "ALLOWED_HOSTS has *: requests are answered under any name that somebody gives this server.",
            hint="Name the hosts: that of PUBLIC_URL, and the one that the health check sends.",
            id="candela.W007",
        )


def _trusted_origins(address: SplitResult) -> Iterator[CheckMessage]:
    origin = f"{address.scheme}://{address.netloc}"
    # As Django reads them: one with a star stands for all below it.
    wide = [one.partition("://*")[2] for one in settings.CSRF_TRUSTED_ORIGINS if f"{address.scheme}://*." in one]
    if origin not in settings.CSRF_TRUSTED_ORIGINS and not any(address.netloc.endswith(part) for part in wide):
        yield Error(
            f"CSRF_TRUSTED_ORIGINS lacks {origin}, that of PUBLIC_URL: behind a proxy, the forms of the checkout and "
            "the admin may be refused with 403.",
            hint=f"Leave CSRF_TRUSTED_ORIGINS out, or add {origin}.",
            id="candela.E008",
        )
    plain = [one for one in settings.CSRF_TRUSTED_ORIGINS if not one.startswith("https://")]
    if plain and address.scheme == "https":
        yield Warning(
            f"CSRF_TRUSTED_ORIGINS has {', '.join(plain)}: who sits on the line can send forms from there.",
            hint="Name origins with https:// alone.",
            id="candela.W009",
        )


def _https_alone(address: SplitResult) -> Iterator[CheckMessage]:
    """These follow from PUBLIC_URL; only who edits the settings' file can break them."""
    if address.scheme != "https":
        return
    for name in ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_HSTS_SECONDS", "SECURE_PROXY_SSL_HEADER"):
        if not getattr(settings, name):
            yield Error(
                f"{name} is off although PUBLIC_URL is https.",
                hint="Leave it to config/settings.py, which derives it from PUBLIC_URL.",
                id="candela.E010",
            )


def _database() -> Iterator[CheckMessage]:
    if settings.DATABASES["default"]["ENGINE"] == "config.embedded_postgres":
        yield Error(
            "DATABASE_URL is not set, so the embedded PostgreSQL is used: it stops with the processes that use it, "
            "is not backed up while it runs, and serves this machine alone.",
            hint="Set DATABASE_URL to a PostgreSQL 15 or newer that is run and backed up as a server.",
            id="candela.E011",
        )
