"""The operator's pages about credits: what a form makes and actions move."""

from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.services.subscribe import subscribe
from credits.models import CreditDefinition, CreditGrant
from tests.factories import CreditDefinitionFactory, CustomerFactory, FixedComponentFactory
from tests.pro_plan import make_pro_plan, use

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(admin_user):
    client = Client()
    client.force_login(admin_user)
    return client


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def customer(pro):
    customer = CustomerFactory()
    subscribe(at=timezone.now(), customer=customer, plan=pro.plan)
    return customer


def page(noun, action, row):
    return reverse(f"admin:credits_{noun}_change", args=[row.pk]).replace("/change/", f"/{action}/")


def errors(answer):
    assert answer.status_code == 200
    return answer.context["form"].errors


class TestDefinitions:
    NEW = "/admin/credits/creditdefinition/add/"

    def entered(self, pro, **changed):
        return {
            "name": "Weekly calls", "application_type": "usage", "scope": "plan", "plan": pro.plan.pk,
            "feature": pro.feature.pk, "default_amount": "250", "renews": "FREQ=WEEKLY", "is_active": "on",
        } | changed  # fmt: skip

    def test_are_made_by_the_form(self, operator, pro):
        answer = operator.post(self.NEW, self.entered(pro))

        made = CreditDefinition.objects.latest("pk")
        assert answer.status_code == 302
        assert (made.name, made.plan, made.metric, made.refill_rrule) == (
            "Weekly calls", pro.plan, pro.metric, "FREQ=WEEKLY",
        )  # fmt: skip
        assert operator.get(answer.headers["Location"]).status_code == 200

    def test_of_money_need_no_metric(self, operator, pro):
        fee = pro.price.components.get(kind="fixed")
        entered = self.entered(
            pro, application_type="monetary", currency="usd", feature="", plan="", scope="component", component=fee.pk
        )

        operator.post(self.NEW, entered)

        made = CreditDefinition.objects.latest("pk")
        assert (made.currency, made.price, made.price_component_id) == ("USD", pro.price, fee.component_id)
        assert b"$250.00" in operator.get(reverse("admin:credits_creditdefinition_change", args=[made.pk])).content

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"name": ""}, "name"),
            ({"default_amount": "0"}, "default_amount"),
            ({"plan": ""}, "plan"),
            ({"feature": ""}, "component"),
            ({"renews": "calendar", "refill_rrule": "SOMETIMES"}, "refill_rrule"),
            ({"renews": "calendar"}, "refill_rrule"),
            ({"refill_rrule": "FREQ=DAILY"}, "refill_rrule"),
            ({"renews": "sometimes"}, "renews"),
            ({"renews": "", "rolls_over": "on"}, "rolls_over"),
            ({"renews": "FREQ=MONTHLY", "per_seat": "on"}, "per_seat"),
            # The plan has no price per seat, and what is granted by hand comes with no seats.
            ({"renews": "period", "per_seat": "on"}, "per_seat"),
            ({"renews": "period", "per_seat": "on", "scope": "merchant", "plan": ""}, "per_seat"),
            ({"application_type": "monetary", "feature": ""}, "currency"),
            ({"application_type": "monetary", "feature": "", "currency": "XXQ"}, "currency"),
            (
                {"application_type": "monetary", "feature": "", "currency": "JPY", "default_amount": "2.5"},
                "default_amount",
            ),
        ],
    )
    def test_that_are_refused_say_so_at_the_field(self, operator, pro, change, field):
        before = CreditDefinition.objects.count()

        assert list(errors(operator.post(self.NEW, self.entered(pro, **change)))) == [field]

        assert CreditDefinition.objects.count() == before

    def test_may_be_for_each_seat(self, operator, pro):
        FixedComponentFactory(price=pro.price, kind="per_unit", unit_label="seat", amount_cents=1_000, position=9)

        answer = operator.post(self.NEW, self.entered(pro, renews="period", per_seat="on"))

        made = CreditDefinition.objects.latest("pk")
        assert (made.per_seat, made.renew_on_billing) == (True, True)
        assert "each period, for each seat" in operator.get(answer.headers["Location"]).content.decode()
        form = operator.get(page("creditdefinition", "change-terms", made)).context["form"]
        assert form["per_seat"].value() is True

    def test_show_their_terms_and_take_others(self, operator, pro, customer):
        address = page("creditdefinition", "change-terms", pro.quota)
        shown = operator.get(address).content.decode()
        assert 'value="10000"' in shown

        entered = {"name": "Calls", "default_amount": "7", "renews": "period", "is_active": "on"}
        assert operator.post(address, entered).status_code == 302
        pro.quota.refresh_from_db()
        assert (pro.quota.name, pro.quota.default_amount) == ("Calls", 7)
        assert {grant.adjusted_amount for grant in CreditGrant.objects.all()} == {0}

        operator.post(address, entered | {"apply_to_existing": "on"})
        assert CreditGrant.objects.latest("starts_at").adjusted_amount == 7 - 10_000

    def test_refuse_other_terms_at_the_field(self, operator, pro):
        entered = {"name": "Calls", "default_amount": "7", "renews": "period", "expiry_days": "32"}

        assert list(errors(operator.post(page("creditdefinition", "change-terms", pro.quota), entered))) == [
            "expiry_days"
        ]

    def test_are_deleted_after_asking(self, operator, pro, customer):
        address = page("creditdefinition", "take-off", pro.quota)
        assert operator.get(address).status_code == 200
        assert CreditDefinition.objects.get().deleted_at is None

        answer = operator.post(address, {"apply_to_existing": "on"})

        assert CreditDefinition.objects.get().deleted_at is not None
        assert CreditGrant.objects.filter(revoked_at=None).count() == 1
        assert operator.get(answer.headers["Location"]).status_code == 200


