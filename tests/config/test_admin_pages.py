"""The operator's pages: each answers, none to a stranger, and none asks more of the database for more rows."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_q.models import Schedule
from unfold.admin import ModelAdmin

from billing.models import Invoice, Payment, StripeInbox
from billing.services.subscribe import subscribe
from config.keys import create_api_key, find_active_key
from config.models import ApiKey
from credits.models import CreditDefinition, CreditGrant, CreditTransaction
from metering.models import UsageEvent
from plans.admin.pages import MOST_COUNTED, CappedPaginator, unit_price_text
from plans.models import Customer, Feature, Metric, Plan, PricingTable, Subscription
from tests.factories import START, CustomerFactory, PricingTablePlanFactory, UsageEventFactory
from tests.pro_plan import ProPlan, make_pro_plan, sweep, use

pytestmark = pytest.mark.django_db

OURS = [
    ApiKey, CreditDefinition, CreditGrant, CreditTransaction, Customer, Feature, Invoice, Metric, Payment, Plan,
    PricingTable, StripeInbox, Subscription, UsageEvent,
]  # fmt: skip
ALL = sorted(admin.site._registry, key=lambda model: model._meta.label)
FACTS = [CreditGrant, CreditTransaction, Invoice, Payment, StripeInbox, Subscription, UsageEvent]


def address(model: Any, page: str, *args: Any) -> str:
    """The address of a model's page."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


@pytest.fixture
def operator(admin_user: User) -> Client:
    """A browser that is logged in."""
    client = Client()
    client.force_login(admin_user)
    return client


@pytest.fixture
def add_books(db: None) -> Callable[[int], None]:
    """Add customers with usage, an invoice, a payment, and a row of whatever else the pages show."""

    def add(number: int) -> None:
        for _ in range(number):
            pro = make_pro_plan()
            add_customer(pro)
            PricingTablePlanFactory(plan=pro.plan)
            create_api_key(name="Backend", key_type="secret", at=START)
            events = StripeInbox.objects.count()
            StripeInbox.objects.create(
                stripe_event_id=f"evt_{events}", type="invoice.paid", payload={}, received_at=START, process_at=START
            )
            Schedule.objects.create(name=f"schedule {events}", func="math.floor")
            Group.objects.create(name=f"group {events}")
        sweep(START + timedelta(days=32))
        for invoice in Invoice.objects.filter(payments=None).select_related("customer"):
            Payment.objects.create(
                customer=invoice.customer, invoice=invoice, status="failed", amount_cents=invoice.total_cents,
                currency="USD", external_id="pi_1", attempt=1, error_message="Declined.", created_at=START,
            )  # fmt: skip

    return add


def add_customer(pro: ProPlan) -> None:
    customer = CustomerFactory()
    subscribe(customer=customer, plan=pro.plan, started_at=START, at=START)
    use(customer, pro.metric, 12_500, START + timedelta(days=3))


@pytest.mark.parametrize("model", ALL, ids=lambda model: model._meta.label)
def test_every_list_answers(operator, model):
    assert operator.get(address(model, "changelist")).status_code == 200


@pytest.mark.parametrize("model", ALL, ids=lambda model: model._meta.label)
def test_every_page_is_drawn_by_the_one_theme(model):
    assert isinstance(admin.site._registry[model], ModelAdmin)


@pytest.mark.parametrize("model", ALL, ids=lambda model: model._meta.label)
def test_every_list_wants_a_login(client, model):
    answer = client.get(address(model, "changelist"))

    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/admin/login/")


def test_every_page_of_a_row_answers_and_wants_a_login(operator, client, add_books):
    add_books(1)

    for model in [*OURS, Schedule, User, Group]:
        row = model.objects.order_by("pk").first()
        assert row is not None, model
        assert operator.get(address(model, "changelist")).status_code == 200, model
        page = address(model, "change", row.pk)
        assert operator.get(page).status_code == 200, model
        assert client.get(page).status_code == 302, model


@pytest.mark.parametrize("model", ALL, ids=lambda model: model._meta.label)
def test_every_add_page_answers_where_rows_may_be_added(operator, client, model, rf, admin_user):
    request = rf.get("/")
    request.user = admin_user
    may_add = admin.site._registry[model].has_add_permission(request)

    assert operator.get(address(model, "add")).status_code == (200 if may_add else 403)
    assert client.get(address(model, "add")).status_code == 302


