"""Which packs can be offered, and what of them may change."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from credits.models import CreditDefinition, CreditGrant, TopUpPack
from credits.services.packs import (
    PackNotOffered,
    create_pack,
    find_pack,
    grant_of_pack,
    hold_pack,
    sold_now,
    update_pack,
)
from plans.refusals import InvalidInput
from tests.factories import START, CreditDefinitionFactory, CustomerFactory

pytestmark = pytest.mark.django_db

AT = datetime(2026, 3, 10, 15, 30, tzinfo=UTC)
MIDNIGHT = datetime(2026, 3, 10, tzinfo=UTC)


def units(**terms):
    return CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, **terms)


def money(currency="USD", **terms):
    return CreditDefinition.objects.create(
        name="Prepaid", scope="merchant", application_type="monetary", currency=currency, default_amount=Decimal(1),
        created_at=START, **terms,
    )  # fmt: skip


def offer(definition, **terms):
    return create_pack(
        **{"at": AT, "name": "Pack", "definition": definition, "amount": Decimal(1_000), "price_cents": 900}
        | {"currency": "USD"}
        | terms
    )


def paths(refused):
    return [problem["path"] for problem in refused.value.details]


def test_units_are_sold_in_any_currency():
    assert offer(units(), currency="eur").currency == "EUR"


def test_money_is_sold_in_its_own_currency():
    assert offer(money("EUR"), currency="").currency == "EUR"


@pytest.mark.parametrize(
    ("definition", "terms", "path"),
    [
        (units, {"amount": Decimal(0)}, "amount"),
        (units, {"amount": Decimal(-1)}, "amount"),
        (units, {"amount": Decimal(10) ** 13}, "amount"),
        (units, {"price_cents": 0}, "priceCents"),
        (units, {"price_cents": -900}, "priceCents"),
        (units, {"price_cents": 10**13}, "priceCents"),
        (units, {"currency": ""}, "currency"),
        (units, {"currency": "XXQ"}, "currency"),
        (money, {"currency": "EUR"}, "currency"),
        (money, {"amount": Decimal("0.5")}, "amount"),
    ],
)
def test_a_pack_that_cannot_be_sold_is_refused_at_its_field(definition, terms, path):
    with pytest.raises(InvalidInput) as refused:
        offer(definition(), **terms)

    assert paths(refused) == [path]
    assert not TopUpPack.objects.exists()


@pytest.mark.parametrize("end", [{"deleted_at": AT}, {"is_active": False}])
def test_a_definition_that_is_not_live_is_not_sold(end):
    definition = money(**end)

    with pytest.raises(InvalidInput) as refused:
        offer(definition)

    assert paths(refused) == ["creditDefinitionId"]


def test_an_update_changes_what_is_said_and_keeps_the_rest():
    pack = offer(units())

    update_pack(pack=pack, price_cents=1_100)

    assert (find_pack(pack.public_id).price_cents, find_pack(pack.public_id).name) == (1_100, "Pack")


def test_an_update_to_a_price_of_nothing_is_refused():
    pack = offer(units())

    with pytest.raises(InvalidInput):
        update_pack(pack=pack, price_cents=0)

    assert find_pack(pack.public_id).price_cents == 900


def test_a_retired_pack_is_not_offered_until_it_is_offered_again():
    pack = update_pack(pack=offer(units()), is_active=False)

    with pytest.raises(PackNotOffered):
        hold_pack(pack)

    assert hold_pack(update_pack(pack=pack, is_active=True)) == pack


def test_a_pack_of_a_definition_that_was_switched_off_is_not_offered():
    definition = units()
    pack = offer(definition)
    CreditDefinition.objects.filter(pk=definition.pk).update(is_active=False)

    with pytest.raises(PackNotOffered):
        hold_pack(pack)


def test_what_was_bought_counts_from_the_midnight_before_and_expires_by_the_definition():
    pack = offer(units(expiry_days=30, priority=7))

    grant = grant_of_pack(at=AT, customer=CustomerFactory(), sold=sold_now(pack, 3), reference_code="one")

    # 30 days after 10 March, 15:30, is 9 April, 15:30, widened to the midnight after it.
    assert (grant.starts_at, grant.expires_at) == (MIDNIGHT, datetime(2026, 4, 10, tzinfo=UTC))
    assert (grant.source, grant.initial_amount, grant.priority) == ("topup", 3_000, 7)
    assert list(grant.transactions.values_list("kind", "amount")) == [("granted", 3_000)]


def test_bought_money_is_a_grant_of_that_currency():
    pack = offer(money("EUR"), currency="EUR")

    grant = grant_of_pack(at=AT, customer=CustomerFactory(), sold=sold_now(pack, 2), reference_code="one")

    assert (grant.metric_id, grant.currency, grant.initial_amount) == (None, "EUR", 2_000)


def test_the_same_reference_gives_the_first_grant():
    pack, customer = offer(units()), CustomerFactory()
    first = grant_of_pack(at=AT, customer=customer, sold=sold_now(pack, 1), reference_code="one")

    again = grant_of_pack(at=AT + timedelta(days=1), customer=customer, sold=sold_now(pack, 1), reference_code="one")

    assert again == first
    assert CreditGrant.objects.count() == 1
