"""The operator's pages: each answers, none to a stranger, and none asks more of the database for more rows."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_q.models import Failure, OrmQ, Schedule
from unfold.admin import ModelAdmin

from billing.models import AutoTopUp, Dunning, Invoice, Mail, Payment, StripeInbox
from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.subscribe import subscribe
from billing.signed_links import invoice_page_path
from config.keys import create_api_key, find_active_key
from config.models import ApiKey
from credits.models import CreditDefinition, CreditGrant, CreditTransaction, TopUpPack
from credits.services.packs import create_pack
from metering.models import UsageEvent
from plans.admin.pages import MOST_COUNTED, CappedPaginator, money_text
from plans.models import Customer, Feature, Metric, Plan, PricingTable, Subscription
from tests.factories import START, CustomerFactory, PricingTableFactory, PricingTablePlanFactory, UsageEventFactory
from tests.pro_plan import ProPlan, make_pro_plan, sweep, use

pytestmark = pytest.mark.django_db

OURS = [
    ApiKey, AutoTopUp, CreditDefinition, CreditGrant, CreditTransaction, Customer, Dunning, Feature, Invoice, Mail,
    Metric, Payment, Plan, PricingTable, StripeInbox, Subscription, TopUpPack, UsageEvent,
]  # fmt: skip
ALL = sorted(admin.site._registry, key=lambda model: model._meta.label)
FACTS = [CreditGrant, CreditTransaction, Dunning, Invoice, Mail, Payment, StripeInbox, Subscription, UsageEvent]


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
            customer = add_customer(pro)
            PricingTablePlanFactory(plan=pro.plan)
            pack = create_pack(
                at=START, name="Calls", definition=pro.quota, amount=Decimal(10), price_cents=900, currency="USD"
            )
            AutoTopUp.objects.create(
                customer=customer, pack=pack, threshold=5, monthly_limit_cents=900, agreed_price_cents=900,
                created_at=START,
            )  # fmt: skip
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
            Dunning.objects.create(invoice=invoice, customer=invoice.customer, started_at=START, end_at=START)
            Mail.objects.create(
                key=invoice.public_id, kind="dunning_ended", customer=invoice.customer, invoice=invoice,
                address="ada@customer.example", send_at=START, created_at=START,
                facts={"number": invoice.number, "currency": "USD", "amount_cents": 2_900, "outcome": "not_paid"},
            )  # fmt: skip

    return add


def add_customer(pro: ProPlan) -> Customer:
    customer = CustomerFactory()
    subscribe(customer=customer, plan=pro.plan, started_at=START, at=START)
    use(customer, pro.metric, 12_500, START + timedelta(days=3))
    return customer


@pytest.mark.parametrize("model", ALL, ids=lambda model: model._meta.label)
def test_every_list_answers(operator, model):
    # What has one row only leads to it.
    assert operator.get(address(model, "changelist"), follow=True).status_code == 200


def test_the_sidebar_leads_to_every_page(operator):
    page = operator.get(reverse("admin:index")).content.decode()

    without = [model._meta.label for model in ALL if f'href="{address(model, "changelist")}"' not in page]
    # Stripe's further objects are reached from those that are listed.
    assert [label for label in without if not label.startswith("djstripe.")] == []


@pytest.mark.parametrize("model", ALL, ids=lambda model: model._meta.label)
def test_every_page_is_drawn_by_the_one_theme(model):
    assert isinstance(admin.site._registry[model], ModelAdmin)


@pytest.mark.parametrize("model", ALL, ids=lambda model: model._meta.label)
def test_every_list_wants_a_login(client, model):
    answer = client.get(address(model, "changelist"))

    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/admin/login/")


def test_whoever_opens_the_login_itself_goes_on_to_the_first_page(client):
    page = client.get("/admin/login/").content.decode()

    assert '<input type="hidden" name="next" value="/admin/" form="login-form">' in page


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
    assert max(few) <= 25


def test_an_invoice_reads_like_one(operator, add_books):
    add_books(1)
    invoice = Invoice.objects.filter(total_cents=15_400).get()

    page = operator.get(address(Invoice, "change", invoice.pk)).content.decode()

    # 29.00 + 12,500 × 0.05 − 10,000 × 0.05 = 154.00.
    for text in ("$29.00", "12,500", "$0.05", "$625.00", "−$0.05", "−$500.00", "$154.00", "Failed: Declined."):
        assert text in page
    assert "Issued on" in page
    assert f'href="{invoice_page_path(invoice)}"' in page
    assert f'href="{address(Customer, "change", invoice.customer_id)}"' in page


def test_a_draft_says_what_it_waits_for(operator, add_books):
    add_books(1)
    second_close = START + timedelta(days=60)
    close_periods(subscriptions=due_subscriptions(second_close), at=second_close)
    draft = Invoice.objects.get(status="draft")

    page = operator.get(address(Invoice, "change", draft.pk)).content.decode()

    assert "It waits for late events" in page
    assert "No lines yet" in page
    assert "Customer's page" not in page


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
    assert money_text(Decimal("0.050000000000"), "USD") == "$0.0005"
    assert money_text(Decimal("100.000000000000"), "USD") == "$1.00"


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


def test_api_keys_are_revoked_from_the_list_after_a_question(operator):
    key, _ = create_api_key(name="Backend", key_type="secret", at=START)
    asked = {"action": "revoke", "_selected_action": [key.pk]}

    question = operator.post(address(ApiKey, "changelist"), asked)

    key.refresh_from_db()
    assert key.revoked_at is None
    assert "It cannot be taken back." in question.content.decode()
    operator.post(address(ApiKey, "changelist"), asked | {"confirmed": "yes"})
    key.refresh_from_db()
    assert key.revoked_at is not None


def test_a_key_says_what_it_opens(operator):
    for scopes, words in ((["events:write", "customers:read"], "customers:read, events:write"), (None, "everything")):
        key, _ = create_api_key(name="Backend", key_type="secret", scopes=scopes, at=START)

        assert words in operator.get(address(ApiKey, "change", key.pk)).content.decode()


ODD = ["\0", "'\"; --%\\", "x" * 5000, "1" * 40, "evt_" + "z" * 200]


@pytest.mark.parametrize("model", ALL, ids=lambda model: model._meta.label)
def test_no_list_fails_by_what_is_searched_or_filtered(operator, model):
    page = address(model, "changelist")
    filters = [item for item in admin.site._registry[model].list_filter if isinstance(item, str)]
    questions = [{"q": odd} for odd in ODD] + [{"p": odd} for odd in ("9" * 30, "0", "-1", "x", "\0")]
    questions += [{f"{name}__exact": odd} for name in filters for odd in ("\0", "x", "'")]
    questions += [
        {"o": "99.-98.x"},
        {"all": "\0"},
        {"no_such_field": "1"},
        {"parked": "\0"},
        {"processed_at__isempty": "x"},
    ]

    for question in questions:
        assert operator.get(page, question).status_code in (200, 302), question


@pytest.mark.parametrize("odd", ["0", "9" * 30, "x", "%00"])
@pytest.mark.parametrize("model", ALL, ids=lambda model: model._meta.label)
def test_no_page_of_a_row_fails_by_an_odd_key(operator, model, odd):
    answer = operator.get(address(model, "changelist") + f"{odd}/change/")

    # A row that does not exist leads to the first page.
    assert answer.status_code == 302


def test_staff_without_permissions_is_refused_everywhere_and_sees_an_empty_home(client, django_user_model, add_books):
    add_books(1)
    client.force_login(django_user_model.objects.create_user("looker", is_staff=True))

    home = client.get("/admin/")

    assert home.status_code == 200
    assert (home.context["needs"], home.context["figures"]) == ([], [])
    assert "/admin/billing/invoice/" not in home.content.decode()
    for model in ALL:
        assert client.get(address(model, "changelist")).status_code == 403, model
        row = model._default_manager.order_by("pk").first()
        if row is not None:
            assert client.get(address(model, "change", row.pk)).status_code == 403, model
            assert client.post(address(model, "change", row.pk), {}).status_code == 403, model


def test_staff_who_may_only_look_can_change_nothing(client, django_user_model, add_books):
    add_books(1)
    looker = django_user_model.objects.create_user("looker", is_staff=True)
    looker.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(looker)
    key = ApiKey.objects.get()

    for model in [*OURS, Schedule, User]:
        row = model.objects.order_by("pk").first()
        assert client.get(address(model, "change", row.pk)).status_code == 200, model
        assert client.post(address(model, "change", row.pk), {}).status_code == 403, model
        assert client.get(address(model, "add")).status_code == 403, model
    client.post(address(ApiKey, "changelist"), {"action": "revoke", "confirmed": "yes", "_selected_action": [key.pk]})
    key.refresh_from_db()
    assert key.revoked_at is None


def test_home_names_what_needs_somebody_with_the_way_to_it(operator, add_books):
    add_books(1)
    customer = Customer.objects.get()
    Customer.objects.update(parked_at=START, parked_reason="The books do not add up.", name="Acme Ltd")
    Failure.objects.create(
        id="1" * 32, name="send", func="billing.jobs.sweep_send", started=START, stopped=START, success=False
    )

    needs = operator.get("/admin/").context["needs"]

    assert [(need.what, need.address) for need in needs] == [
        ("Acme Ltd is parked and not billed", address(Customer, "change", customer.pk)),
        ("2 invoices are unpaid after a declined card", address(Payment, "changelist") + "?status__exact=failed"),
        ("1 job ended with an error", address(Failure, "changelist")),
    ]
    for need in needs:
        assert operator.get(need.address).status_code == 200


def test_home_without_a_plan_says_what_to_do_first(operator):
    home = operator.get("/admin/")

    assert [need.address for need in home.context["needs"]] == [address(Plan, "add")]
    assert [(figure.text, figure.name) for figure in home.context["figures"]] == [
        ("0", "customers"),
        ("0", "active subscriptions"),
    ]


def test_home_says_what_is_open_in_each_currency(operator, add_books):
    add_books(1)

    figures = operator.get("/admin/").context["figures"]

    # 29.00 at the start, and 29.00 + 2,500 × 0.05 = 154.00 after a month.
    assert ("$183.00", "open in USD") in [(figure.text, figure.name) for figure in figures]


def test_our_schedules_can_be_neither_changed_nor_deleted(operator):
    ours = Schedule.objects.create(name="candela: books", func="billing.jobs.sweep_books")
    other = Schedule.objects.create(name="nightly report", func="math.floor")

    assert operator.post(address(Schedule, "change", ours.pk), {}).status_code == 403
    assert operator.post(address(Schedule, "delete", ours.pk), {"post": "yes"}).status_code == 403
    both = {"action": "delete_selected", "_selected_action": [ours.pk, other.pk], "post": "yes"}
    assert operator.post(address(Schedule, "changelist"), both).status_code == 403
    assert Schedule.objects.count() == 2
    operator.post(address(Schedule, "delete", other.pk), {"post": "yes"})
    assert list(Schedule.objects.all()) == [ours]


def make_mirrored(name: str, told: dict[str, Any] | None = None, **columns: Any) -> Any:
    """A row of a table of dj-stripe, with what Stripe told of it."""
    model = apps.get_model("djstripe", name)
    if told is not None:
        columns |= {"id": told["id"], "stripe_data": told}
    return model.objects.create(**columns)


def test_what_stripe_mirrors_can_be_looked_at_without_its_secrets(operator):
    customer = {"id": "cus_1", "name": "Acme Ltd", "email": "billing@acme.example"}
    invoice = {
        "id": "in_1",
        "number": "A-001",
        "status": "paid",
        "total": 15_400,
        "amount_paid": 15_400,
        "currency": "usd",
    }
    card = {"id": "pm_1", "type": "card", "card": {"brand": "visa", "last4": "4242"}, "customer": "cus_1"}
    endpoint = {"secret": "whsec_hidden", "url": "https://billing.example/", "enabled_events": ["*"]}
    rows = [
        make_mirrored("account", {"id": "acct_1", "settings": {}, "business_profile": {}}),
        make_mirrored("customer", customer),
        make_mirrored("event", {"id": "evt_1", "type": "invoice.paid"}, type="invoice.paid", data={}),
        make_mirrored("invoice", invoice, customer_id="cus_1"),
        make_mirrored("paymentmethod", card, customer_id="cus_1"),
        make_mirrored("webhookendpoint", {"id": "we_1"}, djstripe_uuid=uuid4(), **endpoint),
        make_mirrored("apikey", secret="sk_test_hidden123456", type="secret", livemode=False),
        make_mirrored("webhookeventtrigger", headers={}, body="{}", remote_ip="127.0.0.1"),
    ]

    for row in rows:
        shown = operator.get(address(type(row), "changelist"))
        page = operator.get(address(type(row), "change", row.pk))
        assert (shown.status_code, page.status_code) == (200, 200), row
        # 15,400 cents are 154 dollars; dj-stripe itself writes them as 15,400.
        for secret in ("whsec_hidden", "sk_test_hidden123456", "15,400"):
            assert secret not in (shown.content + page.content).decode()
        assert operator.post(address(type(row), "change", row.pk), {}).status_code == 403, row
        assert operator.post(address(type(row), "delete", row.pk), {"post": "yes"}).status_code == 403, row
    shown_models = {model for model in admin.site._registry if model._meta.app_label == "djstripe"}
    assert shown_models == {type(row) for row in rows}


def test_a_queued_task_that_cannot_be_read_does_not_break_its_list(operator):
    task = OrmQ.objects.create(key="candela", payload="not signed by us", lock=START)

    assert operator.get(address(OrmQ, "changelist")).status_code == 200
    assert operator.get(address(OrmQ, "change", task.pk)).status_code == 200


def test_a_pricing_table_links_to_its_page(operator):
    table = PricingTableFactory(slug="spring")

    for page in (address(PricingTable, "changelist"), address(PricingTable, "change", table.pk)):
        assert 'href="/pricing/spring"' in operator.get(page).content.decode()


def test_a_plan_leads_to_what_it_is_made_of_and_to_who_has_it(operator, add_books):
    add_books(1)
    plan, definition = Plan.objects.get(), CreditDefinition.objects.get()

    page = operator.get(address(Plan, "change", plan.pk)).content.decode()

    links = [
        address(CreditDefinition, "change", definition.pk),
        address(Metric, "change", definition.metric_id),
        address(Feature, "change", definition.feature_id),
        address(PricingTable, "change", PricingTable.objects.get().pk),
        address(Subscription, "changelist") + f"?plan__id__exact={plan.pk}",
    ]
    for target in links:
        assert f'href="{target}"' in page
        assert operator.get(target).status_code == 200
    assert "$29.00 monthly. Calls: 10,000 included, then $0.05 per call." in page


def test_a_customer_leads_to_subscription_grants_and_invoices(operator, add_books):
    add_books(1)
    customer = Customer.objects.get()

    page = operator.get(address(Customer, "change", customer.pk)).content.decode()

    for row in [*Subscription.objects.all(), *CreditGrant.objects.all(), *Invoice.objects.all()]:
        assert f'href="{address(type(row), "change", row.pk)}"' in page


def test_the_ledger_of_a_grant_shows_its_signs(operator, add_books):
    add_books(1)
    burned = CreditTransaction.objects.get(kind="burned")

    page = operator.get(address(CreditGrant, "change", burned.grant_id)).content.decode()

    assert "+10,000" in page
    assert "−10,000" in page
