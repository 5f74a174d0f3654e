"""Payments, declines, sweeps and people at once: dunning ends in one way, and what it stopped is what was not paid."""

from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count

import pytest

from billing import jobs
from billing.books import check_books
from billing.exchange import Card, ChargeToMake, Declined, Paid
from billing.models import Dunning, Invoice, Mail, Payment
from billing.services.change import change_now
from billing.services.collect import record_declined, record_payment, record_payment_method
from billing.services.credit_notes import credit_invoice
from billing.services.end_of_dunning import carry_out_end_action, dunning_to_end
from billing.services.pause import pause, resume
from billing.services.send import record_sent
from billing.services.subscribe import subscribe
from billing.services.void import void_invoice
from plans.models import Subscription
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan, use
from tests.races.test_kills import dies
from tests.races.test_lock_order import one_behind_the_other

MAY = datetime(2026, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MAY_4, MAY_8 = MAY + 3 * DAY, MAY + 7 * DAY

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pro():
    return make_pro_plan()


def dunned(pro, *, until=MAY_8):
    """A subscription of 1 May whose charges were declined on the days up to `until`, and its invoice."""
    customer = CustomerFactory()
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    invoice = Invoice.objects.get(customer=customer)
    record_sent(invoice=invoice.public_id, stripe_invoice_id=f"in_{invoice.pk}", at=MAY)
    card = Card(
        f"pm_{customer.pk}", payment_type="card", brand="visa", last_four="0341", expiry_month=1, expiry_year=2040
    )
    record_payment_method(customer=customer, card=card, at=MAY)
    for attempt, days in enumerate((0, 1, 3, 7), start=1):
        if MAY + days * DAY <= until:
            decline(invoice, attempt, MAY + days * DAY)
    subscription.refresh_from_db()
    return subscription, invoice


def decline(invoice, attempt, at):
    charge = ChargeToMake(
        invoice=invoice.public_id, stripe_invoice_id="in_1", payment_method=f"pm_{invoice.customer_id}", attempt=attempt
    )
    record_declined(charge=charge, declined=Declined(f"pi_{attempt}", "card_declined", "No."), at=at)


def pay(invoice, at):
    record_payment(invoice=invoice.public_id, paid=Paid(reference="in_1", amount_cents=2_900), at=at)


def end(at):
    return [carry_out_end_action(dunning=key, at=at) for key in dunning_to_end(at)]


def errors(outcomes):
    return [outcome for outcome in outcomes if isinstance(outcome, Exception)]


def assert_clean(at):
    assert [offender for finding in check_books(at=at) for offender in finding.offenders] == []


def hold(row):
    """Hold a row up, until all calls wait."""
    return lambda: type(row).objects.select_for_update(no_key=True).get(pk=row.pk)


def test_two_sweeps_at_once_stop_a_subscription_once(at_once, pro):
    subscription, _ = dunned(pro)

    outcomes = at_once([partial(end, MAY_8)] * 4)

    assert errors(outcomes) == []
    assert sum(sum(outcome) for outcome in outcomes) == 1
    subscription.refresh_from_db()
    assert (subscription.status, Mail.objects.filter(kind="dunning_ended").count()) == ("paused", 1)
    assert_clean(MAY_8)


@pytest.mark.parametrize("is_first", [True, False], ids=["payment first", "end first"])
@pytest.mark.parametrize("held", ["subscription", "invoice"])
def test_a_payment_and_the_end_action(pro, held, is_first):
    subscription, invoice = dunned(pro)
    calls = [partial(pay, invoice, MAY_8), partial(end, MAY_8)]

    outcomes = one_behind_the_other(
        hold({"subscription": subscription, "invoice": invoice}[held]), calls if is_first else calls[::-1]
    )

    assert errors(outcomes) == []
    jobs.end_dunning(MAY_8)
    subscription.refresh_from_db()
    dunning = Dunning.objects.get()
    assert (subscription.status, dunning.settled_at) == ("active", MAY_8)
    assert dunning.outcome == ("paid" if is_first else "paused")
    # Who has paid is not told that the subscription was stopped.
    assert Mail.objects.filter(kind="dunning_ended").count() == (0 if is_first else 1)
    assert Mail.objects.filter(kind="recovered").count() == 1
    assert_clean(MAY_8)


@pytest.mark.parametrize(
    "act",
    [
        lambda subscription, invoice: void_invoice(invoice=invoice, reason="x", at=MAY_8),
        lambda subscription, invoice: credit_invoice(invoice=invoice, reason="x", at=MAY_8),
        lambda subscription, invoice: pause(subscription=subscription, at=MAY_8),
        lambda subscription, invoice: resume(subscription=subscription, at=MAY_8),
        lambda subscription, invoice: pay(invoice, MAY_8),
        lambda subscription, invoice: decline(invoice, 5, MAY_8),
    ],
    ids=["void", "credit note", "pause", "resume", "payment", "decline"],
)
def test_whatever_happens_beside_the_end_action_waits_for_nobody_who_waits_for_it(pro, act):
    subscription, invoice = dunned(pro)

    # The one holds the subscription and waits for the invoice, the other one waits for the subscription.
    outcomes = one_behind_the_other(hold(invoice), [partial(end, MAY_8), partial(act, subscription, invoice)])

    assert [type(error).__name__ for error in errors(outcomes)] in ([], ["SubscriptionNotActive"])
    jobs.end_dunning(MAY_8)
    assert_clean(MAY_8)


@pytest.mark.parametrize("other", ["payment", "decline"])
def test_a_change_of_plan_beside_an_answer_of_stripe(pro, other):
    subscription, invoice = dunned(pro, until=MAY)
    big = make_pro_plan(base_cents=9_900, beside=pro)
    answer = partial(pay, invoice, MAY + DAY) if other == "payment" else partial(decline, invoice, 2, MAY + DAY)

    outcomes = one_behind_the_other(
        hold(subscription), [partial(change_now, subscription=subscription, price=big.price, at=MAY + DAY), answer]
    )

    assert errors(outcomes) == []
    following = Subscription.objects.live().get()
    assert following.status == ("active" if other == "payment" else "past_due")
    assert_clean(MAY + DAY)


def test_the_same_decline_told_twice_counts_once(at_once, pro):
    _, invoice = dunned(pro, until=MAY)

    at_once([partial(decline, invoice, 2, MAY + DAY)] * 4)

    assert (Dunning.objects.get().attempts, Payment.objects.count(), Mail.objects.count()) == (2, 2, 2)


def test_two_first_declines_start_dunning_once(at_once, pro):
    _, invoice = dunned(pro, until=MAY - DAY)

    outcomes = at_once([partial(decline, invoice, 1, MAY)] * 4)

    assert (errors(outcomes), Dunning.objects.count(), Mail.objects.count()) == ([], 1, 1)


def test_sweeps_of_mails_send_each_once(at_once, pro, mailoutbox):
    for _ in range(9):
        dunned(pro, until=MAY)

    at_once([partial(jobs.send_mails, MAY_8)] * 3)

    assert len(mailoutbox) == 9
    assert set(Mail.objects.values_list("state", "attempts")) == {("sent", 1)}


def outcome(subscription):
    live = Subscription.objects.get(stable_subscription_id=subscription.stable_subscription_id)
    customer = subscription.customer
    return (
        live.status,
        live.resumes_when_paid,
        list(Dunning.objects.filter(customer=customer).values_list("outcome", "attempts", "ended_at")),
        list(Mail.objects.filter(customer=customer).order_by("pk").values_list("kind", "state")),
        list(Invoice.objects.filter(customer=customer).order_by("pk").values_list("kind", "status", "total_cents")),
    )


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", ["end", "resume", "mail"])
def test_a_process_that_dies_at_a_commit_leaves_nothing_half_done(pro, moment, step):
    later = MAY_8 + timedelta(minutes=20)

    def make():
        subscription, invoice = dunned(pro)
        use(subscription.customer, pro.metric, 12_500, MAY_4)
        if step == "resume":
            jobs.end_dunning(MAY_8)
            pay(invoice, MAY_8)
        return subscription

    def act():
        {"end": jobs.end_dunning, "resume": jobs.end_dunning, "mail": jobs.send_mails}[step](MAY_8)

    def live_on(subscription):
        act()
        jobs.end_dunning(MAY_8)
        jobs.send_mails(later)
        return outcome(subscription)

    expected = live_on(make())
    for number in count(1):
        subscription = make()
        killed = dies(number, moment, act)
        assert live_on(subscription) == expected, f"killed {moment} commit {number}"
        if not killed:
            break
    assert number > 1
    assert_clean(later)
