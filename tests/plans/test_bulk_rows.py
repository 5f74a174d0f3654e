"""Many rows by one statement: the same rows as Django's own bulk methods store."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction

from billing.models import Invoice, InvoiceLine
from plans.bulk_rows import insert_rows, new_row, update_rows
from tests.factories import CustomerFactory

AT = datetime(2026, 1, 31, 10, 0, 0, 123456, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def draft(**fields):
    return Invoice(
        **{"customer": CustomerFactory(), "kind": "cycle", "currency": "USD", "closes_at": AT, "finalize_at": AT}
        | {"created_at": AT}
        | fields
    )


def line(invoice, position, **fields):
    return InvoiceLine(
        **{"invoice": invoice, "position": position, "type": "usage", "description": "Calls", "quantity": Decimal(1)}
        | {"amount_cents": 5, "billing_period_start_at": AT, "billing_period_end_at": AT + timedelta(days=1)}
        | fields
    )


def test_rows_get_their_keys_in_their_order():
    first, second = insert_rows([draft(notes="first"), draft(notes="second")])

    assert first.pk < second.pk
    assert [Invoice.objects.get(pk=one.pk).notes for one in (first, second)] == ["first", "second"]


def test_values_are_stored_exactly_as_they_are():
    (invoice,) = insert_rows([draft(notes="50 % „schön“ \\ '; \"\n", total_cents=2**53 + 1, subtotal_cents=2**53 + 1)])
    insert_rows([line(invoice, 1, quantity=Decimal("12345678901234567890.123456"), unit_amount_cents=None)])

    stored = Invoice.objects.get(pk=invoice.pk)
    assert (stored.notes, stored.total_cents) == ("50 % „schön“ \\ '; \"\n", 9_007_199_254_740_993)
    assert (stored.closes_at, stored.number, stored.public_id) == (AT, None, invoice.public_id)
    kept = stored.lines.get()
    assert (kept.quantity, kept.unit_amount_cents) == (Decimal("12345678901234567890.123456"), None)


def test_a_row_names_another_that_was_stored_after_they_were_joined():
    carried, invoice = draft(), draft()
    row = line(invoice, 1, type="brought_forward", carried_invoice=carried)
    insert_rows([carried, invoice])

    insert_rows([row])

    assert InvoiceLine.objects.get().carried_invoice == carried


def test_only_the_named_fields_of_the_given_rows_are_changed():
    first, second, third = insert_rows([draft(), draft(), draft()])
    first.notes, second.notes, third.notes = "first", "second", "third"
    first.due_at = AT
    first.currency = "EUR"

    update_rows([first, second], ["notes", "due_at"])

    stored = Invoice.objects.order_by("pk").values_list("notes", "due_at", "currency")
    assert list(stored) == [("first", AT, "USD"), ("second", None, "USD"), ("", None, "USD")]


def test_values_that_are_the_same_in_all_rows_are_stored_in_each():
    rows = insert_rows([draft(notes="one"), draft(notes="one", due_at=AT), draft(notes="one")])
    for row in rows:
        row.notes, row.due_at = "two", None
    kept = insert_rows([draft(notes="one")])[0]

    update_rows(rows, ["notes", "due_at"])

    stored = Invoice.objects.order_by("pk").values_list("pk", "notes", "due_at")
    assert list(stored) == [*((row.pk, "two", None) for row in rows), (kept.pk, "one", None)]


def test_a_new_row_is_the_one_that_the_model_makes():
    invoice = draft()
    values = {"invoice": invoice, "carried_invoice": None, "grant_id": 7, "public_id": "inv_item_1", "quantity": 1}

    made, row = InvoiceLine(**values), new_row(InvoiceLine, **values)

    assert {name: value for name, value in vars(row).items() if name != "_state"} == {
        name: value for name, value in vars(made).items() if name != "_state"
    }
    assert row._state.fields_cache == made._state.fields_cache == {"invoice": invoice, "carried_invoice": None}
    assert (row._state.adding, row._state.db) == (made._state.adding, made._state.db)


def test_each_new_row_has_a_public_id_of_its_own():
    assert new_row(InvoiceLine).public_id != new_row(InvoiceLine).public_id


def test_a_new_row_refuses_a_name_that_its_model_lacks():
    with pytest.raises(TypeError, match="InvoiceLine has no amount"):
        new_row(InvoiceLine, amount=5)


def test_what_a_constraint_refuses_is_refused():
    with pytest.raises(IntegrityError, match="invoice_total_adds_up"), transaction.atomic():
        insert_rows([draft(), draft(total_cents=1)])

    assert Invoice.objects.count() == 0


def test_of_no_rows_nothing_is_stored():
    assert insert_rows([]) == []
    update_rows([], ["notes"])
