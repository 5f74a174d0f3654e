"""The operator's pages of dunning and of mails."""

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from billing.models import DunningConfig, Mail
from billing.services.mail import queue_mail, record_mail_failure
from plans.models import Customer
from tests.factories import CustomerFactory

AT = datetime(2026, 5, 1, tzinfo=UTC)
MAILS = "admin:billing_mail_changelist"
TERMS = {"grace_period_days": 14, "retry_schedule": "2, 5", "end_action": "cancel_subscription"}

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(admin_user):
    client = Client()
    client.force_login(admin_user)
    return client


@pytest.fixture
def failed():
    """A mail that was given up."""
    customer = CustomerFactory(name="Ada <b>", email="old@customer.example")
    facts = {"number": "ADA-001", "currency": "USD", "amount_cents": 2_900, "outcome": "not_paid"}
    queue_mail(key="k", kind="dunning_ended", customer=customer, facts=facts, at=AT)
    record_mail_failure(mail=Mail.objects.get().public_id, error="550 no such user", at=AT, is_final=True)
    Customer.objects.update(email="new@customer.example")
    return Mail.objects.get()


def address_of_terms(operator):
    return operator.get(reverse("admin:billing_dunningconfig_changelist")).url


def test_the_terms_are_changed_by_their_form(operator):
    assert operator.post(address_of_terms(operator), TERMS).status_code == 302

    config = DunningConfig.objects.get()
    assert (config.grace_period_days, config.retry_schedule, config.end_action) == (14, [2, 5], "cancel_subscription")


def test_the_form_shows_the_terms_as_they_are(operator):
    page = operator.get(address_of_terms(operator)).content.decode()

    assert 'value="1,3,7"' in page


def test_no_days_are_no_retries(operator):
    operator.post(address_of_terms(operator), TERMS | {"retry_schedule": ""})

    assert DunningConfig.objects.get().retry_schedule == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("grace_period_days", "366"),
        ("grace_period_days", "-1"),
        ("retry_schedule", "3, 1"),
        ("retry_schedule", "1, 1"),
        ("retry_schedule", "0"),
        ("retry_schedule", "1, x"),
        ("retry_schedule", "366"),
        ("retry_schedule", "1,2,3,4,5,6,7,8,9,10,11"),
        ("end_action", "delete"),
    ],
)
def test_wrong_terms_are_said_at_their_field_and_change_nothing(operator, field, value):
    answer = operator.post(address_of_terms(operator), TERMS | {field: value})

    assert field in answer.context["adminform"].form.errors
    assert DunningConfig.objects.get().grace_period_days == 7


def test_a_mail_is_read_on_its_page(operator, failed):
    page = operator.get(reverse("admin:billing_mail_change", args=[failed.pk])).content.decode()

    assert "Invoice ADA-001 is not paid" in page
    assert "Hello Ada &lt;b&gt;," in page
    assert "550 no such user" in page


def test_home_says_that_a_mail_was_given_up(operator, failed):
    needs = operator.get("/admin/").context["needs"]

    assert "1 mail could not be sent" in [need.what for need in needs]


def test_a_mail_is_sent_again_from_the_list(operator, failed):
    operator.post(reverse(MAILS), {"action": "send_once_more", "_selected_action": [failed.pk]})

    failed.refresh_from_db()
    assert (failed.state, failed.address, failed.attempts) == ("queued", "new@customer.example", 0)


def test_who_has_no_address_is_named(operator, failed):
    Customer.objects.update(email="")

    page = operator.post(reverse(MAILS), {"action": "send_once_more", "_selected_action": [failed.pk]}, follow=True)

    assert "has no e-mail address. Enter one, then send the mail again." in page.content.decode()
    failed.refresh_from_db()
    assert failed.state == "failed"


def test_who_may_only_look_sends_nothing_again(client, django_user_model, failed):
    looker = django_user_model.objects.create_user("looker", is_staff=True)
    looker.user_permissions.set(Permission.objects.filter(codename="view_mail"))
    client.force_login(looker)

    client.post(reverse(MAILS), {"action": "send_once_more", "_selected_action": [failed.pk]})

    failed.refresh_from_db()
    assert failed.state == "failed"
