"""What a fresh installation is given: operator, keys, pricing table, webhook endpoint and, if wanted, a sample set."""

import json
import logging
import os
import secrets
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone
from djstripe.models import WebhookEndpoint

from billing import gateway
from billing.services.disputes import DISPUTE_MOVED
from billing.services.inbox import INTENT_MOVED, REFUND_MOVED
from billing.services.subscribe import subscribe
from config.keys import create_api_key, find_active_key
from config.models import ApiKey, KeyType
from credits.services.publish_plan import QuotaTerms, SwitchTerms, UsageTerms, publish_plan
from metering.services.attribute_events import register_customer
from plans.models import Customer, Merchant, Plan, PricingTable, PricingTablePlan
from plans.refusals import Refusal
from plans.services.pricing_tables import ensure_default_table
from plans.services.time_zone import billing_zone

logger = logging.getLogger(__name__)

OPERATOR = "operator"
SAMPLE = "Sample plan"
WEBHOOK_EVENTS = ["invoice.paid", *INTENT_MOVED, *REFUND_MOVED, *DISPUTE_MOVED]
# The address for an endpoint that somebody made in Stripe's dashboard; what protects it is the signature.
WEBHOOK_UUID = "7a0c9a52-2d0f-4b52-9a52-0d1f6f1f3b11"


@dataclass(frozen=True)
class Access:
    """Where to go and what to show there; kept in `CANDELA_DATA/access.json`, readable by its owner alone."""

    url: str
    admin_username: str
    admin_password: str
    secret_key: str
    publishable_key: str
    sandbox_url: str | None


def prepare(*, demo: bool, port: int, sandbox_url: str | None) -> Access:
    """Make what is missing and return the access data. Safe to run at every start: what is there stays as it is."""
    # Refuses to go on with another time zone than the one that this database was set up with.
    billing_zone()
    at = timezone.now()
    kept = _read_access()
    _name_merchant()
    table = ensure_default_table()
    access = Access(
        url=settings.PUBLIC_URL,
        admin_username=OPERATOR,
        admin_password=_operator_password(kept.get("admin", {}).get("password")),
        secret_key=_key(kept.get("secretKey", ""), "secret", at),
        publishable_key=_key(kept.get("publishableKey", ""), "publishable", at),
        sandbox_url=sandbox_url,
    )
    _write_access(access)
    if sandbox_url is not None:
        _connect_sandbox_webhooks(f"http://127.0.0.1:{port}", sandbox_url)
    elif settings.STRIPE_WEBHOOK_SECRET:
        gateway.keep_webhook_secret(
            url=f"{settings.PUBLIC_URL}/stripe/webhook/{WEBHOOK_UUID}",
            uuid=WEBHOOK_UUID,
            secret=settings.STRIPE_WEBHOOK_SECRET,
        )
    if demo:
        try:
            make_sample_set(table=table, at=at)
        except Refusal as refusal:
            logger.warning("The sample set is left out, since it does not fit what is there: %s", refusal.message)
    return access


def _read_access() -> dict[str, Any]:
    try:
        return json.loads((settings.CANDELA_DATA / "access.json").read_text())
    except (OSError, ValueError):
        return {}


