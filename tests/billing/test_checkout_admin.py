"""Checkouts in the admin: who wishes what, how far it came, and what went wrong."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.models import Checkout, Invoice
from billing.services.subscribe import subscribe
from plans.models import Price
from tests.factories import START, CustomerFactory
from tests.pro_plan import make_pro_plan

pytestmark = pytest.mark.django_db

LIST = "/admin/billing/checkout/"
DAY = timedelta(days=1)
ENDED = {"step_at": None, "settled_at": START}


@pytest.fixture
def operator(admin_user: User) -> Client:
    """A browser that is logged in."""
    client = Client()
    client.force_login(admin_user)
    return client


def make_checkout(price: Price | None = None, **columns: Any) -> Checkout:
    """An open checkout of a visitor who typed his name and e-mail, for 29.00 in advance."""
    number = Checkout.objects.count()
    terms = {
        "buyer": f"visitor:{number}", "customer_public_id": f"cus_visitor{number}", "name": "Ada Lovelace",
        "email": "ada@engine.example", "price": price or make_pro_plan().price, "due_cents": 2900,
        "intent_type": "payment", "intent_id": f"pi_{number}", "step_at": START, "expires_at": START + DAY,
        "created_at": START,
    }  # fmt: skip
    return Checkout.objects.create(**terms | columns)


def make_subscribed(**columns: Any) -> Checkout:
    """A checkout that led to a customer with a subscription and its first invoice."""
    pro, customer = make_pro_plan(), CustomerFactory()
    subscription = subscribe(customer=customer, plan=pro.plan, started_at=START, at=START)
    led_to = {
        "status": "subscribed", "customer": customer, "customer_public_id": customer.public_id,
        "subscription": subscription, "invoice": Invoice.objects.get(subscription=subscription),
    }  # fmt: skip
    return make_checkout(pro.price, **led_to | columns)


def page_of(row: Any) -> str:
    """The address of a row's page."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def shown(operator: Client, checkout: Checkout) -> str:
    """The page of a checkout as one line."""
    return " ".join(operator.get(page_of(checkout)).content.decode().split())


def found(operator: Client, **question: str) -> set[Checkout]:
    """The rows of the list for a search or filter."""
    return set(operator.get(LIST, question).context["cl"].queryset)


def test_the_list_says_who_wants_what_for_how_much_and_how_far_it_came(operator):
    checkout = make_checkout()

    page = operator.get(LIST).content.decode()

    for text in ("Ada Lovelace", "ada@engine.example", str(checkout.price.plan), "$29.00", "1 Jan 2025, 00:00"):
        assert text in page
    assert 'data-label="status"' in page


def test_the_list_leads_to_the_customer_where_there_is_one(operator):
    checkout = make_subscribed()

    assert f'href="{page_of(checkout.customer)}"' in operator.get(LIST).content.decode()


def test_a_customer_without_a_name_is_led_to_by_his_e_mail(operator):
    make_checkout(customer=CustomerFactory(name="", email="globex@example.com"))

    assert ">globex@example.com</a>" in operator.get(LIST).content.decode()


@pytest.mark.parametrize(
    ("errors", "problem"),
    [
        ({"step_error": "Stripe is down.", "error_message": "Not charged."}, "Stripe is down."),
        ({"error_message": "Not charged."}, "Not charged."),
        ({}, ""),
    ],
)
def test_the_problem_is_the_operators_else_the_buyers(operator, errors, problem):
    checkout = make_checkout(**errors)

    admin_page = operator.get(LIST).context["cl"].model_admin
    assert admin_page.problem(checkout) == problem
    assert problem in operator.get(LIST).content.decode()


def test_the_list_is_filtered_by_status(operator):
    opened, refused = make_checkout(), make_checkout(status="refused")

    assert found(operator, status__exact="refused") == {refused}
    assert found(operator, status__exact="open") == {opened}


@pytest.mark.parametrize("column", ["public_id", "email", "name", "intent_id", "customer_public_id"])
def test_a_checkout_is_found_by(operator, column):
    wanted = make_checkout(name="Grace Hopper", email="grace@navy.example")
    make_checkout()

    assert found(operator, q=getattr(wanted, column)) == {wanted}


