"""`manage.py unpark`."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from billing.services.park import park_customer
from tests.factories import START, CustomerFactory

pytestmark = pytest.mark.django_db


def unpark(customer):
    out = StringIO()
    call_command("unpark", customer, stdout=out)
    return out.getvalue()


def test_a_parked_customer_is_billed_again():
    customer, other = CustomerFactory(name="Ada"), CustomerFactory()
    park_customer(customers=[customer.pk, other.pk], reason="It does not add up.", at=START)

    said = unpark(customer.public_id)

    customer.refresh_from_db()
    other.refresh_from_db()
    assert (customer.parked_at, customer.parked_reason) == (None, "")
    assert other.parked_at == START
    assert said == f"Ada ({customer.public_id}) is billed again from the next sweep on.\n"


def test_a_customer_that_is_not_parked_stays_as_it_is():
    customer = CustomerFactory(name="Ada")

    assert unpark(customer.public_id) == f"Ada ({customer.public_id}) is not parked; nothing was changed.\n"


def test_an_unknown_customer_is_one_sentence_and_exit_1():
    with pytest.raises(CommandError, match=r"^There is no customer cus_nobody\.$") as caught:
        unpark("cus_nobody")

    assert caught.value.returncode == 1
