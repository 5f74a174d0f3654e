from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.services.subscribe import subscribe
from credits.models import CreditGrant, CreditTransaction
from credits.services.definitions import create_definition
from credits.services.grants import (
    AdjustExceedsRemaining,
    GrantConflict,
    GrantEnded,
    GrantNotFound,
    adjust_grant,
    find_grant,
    grant_credits,
    grants_in_state,
    live_grant,
    live_grants,
    revoke_grant,
)
from plans.refusals import InvalidInput
from tests.factories import CreditDefinitionFactory, CreditGrantFactory, CustomerFactory, UsageComponentFactory
from tests.pro_plan import make_pro_plan, sweep, use

AT = datetime(2026, 3, 10, 14, 46, tzinfo=UTC)
TODAY = datetime(2026, 3, 10, tzinfo=UTC)
DAY = timedelta(days=1)

pytestmark = pytest.mark.django_db


def definition(**words):
    return CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, **words)


def ledger(grant):
    return list(grant.transactions.order_by("pk").values_list("kind", "amount"))


class TestGranting:
    def test_writes_the_grant_with_its_ledger_row(self):
        grant = grant_credits(at=AT, customer=CustomerFactory(), definition=definition(), amount=Decimal("12.5"))

        assert (grant.initial_amount, grant.ledger_remaining) == (Decimal("12.5"), Decimal("12.5"))
        assert ledger(grant) == [("granted", Decimal("12.5"))]

    def test_without_an_amount_gives_the_default(self):
        assert CreditGrantFactory(at=AT).initial_amount == 10_000

    def test_goodwill_starts_with_the_current_period(self):
        pro, customer = make_pro_plan(quota=None), CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan)
        extra = definition(feature=pro.feature)

        for source in ("manual", "promotion"):
            grant = grant_credits(at=AT + 9 * DAY, customer=customer, definition=extra, source=source)
            assert grant.starts_at == AT

    def test_bought_units_start_today(self):
        pro, customer = make_pro_plan(quota=None), CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan)

        grant = grant_credits(
            at=AT + 9 * DAY, customer=customer, definition=definition(feature=pro.feature), source="topup"
        )

        assert grant.starts_at == TODAY + 9 * DAY

    def test_without_subscription_goodwill_starts_today(self):
        assert CreditGrantFactory(at=AT).starts_at == TODAY

    def test_given_start_and_expiry_are_widened_to_midnights(self):
        grant = CreditGrantFactory(at=AT, starts_at=AT - DAY, expires_at=AT + DAY)

        assert (grant.starts_at, grant.expires_at) == (TODAY - DAY, TODAY + 2 * DAY)

    def test_expiry_days_count_from_the_moment_of_granting(self):
        grant = CreditGrantFactory(at=AT, starts_at=AT + 5 * DAY, definition=definition(expiry_days=10))

        assert grant.expires_at == TODAY + 11 * DAY

    def test_an_expiry_before_the_start_is_refused(self):
        with pytest.raises(InvalidInput):
            CreditGrantFactory(at=AT, starts_at=AT + 5 * DAY, expires_at=AT)

    def test_a_priority_of_zero_is_not_the_definitions(self):
        assert CreditGrantFactory(at=AT, definition=definition(priority=5), priority=0).priority == 0
        assert CreditGrantFactory(at=AT, definition=definition(priority=5)).priority == 5

    def test_the_same_reference_again_is_the_first_grant(self):
        customer, quota = CustomerFactory(), definition()
        first = grant_credits(at=AT, customer=customer, definition=quota, amount=Decimal(5), reference_code="r")

        again = grant_credits(at=AT + DAY, customer=customer, definition=quota, amount=Decimal(5), reference_code="r")

        assert again == first
        assert CreditGrant.objects.count() == 1

    def test_the_same_reference_with_another_amount_or_definition_is_refused(self):
        customer, quota = CustomerFactory(), definition()
        grant_credits(at=AT, customer=customer, definition=quota, amount=Decimal(5), reference_code="r")

        for other in ({"amount": Decimal(6), "definition": quota}, {"amount": Decimal(5), "definition": definition()}):
            with pytest.raises(GrantConflict):
                grant_credits(at=AT, customer=customer, reference_code="r", **other)

    @pytest.mark.parametrize("code", ["refund:inv_1", "top_up:inv_item_1"])
    def test_the_references_of_what_invoices_grant_are_refused(self, code):
        with pytest.raises(InvalidInput, match="which invoices use"):
            grant_credits(at=AT, customer=CustomerFactory(), definition=CreditDefinitionFactory(), reference_code=code)

    def test_the_same_reference_of_another_customer_is_another_grant(self):
        quota = definition()

        assert grant_credits(at=AT, customer=CustomerFactory(), definition=quota, reference_code="r") != grant_credits(
            at=AT, customer=CustomerFactory(), definition=quota, reference_code="r"
        )

    def test_finds_grants_by_id(self):
        grant = CreditGrantFactory(at=AT)

        assert find_grant(grant.public_id) == grant
        with pytest.raises(GrantNotFound):
            find_grant("cred_nothing")


