"""Deleting plans in the admin: it asks first, takes them off sale for good, and leaves those who have them alone."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from plans.models import Plan, Subscription
from tests.factories import START, PlanFactory, PriceFactory, PricingTablePlanFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db

LIST = "/admin/plans/plan/"
DAY = timedelta(days=1)


@pytest.fixture
def operator(admin_user: User) -> Client:
    """A browser that is logged in."""
    client = Client()
    client.force_login(admin_user)
    return client


def chosen(*plans: Plan, **more: str) -> dict[str, object]:
    """What a browser sends when plans are ticked in the list and the action is run."""
    return {"action": "delete_selected", "_selected_action": [plan.pk for plan in plans]} | more


def page_of(plan: Plan, name: str) -> str:
    """The address of a plan's page."""
    return f"{LIST}{plan.pk}/{name}/"


def words_of(answer) -> str:
    """A page as one line, without its tags' line breaks."""
    return " ".join(answer.content.decode().split())


def fields_of(question) -> dict[str, list[str]]:
    """What a browser sends when the question is answered with yes."""
    fields: dict[str, list[str]] = {}
    for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', question.content.decode()):
        fields.setdefault(name, []).append(value)
    return fields


def is_offered(plan: Plan) -> bool:
    """Whether the plan is there for buyers."""
    return Plan.objects.live().filter(pk=plan.pk).exists()


def said(answer) -> list[str]:
    """The messages on the page that follows."""
    return [str(message) for message in answer.context["messages"]]


def test_the_list_asks_before_it_deletes_and_names_who_goes_on(operator):
    pro, team, unsold = PlanFactory(name="Pro"), PlanFactory(name="Team"), PlanFactory(name="Unsold")
    for price in (PriceFactory(plan=pro), PriceFactory(plan=pro), PriceFactory(plan=team)):
        SubscriptionFactory(price=price)
    # These two are not live: one has ended, one is deleted.
    Subscription.objects.filter(pk=SubscriptionFactory(price__plan=pro).pk).update(ended_at=START + DAY)
    Subscription.objects.filter(pk=SubscriptionFactory(price__plan=pro).pk).update(deleted_at=START + DAY)

    question = operator.post(LIST, chosen(pro, team, unsold))

    words = words_of(question)
    assert "<strong>Pro v1</strong>, 2 live subscriptions go on<" in words
    assert "<strong>Team v1</strong>, 1 live subscription goes on<" in words
    assert "<strong>Unsold v1</strong>, no live subscriptions<" in words
    for consequence in ("nobody can subscribe", "nothing is charged", "billed as before", "It cannot be taken back."):
        assert consequence in words
    assert all(is_offered(plan) for plan in (pro, team, unsold))


def test_what_is_confirmed_is_deleted_and_nothing_else(operator):
    pro, team, kept = PlanFactory(name="Pro"), PlanFactory(name="Team"), PlanFactory(name="Kept")

    question = operator.post(LIST, chosen(pro, team))
    answer = operator.post(LIST, fields_of(question), follow=True)

    assert [is_offered(plan) for plan in (pro, team, kept)] == [False, False, True]
    (message,) = said(answer)
    for words in ("Pro v1", "Team v1", "From now on nobody can subscribe; existing subscriptions go on."):
        assert words in message
    assert list(answer.context["cl"].queryset) == [kept]


def test_the_page_of_a_plan_has_a_button_that_asks_and_then_deletes(operator):
    plan = PlanFactory(name="Pro")
    button = page_of(plan, "delete")

    assert f'href="{button}"' in operator.get(page_of(plan, "change")).content.decode()
    question = operator.get(button)
    assert "<strong>Pro v1</strong>" in question.content.decode()
    assert fields_of(question)["confirmed"] == ["yes"]
    # A post without the confirmation is Django's own; here it only asks again.
    operator.post(button, {"post": "yes"})
    assert is_offered(plan)
    answer = operator.post(button, fields_of(question), follow=True)

    assert not is_offered(plan)
    assert answer.redirect_chain == [(LIST, 302)]
    assert said(answer)[0].startswith("Deleted: Pro v1.")


def test_subscribers_keep_a_deleted_plan(operator):
    subscription = SubscriptionFactory(price__plan__name="Pro")

    operator.post(LIST, chosen(subscription.plan, confirmed="yes"))

    subscription.refresh_from_db()
    assert (subscription.status, subscription.ended_at) == ("active", None)
    assert Subscription.objects.entitling().count() == 1


