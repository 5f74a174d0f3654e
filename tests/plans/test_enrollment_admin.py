"""The operator's page of enrollment rules."""

import pytest
from django.contrib.auth import get_user_model
from django.urls import reverse

from plans.models import EnrollmentRule
from tests.factories import START, FixedComponentFactory, PriceFactory

pytestmark = pytest.mark.django_db

LIST = "admin:plans_enrollmentrule_changelist"
ADD = "admin:plans_enrollmentrule_add"


@pytest.fixture
def operator(client):
    client.force_login(get_user_model().objects.create_superuser("op", password="secret"))
    return client


@pytest.fixture
def free():
    price = PriceFactory(plan__name="Partner", fee=None)
    FixedComponentFactory(price=price, amount_cents=0)
    return price.plan


def entered(plan, **more):
    return {"matcher_type": "domain", "matcher_value": "acme.io", "plan": plan.pk} | more


def test_a_rule_is_made_and_shown_in_words(operator, free):
    operator.post(reverse(ADD), entered(free))

    assert EnrollmentRule.objects.get().matcher_value == "acme.io"
    assert "Who signs up with an address of acme.io gets Partner" in operator.get(reverse(LIST)).content.decode()


def test_a_refusal_shows_at_its_field_and_nothing_is_written(operator, free):
    page = operator.post(reverse(ADD), entered(free, matcher_value="acme")).content.decode()

    assert "Must be a domain such as example.com." in page
    assert not EnrollmentRule.objects.exists()


def test_a_plan_that_costs_something_is_refused(operator):
    page = operator.post(reverse(ADD), entered(PriceFactory().plan)).content.decode()

    assert "Selected plan has no pure free price" in page
    assert not EnrollmentRule.objects.exists()


def test_a_rule_is_ended(operator, free):
    rule = EnrollmentRule.objects.create(plan=free, matcher_type="email", matcher_value="ann@acme.io", created_at=START)
    address = reverse("admin:plans_enrollmentrule_end_rule", args=[rule.pk])

    assert "Who signs up with the address ann@acme.io gets Partner" in operator.get(address).content.decode()
    operator.post(address)

    rule.refresh_from_db()
    assert rule.deleted_at is not None
    assert "ann@acme.io" not in operator.get(reverse(LIST)).content.decode()
