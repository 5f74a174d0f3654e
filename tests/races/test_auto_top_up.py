"""Sweeps at once, and killed ones: an automatic top-up buys once, and never more than its month allows."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

import pytest

from billing import jobs
from billing.books import check_books
from billing.exchange import Card, ChargeToMake, Declined, Paid
from billing.models import AutoTopUp, Invoice, Payment, PaymentMethod
from billing.services.auto_top_up import create_auto_top_up, standings, update_auto_top_up
from billing.services.buy_automatically import buy_automatically
from billing.services.collect import record_declined, record_payment, record_payment_method
from billing.services.send import record_sent
from billing.services.top_up import buy_pack
from billing.services.void import void_invoice
from credits.models import CreditGrant
from credits.services.packs import create_pack, update_pack
from metering.services.record_events import record_events
from plans.refusals import Refusal
from tests.billing.conftest import give_card  # noqa: F401 a fixture
from tests.factories import CreditDefinitionFactory, CustomerFactory
from tests.pro_plan import event
from tests.races.test_kills import Killed, dying_at
from tests.races.test_lock_order import one_behind_the_other

AT = datetime(2026, 3, 10, 15, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

pytestmark = pytest.mark.django_db(transaction=True)


def make_rule(customer=None, **terms):
    """Below 200: one pack of 1,000 for 9.00, twice a month."""
    definition = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False)
    pack = create_pack(
        at=AT, name="Pack", definition=definition, amount=Decimal(1_000), price_cents=900, currency="USD"
    )
    customer = customer or CustomerFactory(invoice_prefix="ADA")
    if not customer.payment_methods.exists():
        PaymentMethod.objects.create(customer=customer, external_id="pm_1", is_default=True, created_at=AT)
    terms = {"threshold": Decimal(200), "monthly_limit_cents": 1_800} | terms
    return create_auto_top_up(auto_top_up=AutoTopUp(customer=customer, pack=pack, **terms), at=AT)


def buy(rule, at=AT):
    return buy_automatically(key=rule.pk, at=at)


def pay(invoice):
    return record_payment(invoice=invoice.public_id, paid=Paid(reference="in_1", amount_cents=900), at=AT)


def use_up(rule, key):
    name = rule.pack.definition.metric.event_name
    record_events(events=[event(name, 1_000, AT, key, customer=rule.customer.public_id)], at=AT)


def numbers():
    return list(Invoice.objects.order_by("pk").values_list("auto_top_up_number", flat=True))


def offenders():
    return [offender for finding in check_books(at=AT + MINUTE) for offender in finding.offenders]


def failures(outcomes):
    return [outcome for outcome in outcomes if isinstance(outcome, Exception)]


def test_five_sweeps_at_once_buy_once(at_once):
    make_rule()

    outcomes = at_once([partial(jobs.top_up, AT)] * 5)

    assert failures(outcomes) == []
    assert numbers() == [1]
    assert offenders() == []


def test_sweeps_at_once_stay_within_the_limit(at_once):
    """Two of 9.00 fit into 18.00, however often all is used up and somebody looks."""
    rule = make_rule()
    for turn in range(4):
        assert failures(at_once([partial(buy, rule)] * 4)) == []
        waiting = Invoice.objects.filter(status="issued").first()
        if waiting is not None:
            pay(waiting)
            use_up(rule, f"turn-{turn}")

    assert numbers() == [1, 2]
    assert standings([rule], at=AT)[rule.pk].spent_cents == 1_800
    assert offenders() == []


def test_a_payment_and_sweeps_at_once_buy_no_second_pack_while_the_first_is_there(at_once):
    rule = make_rule()
    invoice = buy(rule)

    outcomes = at_once([partial(pay, invoice), *[partial(buy, rule)] * 4])

    assert failures(outcomes) == []
    assert (numbers(), CreditGrant.objects.count()) == ([1], 1)


def test_another_card_a_decline_a_void_and_a_change_at_once_do_not_wait_for_each_other(at_once):
    rule = make_rule()
    invoice = buy(rule)
    record_sent(invoice=invoice.public_id, stripe_invoice_id="in_1", at=AT)
    declined = Declined("pi_1", "card_declined", "No.")
    charge = ChargeToMake(invoice=invoice.public_id, stripe_invoice_id="in_1", payment_method="pm_1", attempt=1)
    card = Card("pm_2", "card", "visa", "4242", 1, 2040)

    outcomes = at_once(
        [
            partial(record_declined, charge=charge, declined=declined, at=AT),
            partial(record_payment_method, customer=rule.customer, card=card, at=AT),
            partial(void_invoice, invoice=invoice, reason="Wrong.", at=AT),
            partial(update_auto_top_up, auto_top_up=rule, is_enabled=True, at=AT),
            partial(update_pack, pack=rule.pack, price_cents=800),
            partial(buy_pack, customer=rule.customer, pack=rule.pack, at=AT),
            partial(buy, rule),
            partial(buy, rule),
        ]
    )

    assert [outcome for outcome in failures(outcomes) if not isinstance(outcome, Refusal)] == []
    assert Invoice.objects.filter(auto_top_up=rule).exclude(status="void").count() <= 1
    assert offenders() == []


def test_a_pack_that_becomes_dearer_while_it_is_bought_is_not_bought_dearer_than_agreed():
    rule = make_rule()

    (outcome,) = one_behind_the_other(partial(update_pack, pack=rule.pack, price_cents=901), [partial(buy, rule)])

    assert outcome is None
    rule.refresh_from_db()
    assert (numbers(), rule.stop_code) == ([], "pack_repriced")


def test_enabled_again_while_its_payment_is_booked_neither_waits_for_the_other():
    rule = make_rule()
    invoice = buy(rule)
    record_sent(invoice=invoice.public_id, stripe_invoice_id="in_1", at=AT)
    charge = ChargeToMake(invoice=invoice.public_id, stripe_invoice_id="in_1", payment_method="pm_1", attempt=1)
    record_declined(charge=charge, declined=Declined("pi_1", "card_declined", "No."), at=AT)

    def hold():
        Invoice.objects.select_for_update(no_key=True).get(pk=invoice.pk)

    outcomes = one_behind_the_other(
        hold, [partial(pay, invoice), partial(update_auto_top_up, auto_top_up=rule, is_enabled=True, at=AT)]
    )

    assert failures(outcomes) == []
    invoice.refresh_from_db()
    rule.refresh_from_db()
    assert (invoice.status, invoice.collect_at, rule.stopped_at) == ("paid", None, None)


def test_switched_off_while_it_buys_it_has_bought_before_or_not_at_all(at_once):
    rule = make_rule()

    outcomes = at_once(
        [*[partial(buy, rule)] * 3, partial(update_auto_top_up, auto_top_up=rule, is_enabled=False, at=AT)]
    )

    assert failures(outcomes) == []
    assert len(numbers()) <= 1
    assert buy(rule) is None


def test_two_that_set_the_same_up_at_once_make_one(at_once):
    rule = make_rule(is_enabled=False)
    AutoTopUp.objects.all().delete()

    def again():
        terms = AutoTopUp(
            customer=rule.customer, pack=rule.pack, threshold=Decimal(200), monthly_limit_cents=900, is_enabled=True
        )
        return create_auto_top_up(auto_top_up=terms, at=AT)

    outcomes = at_once([again] * 4)

    assert len([one for one in outcomes if isinstance(one, AutoTopUp)]) == 1
    assert {type(one).__name__ for one in failures(outcomes)} == {"DuplicateAutoTopUp"}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("commit", range(1, 8))
def test_killed_at_any_commit_it_is_bought_charged_and_granted_once(
    stripe_sandbox,
    at_stripe,
    give_card,  # noqa: F811
    commit,
    moment,
):
    customer = CustomerFactory()
    give_card(customer)
    make_rule(customer)

    with dying_at(commit, moment) as reached:
        try:
            _sweep(AT)
        except Killed:
            pass
    # The lease of who has died is over.
    _sweep(AT + 15 * MINUTE)

    assert len(reached) >= min(commit, 4)
    assert [(one.auto_top_up_number, one.status) for one in Invoice.objects.all()] == [(1, "paid")]
    assert Payment.objects.count() == 1
    assert [grant.initial_amount for grant in CreditGrant.objects.all()] == [1_000]
    assert len(at_stripe.v1.charges.list().data) == 1


def _sweep(at):
    jobs.top_up(at)
    jobs.send_invoices(at)
    jobs.collect_invoices(at)
