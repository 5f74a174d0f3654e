"""Customers with subscriptions of one plan. The product's services make some, and SQL makes the others like them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import models, transaction

from billing.services.subscribe import subscribe
from credits.models import CreditDefinition, CreditGrant, CreditTransaction, SubscriptionCredit
from credits.services.publish_plan import QuotaTerms, UsageTerms, publish_plan
from credits.services.renew import grant_with_subscription
from plans.models import Customer, Plan, Subscription, SubscriptionFeature, SubscriptionItem, SubscriptionPeriod
from plans.services.subscriptions import open_subscription
from plans.services.time_zone import billing_zone
from tests.bench.installation import execute

EVENT_NAME = "api-request"
SLUG = "api-requests"
QUOTA = Decimal(10_000)
UNIT_COST_CENTS = 5
FEE_CENTS = 2_900
# Customers without events, for what has to start from a known balance.
SPARE_CUSTOMERS = 20
# Clocks turn on different days of the month, as they would.
START_DAYS = 28


@dataclass(frozen=True, slots=True)
class Subscribers:
    """The public ids of the customers made."""

    with_events: list[str]
    spare: list[str]


@transaction.atomic
def make_subscribers(*, count: int, before: datetime, at: datetime) -> Subscribers:
    """Make `count` customers and some spare ones, all subscribed on one of the days up to `before`, with the periods
    and grants that they have by `at`."""
    customers = _make_customers(count + SPARE_CUSTOMERS, at=before)
    plan = _publish(before - timedelta(days=START_DAYS))
    for number, customer in enumerate(customers[:START_DAYS]):
        # At an hour within the day, so that the first period starts on a day that is cut.
        started_at = before - timedelta(days=1 + number, seconds=-3_000 * number)
        _subscribe(customer, plan, started_at=started_at, at=at)
    _subscribe_likewise()
    ids = [customer.public_id for customer in customers]
    return Subscribers(with_events=ids[:count], spare=ids[count:])


@transaction.atomic
def make_paying_subscribers(*, count: int, at: datetime) -> None:
    """Make `count` customers who subscribe at one instant to the plan with a monthly fee, which is billed to some of
    them then."""
    customers = _make_customers(count, at=at)
    plan = _publish(at, fee_cents=FEE_CENTS)
    for customer in customers[:START_DAYS]:
        subscribe(at=at, customer=customer, plan=plan)
    _subscribe_likewise()


def _make_customers(count: int, *, at: datetime) -> list[Customer]:
    return Customer.objects.bulk_create(
        [
            Customer(
                public_id=f"cus_{number:022}",
                name=f"Customer {number}",
                email=f"customer{number}@bench.example",
                external_customer_id=f"user-{number}",
                invoice_prefix=f"B{number:06}",
                created_at=at,
            )
            for number in range(count)
        ],
        batch_size=2_000,
    )


def _publish(at: datetime, *, fee_cents: int | None = None) -> Plan:
    """Publish a plan of 10,000 requests a month at 5 cents for each further one."""
    return publish_plan(
        at=at,
        name="Benchmark",
        currency="USD",
        monthly_amount_cents=fee_cents,
        usage_components=[
            UsageTerms(
                slug=SLUG,
                name="API requests",
                event_name=EVENT_NAME,
                unit_label="request",
                unit_cost_cents=Decimal(UNIT_COST_CENTS),
                quota=QuotaTerms(units=QUOTA, shown_on_invoices=True),
            )
        ],
    )


def _subscribe(customer: Customer, plan: Plan, *, started_at: datetime, at: datetime) -> None:
    """Subscribe a customer, but for the invoices, which nothing that is measured reads."""
    price = plan.prices.get()
    quotas = CreditDefinition.objects.granted_with(plan, price)
    subscription = open_subscription(
        at=at,
        customer=customer,
        price=price,
        started_at=started_at,
        metrics_with_quota=set(quotas.values_list("metric_id", flat=True)),
    )
    grant_with_subscription(at=started_at, subscription=subscription)


def _subscribe_likewise() -> None:
    """Give each customer without a subscription a copy of all rows of one that has it."""
    execute(
        """
        CREATE TEMPORARY TABLE twin ON COMMIT DROP AS
        WITH pattern AS (
            SELECT customer_id, row_number() OVER (ORDER BY customer_id) - 1 AS number, count(*) OVER () AS patterns
            FROM plans_subscription
        )
        SELECT customer.id AS customer_id, pattern.customer_id AS like_id
        FROM plans_customer customer JOIN pattern ON pattern.number = customer.id % pattern.patterns
        WHERE customer.id NOT IN (SELECT customer_id FROM pattern)
        """
    )
    _copy(Subscription, stable_subscription_id="'sub_stable_' || substr(md5(twin.customer_id::text), 1, 22)")
    own_subscription = "JOIN plans_subscription subscription ON subscription.customer_id = twin.customer_id"
    _copy(SubscriptionFeature, own_subscription, subscription_id="subscription.id")
    _copy(SubscriptionItem, own_subscription, subscription_id="subscription.id")
    _copy_credits()
    # From here on tables are large enough to be joined wrongly by guesses.
    execute("ANALYZE plans_subscription, plans_subscriptionitem")
    own_item = """
        JOIN plans_subscriptionitem pattern ON pattern.id = original.item_id
        JOIN plans_subscriptionitem item
            ON item.customer_id = twin.customer_id AND item.component_id = pattern.component_id
    """
    _copy(SubscriptionPeriod, own_item, item_id="item.id", subscription_id="item.subscription_id")
    execute("ANALYZE plans_subscriptionperiod")
    own_period = """
        JOIN plans_subscriptionperiod pattern ON pattern.id = original.period_id
        JOIN plans_subscriptionperiod period
            ON period.customer_id = twin.customer_id AND period.metric_id = pattern.metric_id
            AND period.number = pattern.number
    """
    _copy(CreditGrant, own_period, period_id="period.id", subscription_id="period.subscription_id")
    execute("ANALYZE credits_creditgrant")
    own_grant = """
        JOIN credits_creditgrant pattern ON pattern.id = original.grant_id
        JOIN credits_creditgrant own
            ON own.customer_id = twin.customer_id AND own.starts_at = pattern.starts_at
    """
    _copy(CreditTransaction, own_grant, grant_id="own.id")


def _copy_credits() -> None:
    """Copy what each pattern's subscription was sold to be granted."""
    columns = [field.column for field in SubscriptionCredit._meta.concrete_fields if not field.primary_key]
    values = ["own.id" if column == "subscription_id" else f"original.{column}" for column in columns]
    execute(
        f"INSERT INTO credits_subscriptioncredit ({', '.join(columns)}) SELECT {', '.join(values)} FROM twin "
        "JOIN plans_subscription own ON own.customer_id = twin.customer_id "
        "JOIN plans_subscription pattern ON pattern.customer_id = twin.like_id "
        "JOIN credits_subscriptioncredit original ON original.subscription_id = pattern.id ORDER BY own.id"
    )