class TestGoodwillOnTheBill:
    def test_units_given_today_reduce_this_months_bill(self):
        pro, customer = make_pro_plan(), CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan)
        use(customer, pro.metric, 12_500, AT + DAY)

        grant_credits(
            at=AT + 9 * DAY, customer=customer, definition=definition(feature=pro.feature), amount=Decimal(2_000)
        )
        sweep(datetime(2026, 4, 10, 1, tzinfo=UTC))

        assert customer.invoices.order_by("-closes_at")[0].total_cents == 2_900 + 500 * 5


class TestRevoking:
    def test_takes_the_live_rest_and_leaves_what_was_burned(self):
        grant = CreditGrantFactory(at=AT, amount=Decimal(100))
        use(grant.customer, grant.metric, 60, AT)

        answer = revoke_grant(at=AT + DAY, grant=grant, notes="mistake")

        grant.refresh_from_db()
        assert (answer.remaining, answer.status) == (0, "REVOKED")
        assert ledger(grant) == [("granted", 100), ("revoked", -40)]
        assert (grant.ledger_remaining, grant.revoked_at, grant.notes) == (60, AT + DAY, "mistake")

    def test_again_changes_nothing(self):
        grant = CreditGrantFactory(at=AT, amount=Decimal(100))
        revoke_grant(at=AT + DAY, grant=grant)

        revoke_grant(at=AT + 2 * DAY, grant=grant)

        grant.refresh_from_db()
        assert ledger(grant) == [("granted", 100), ("revoked", -100)]
        assert grant.revoked_at == AT + DAY

    def test_before_the_start_takes_everything(self):
        grant = CreditGrantFactory(at=AT, starts_at=AT + 9 * DAY, amount=Decimal(100))

        revoke_grant(at=AT, grant=grant)

        grant.refresh_from_db()
        assert (grant.ledger_remaining, grant.revoked_at) == (0, grant.starts_at)

    def test_of_a_used_up_grant_moves_nothing(self):
        grant = CreditGrantFactory(at=AT, amount=Decimal(100))
        use(grant.customer, grant.metric, 160, AT)

        revoke_grant(at=AT + DAY, grant=grant)

        assert ledger(grant) == [("granted", 100)]

    def test_does_not_change_the_charge_for_what_was_used_before(self):
        pro, customer = make_pro_plan(), CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan)
        extra = grant_credits(
            at=AT, customer=customer, definition=definition(feature=pro.feature), amount=Decimal(2_000)
        )
        use(customer, pro.metric, 11_000, AT + DAY)

        revoke_grant(at=AT + 2 * DAY, grant=extra)
        use(customer, pro.metric, 7, AT + 3 * DAY)
        sweep(datetime(2026, 4, 10, 1, tzinfo=UTC))

        assert customer.invoices.order_by("-closes_at")[0].total_cents == 2_900 + 7 * 5
        extra.refresh_from_db()
        assert ledger(extra) == [("granted", 2_000), ("revoked", -1_000), ("burned", -1_000)]

    def test_settlement_leaves_nothing_on_a_revoked_grant_whose_usage_was_corrected(self):
        pro, customer = make_pro_plan(quota=None), CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan)
        extra = grant_credits(at=AT, customer=customer, definition=definition(feature=pro.feature), amount=Decimal(100))
        use(customer, pro.metric, 60, AT + DAY)
        revoke_grant(at=AT + 2 * DAY, grant=extra)
        use(customer, pro.metric, -20, AT + 3 * DAY)

        sweep(datetime(2026, 4, 10, 1, tzinfo=UTC))

        extra.refresh_from_db()
        assert CreditTransaction.objects.filter(grant=extra, kind="burned").get().amount == -40
        assert extra.ledger_remaining == 0