def _write_access(access: Access) -> None:
    values = asdict(access)
    body = {
        "url": values["url"],
        "admin": {"username": values["admin_username"], "password": values["admin_password"]},
        "secretKey": values["secret_key"],
        "publishableKey": values["publishable_key"],
        "sandboxUrl": values["sandbox_url"],
    }
    path = settings.CANDELA_DATA / "access.json"
    unfinished = path.with_suffix(".unfinished")
    handle = os.open(unfinished, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(body, file, indent=2)
    unfinished.replace(path)


def _name_merchant() -> None:
    Merchant.objects.filter(display_name="").update(display_name="My company")


def _operator_password(kept: str | None) -> str:
    """Return the operator's password, making operator and password where nobody knows one.

    A password that was changed in the admin is left alone, and is not told here: empty.
    """
    operator, created = get_user_model().objects.get_or_create(
        username=OPERATOR, defaults={"is_staff": True, "is_superuser": True}
    )
    if kept is not None and not created:
        return kept if operator.check_password(kept) else ""
    password = kept or secrets.token_urlsafe(12)
    operator.set_password(password)
    operator.save(update_fields=["password"])
    return password


def _key(kept: str, key_type: str, at: datetime) -> str:
    """Return the kept key while it works, else a new one."""
    if kept:
        try:
            find_active_key(text=kept, at=at)
            return kept
        except Refusal:
            pass
    is_live = settings.STRIPE_LIVE_MODE or "_live_" in settings.STRIPE_SECRET_KEY
    environment = "live" if is_live else "test"
    if key_type == KeyType.PUBLISHABLE:
        # It stands in pages of customers; a new one would revoke it.
        there = ApiKey.objects.filter(key_type=key_type, environment=environment, revoked_at=None).first()
        if there is not None and there.publishable_value:
            return there.publishable_value
    _, text = create_api_key(name="Made at the first start", key_type=key_type, environment=environment, at=at)
    return text


def _connect_sandbox_webhooks(url: str, sandbox_url: str) -> None:
    """Have the sandbox send its events here."""
    uuid = str(uuid5(NAMESPACE_URL, f"{url} {sandbox_url}"))
    address = f"{url}/stripe/webhook/{uuid}"
    endpoint = WebhookEndpoint.objects.filter(djstripe_uuid=uuid, url=address).first()
    if endpoint is None:
        gateway.create_webhook_endpoint(url=address, uuid=uuid, events=WEBHOOK_EVENTS)
    elif sorted(endpoint.enabled_events) != sorted(WEBHOOK_EVENTS):
        # Made by an earlier version, which knew fewer events.
        gateway.update_webhook_events(endpoint.id, WEBHOOK_EVENTS)


@transaction.atomic
def make_sample_set(*, table: PricingTable, at: datetime) -> None:
    """Make three plans and two customers to look at, once."""
    if Plan.objects.filter(commit_message=SAMPLE).exists():
        return
    plans = [
        publish_plan(
            at=at,
            name="Free",
            description="To try it out.",
            currency="USD",
            monthly_amount_cents=0,
            usage_components=[
                UsageTerms(
                    slug="api-calls",
                    name="API calls",
                    event_name="api_calls",
                    unit_label="call",
                    quota=QuotaTerms(units=Decimal(1_000)),
                )
            ],
            commit_message=SAMPLE,
            is_visible_in_pricing_table=True,
        ),
        publish_plan(
            at=at,
            name="Pro",
            description="For teams that build on it.",
            currency="USD",
            monthly_amount_cents=2_900,
            yearly_amount_cents=29_000,
            features=[SwitchTerms(slug="priority-support", name="Priority support")],
            usage_components=[_sold_calls(quota=10_000, unit_cost_cents="5")],
            commit_message=SAMPLE,
            is_visible_in_pricing_table=True,
        ),
        publish_plan(
            at=at,
            name="Scale",
            description="For products that depend on it.",
            currency="USD",
            monthly_amount_cents=19_900,
            yearly_amount_cents=199_000,
            features=[SwitchTerms(slug="priority-support", name="Priority support")],
            usage_components=[_sold_calls(quota=100_000, unit_cost_cents="2.5")],
            commit_message=SAMPLE,
            is_visible_in_pricing_table=True,
        ),
    ]
    PricingTablePlan.objects.bulk_create(
        PricingTablePlan(
            pricing_table=table, plan=plan, display_order=order, is_popular=plan.name == "Pro", popular_text="Popular"
        )
        for order, plan in enumerate(plans)
    )
    for external_id, name, plan in (("acme", "Acme", plans[1]), ("globex", "Globex", plans[2])):
        if not Customer.objects.filter(external_customer_id=external_id).exists():
            customer = register_customer(
                at=at, name=name, email=f"billing@{external_id}.example", external_customer_id=external_id
            )
            subscribe(at=at, customer=customer, plan=plan, price=plan.prices.order_by("pk")[0])


def _sold_calls(*, quota: int, unit_cost_cents: str) -> UsageTerms:
    return UsageTerms(
        slug="api-calls",
        name="API calls",
        event_name="api_calls",
        unit_label="call",
        unit_cost_cents=Decimal(unit_cost_cents),
        quota=QuotaTerms(units=Decimal(quota), shown_on_invoices=True),
    )