@pytest.mark.parametrize("model", FACTS)
def test_facts_can_be_neither_changed_nor_deleted(operator, add_books, model):
    add_books(1)
    row = model.objects.order_by("pk").first()

    assert operator.post(address(model, "change", row.pk), {}).status_code == 403
    assert operator.post(address(model, "delete", row.pk), {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("model", OURS)
def test_a_longer_list_asks_no_more(operator, add_books, model):
    def queries(page: str) -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert operator.get(page).status_code == 200
        return len(captured)

    add_books(1)
    queries(address(model, "changelist"))
    few = queries(address(model, "changelist"))
    add_books(3)

    assert queries(address(model, "changelist")) == few <= 12


def test_a_page_with_more_rows_on_it_asks_no_more(operator, add_books):
    add_books(1)
    customer, subscription, invoice = Customer.objects.get(), Subscription.objects.get(), Invoice.objects.last()
    pages = [address(type(row), "change", row.pk) for row in (customer, subscription, invoice, Plan.objects.get())]

    def queries() -> list[int]:
        counts = []
        for page in pages:
            with CaptureQueriesContext(connection) as captured:
                assert operator.get(page).status_code == 200
            counts.append(len(captured))
        return counts

    queries()
    few = queries()
    sweep(START + timedelta(days=130))

    assert queries() == few
    assert max(few) <= 20


def test_an_invoice_reads_like_one(operator, add_books):
    add_books(1)
    invoice = Invoice.objects.filter(total_cents=15_400).get()

    page = operator.get(address(Invoice, "change", invoice.pk)).content.decode()

    for text in ("$154.00", "−$500.00", "12,500", "$0.05", "Declined."):
        assert text in page


def test_the_list_of_invoices_leaves_out_what_came_to_nothing(operator, add_books):
    add_books(1)
    Invoice.objects.filter(status="draft").update(status="skipped")
    shown = Invoice.objects.shown().count()

    assert operator.get(address(Invoice, "changelist")).context["cl"].result_count == shown


def test_a_parked_customer_is_seen_found_and_billed_again(operator):
    CustomerFactory()
    parked = CustomerFactory(parked_at=START, parked_reason="The books do not add up.")

    assert "The books do not add up." in operator.get(address(Customer, "change", parked.pk)).content.decode()
    assert list(operator.get(address(Customer, "changelist"), {"parked": "yes"}).context["cl"].queryset) == [parked]
    operator.post(address(Customer, "changelist"), {"action": "unpark", "_selected_action": [parked.pk]})

    parked.refresh_from_db()
    assert parked.parked_at is None


def test_a_customers_name_can_be_edited_on_its_page(operator, add_books):
    add_books(1)
    customer = Customer.objects.get()
    page = address(Customer, "change", customer.pk)
    shown = operator.get(page).context
    terms = shown["adminform"].form.initial
    for inline in shown["inline_admin_formsets"]:
        counts = inline.formset.management_form.initial.items()
        terms |= {f"{inline.formset.prefix}-{name}": count for name, count in counts}

    answer = operator.post(page, {key: value or "" for key, value in terms.items()} | {"name": "New name"})

    customer.refresh_from_db()
    assert (answer.status_code, customer.name) == (302, "New name")


@pytest.mark.parametrize(
    "term", [lambda event: event.public_id, lambda event: event.customer.public_id,
             lambda event: event.customer.external_customer_id, lambda event: event.customer.email.upper(),
             lambda event: event.event_name],
)  # fmt: skip
def test_events_are_found_by_one_exact_word(operator, term):
    event = UsageEventFactory(event_name="mail.sent")
    UsageEventFactory()

    found = operator.get(address(UsageEvent, "changelist"), {"q": term(event)}).context["cl"].queryset

    assert list(found) == [event]


def test_no_list_of_events_is_counted_to_its_end(operator):
    UsageEventFactory()

    with CaptureQueriesContext(connection) as captured:
        operator.get(address(UsageEvent, "changelist"))

    counts = [query["sql"] for query in captured if "COUNT" in query["sql"] and "usageevent" in query["sql"]]
    assert counts
    assert all(f"LIMIT {MOST_COUNTED}" in sql for sql in counts)


def test_a_capped_paginator_pages_through_what_is_there():
    for _ in range(3):
        CustomerFactory()

    assert CappedPaginator(Customer.objects.order_by("pk"), 2).num_pages == 2


def test_prices_of_units_keep_their_decimals():
    assert unit_price_text(Decimal("0.050000000000"), "USD") == "$0.0005"
    assert unit_price_text(Decimal("100.000000000000"), "USD") == "$1.00"


def new_key(**changes: str) -> dict[str, str]:
    return {"name": "Backend", "key_type": "secret", "environment": "live", "scopes": "", "expires_at": ""} | changes


def test_a_new_api_key_is_shown_once(operator):
    answer = operator.post(address(ApiKey, "add"), new_key(scopes="customers:read, events:write"))

    key = ApiKey.objects.get()
    text = answer.context["key"].text
    assert text in answer.content.decode()
    assert "no-store" in answer.headers["Cache-Control"]
    assert key.scopes == ["customers:read", "events:write"]
    assert find_active_key(text=text, at=START) == key
    for page in (address(ApiKey, "changelist"), address(ApiKey, "change", key.pk)):
        assert text not in operator.get(page).content.decode()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"key_type": "other"}, "key_type"),
        ({"environment": "other"}, "environment"),
        ({"scopes": "customers:read everything"}, "scopes"),
        ({"expires_at": "2001-01-01T00:00"}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
    ],
)
def test_a_problem_of_a_new_api_key_shows_at_its_field(operator, changes, field):
    answer = operator.post(address(ApiKey, "add"), new_key(**changes))

    assert list(answer.context["form"].errors) == [field]
    assert not ApiKey.objects.exists()


def test_api_keys_are_revoked_from_the_list(operator):
    key, _ = create_api_key(name="Backend", key_type="secret", at=START)

    operator.post(address(ApiKey, "changelist"), {"action": "revoke", "_selected_action": [key.pk]})

    key.refresh_from_db()
    assert key.revoked_at is not None
