from datetime import UTC, datetime, timedelta

import pytest

from billing.services.subscribe import subscribe
from credits.models import CreditDefinition, CreditGrant
from credits.services.renew import grant_for_periods
from credits.services.write_grants import expiry_of
from plans.models import SubscriptionPeriod
from tests.factories import CreditDefinitionFactory, CustomerFactory
from tests.pro_plan import make_pro_plan, remaining, sweep

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 28, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def amounts(customer):
    grants = CreditGrant.objects.filter(customer=customer).order_by("starts_at", "pk")
    return [(grant.starts_at.date().isoformat(), int(grant.initial_amount)) for grant in grants]


def test_every_period_brings_its_own_grant_one_period_ahead():
    pro, customer = make_pro_plan(), CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)

    sweep(FEBRUARY)

    assert amounts(customer) == [("2026-01-31", 10_000), ("2026-02-28", 10_000), ("2026-03-31", 10_000)]


def test_the_new_quota_is_there_at_the_boundary_though_no_sweep_has_run():
    pro, customer = make_pro_plan(), CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)

    assert remaining(customer, pro.metric, FEBRUARY) == 10_000


def test_granting_the_same_periods_again_writes_nothing():
    pro, customer = make_pro_plan(), CustomerFactory()
    subscription = subscribe(at=AT, customer=customer, plan=pro.plan)

    assert grant_for_periods(at=AT, periods=SubscriptionPeriod.objects.filter(subscription=subscription)) == []

    assert len(amounts(customer)) == 2


def test_a_refill_amount_replaces_the_default_from_the_second_period_on():
    pro, customer = make_pro_plan(quota=500, refill_amount=20), CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)
    sweep(FEBRUARY)

    assert [units for _, units in amounts(customer)] == [500, 20, 20]


def test_a_monthly_quota_beside_a_yearly_fee_renews_monthly():
    pro, customer = make_pro_plan(base_frequency="YEARLY"), CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)
    sweep(FEBRUARY)

    assert [day for day, _ in amounts(customer)] == ["2026-01-31", "2026-02-28", "2026-03-31"]


def test_a_definition_of_another_price_grants_nothing():
    pro, customer = make_pro_plan(quota=None), CustomerFactory()
    other = make_pro_plan()
    assert other.quota.price is None

    subscribe(at=AT, customer=customer, plan=pro.plan)

    assert amounts(customer) == []


@pytest.mark.parametrize("gone", [{"is_active": False}, {"deleted_at": AT}])
def test_what_was_sold_renews_though_its_definition_is_gone(gone):
    pro, customer = make_pro_plan(), CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)
    CreditDefinition.objects.update(**gone)
    newcomer = CustomerFactory()
    subscribe(at=AT, customer=newcomer, plan=pro.plan)

    sweep(FEBRUARY)

    assert [day for day, _ in amounts(customer)] == ["2026-01-31", "2026-02-28", "2026-03-31"]
    assert amounts(newcomer) == []


def test_renewals_go_by_the_copy_that_was_sold():
    pro, customer = make_pro_plan(quota=500), CustomerFactory()
    subscription = subscribe(at=AT, customer=customer, plan=pro.plan)
    CreditDefinition.objects.update(default_amount=7, refill_amount=3)

    sweep(FEBRUARY)

    assert [units for _, units in amounts(customer)] == [500, 500, 500]
    copy = subscription.credits.get()
    assert (copy.definition, copy.default_amount, copy.renew_on_billing) == (pro.quota, 500, True)


def test_a_grant_carries_the_rollover_terms_that_were_sold():
    pro, customer = make_pro_plan(rolls_over=True, rollover_cap=300, rollover_days=60), CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)

    grants = CreditGrant.objects.values_list("rolls_over", "rollover_cap", "rollover_days")
    assert list(grants) == [(True, 300, 60)] * 2


def test_single_credits_come_once_and_expire_by_their_days():
    pro, customer = make_pro_plan(renew_on_billing=False, expiry_days=10), CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)
    sweep(FEBRUARY)

    grant = CreditGrant.objects.get(customer=customer)
    assert (grant.starts_at, grant.expires_at) == (AT, datetime(2026, 2, 11, tzinfo=UTC))


@pytest.mark.parametrize(
    ("days", "granted_at", "expires_at"),
    [
        (1, datetime(2026, 3, 10, 14, 46, tzinfo=UTC), datetime(2026, 3, 12, tzinfo=UTC)),
        (1, datetime(2026, 3, 10, tzinfo=UTC), datetime(2026, 3, 11, tzinfo=UTC)),
        (365, datetime(2023, 3, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
        (None, datetime(2026, 3, 10, tzinfo=UTC), None),
    ],
)
def test_expiry_days_are_widened_to_the_next_midnight(days, granted_at, expires_at):
    definition = CreditDefinitionFactory(renew_on_billing=False, expiry_days=days)

    assert expiry_of(definition, granted_at) == expires_at


def test_expiry_days_are_widened_to_the_midnight_of_the_billing_zone(in_billing_zone):
    in_billing_zone("Pacific/Kiritimati")
    definition = CreditDefinitionFactory(renew_on_billing=False, expiry_days=1)

    assert expiry_of(definition, datetime(2026, 3, 10, 9, 30, tzinfo=UTC)) == datetime(2026, 3, 11, 10, tzinfo=UTC)
    assert expiry_of(definition, datetime(2026, 3, 10, 10, tzinfo=UTC)) - timedelta(days=1) == datetime(
        2026, 3, 10, 10, tzinfo=UTC
    )


def test_expiry_days_are_days_where_clocks_change(in_billing_zone):
    in_billing_zone("Europe/Berlin")
    definition = CreditDefinitionFactory(renew_on_billing=False, expiry_days=1)

    # 29 March 2026 has 23 hours there, and 25 October 25.
    assert expiry_of(definition, datetime(2026, 3, 28, 23, tzinfo=UTC)) == datetime(2026, 3, 29, 22, tzinfo=UTC)
    assert expiry_of(definition, datetime(2026, 10, 24, 22, tzinfo=UTC)) == datetime(2026, 10, 25, 23, tzinfo=UTC)