class TestGrants:
    NEW = "/admin/credits/creditgrant/add/"

    def test_are_given_by_the_form(self, operator, pro, customer):
        entered = {
            "customer": customer.public_id, "definition": pro.quota.pk, "amount": "12.5", "source": "promotion",
            "notes": "Sorry",
        }  # fmt: skip

        answer = operator.post(self.NEW, entered)

        grant = CreditGrant.objects.get(source="promotion")
        assert answer.status_code == 302
        assert (grant.customer, grant.initial_amount, grant.notes) == (customer, Decimal("12.5"), "Sorry")

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"customer": "cus_unknown"}, "customer"),
            ({"definition": "0"}, "definition"),
            ({"amount": "0"}, "amount"),
            ({"source": "subscription"}, "source"),
            ({"starts_at": "soon"}, "starts_at"),
            ({"expires_at": "2001-01-01"}, "expires_at"),
        ],
    )
    def test_that_are_refused_say_so_at_the_field(self, operator, pro, customer, change, field):
        entered = {"customer": customer.public_id, "definition": pro.quota.pk, "source": "manual"} | change

        assert list(errors(operator.post(self.NEW, entered))) == [field]

        assert not CreditGrant.objects.exclude(source="subscription").exists()

    def test_may_name_the_customer_by_e_mail_or_your_own_id(self, operator, pro, customer):
        for number, known_as in enumerate((customer.email.upper(), customer.external_customer_id), start=1):
            entered = {"customer": known_as, "definition": pro.quota.pk, "source": "manual"}

            operator.post(self.NEW, entered)

            assert CreditGrant.objects.filter(source="manual", customer=customer).count() == number

    def test_ask_which_of_two_customers_of_an_e_mail_is_meant(self, operator, pro, customer):
        CustomerFactory(email=customer.email, email_is_shared=True)
        entered = {"customer": customer.email, "definition": pro.quota.pk, "source": "manual"}

        answer = operator.post(self.NEW, entered)

        assert "Several customers have this e-mail." in str(errors(answer))

    def test_begin_on_the_page_of_a_customer(self, operator, customer):
        page = f"/admin/plans/customer/{customer.pk}/grant/"

        shown = operator.get(page, follow=True).content.decode()

        assert f'value="{customer.public_id}"' in shown

    def test_are_listed_with_what_is_left_right_now(self, operator, pro, customer):
        use(customer, pro.metric, 300, timezone.now())

        shown = operator.get("/admin/credits/creditgrant/?state=now").content.decode()

        assert ">9,700<" in shown

    def test_are_adjusted_within_what_is_left(self, operator, pro, customer):
        use(customer, pro.metric, 300, timezone.now())
        grant = CreditGrant.objects.earliest("starts_at")
        address = page("creditgrant", "adjust", grant)

        refused = operator.post(address, {"amount": "-9701"})
        assert "Only 9,700 of 10,000 are left; no more can be taken away." in str(errors(refused))
        assert operator.post(address, {"amount": "-9700", "notes": "all"}).status_code == 302

        grant.refresh_from_db()
        assert grant.adjusted_amount == -9_700
        shown = operator.get(reverse("admin:credits_creditgrant_change", args=[grant.pk])).content.decode()
        assert "−9,700" in shown

    def test_are_revoked(self, operator, customer):
        grant = CreditGrant.objects.earliest("starts_at")

        operator.post(page("creditgrant", "revoke", grant), {"notes": "mistake"})

        grant.refresh_from_db()
        assert (grant.ledger_remaining, grant.notes) == (0, "mistake")

    def test_of_money_show_it(self, operator, customer):
        money = CreditDefinitionFactory(
            scope="merchant", plan=None, renew_on_billing=False, feature=None, application_type="monetary",
            currency="KWD",
        )  # fmt: skip
        operator.post(
            self.NEW, {"customer": customer.public_id, "definition": money.pk, "amount": "1.234", "source": "manual"}
        )

        grant = CreditGrant.objects.get(currency="KWD")
        for address in (reverse("admin:credits_creditgrant_change", args=[grant.pk]), "/admin/credits/creditgrant/"):
            assert "1.234" in operator.get(address).content.decode()
        assert "1.234" in operator.get("/admin/credits/credittransaction/").content.decode()


@pytest.mark.parametrize("action", ["adjust", "revoke"])
def test_whoever_may_only_look_can_move_nothing(customer, action):
    clerk = User.objects.create_user("clerk", password="x", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_creditgrant"))
    client = Client()
    client.force_login(clerk)
    grant = CreditGrant.objects.earliest("starts_at")

    assert client.get(reverse("admin:credits_creditgrant_change", args=[grant.pk])).status_code == 200
    assert client.post(page("creditgrant", action, grant), {"amount": "5"}).status_code == 403
    assert client.get("/admin/credits/creditgrant/add/").status_code == 403
    assert grant.transactions.count() == 1


@pytest.mark.parametrize(
    "address", ["creditgrant/0/adjust/", "creditdefinition/0/change-terms/", "creditgrant/x/revoke/"]
)
def test_an_action_on_what_is_not_there_leads_to_the_list(operator, address):
    answer = operator.get(f"/admin/credits/{address}")

    assert (answer.status_code, answer.headers["Location"]) == (302, f"/admin/credits/{address.split('/')[0]}/")