class TestLiveNumbers:
    def test_tell_the_state_in_the_contracts_words(self):
        customer, quota = CustomerFactory(), definition()
        words = {"customer": customer, "definition": quota}
        active = CreditGrantFactory(at=AT, amount=Decimal(100), **words)
        depleted = CreditGrantFactory(at=AT, amount=Decimal(30), priority=1, **words)
        ahead = CreditGrantFactory(at=AT, starts_at=AT + 50 * DAY, **words)
        expired = CreditGrantFactory(at=AT - 9 * DAY, starts_at=AT - 9 * DAY, expires_at=AT - 3 * DAY, **words)
        revoked = CreditGrantFactory(at=AT, **words)
        revoke_grant(at=AT, grant=revoked)
        use(customer, quota.metric, 40, AT)

        grants = CreditGrant.objects.filter(customer=customer)
        live = {one.grant.pk: (one.status, one.remaining) for one in live_grants(grants, at=AT + DAY)}

        assert live == {
            active.pk: ("ACTIVE", 90),
            depleted.pk: ("DEPLETED", 0),
            ahead.pk: ("ACTIVE", 10_000),
            expired.pk: ("EXPIRED", 0),
            revoked.pk: ("REVOKED", 0),
        }
        assert live_grant(at=AT + DAY, grant=active).remaining == 90
        for status, of_status in {
            "ACTIVE": {active, ahead}, "DEPLETED": {depleted}, "EXPIRED": {expired}, "REVOKED": {revoked},
        }.items():  # fmt: skip
            assert set(grants_in_state(at=AT + DAY, customer=customer, status=status)) == of_status


class TestMoney:
    def money(self, **words):
        return definition(
            feature=None, application_type="monetary", currency="USD", default_amount=Decimal(5_000), **words
        )

    def test_is_granted_in_its_currency(self):
        grant = grant_credits(at=AT, customer=CustomerFactory(), definition=self.money())

        assert (grant.currency, grant.metric, grant.ledger_remaining) == ("USD", None, 5_000)
        assert ledger(grant) == [("granted", 5_000)]

    def test_goodwill_starts_with_the_customers_period_and_bought_money_today(self):
        pro, customer = make_pro_plan(), CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan)
        kinds = {}
        for source in ("manual", "promotion", "topup", "refund"):
            grant = grant_credits(at=AT + 9 * DAY, customer=customer, definition=self.money(), source=source)
            kinds[source] = grant.starts_at

        assert kinds == {"manual": AT, "promotion": AT, "topup": TODAY + 9 * DAY, "refund": TODAY + 9 * DAY}

    def test_goodwill_of_a_plan_starts_with_the_period_of_that_plan(self):
        pro, other, customer = make_pro_plan(), make_pro_plan(), CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan)
        subscribe(at=AT + 5 * DAY, customer=customer, plan=other.plan, beside_others=True)
        of_plan = create_definition(
            at=AT, name="x", scope="plan", application_type="monetary", plan=pro.plan, currency="USD",
            default_amount=Decimal(1),
        )  # fmt: skip

        assert grant_credits(at=AT + 9 * DAY, customer=customer, definition=of_plan).starts_at == AT

    def test_is_whole_minor_units(self):
        with pytest.raises(InvalidInput) as refused:
            grant_credits(at=AT, customer=CustomerFactory(), definition=self.money(), amount=Decimal("10.5"))

        assert refused.value.details[0]["path"] == "initialAmount"
        assert not CreditGrant.objects.exists()

    def test_is_revoked_like_units(self):
        grant = grant_credits(at=AT, customer=CustomerFactory(), definition=self.money())

        answer = revoke_grant(at=AT + DAY, grant=grant)

        grant.refresh_from_db()
        assert (answer.status, grant.ledger_remaining, ledger(grant)[-1]) == ("REVOKED", 0, ("revoked", -5_000))

    def test_has_live_what_the_ledger_has_left(self):
        grant = grant_credits(at=AT, customer=CustomerFactory(), definition=self.money())
        CreditGrant.objects.update(ledger_remaining=1_200)
        grant.refresh_from_db()

        assert live_grant(at=AT, grant=grant).remaining == 1_200


class TestFeePerEvent:
    def test_units_are_refused_that_the_customers_price_bills_a_fee_per_event_on(self):
        pro, customer = make_pro_plan(quota=None, unit_cost_cents=None), CustomerFactory()
        UsageComponentFactory(
            price=pro.price, metric=pro.metric, model="percentage", unit_cost_cents=None, rate_percent=Decimal(3),
            fixed_cost_cents=Decimal(30),
        )  # fmt: skip
        subscribe(at=AT, customer=customer, plan=pro.plan)
        extra = definition(feature=pro.feature)

        with pytest.raises(InvalidInput) as refused:
            grant_credits(at=AT, customer=customer, definition=extra)

        assert refused.value.details[0]["path"] == "creditDefinitionId"
        assert grant_credits(at=AT, customer=CustomerFactory(), definition=extra).initial_amount == 10_000


