"""Rules of tax that only certain buyers meet: those in the United States before the seller has set anything up, and
organizations whose seats are added one after the other."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from billing.models import Invoice
from billing.services.subscribe import subscribe
from billing.services.tax_settings import create_rate, set_nexus, update_settings
from tests.factories import CustomerFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, sweep
from tests.seat_plan import give_seat, make_seat_plan, subscribed

MARCH, APRIL = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def first_invoice(**address):
    customer = CustomerFactory(**address)
    subscribe(at=MARCH, customer=customer, plan=make_pro_plan().plan)
    return Invoice.objects.get(customer=customer)


def test_in_the_us_nobody_decided_anything_without_any_terms():
    invoice = first_invoice(billing_country="US")

    assert (invoice.tax_method, invoice.tax_reason_code, invoice.tax_cents) == ("", "", 0)


def test_a_rate_of_a_state_needs_nexus_although_there_is_no_default_rate():
    create_rate(at=MARCH, name="Sales tax", rate=Decimal("0.0725"), jurisdiction="US-CA")
    address = {"billing_country": "US", "billing_state_province": "CA"}

    without = first_invoice(**address)
    set_nexus(state="CA", changes={"has_nexus": True})
    with_nexus = first_invoice(**address)

    assert (without.tax_cents, without.tax_reason_code) == (0, "no_nexus")
    assert (with_nexus.tax_cents, with_nexus.tax_reason_code) == (210, "")  # 210.25


def test_ruling_25_each_added_seat_of_a_period_is_taxed_by_itself():
    update_settings({"default_tax_rate": Decimal("0.19")})
    subscription = subscribed(make_seat_plan(bill_immediately=False), at=MARCH, seats=2)
    give_seat(subscription, "ann", datetime(2026, 3, 10, tzinfo=UTC))
    give_seat(subscription, "bob", datetime(2026, 3, 12, tzinfo=UTC))

    sweep(APRIL)

    # 22 and 20 of 31 days: 709.68 and 645.16; 134.9 and 122.55. The two at once would be 1,355 and 257.45.
    lines = Invoice.objects.get(closes_at=APRIL).lines.order_by("position")
    assert [(line.amount_cents, line.tax_cents) for line in lines] == [(4_000, 760), (710, 135), (645, 123)]
    assert_books_add_up(at=APRIL)