def test_a_deleted_plan_leaves_the_pricing_page(operator, client):
    placement = PricingTablePlanFactory(plan__name="Pro of the table", pricing_table__slug="spring")
    PriceFactory(plan=placement.plan)
    assert "Pro of the table" in client.get("/pricing/spring").content.decode()

    operator.post(LIST, chosen(placement.plan, confirmed="yes"))

    assert "Pro of the table" not in client.get("/pricing/spring").content.decode()


def test_deleting_again_changes_nothing_and_says_so(operator):
    plan = PlanFactory(deleted_at=START)

    from_the_list = operator.post(LIST, chosen(plan, confirmed="yes"), follow=True)
    from_its_page = operator.post(page_of(plan, "delete"), {"confirmed": "yes"}, follow=True)

    plan.refresh_from_db()
    assert plan.deleted_at == START
    nothing = ["Nothing was done: there is no such plan any more."]
    assert (said(from_the_list), said(from_its_page)) == (nothing, nothing)
    assert not LogEntry.objects.exists()


def test_a_deleted_plan_is_in_no_list_but_its_page_is_there_to_be_read(operator):
    plan = SubscriptionFactory(price__plan__deleted_at=START).plan

    page = operator.get(page_of(plan, "change"))

    assert list(operator.get(LIST).context["cl"].queryset) == []
    assert page.status_code == 200
    assert "Nobody can subscribe any more. Those who have it keep it." in page.content.decode()
    assert page_of(plan, "delete") not in page.content.decode()
    assert operator.post(page_of(plan, "change"), {"name": "Other"}).status_code == 403


def test_who_did_it_is_in_the_history_of_the_plan(operator, admin_user):
    plan = PlanFactory()

    operator.post(LIST, chosen(plan, confirmed="yes"))

    (entry,) = LogEntry.objects.filter(object_id=plan.pk)
    assert (entry.user, entry.get_change_message()) == (admin_user, "Deleted.")


@pytest.mark.parametrize("permissions", [[], ["view_plan"], ["view_plan", "change_plan"]])
def test_needs_the_permission_to_delete(client, django_user_model, permissions):
    plan = PlanFactory()
    looker = django_user_model.objects.create_user("looker", is_staff=True)
    looker.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(looker)

    asked, told = client.get(page_of(plan, "delete")), client.post(page_of(plan, "delete"), {"confirmed": "yes"})
    client.post(LIST, chosen(plan, confirmed="yes"))

    assert (asked.status_code, told.status_code) == (403, 403)
    assert page_of(plan, "delete") not in client.get(page_of(plan, "change")).content.decode()
    assert is_offered(plan)


def test_with_the_permission_nothing_else_is_needed(client, django_user_model):
    plan = PlanFactory()
    seller = django_user_model.objects.create_user("seller", is_staff=True)
    seller.user_permissions.set(Permission.objects.filter(codename__in=["view_plan", "delete_plan"]))
    client.force_login(seller)

    client.post(LIST, chosen(plan, confirmed="yes"))

    assert not is_offered(plan)


def test_strangers_are_sent_to_the_login(client):
    plan = PlanFactory()

    assert client.get(page_of(plan, "delete")).status_code == 302
    assert client.post(page_of(plan, "delete"), {"confirmed": "yes"}).status_code == 302
    assert is_offered(plan)


@pytest.mark.parametrize("odd", ["0", "9" * 30, "x", "%00"])
def test_an_odd_key_deletes_nothing_and_says_so(operator, odd):
    plan = PlanFactory()

    answer = operator.post(f"{LIST}{odd}/delete/", {"confirmed": "yes"}, follow=True)

    assert said(answer) == ["Nothing was done: there is no such plan any more."]
    assert is_offered(plan)


def test_the_question_asks_no_more_of_the_database_for_more_plans(operator):
    def queries(*plans: Plan) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert operator.post(LIST, chosen(*plans)).status_code == 200
        return len(captured)

    plans = [SubscriptionFactory().plan for _ in range(4)]
    queries(plans[0])

    assert queries(*plans) == queries(plans[0])


@pytest.mark.parametrize("key", ["x", "", "1.5", "-1", "99999999999999999999"])
def test_a_choice_that_is_no_row_does_nothing(operator, key):
    plan = PlanFactory()

    answer = operator.post(LIST, {"action": "delete_selected", "_selected_action": [key], "confirmed": "yes"})

    assert answer.status_code in (200, 302)
    assert is_offered(plan)
