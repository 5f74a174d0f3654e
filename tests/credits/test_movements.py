"""The ledger as customers see it, with what is not settled yet."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.services.subscribe import subscribe
from credits.models import CreditGrant
from credits.services.definitions import create_definition
from credits.services.grants import revoke_grant
from credits.services.movements import list_movements
from tests.factories import CustomerFactory, MetricFactory
from tests.pro_plan import make_pro_plan, sweep, use

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 28, tzinfo=UTC)
DAY = timedelta(days=1)

pytestmark = pytest.mark.django_db


@pytest.fixture
def pro():
    return make_pro_plan(quota=100)


@pytest.fixture
def customer(pro):
    customer = CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)
    return customer


def listed(customer, at, limit=100, **window):
    return list_movements(customer=customer, at=at, limit=limit, **window)


def rows(movements):
    return [(one.kind, int(one.amount), one.occurred_at, one.pending) for one in movements]


def test_pending_burn_stands_before_the_ledger_by_day(pro, customer):
    use(customer, pro.metric, 30, AT + DAY)
    use(customer, pro.metric, 5, AT + DAY + timedelta(hours=1))
    use(customer, pro.metric, 200, AT + 2 * DAY)

    # 65 of the 200 are left in the quota; the other 135 burn nothing.
    assert rows(listed(customer, AT + 3 * DAY)) == [
        ("burned", -65, datetime(2026, 2, 2, tzinfo=UTC), True),
        ("burned", -35, datetime(2026, 2, 1, tzinfo=UTC), True),
        ("granted", 100, AT, False),
        ("granted", 100, AT, False),
    ]


def test_each_day_has_a_pending_row_of_its_own(pro, customer):
    for day in (1, 5, 9):
        use(customer, pro.metric, 10, AT + day * DAY)

    assert rows(listed(customer, AT + 10 * DAY))[:3] == [
        ("burned", -10, datetime(2026, 2, day, tzinfo=UTC), True) for day in (9, 5, 1)
    ]


def test_settlement_puts_one_row_of_the_ledger_in_place_of_the_pending(pro, customer):
    use(customer, pro.metric, 30, AT + DAY)
    use(customer, pro.metric, 5, AT + 2 * DAY)
    closed = FEBRUARY + timedelta(hours=1)
    sweep(closed)

    moves = [row for row in rows(listed(customer, closed)) if row[0] != "granted"]

    assert sorted(moves) == [("burned", -35, closed, False), ("expired", -65, closed, False)]


def test_a_pending_row_keeps_its_id_while_its_day_is_used(pro, customer):
    use(customer, pro.metric, 30, AT + DAY)
    (before,) = [one for one in listed(customer, AT + DAY) if one.pending]
    use(customer, pro.metric, 4, AT + DAY + timedelta(minutes=1))
    use(customer, pro.metric, 1, AT + 2 * DAY)
    later, same = [one for one in listed(customer, AT + 2 * DAY) if one.pending]

    assert (same.public_id, same.amount) == (before.public_id, -34)
    assert later.public_id != before.public_id
    assert before.public_id.startswith("cred_txn_")
    assert len(before.public_id) == len("cred_txn_") + 22


def test_a_window_and_a_limit_hold_for_pending_rows_too(pro, customer):
    for days in range(1, 6):
        use(customer, pro.metric, days, AT + days * DAY)
    at = AT + 6 * DAY

    window = listed(customer, at, from_at=datetime(2026, 2, 2, tzinfo=UTC), to_at=datetime(2026, 2, 4, tzinfo=UTC))
    assert [int(one.amount) for one in window] == [-3, -2]
    assert [int(one.amount) for one in listed(customer, at, limit=3)] == [-5, -4, -3]


def test_one_number_of_a_period_is_pending_today():
    metric = MetricFactory(aggregation_type="MAX")
    pro = make_pro_plan(quota=None)
    pro.feature.metrics.set([metric])
    pro.price.components.filter(kind="usage").update(metric=metric)
    create_definition(
        at=AT, name="Peak", scope="plan", application_type="usage", plan=pro.plan, feature=pro.feature,
        default_amount=Decimal(10), renew_on_billing=True,
    )  # fmt: skip
    customer = CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)
    use(customer, metric, 7, AT + DAY)

    ids = set()
    for hours in (1, 2):
        (pending,) = [one for one in listed(customer, AT + 3 * DAY + timedelta(hours=hours)) if one.pending]
        assert pending.amount == -7
        ids.add(pending.public_id)
    assert len(ids) == 1


def test_other_customers_and_revoked_units_are_told_apart(pro, customer):
    grant = CreditGrant.objects.get(starts_at=AT)
    use(customer, pro.metric, 30, AT + DAY)
    revoke_grant(at=AT + 2 * DAY, grant=grant, notes="mistake")

    moves = [(one.kind, int(one.amount), one.notes) for one in listed(customer, AT + 2 * DAY)]

    assert moves[:2] == [("revoked", -70, "mistake"), ("burned", -30, "")]
    assert listed(CustomerFactory(), AT + 2 * DAY) == []
