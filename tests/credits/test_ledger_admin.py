"""The operator's ledger says why units moved."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse

from billing import jobs
from billing.services.subscribe import subscribe
from credits.models import CreditTransaction
from credits.services.grants import grant_credits
from tests.factories import CreditDefinitionFactory, CustomerFactory
from tests.pro_plan import make_pro_plan, use

JANUARY, FEBRUARY, MARCH = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2, 3))
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(admin_user):
    client = Client()
    client.force_login(admin_user)
    return client


@pytest.fixture
def pro():
    return make_pro_plan(quota=None)


@pytest.fixture
def grant(pro):
    """1,000 bought units of somebody without a subscription."""
    bought = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
    return grant_credits(
        at=JANUARY, customer=CustomerFactory(), definition=bought, amount=Decimal(1_000), source="topup",
        starts_at=JANUARY,
    )  # fmt: skip


def words(response):
    return unescape(" ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split()))


def pages(operator, row):
    """The ledger, the page of a row of it, and the page of its grant."""
    addresses = [
        "/admin/credits/credittransaction/",
        reverse("admin:credits_credittransaction_change", args=[row.pk]),
        reverse("admin:credits_creditgrant_change", args=[row.grant_id]),
    ]
    return [words(operator.get(address)) for address in addresses]


def test_a_row_of_a_calendar_month_names_the_month(operator, pro, grant):
    use(grant.customer, pro.metric, 300, JANUARY + 9 * DAY)
    jobs.settle_months(FEBRUARY + HOUR)

    row = CreditTransaction.objects.get(kind="burned")

    assert all("Settled for January 2026" in page for page in pages(operator, row))


def test_a_row_of_some_days_of_a_month_names_the_days(operator, pro, grant):
    use(grant.customer, pro.metric, 70, JANUARY + DAY)
    subscribe(at=JANUARY + 9 * DAY, customer=grant.customer, plan=pro.plan)
    jobs.settle_months(FEBRUARY + HOUR)

    row = CreditTransaction.objects.get(kind="burned")

    assert all("Settled for 1–9 January 2026" in page for page in pages(operator, row))


def test_what_was_found_of_a_month_later_says_so(operator, pro, grant):
    use(grant.customer, pro.metric, 300, JANUARY + 9 * DAY)
    jobs.settle_months(FEBRUARY + HOUR)
    use(grant.customer, pro.metric, 40, JANUARY + 10 * DAY, key="late")
    jobs.look_for_late_usage(MARCH + 8 * DAY)

    row = CreditTransaction.objects.get(kind="burned", amount=-40)

    assert all("Found later for January 2026" in page for page in pages(operator, row))