class TestAdjusting:
    def test_adds_to_what_is_left(self):
        grant = CreditGrantFactory(at=AT, amount=Decimal(100))
        use(grant.customer, grant.metric, 60, AT)

        live = adjust_grant(at=AT + DAY, grant=grant, amount=Decimal("50.5"), notes="sorry")

        grant.refresh_from_db()
        assert (live.remaining, live.status) == (Decimal("90.5"), "ACTIVE")
        assert (grant.adjusted_amount, grant.ledger_remaining) == (Decimal("50.5"), Decimal("150.5"))
        assert ledger(grant) == [("granted", 100), ("adjusted", Decimal("50.5"))]
        assert grant.transactions.latest("pk").notes == "sorry"

    def test_takes_away_down_to_the_live_rest_and_no_further(self):
        grant = CreditGrantFactory(at=AT, amount=Decimal(100))
        use(grant.customer, grant.metric, 60, AT)

        with pytest.raises(AdjustExceedsRemaining) as refused:
            adjust_grant(at=AT + DAY, grant=grant, amount=Decimal(-41))
        assert refused.value.details == {"remaining": 40}
        assert ledger(grant) == [("granted", 100)]

        live = adjust_grant(at=AT + DAY, grant=grant, amount=Decimal(-40))
        assert (live.remaining, live.status) == (0, "DEPLETED")
        assert live_grant(at=AT + DAY, grant=live.grant).remaining == 0

    def test_lifts_a_grant_that_is_used_up(self):
        grant = CreditGrantFactory(at=AT, amount=Decimal(100))
        use(grant.customer, grant.metric, 130, AT)

        live = adjust_grant(at=AT + DAY, grant=grant, amount=Decimal(50))

        # 130 were used, so 20 of 150 are left.
        assert (live.remaining, live_grant(at=AT + DAY, grant=live.grant).remaining) == (20, 20)

    def test_reaches_the_bill(self):
        pro, customer = make_pro_plan(), CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan)
        use(customer, pro.metric, 12_500, AT + DAY)
        quota = CreditGrant.objects.earliest("starts_at")

        adjust_grant(at=AT + DAY, grant=quota, amount=Decimal(2_000))
        sweep(datetime(2026, 4, 10, 1, tzinfo=UTC))

        assert customer.invoices.order_by("-closes_at")[0].total_cents == 2_900 + 500 * 5
        quota.refresh_from_db()
        assert (quota.ledger_remaining, ledger(quota)) == (
            0, [("granted", 10_000), ("adjusted", 2_000), ("burned", -12_000)],
        )  # fmt: skip

    def test_may_be_done_before_the_start(self):
        grant = CreditGrantFactory(at=AT, starts_at=AT + 9 * DAY, amount=Decimal(100))

        assert adjust_grant(at=AT, grant=grant, amount=Decimal(-30)).remaining == 70

    @pytest.mark.parametrize("amount", ["0", "1e18"])
    def test_by_nothing_or_too_much_is_refused(self, amount):
        grant = CreditGrantFactory(at=AT, amount=Decimal(100))

        with pytest.raises(InvalidInput) as refused:
            adjust_grant(at=AT, grant=grant, amount=Decimal(amount))

        assert refused.value.details[0]["path"] == "amount"
        assert ledger(grant) == [("granted", 100)]

    def test_of_an_ended_grant_is_refused(self):
        expired = CreditGrantFactory(at=AT - 9 * DAY, expires_at=AT - 3 * DAY)
        revoked = CreditGrantFactory(at=AT)
        revoke_grant(at=AT, grant=revoked)

        for grant in (expired, revoked):
            with pytest.raises(GrantEnded):
                adjust_grant(at=AT, grant=grant, amount=Decimal(5))
            assert "adjusted" not in dict(ledger(grant))

    def test_of_money_is_whole_minor_units_within_what_is_left(self):
        customer = CustomerFactory()
        money = definition(feature=None, application_type="monetary", currency="JPY", default_amount=Decimal(500))
        grant = grant_credits(at=AT, customer=customer, definition=money)

        with pytest.raises(InvalidInput):
            adjust_grant(at=AT, grant=grant, amount=Decimal("0.5"))
        with pytest.raises(AdjustExceedsRemaining):
            adjust_grant(at=AT, grant=grant, amount=Decimal(-501))
        assert adjust_grant(at=AT, grant=grant, amount=Decimal(-500)).status == "DEPLETED"
