"""The ledger is append-only; what has not begun is withdrawn whole, or not at all."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction

from credits.models import CreditGrant, CreditTransaction
from credits.services.grants import grant_credits
from tests.factories import CreditDefinitionFactory, CustomerFactory

AT = datetime(2026, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def ahead():
    """A grant that begins tomorrow, with its one row."""
    definition = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False)
    return grant_credits(
        at=AT, customer=CustomerFactory(), definition=definition, amount=Decimal(5), starts_at=AT + timedelta(days=1)
    )


def test_a_grant_that_has_not_begun_goes_with_its_rows(ahead):
    with transaction.atomic():
        CreditTransaction.objects.filter(grant=ahead).delete()
        CreditGrant.objects.filter(pk=ahead.pk).delete()
        check_at_once()

    assert not CreditTransaction.objects.exists()


def test_its_rows_cannot_go_without_it(ahead):
    refused = pytest.raises(DatabaseError, match="they go with their grant or stay")
    with refused, transaction.atomic():
        delete_rows_alone(ahead)

    assert CreditTransaction.objects.filter(grant=ahead).count() == 1


def test_rows_of_a_grant_that_has_begun_stay(ahead):
    CreditGrant.objects.filter(pk=ahead.pk).update(starts_at=AT - timedelta(days=1))

    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        CreditTransaction.objects.filter(grant=ahead).delete()


def delete_rows_alone(grant):
    CreditTransaction.objects.filter(grant=grant).delete()
    check_at_once()


def check_at_once():
    """Check what is checked when a transaction is committed."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
