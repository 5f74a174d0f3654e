"""Automatic top-ups: a pack is bought when less than the threshold is left, within the month's limit, once."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine

from billing import jobs
from billing.bill import bill
from billing.models import AutoTopUp, Invoice, Payment, PaymentMethod
from billing.sandbox import FaultKind
from billing.services.auto_top_up import DuplicateAutoTopUp, create_auto_top_up, standings, update_auto_top_up
from billing.services.buy_automatically import below_threshold, buy_automatically, running_after
from billing.services.cancel import cancel_now
from billing.services.collect import NoPaymentMethod
from billing.services.subscribe import subscribe
from billing.services.tax_settings import update_settings
from billing.services.void import void_invoice
from credits.models import CreditDefinition, CreditGrant, Reservation
from credits.services.packs import PackNotOffered, create_pack, update_pack
from plans.models import Customer, Feature
from plans.refusals import InvalidInput
from tests.credits.conftest import in_billing_zone  # noqa: F401 a fixture
from tests.factories import START, CreditDefinitionFactory, CreditGrantFactory, CustomerFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, remaining, use

pytestmark = pytest.mark.django_db

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
def metric():
    return make_pro_plan().metric


def units(metric, **terms):
    feature = Feature.objects.get(metrics=metric)
    return CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=feature, **terms)


def money():
    return CreditDefinition.objects.create(
        name="Prepaid", scope="merchant", application_type="monetary", currency="USD", default_amount=Decimal(1),
        created_at=START,
    )  # fmt: skip


def offer(definition, **terms):
    common = {"at": AT, "name": "1,000 calls", "amount": Decimal(1_000), "price_cents": 900, "currency": "USD"}
    return create_pack(**common | {"definition": definition} | terms)


def with_card(customer=None, number="1"):
    customer = customer or CustomerFactory()
    PaymentMethod.objects.create(customer=customer, external_id=f"pm_{number}", is_default=True, created_at=AT)
    return customer


def top_up_of(customer, pack, at=AT, **terms):
    """Below 200: one pack of 1,000 for 9.00, three times a month."""
    common = {"threshold": Decimal(200), "quantity": 1, "monthly_limit_cents": 2_700}
    return create_auto_top_up(auto_top_up=AutoTopUp(customer=customer, pack=pack, **common | terms), at=at)


def state(rule, at=AT):
    rule.refresh_from_db()
    return standings([rule], at=at)[rule.pk].state


def bought(rule):
    """Number, status and total of each purchase."""
    rows = Invoice.objects.filter(auto_top_up=rule).order_by("auto_top_up_number")
    return list(rows.values_list("auto_top_up_number", "status", "total_cents"))


class TestThreshold:
    def test_nothing_is_bought_while_the_threshold_is_left(self, metric):
        definition, customer = units(metric), with_card()
        CreditGrantFactory(customer=customer, definition=definition, at=AT - DAY, amount=Decimal(1_000))
        rule = top_up_of(customer, offer(definition))
        use(customer, metric, 800, AT)

        assert remaining(customer, metric, AT) == 200
        assert jobs.top_up(AT + MINUTE).done == 0
        assert (bought(rule), state(rule)) == ([], "active")

    def test_a_pack_is_bought_below_it(self, metric):
        definition, customer = units(metric), with_card()
        CreditGrantFactory(customer=customer, definition=definition, at=AT - DAY, amount=Decimal(1_000))
        rule = top_up_of(customer, offer(definition), quantity=2)
        use(customer, metric, 801, AT)

        assert jobs.top_up(AT + MINUTE).done == 1
        # 2 × 9.00
        assert (bought(rule), state(rule)) == ([(1, "issued", 1_800)], "pending")
        assert_books_add_up(AT + MINUTE)

    def test_while_it_is_open_no_other_one_is_bought(self, metric):
        rule = top_up_of(with_card(), offer(units(metric)))

        assert [jobs.top_up(AT + MINUTE * number).done for number in (1, 2, 3)] == [1, 0, 0]
        assert len(bought(rule)) == 1

    def test_units_that_are_kept_back_count_as_used(self, metric):
        pro, customer = make_pro_plan(), with_card()
        definition = units(pro.metric)
        CreditGrantFactory(customer=customer, definition=definition, at=AT - DAY, amount=Decimal(1_000))
        top_up_of(customer, offer(definition))
        Reservation.objects.create(
            customer=customer, feature=pro.feature, metric=pro.metric, units=801, reserved_at=AT, expires_at=AT + HOUR
        )

        assert jobs.top_up(AT + MINUTE).done == 1

    def test_the_quota_of_a_plan_counts_and_what_was_used_in_settled_periods_does_not(self, run_sweeps):
        """9,900 of 10,000 are used in the first period; the next one begins with its own 10,000."""
        pro, customer = make_pro_plan(), CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan)
        rule = top_up_of(with_card(customer), offer(units(pro.metric)))
        use(customer, pro.metric, 9_700, AT + HOUR)
        assert jobs.top_up(AT + 2 * HOUR).done == 0
        use(customer, pro.metric, 200, AT + 3 * HOUR)
        end = datetime(2026, 2, 28, tzinfo=UTC)
        # Nobody sweeps before the period is over.
        for sweep in ("refill", "close", "finalize", "months"):
            jobs.BOOK_SWEEPS[sweep](end + 2 * HOUR)

        assert remaining(customer, pro.metric, end + 2 * HOUR) == 10_000
        assert jobs.top_up(end + 2 * HOUR).done == 0
        assert bought(rule) == []

    def test_most_balances_are_ruled_out_without_being_worked_out(self, metric, django_assert_num_queries):
        definition = units(metric)
        pack = offer(definition)
        rules = []
        for number in range(5):
            customer = with_card(number=number)
            CreditGrantFactory(customer=customer, definition=definition, at=AT - DAY, amount=Decimal(1_000))
            use(customer, metric, 500, AT)
            rules.append(top_up_of(customer, pack).pk)

        assert running_after(0, at=AT) == rules
        # The statement that rules them out: none is left, so nothing else is read.
        with django_assert_num_queries(1):
            assert below_threshold(rules, at=AT) == []

    def test_money_is_what_the_ledger_has_left_of_it(self):
        definition, customer = money(), with_card()
        grant = CreditGrantFactory(customer=customer, definition=definition, at=AT - DAY, amount=Decimal(5_000))
        rule = top_up_of(
            customer, offer(definition, amount=Decimal(5_000), price_cents=5_000), threshold=Decimal(1_000),
            monthly_limit_cents=10_000,
        )  # fmt: skip
        assert jobs.top_up(AT).done == 0

        CreditGrant.objects.filter(pk=grant.pk).update(ledger_remaining=999)

        assert jobs.top_up(AT).done == 1
        assert bought(rule) == [(1, "issued", 5_000)]

    def test_a_grant_that_expires_counts_no_more(self, metric):
        definition, customer = units(metric), with_card()
        CreditGrantFactory(
            customer=customer, definition=definition, at=AT - DAY, amount=Decimal(1_000), expires_at=FEBRUARY
        )
        top_up_of(customer, offer(definition))

        assert [jobs.top_up(at).done for at in (AT, FEBRUARY - MINUTE, FEBRUARY)] == [0, 0, 1]


def test_the_job_buys_charges_and_grants_in_one_go(stripe_sandbox, give_card, metric):
    customer = CustomerFactory()
    give_card(customer)
    rule = top_up_of(customer, offer(units(metric)))

    with time_machine.travel(AT, tick=False):
        assert jobs.sweep_top_up() == {"top-up": 1, "send": 1, "collect": 1}
        assert jobs.sweep_top_up() == {"top-up": 0}

    assert (bought(rule), state(rule)) == ([(1, "paid", 900)], "active")
    assert remaining(customer, metric, AT) == 1_000


class TestLimit:
    def test_is_kept_within_a_calendar_month_and_begins_anew_with_the_next(self, stripe_sandbox, give_card, metric):
        """Thrice 9.00 fit into 27.00; 1,000 of each pack are used at once."""
        customer = CustomerFactory()
        give_card(customer)
        rule = top_up_of(customer, offer(units(metric)))
        for number in range(5):
            at = AT + HOUR * number
            jobs.top_up(at)
            jobs.send_invoices(at)
            jobs.collect_invoices(at)
            use(customer, metric, 1_000, at, key=str(number))

        assert bought(rule) == [(1, "paid", 900), (2, "paid", 900), (3, "paid", 900)]
        assert (state(rule), rule.resumes_at) == ("limit_reached", FEBRUARY)
        assert jobs.top_up(FEBRUARY - MINUTE).done == 0

        assert jobs.top_up(FEBRUARY).done == 1
        assert (len(bought(rule)), state(rule, FEBRUARY)) == (4, "pending")
        assert_books_add_up(FEBRUARY)

    def test_the_month_is_that_of_the_billing_time_zone(self, stripe_sandbox, give_card, metric, in_billing_zone):  # noqa: F811
        """In New York February begins at 05:00 UTC."""
        in_billing_zone("America/New_York")
        customer = CustomerFactory()
        give_card(customer)
        rule = top_up_of(customer, offer(units(metric)), monthly_limit_cents=900)
        jobs.top_up(AT)
        jobs.send_invoices(AT)
        jobs.collect_invoices(AT)
        use(customer, metric, 1_000, AT)

        midnight = datetime(2026, 2, 1, 5, tzinfo=UTC)
        assert [jobs.top_up(at).done for at in (FEBRUARY, midnight - MINUTE, midnight)] == [0, 0, 1]
        assert [number for number, _, _ in bought(rule)] == [1, 2]

    def test_counts_tax(self, metric):
        """9.00 and 19 % are 10.71: two of them do not fit into 21.41."""
        update_settings({"default_tax_rate": Decimal("0.19")})
        customer, pack = with_card(), offer(units(metric))
        with pytest.raises(InvalidInput, match="monthlyLimitCents: must be at least 1071"):
            top_up_of(customer, pack, monthly_limit_cents=1_070)
        rule = top_up_of(customer, pack, monthly_limit_cents=2_141)
        jobs.top_up(AT)
        Invoice.objects.update(status="paid", paid_at=AT)

        assert jobs.top_up(AT + MINUTE).done == 0
        assert (bought(rule), state(rule)) == ([(1, "paid", 1_071)], "limit_reached")

    def test_counts_a_purchase_that_is_not_paid_yet(self, metric):
        rule = top_up_of(with_card(), offer(units(metric)))
        jobs.top_up(AT)

        assert standings([rule], at=AT)[rule.pk].spent_cents == 900

    def test_that_is_raised_lets_it_go_on(self, metric):
        rule = top_up_of(with_card(), offer(units(metric)), monthly_limit_cents=900)
        jobs.top_up(AT)
        Invoice.objects.update(status="paid", paid_at=AT)
        assert jobs.top_up(AT + MINUTE).done == 0

        update_auto_top_up(auto_top_up=rule, monthly_limit_cents=1_800, at=AT + MINUTE)

        assert jobs.top_up(AT + MINUTE).done == 1

    def test_stops_it_when_one_purchase_has_come_to_more(self, metric):
        rule = top_up_of(with_card(), offer(units(metric)), monthly_limit_cents=900)
        update_settings({"default_tax_rate": Decimal("0.19")})

        assert jobs.top_up(AT).done == 0
        assert (state(rule), rule.stop_code) == ("stopped", "limit_below_price")

    def test_a_jump_of_the_clock_buys_at_the_months_first_instant(self, stripe_sandbox, give_card, metric):
        customer = CustomerFactory()
        give_card(customer)
        rule = top_up_of(customer, offer(units(metric)), monthly_limit_cents=900)
        bill(until=AT, now=AT)
        use(customer, metric, 1_000, AT)
        bill(until=AT, now=AT)
        assert state(rule) == "limit_reached"

        bill(until=AT + 3 * DAY, now=AT)

        assert bought(rule) == [(1, "paid", 900), (2, "paid", 900)]
        assert Invoice.objects.get(auto_top_up_number=2).closes_at == FEBRUARY


class TestFailedCharge:
    @pytest.fixture
    def declined(self, stripe_sandbox, give_card, metric):
        """A rule whose first charge was declined."""
        customer = CustomerFactory()
        give_card(customer, "pm_card_chargeCustomerFail")
        rule = top_up_of(customer, offer(units(metric)))
        self.sweep(AT)
        return rule

    @staticmethod
    def sweep(at):
        jobs.top_up(at)
        jobs.send_invoices(at)
        jobs.collect_invoices(at)

    def test_stops_it_with_the_reason(self, declined):
        assert state(declined) == "stopped"
        assert declined.stop_code == "payment_failed"
        assert "declined" in declined.stop_message

    def test_is_not_repeated_day_after_day(self, declined):
        for number in range(1, 40):
            self.sweep(AT + DAY * number)

        assert (len(bought(declined)), Payment.objects.count()) == (1, 1)

    def test_is_made_once_more_with_another_card_and_then_it_goes_on(self, declined, give_card):
        give_card(declined.customer, "pm_card_visa", at=AT + DAY)
        assert state(declined) == "pending"
        self.sweep(AT + DAY)

        assert (bought(declined), state(declined)) == ([(1, "paid", 900)], "active")
        assert remaining(declined.customer, declined.pack.definition.metric, AT + DAY) == 1_000
        assert_books_add_up(AT + DAY)

    def test_is_made_once_more_when_somebody_enables_it_again(self, declined):
        update_auto_top_up(auto_top_up=declined, is_enabled=True, at=AT + DAY)
        self.sweep(AT + DAY)

        assert list(Payment.objects.values_list("status", flat=True)) == ["failed", "failed"]
        assert state(declined) == "stopped"

    def test_of_an_invoice_that_is_made_void_is_not_bought_again_by_another_card(self, declined, give_card):
        void_invoice(invoice=Invoice.objects.get(), reason="Wrong.", at=AT + HOUR)
        self.sweep(AT + 2 * HOUR)
        assert bought(declined) == [(1, "void", 900)]

        give_card(declined.customer, "pm_card_visa", at=AT + DAY)
        self.sweep(AT + DAY)
        assert (bought(declined), state(declined)) == ([(1, "void", 900)], "stopped")
        assert declined.stop_code == "invoice_voided"

        update_auto_top_up(auto_top_up=declined, is_enabled=True, at=AT + DAY)
        self.sweep(AT + DAY)
        assert bought(declined) == [(1, "void", 900), (2, "paid", 900)]

    def test_a_lost_answer_is_no_failure_and_charges_once(self, stripe_sandbox, give_card, wire, metric):
        customer = CustomerFactory()
        give_card(customer)
        rule = top_up_of(customer, offer(units(metric)))
        jobs.top_up(AT)
        jobs.send_invoices(AT)
        pays = 1
        wire.break_at(pays, FaultKind.TIMEOUT_AFTER_COMMIT)
        jobs.collect_invoices(AT)
        wire.heal()
        assert state(rule) == "pending"

        self.sweep(AT + 2 * MINUTE)

        assert (bought(rule), Payment.objects.count()) == ([(1, "paid", 900)], 1)
        assert CreditGrant.objects.filter(source="topup").count() == 1


class TestStopped:
    def test_by_a_void_of_its_invoice(self, metric):
        rule = top_up_of(with_card(), offer(units(metric)))
        jobs.top_up(AT)

        void_invoice(invoice=Invoice.objects.get(), reason="Wrong.", at=AT)

        assert (state(rule), rule.stop_code) == ("stopped", "invoice_voided")
        assert jobs.top_up(AT + DAY).done == 0

    def test_by_a_pack_that_has_become_dearer_until_somebody_agrees(self, metric):
        pack = offer(units(metric))
        rule = top_up_of(with_card(), pack)
        update_pack(pack=pack, price_cents=901)

        assert jobs.top_up(AT).done == 0
        assert (state(rule), rule.stop_code, bought(rule)) == ("stopped", "pack_repriced", [])

        update_auto_top_up(auto_top_up=rule, is_enabled=True, at=AT)
        assert jobs.top_up(AT).done == 1
        assert bought(rule) == [(1, "issued", 901)]

    def test_not_by_one_that_has_become_cheaper(self, metric):
        pack = offer(units(metric))
        rule = top_up_of(with_card(), pack)
        update_pack(pack=pack, price_cents=500)

        jobs.top_up(AT)

        assert bought(rule) == [(1, "issued", 500)]

    def test_by_a_pack_that_is_offered_no_more(self, metric):
        pack = offer(units(metric))
        rule = top_up_of(with_card(), pack)
        update_pack(pack=pack, is_active=False)

        assert jobs.top_up(AT).done == 0
        assert (state(rule), rule.stop_code) == ("stopped", "pack_not_offered")


class TestWaits:
    def test_without_a_payment_method(self, metric):
        customer = with_card()
        rule = top_up_of(customer, offer(units(metric)))
        PaymentMethod.objects.update(is_default=False)

        assert jobs.top_up(AT).done == 0
        assert state(rule) == "no_payment_method"

    @pytest.mark.parametrize("field", ["parked_at", "deleted_at"])
    def test_for_a_customer_that_is_parked_or_gone(self, metric, field):
        customer = with_card()
        top_up_of(customer, offer(units(metric)))
        Customer.objects.update(**{field: AT})

        assert jobs.top_up(AT).done == 0

    @pytest.mark.parametrize(
        "quota",
        [{"frequency": "DAILY"}, {"renew_on_billing": False, "refill_rrule": "FREQ=DAILY"}],
        ids=["boundary", "refill"],
    )
    def test_for_a_quota_that_the_other_sweeps_have_not_written_yet(self, quota):
        """1,000 a day; nobody swept for four days."""
        pro, customer = make_pro_plan(quota=1_000, **quota), CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan)
        rule = top_up_of(with_card(customer), offer(units(pro.metric)))
        back = AT + 4 * DAY
        assert remaining(customer, pro.metric, back) == 0

        assert jobs.top_up(back).done == 0
        assert buy_automatically(key=rule.pk, at=back) is None
        for sweep in ("refill", "close", "finalize", "months"):
            jobs.BOOK_SWEEPS[sweep](back)

        assert remaining(customer, pro.metric, back) == 1_000
        assert jobs.top_up(back).done == 0
        use(customer, pro.metric, 801, back)
        assert jobs.top_up(back + MINUTE).done == 1

    def test_for_no_quota_of_a_subscription_that_has_ended(self):
        pro, customer = make_pro_plan(quota=1_000, renew_on_billing=False, refill_rrule="FREQ=DAILY"), CustomerFactory()
        subscription = subscribe(at=AT, customer=customer, plan=pro.plan)
        top_up_of(with_card(customer), offer(units(pro.metric)))
        cancel_now(subscription=subscription, at=AT + HOUR)

        assert jobs.top_up(AT + 4 * DAY).done == 1

    def test_while_it_is_disabled(self, metric):
        rule = top_up_of(with_card(), offer(units(metric)))
        update_auto_top_up(auto_top_up=rule, is_enabled=False, at=AT)

        assert jobs.top_up(AT).done == 0
        assert state(rule) == "disabled"


class TestRefused:
    @pytest.mark.parametrize(
        ("terms", "words"),
        [
            ({"threshold": Decimal(0)}, "threshold: must be more than 0"),
            ({"threshold": Decimal(-1)}, "threshold: must be more than 0"),
            ({"threshold": Decimal("1000.5")}, r"threshold: must not be more than one purchase gives \(1000\)"),
            ({"quantity": 0}, "quantity: must be a whole number from 1"),
            ({"quantity": 10_001}, "quantity: must be a whole number from 1"),
            ({"monthly_limit_cents": 899}, "monthlyLimitCents: must be at least 900"),
            ({"quantity": 4}, "monthlyLimitCents: must be at least 3600"),
        ],
    )
    def test_terms_that_make_no_sense(self, metric, terms, words):
        with pytest.raises(InvalidInput, match=words):
            top_up_of(with_card(), offer(units(metric)), **terms)

        assert not AutoTopUp.objects.exists()

    def test_a_fraction_of_a_minor_unit(self):
        with pytest.raises(InvalidInput, match="threshold: must be whole"):
            top_up_of(with_card(), offer(money()), threshold=Decimal("10.5"))

    def test_a_customer_without_a_payment_method(self, metric):
        customer, pack = CustomerFactory(), offer(units(metric))

        with pytest.raises(NoPaymentMethod):
            top_up_of(customer, pack)

        assert state(top_up_of(customer, pack, is_enabled=False)) == "disabled"

    def test_a_pack_that_is_offered_no_more(self, metric):
        pack = update_pack(pack=offer(units(metric)), is_active=False)

        with pytest.raises(PackNotOffered):
            top_up_of(with_card(), pack)

    def test_a_second_one_for_the_same_pack(self, metric):
        customer, pack = with_card(), offer(units(metric))
        top_up_of(customer, pack)

        with pytest.raises(DuplicateAutoTopUp):
            top_up_of(customer, pack)

    def test_a_change_that_would_make_no_sense_changes_nothing(self, metric):
        rule = top_up_of(with_card(), offer(units(metric)))

        with pytest.raises(InvalidInput, match="monthlyLimitCents"):
            update_auto_top_up(auto_top_up=rule, quantity=4, threshold=Decimal(50), at=AT)

        rule.refresh_from_db()
        assert (rule.quantity, rule.threshold) == (1, 200)

    def test_to_disable_is_never_refused(self, metric):
        pack = offer(units(metric))
        rule = top_up_of(with_card(), pack)
        update_pack(pack=pack, is_active=False, price_cents=10**6)
        PaymentMethod.objects.all().delete()

        assert not update_auto_top_up(auto_top_up=rule, is_enabled=False, at=AT).is_enabled