def _copy(model: type[models.Model], joins: str = "", **own: str) -> None:
    """Copy the rows of each twin's pattern with the customer, an id, and what `own` names exchanged."""
    own["customer_id"] = "twin.customer_id"
    columns = [field.column for field in model._meta.concrete_fields if not field.primary_key]
    if "public_id" in columns:
        own["public_id"] = "left(original.public_id, -22) || substr(md5(original.public_id || twin.customer_id), 1, 22)"
    values = [own.get(column, f"original.{column}") for column in columns]
    table = model._meta.db_table
    execute(
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} "
        f"FROM twin JOIN {table} original ON original.customer_id = twin.like_id {joins} "
        "ORDER BY twin.customer_id, original.id"
    )


@transaction.atomic
def settle_past_periods(*, at: datetime) -> None:
    """Settle the periods that have ended by `at`, as `credits.services.settle` would: each has one grant, which burns
    first and then expires."""
    execute(
        """
        CREATE TEMPORARY TABLE past ON COMMIT DROP AS
        SELECT period.id AS period_id, period.customer_id, credit.id AS grant_id, credit.initial_amount AS granted,
            COALESCE(sum(usage.total), 0) AS used,
            LEAST(COALESCE(sum(usage.total), 0), credit.initial_amount) AS burned
        FROM plans_subscriptionperiod period
        JOIN credits_creditgrant credit ON credit.period_id = period.id
        LEFT JOIN metering_usageday usage ON usage.customer_id = period.customer_id
            AND usage.day >= (period.start_at AT TIME ZONE %(zone)s)::date
            AND usage.day < (period.end_at AT TIME ZONE %(zone)s)::date
        WHERE period.end_at <= %(at)s
        GROUP BY period.id, credit.id
        """,
        {"zone": billing_zone().key, "at": at},
    )
    execute(
        """
        UPDATE plans_subscriptionperiod period SET closed_at = %(at)s, settled_at = %(at)s, settled_usage = used,
            settled_included = 0, settled_credited = burned
        FROM past WHERE period.id = past.period_id
        """,
        {"at": at},
    )
    execute("UPDATE credits_creditgrant credit SET ledger_remaining = 0 FROM past WHERE credit.id = past.grant_id")
    execute(
        """
        INSERT INTO credits_credittransaction (public_id, customer_id, grant_id, kind, amount, period_id, occurred_at,
            notes)
        SELECT 'cred_txn_' || substr(md5(kind || grant_id), 1, 22), customer_id, grant_id, kind, -units, period_id,
            %(at)s, ''
        FROM past CROSS JOIN LATERAL (VALUES ('burned', burned), ('expired', granted - burned)) AS part(kind, units)
        WHERE units > 0
        """,
        {"at": at},
    )