def test_a_subscribed_checkout_leads_to_all_that_it_made(operator):
    checkout = make_subscribed(**ENDED)

    page = shown(operator, checkout)

    for row in (checkout.customer, checkout.price.plan, checkout.subscription, checkout.invoice):
        assert f'href="{page_of(row)}"' in page
        assert operator.get(page_of(row)).status_code == 200
    for text in (checkout.intent_id, checkout.public_id, "$29.00", "2 Jan 2025, 00:00"):
        assert text in page


def test_the_page_of_an_open_checkout_says_what_it_waits_for(operator):
    checkout = make_checkout(step_at=START + timedelta(minutes=5), step_error="Stripe cannot be reached.")

    page = shown(operator, checkout)

    assert "Open until" in page
    for text in ("Ada Lovelace", "ada@engine.example", "1 Jan 2025, 00:05", "Stripe cannot be reached."):
        assert text in page


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({}, "Subscribed. What is held on the card is taken next, as the payment of the first invoice."),
        ({"due_cents": 0}, "Subscribed. Its last step is still to come."),
        (ENDED, "Subscribed. Nothing is left to do."),
    ],
)
def test_a_subscribed_checkout_says_whether_the_money_is_taken(operator, columns, sentence):
    assert sentence in shown(operator, make_subscribed(**columns))


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"status": "refused"}, "Refused. Nothing is charged; what may still be held on the card is released next."),
        (ENDED | {"status": "refused"}, "Refused. Nothing was charged."),
        (ENDED | {"status": "expired"}, "Expired. Nothing was charged."),
        (ENDED | {"status": "replaced"}, "Replaced. Nothing was charged."),
    ],
)
def test_a_checkout_that_ended_otherwise_says_that_nothing_is_charged(operator, columns, sentence):
    assert sentence in shown(operator, make_checkout(**columns))


def test_a_checkout_of_a_deleted_plan_still_leads_to_it(operator):
    checkout = make_checkout(status="refused", step_error="This plan is no longer offered.")
    plan = checkout.price.plan
    plan.deleted_at = START
    plan.save()

    assert f'href="{page_of(plan)}"' in shown(operator, checkout)
    assert operator.get(page_of(plan)).status_code == 200


def test_checkouts_can_be_neither_made_nor_changed_nor_deleted(operator):
    checkout = make_checkout()

    assert operator.get(f"{LIST}add/").status_code == 403
    assert operator.post(page_of(checkout), {"status": "expired"}).status_code == 403
    assert operator.post(f"{LIST}{checkout.pk}/delete/", {"post": "yes"}).status_code == 403
    operator.post(LIST, {"action": "delete_selected", "_selected_action": [checkout.pk], "post": "yes"})
    checkout.refresh_from_db()
    assert checkout.status == "open"


def test_needs_the_permission_to_look(client, django_user_model):
    checkout = make_checkout()
    looker = django_user_model.objects.create_user("looker", is_staff=True)
    client.force_login(looker)

    assert (client.get(LIST).status_code, client.get(page_of(checkout)).status_code) == (403, 403)
    assert LIST not in client.get("/admin/").content.decode()
    looker.user_permissions.set(Permission.objects.filter(codename="view_checkout"))
    assert (client.get(LIST).status_code, client.get(page_of(checkout)).status_code) == (200, 200)
    assert f'href="{LIST}"' in client.get("/admin/").content.decode()


def test_a_longer_list_asks_no_more(operator):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert operator.get(LIST).status_code == 200
        return len(captured)

    make_checkout()
    make_subscribed()
    queries()
    few = queries()
    for _ in range(3):
        make_checkout()
        make_subscribed()

    assert queries() == few <= 12


def test_a_page_asks_little(operator):
    checkout = make_subscribed()
    operator.get(page_of(checkout))

    with CaptureQueriesContext(connection) as captured:
        operator.get(page_of(checkout))

    assert len(captured) <= 12


@pytest.mark.parametrize("odd", ["\0", "'\"; --%\\", "x" * 5000, "1" * 40, "chk_" + "z" * 200, "pi_%_\\"])
def test_no_search_or_filter_fails(operator, odd):
    make_checkout()

    for question in ({"q": odd}, {"status__exact": odd}, {"p": odd}, {"o": odd}):
        assert operator.get(LIST, question).status_code in (200, 302), question


def test_what_a_buyer_typed_is_shown_as_text(operator):
    checkout = make_checkout(name="<script>alert(1)</script>", error_message="<b>bold</b>")

    for page in (operator.get(LIST).content.decode(), shown(operator, checkout)):
        assert "<script>alert(1)</script>" not in page
        assert "<b>bold</b>" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
