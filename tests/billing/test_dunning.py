"""From a declined charge to the end of its dunning, driven by the clock.

The fee of 29.00 falls due on 1 May and the card declines every charge. By the usual terms it is charged again on
2, 4 and 8 May, and the end action follows on 8 May.
"""

import socket
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine

from billing.bill import bill
from billing.books import check_books
from billing.exchange import Paid
from billing.jobs.book_sweeps import end_dunning
from billing.models import Dunning, DunningConfig, Invoice, Mail, Payment
from billing.sandbox import FaultKind
from billing.services.cancel import cancel_now
from billing.services.change import change_now
from billing.services.collect import record_payment
from billing.services.credit_notes import credit_invoice
from billing.services.dunning import update_config
from billing.services.mail import claim_mail
from billing.services.manual_invoices import WrittenLine, write_invoice
from billing.services.pause import pause, resume
from billing.services.subscribe import subscribe
from billing.services.void import void_invoice
from plans.models import Customer, ScheduledChange, Subscription
from plans.services.subscriptions import SubscriptionNotActive
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan, use

MAY, JUNE, JULY = (datetime(2026, month, 1, tzinfo=UTC) for month in (5, 6, 7))
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MAY_2, MAY_4, MAY_8 = (MAY + days * DAY for days in (1, 3, 7))
DECLINES, GOOD = "pm_card_chargeCustomerFail", "pm_card_visa"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("stripe_sandbox")]


def terms(days=7, retries=(1, 3, 7), action="pause_subscription"):
    update_config({"grace_period_days": days, "retry_schedule": list(retries), "end_action": action})


def run_until(at, now=MAY):
    return bill(until=at, now=now)


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def ada(pro, give_card):
    """Subscribed on 1 May with a card that declines every charge."""
    customer = CustomerFactory(name="Ada", email="ada@customer.example", invoice_prefix="ADA")
    give_card(customer, DECLINES, at=MAY)
    subscribe(at=MAY, customer=customer, plan=pro.plan)
    return customer


def state(customer):
    """Status and end of grace of the customer's latest version."""
    latest = Subscription.objects.filter(customer=customer).latest("version_number", "pk")
    return latest.status, latest.grace_period_ends_at


def declined(customer):
    attempts = Payment.objects.filter(customer=customer, status="failed")
    return list(attempts.order_by("pk").values_list("created_at", flat=True))


def told(customer):
    return list(Mail.objects.filter(customer=customer).order_by("pk").values_list("kind", flat=True))


def first_invoice(customer):
    return Invoice.objects.filter(customer=customer).earliest("pk")


def outcome(customer):
    return list(Dunning.objects.filter(customer=customer).order_by("pk").values_list("outcome", flat=True))


def pay(invoice, at):
    record_payment(invoice=invoice.public_id, paid=Paid(reference="bank", amount_cents=invoice.total_cents), at=at)


@pytest.fixture
def mail_outage(settings):
    """Nobody listens where the mail server should be, until it is told that the outage is over."""
    usual = settings.EMAIL_BACKEND
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.getsockname()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"

    def over():
        settings.EMAIL_BACKEND = usual

    return over


def mails(customer):
    return list(Mail.objects.filter(customer=customer).order_by("pk").values_list("kind", "state", "error"))


ACTS = pytest.mark.parametrize(
    ("act", "how"),
    [
        (pay, "paid"),
        (lambda invoice, at: void_invoice(invoice=invoice, reason="Wrong", at=at), "voided"),
        (lambda invoice, at: credit_invoice(invoice=invoice, reason="Goodwill", at=at), "credited"),
        (lambda invoice, at: credit_invoice(invoice=invoice, reason="Most", amount_cents=2_880, at=at), "carried"),
    ],
    ids=["paid", "voided", "credited", "carried"],
)


def assert_clean(at):
    assert [offender for finding in check_books(at=at) for offender in finding.offenders] == []


def test_a_decline_makes_the_subscription_past_due_and_plans_the_first_retry(ada):
    run_until(MAY)

    assert state(ada) == ("past_due", MAY_8)
    dunning = Dunning.objects.get()
    assert (dunning.started_at, dunning.next_retry_at, dunning.end_at) == (MAY, MAY_2, MAY_8)
    assert (dunning.grace_period_days, dunning.retry_schedule, dunning.end_action) == (
        7,
        [1, 3, 7],
        "pause_subscription",
    )
    assert first_invoice(ada).collect_at == MAY_2
    assert Subscription.objects.entitling().filter(customer=ada).exists()
    assert_clean(MAY)


def test_the_calendar_of_the_usual_terms(ada, mailoutbox):
    run_until(MAY_8 - HOUR)
    assert (declined(ada), state(ada)) == ([MAY, MAY_2, MAY_4], ("past_due", MAY_8))

    run_until(MAY_8)

    assert declined(ada) == [MAY, MAY_2, MAY_4, MAY_8]
    assert state(ada) == ("paused", None)
    # The decline of 8 May is told by the final notice.
    assert told(ada) == ["charge_failed", "retry_failed", "retry_failed", "dunning_ended"]
    assert [mail.to for mail in mailoutbox] == [["ada@customer.example"]] * 4
    assert [mail.subject for mail in mailoutbox] == [
        "Your payment of $29.00 did not go through",
        "Reminder: your payment of $29.00 did not go through",
        "Reminder: your payment of $29.00 did not go through",
        "Your subscription is paused",
    ]
    assert "We try again on 2 May 2026." in mailoutbox[0].body
    assert "goes on until 8 May 2026." in mailoutbox[0].body
    assert "We try again on 4 May 2026." in mailoutbox[1].body
    assert "We try again on 8 May 2026." in mailoutbox[2].body
    dunning = Dunning.objects.get()
    assert (dunning.attempts, dunning.outcome, dunning.ended_at, dunning.settled_at) == (4, "paused", MAY_8, None)
    assert_clean(MAY_8)


@pytest.mark.parametrize(
    ("action", "status", "how", "subject"),
    [
        ("pause_subscription", "paused", "paused", "Your subscription is paused"),
        ("mark_as_unpaid", "unpaid", "marked_unpaid", "Your subscription has stopped"),
        ("cancel_subscription", "canceled", "canceled", "Your subscription has ended"),
    ],
)
def test_after_each_end_action_nothing_is_given_charged_or_billed(ada, mailoutbox, action, status, how, subject):
    terms(action=action)

    run_until(JULY + DAY)

    assert state(ada) == (status, None)
    assert not Subscription.objects.entitling().filter(customer=ada).exists()
    assert outcome(ada) == [how]
    assert declined(ada)[-1] == MAY_8
    assert [invoice.closes_at for invoice in Invoice.objects.shown().filter(customer=ada)] == [MAY]
    assert mailoutbox[-1].subject == subject
    assert len(mailoutbox) == 4
    assert_clean(JULY + DAY)


@pytest.mark.parametrize("action", ["pause_subscription", "mark_as_unpaid"])
def test_paying_after_the_end_lets_the_subscription_run_again(ada, give_card, mailoutbox, action):
    terms(action=action)
    run_until(MAY_8)

    give_card(ada, GOOD, at=MAY_8 + 2 * DAY)
    run_until(MAY_8 + 2 * DAY)

    assert (state(ada), first_invoice(ada).status) == (("active", None), "paid")
    assert Dunning.objects.get().settled_at == MAY_8 + 2 * DAY
    assert mailoutbox[-1].subject == f"Thank you: invoice {first_invoice(ada).number} is paid"
    assert "runs again within minutes" in mailoutbox[-1].body
    # May is paid for, so the fee falls due again with June.
    run_until(JUNE + HOUR)
    assert [invoice.closes_at for invoice in Invoice.objects.shown().filter(customer=ada).order_by("pk")] == [MAY, JUNE]
    assert_clean(JUNE + HOUR)


def test_paying_after_a_cancellation_pays_and_starts_nothing(ada, give_card):
    terms(action="cancel_subscription")
    run_until(MAY_8)

    give_card(ada, GOOD, at=MAY_8 + DAY)
    run_until(JUNE + HOUR)

    assert (state(ada), first_invoice(ada).status) == (("canceled", None), "paid")
    assert_clean(JUNE + HOUR)


@pytest.mark.parametrize(("on", "attempts"), [(MAY + HOUR, 1), (MAY_2 + HOUR, 2), (MAY_4 + HOUR, 3)])
def test_another_card_is_charged_at_once_at_each_step(ada, give_card, mailoutbox, on, attempts):
    run_until(on)

    give_card(ada, GOOD, at=on)
    run_until(on)

    assert (state(ada), first_invoice(ada).paid_at) == (("active", None), on)
    assert (outcome(ada), len(declined(ada))) == (["paid"], attempts)
    assert told(ada)[-1] == "recovered"
    assert "goes on as before" in mailoutbox[-1].body
    run_until(JUNE - HOUR)
    assert len(mailoutbox) == attempts + 1
    assert_clean(JUNE - HOUR)


def test_another_card_that_is_declined_too_moves_nothing_but_the_count(ada, give_card):
    run_until(MAY_2 + HOUR)

    give_card(ada, DECLINES, at=MAY_2 + HOUR)
    run_until(MAY_8)

    assert declined(ada) == [MAY, MAY_2, MAY_2 + HOUR, MAY_4, MAY_8]
    assert (Dunning.objects.get().attempts, state(ada)) == (5, ("paused", None))


@ACTS
@pytest.mark.parametrize("is_over", [False, True], ids=["before the end", "after it"])
def test_what_is_not_owed_any_more_ends_dunning(ada, act, how, is_over):
    at = MAY_8 + DAY if is_over else MAY_2 + HOUR
    run_until(at)

    act(first_invoice(ada), at)
    run_until(at + HOUR)

    assert state(ada) == ("active", None)
    assert outcome(ada) == ["paused" if is_over else how]
    assert Dunning.objects.get().settled_at == at
    assert ("recovered" in told(ada)) == (how == "paid")
    run_until(JUNE - HOUR)
    assert len(declined(ada)) == (4 if is_over else 2)
    assert_clean(JUNE - HOUR)


def test_a_part_that_is_credited_leaves_the_calendar_as_it_is(ada):
    run_until(MAY_2 + HOUR)

    credit_invoice(invoice=first_invoice(ada), reason="Goodwill", amount_cents=900, at=MAY_2 + HOUR)
    run_until(MAY_8)

    assert declined(ada) == [MAY, MAY_2, MAY_4, MAY_8]
    assert list(Payment.objects.order_by("pk").values_list("amount_cents", flat=True)) == [2_900, 2_900, 2_000, 2_000]
    assert state(ada) == ("paused", None)


def test_other_terms_count_for_dunning_that_begins_later(ada):
    run_until(MAY)

    terms(days=0, retries=[], action="cancel_subscription")
    run_until(MAY_8)

    assert (declined(ada), state(ada)) == ([MAY, MAY_2, MAY_4, MAY_8], ("paused", None))


def test_a_schedule_that_is_longer_than_the_grace_time_is_gone_through(ada):
    terms(days=3, retries=[1, 10])

    run_until(MAY)
    assert state(ada) == ("past_due", MAY + 10 * DAY)
    run_until(MAY + 9 * DAY)
    assert state(ada)[0] == "past_due"
    run_until(MAY + 10 * DAY)

    assert (declined(ada), state(ada)) == ([MAY, MAY_2, MAY + 10 * DAY], ("paused", None))


def test_grace_that_is_longer_than_the_schedule_is_waited_for(ada, mailoutbox):
    terms(days=5, retries=[1])

    run_until(MAY + 5 * DAY - HOUR)
    assert (declined(ada), state(ada)) == ([MAY, MAY_2], ("past_due", MAY + 5 * DAY))
    assert "We do not try this card again by ourselves." in mailoutbox[1].body
    run_until(MAY + 5 * DAY)

    assert state(ada) == ("paused", None)


def test_no_grace_and_no_retries_end_at_once(ada):
    terms(days=0, retries=[])

    run_until(MAY)

    assert (declined(ada), state(ada), told(ada)) == ([MAY], ("paused", None), ["charge_failed", "dunning_ended"])
    assert_clean(MAY)


def test_two_invoices_are_dunned_beside_each_other(ada):
    terms(days=40, retries=[1])
    # The invoice of June waits out the grace hour.
    rated = JUNE + HOUR

    run_until(JUNE + 2 * DAY)

    assert (declined(ada), state(ada)) == ([MAY, MAY_2, rated, rated + DAY], ("past_due", MAY + 40 * DAY))
    pay(first_invoice(ada), JUNE + 3 * DAY)
    assert state(ada) == ("past_due", rated + 40 * DAY)
    assert_clean(JUNE + 3 * DAY)
    pay(Invoice.objects.filter(customer=ada).latest("pk"), JUNE + 4 * DAY)
    assert state(ada) == ("active", None)
    assert_clean(JUNE + 4 * DAY)


def test_the_end_of_one_ends_the_others_and_all_are_to_be_paid_before_it_resumes(ada):
    terms(days=40, retries=[1])
    run_until(MAY + 40 * DAY)
    assert (state(ada), outcome(ada)) == (("paused", None), ["paused", "paused"])
    assert told(ada).count("dunning_ended") == 1

    first, second = Invoice.objects.shown().filter(customer=ada, kind="cycle").order_by("pk")
    pay(first, MAY + 41 * DAY)
    run_until(MAY + 41 * DAY)
    assert state(ada) == ("paused", None)
    pay(second, MAY + 42 * DAY)
    run_until(MAY + 42 * DAY)

    assert state(ada) == ("active", None)
    assert_clean(MAY + 42 * DAY)


def test_a_customer_without_a_card_is_never_dunned(pro):
    customer = CustomerFactory()
    subscribe(at=MAY, customer=customer, plan=pro.plan)

    run_until(JULY)

    assert (state(customer), first_invoice(customer).status) == (("active", None), "issued")
    assert not Dunning.objects.exists()
    assert not Mail.objects.exists()


def test_a_sweep_that_is_late_tries_once_and_then_ends(ada):
    run_until(MAY)
    late = MAY + 20 * DAY

    bill(until=late, now=late)

    assert (declined(ada), state(ada)) == ([MAY, late], ("paused", None))
    assert told(ada) == ["charge_failed", "dunning_ended"]


def test_one_jump_of_the_clock_comes_to_the_same_as_many(ada, pro, give_card):
    run_until(MAY + 12 * DAY)
    grace = CustomerFactory()
    give_card(grace, DECLINES, at=MAY)
    subscribe(at=MAY, customer=grace, plan=pro.plan)

    for hours in range(0, 12 * 24 + 1, 12):
        run_until(MAY + hours * HOUR)

    assert declined(ada) == declined(grace)
    assert (state(ada), outcome(ada), told(ada)) == (state(grace), outcome(grace), told(grace))


def test_the_end_waits_for_the_answer_to_the_last_retry(ada, wire):
    run_until(MAY_8 - HOUR)
    wire.break_at(0, FaultKind.TIMEOUT)

    assert run_until(MAY_8).unavailable
    assert (declined(ada), state(ada)[0]) == ([MAY, MAY_2, MAY_4], "past_due")
    wire.heal()
    run_until(MAY_8 + DAY, now=MAY_8 + DAY)

    assert (declined(ada), state(ada)) == ([MAY, MAY_2, MAY_4, MAY_8 + DAY], ("paused", None))


def test_a_charge_that_stripe_refuses_is_no_decline_but_uses_a_retry_up(ada):
    run_until(MAY)
    Invoice.objects.update(stripe_invoice_id="in_nobody")

    run_until(MAY_8)

    assert (declined(ada), state(ada)) == ([MAY], ("paused", None))
    assert told(ada) == ["charge_failed", "dunning_ended"]
    assert_clean(MAY_8)


def test_a_parked_customer_is_left_alone(ada):
    run_until(MAY)
    Customer.objects.update(parked_at=MAY, parked_reason="x")

    run_until(MAY_8 + DAY)

    assert (declined(ada), state(ada)) == ([MAY], ("past_due", MAY_8))


def test_a_pause_by_hand_ends_dunning_and_does_not_resume_by_a_payment(ada):
    run_until(MAY_2)

    pause(subscription=Subscription.objects.get(), at=MAY_2 + HOUR)
    run_until(MAY_8 + DAY)
    assert (declined(ada), state(ada), outcome(ada)) == ([MAY, MAY_2], ("paused", None), ["withdrawn"])
    pay(first_invoice(ada), MAY_8 + DAY)
    run_until(MAY_8 + 2 * DAY)

    assert state(ada) == ("paused", None)
    assert_clean(MAY_8 + 2 * DAY)


@pytest.mark.parametrize("day", [MAY_2 + HOUR, MAY_8 + HOUR], ids=["past due", "paused"])
def test_resuming_by_hand_forgives_nothing(ada, give_card, day):
    run_until(day)

    resume(subscription=Subscription.objects.get(), at=day)
    run_until(MAY_8 + 2 * DAY)

    assert (state(ada), first_invoice(ada).status) == (("active", None), "issued")
    assert len(declined(ada)) == (2 if day < MAY_8 else 4)
    assert_clean(MAY_8 + 2 * DAY)
    give_card(ada, GOOD, at=MAY_8 + 3 * DAY)
    run_until(MAY_8 + 3 * DAY)
    assert (state(ada), first_invoice(ada).status) == (("active", None), "paid")
    assert_clean(MAY_8 + 3 * DAY)


def test_a_change_of_plan_takes_the_state_along(ada, pro):
    big = make_pro_plan(base_cents=9_900, beside=pro)
    run_until(MAY_2 + HOUR)

    change_now(subscription=Subscription.objects.get(), price=big.price, at=MAY_2 + HOUR)
    assert state(ada) == ("past_due", MAY_8)
    assert_clean(MAY_2 + HOUR)
    run_until(MAY_8)

    assert state(ada) == ("paused", None)
    assert_clean(MAY_8)


def test_a_cancellation_leaves_the_invoice_to_its_dunning(ada, mailoutbox):
    run_until(MAY_2 + HOUR)

    cancel_now(subscription=Subscription.objects.get(), at=MAY_2 + HOUR)
    run_until(MAY_8)

    assert (declined(ada), outcome(ada)) == ([MAY, MAY_2, MAY_4, MAY_8], ["not_paid"])
    assert state(ada) == ("canceled", None)
    assert mailoutbox[-1].subject == f"Invoice {first_invoice(ada).number} is not paid"
    assert "plan" not in mailoutbox[-1].body
    assert_clean(MAY_8)


def test_an_invoice_without_a_subscription_is_dunned_and_stays_unpaid(give_card, mailoutbox):
    customer = CustomerFactory()
    give_card(customer, DECLINES, at=MAY)
    lines = [WrittenLine(description="Setup", quantity=Decimal(1), unit_amount_cents=Decimal(5_000))]
    write_invoice(customer=customer, currency="USD", lines=lines, issue=True, at=MAY)

    run_until(MAY_8)

    assert (declined(customer), outcome(customer)) == ([MAY, MAY_2, MAY_4, MAY_8], ["not_paid"])
    assert "goes on until" not in mailoutbox[0].body
    assert mailoutbox[-1].subject.endswith("is not paid")
    assert_clean(MAY_8)


def test_usage_up_to_the_end_is_billed_and_its_invoice_stops_nothing_twice(ada, pro):
    use(ada, pro.metric, 12_500, MAY_2)

    run_until(MAY_8)
    assert state(ada) == ("paused", None)
    run_until(MAY + 15 * DAY)

    # 2,500 beyond the quota at 5 cents, billed and declined on 8 May, and dunned until the 15th.
    change = Invoice.objects.get(customer=ada, kind="change")
    assert (change.total_cents, change.status) == (12_500, "issued")
    assert (outcome(ada), state(ada)) == (["paused", "not_paid"], ("paused", None))
    assert_clean(MAY + 15 * DAY)


def test_a_customer_without_an_address_is_dunned_and_the_mail_says_why_it_is_not_sent(ada, mailoutbox):
    Customer.objects.update(email="")

    run_until(MAY)

    mail = Mail.objects.get()
    assert (mail.state, mail.error, mail.send_at) == ("skipped", "The customer has no e-mail address.", None)
    assert (mailoutbox, state(ada)) == ([], ("past_due", MAY_8))


def test_a_paused_subscription_that_owes_cannot_be_paused_again(ada):
    terms(action="mark_as_unpaid")
    run_until(MAY_8)

    with pytest.raises(SubscriptionNotActive, match="This subscription is unpaid, so it cannot be paused"):
        pause(subscription=Subscription.objects.get(), at=MAY_8 + HOUR)


def test_all_sweeps_again_change_nothing(ada, mailoutbox):
    run_until(MAY_8)

    run_until(MAY_8)
    run_until(MAY_8 + HOUR)

    assert (len(declined(ada)), len(mailoutbox), outcome(ada)) == (4, 4, ["paused"])


def test_the_api_says_until_when_and_everything_is_given_until_then(ada, api):
    subscription = Subscription.objects.get(customer=ada)
    path = f"/v1/subscriptions/{subscription.stable_subscription_id}"
    feature = subscription.subscription_features.get().feature
    check = f"/v1/entitlements/{ada.public_id}/feature/{feature.slug}"
    run_until(MAY_2)

    with time_machine.travel(MAY_2 + HOUR, tick=False):
        past_due, given = api.get(path).body["subscription"], api.get(check).body
        portal = api.get("/v1/customers/portal/overview", {"externalCustomerId": ada.external_customer_id})
    run_until(MAY_8)
    with time_machine.travel(MAY_8 + HOUR, tick=False):
        paused, taken = api.get(path).body["subscription"], api.get(check).body

    assert (past_due["status"], past_due["gracePeriodEndsAt"]) == ("past_due", "2026-05-08T00:00:00.000Z")
    assert portal.body["portal"]["subscription"]["gracePeriodEndsAt"] == "2026-05-08T00:00:00.000Z"
    assert (paused["status"], paused["gracePeriodEndsAt"]) == ("paused", None)
    assert [given["entitled"], taken["entitled"]] == [True, False]


def test_a_retry_by_hand_counts_and_leaves_the_calendar_as_it_is(ada, api):
    run_until(MAY_2)

    with time_machine.travel(MAY_2 + HOUR, tick=False):
        answer = api.post(f"/v1/invoices/{first_invoice(ada).public_id}/retry")

    assert (answer.status, answer.body["invoice"]["status"]) == (200, "issued")
    assert (Dunning.objects.get().attempts, first_invoice(ada).collect_at) == (3, MAY_4)
    assert told(ada)[-1] == "retry_failed"


def test_a_retry_by_hand_after_the_end_begins_nothing_anew(ada, api):
    run_until(MAY_8)

    with time_machine.travel(MAY_8 + HOUR, tick=False):
        api.post(f"/v1/invoices/{first_invoice(ada).public_id}/retry")
    run_until(MAY_8 + 2 * DAY)

    assert len(declined(ada)) == 5
    assert (Dunning.objects.get().attempts, first_invoice(ada).collect_at, len(told(ada))) == (4, None, 4)
    assert_clean(MAY_8 + 2 * DAY)


def test_without_terms_of_its_own_the_usual_ones_count(ada):
    run_until(MAY)

    assert not DunningConfig.objects.exists()
    assert Dunning.objects.get().retry_schedule == [1, 3, 7]


def test_after_an_outage_of_mail_only_the_thanks_go_out(ada, give_card, mailoutbox, mail_outage):
    run_until(MAY_4)
    paid_at = MAY_4 + HOUR
    give_card(ada, GOOD, at=paid_at)

    mail_outage()
    run_until(paid_at, now=paid_at)

    later, paid = "A later mail says more.", "The invoice is paid meanwhile."
    assert mails(ada) == [
        ("charge_failed", "skipped", later),
        ("retry_failed", "skipped", later),
        ("retry_failed", "skipped", paid),
        ("recovered", "sent", ""),
    ]
    assert [mail.subject for mail in mailoutbox] == [f"Thank you: invoice {first_invoice(ada).number} is paid"]


def test_the_final_notice_takes_the_place_of_reminders_that_wait_and_is_taken_back_with_the_invoice(ada, mail_outage):
    run_until(MAY_8)
    assert [state for _, state, _ in mails(ada)] == ["skipped", "skipped", "skipped", "queued"]

    void_invoice(invoice=first_invoice(ada), reason="Wrong", at=MAY_8 + HOUR)

    assert mails(ada)[-1] == ("dunning_ended", "skipped", "Nothing of the invoice is to be paid any more.")


def test_a_mail_that_a_sender_holds_is_not_skipped_by_a_payment(ada, mail_outage):
    run_until(MAY)
    paid_at = MAY + HOUR
    assert claim_mail(at=paid_at, now=paid_at) is not None

    pay(first_invoice(ada), paid_at)

    assert mails(ada) == [("charge_failed", "queued", ""), ("recovered", "queued", "")]


@ACTS
def test_dunning_of_an_invoice_that_a_process_of_before_settled_ends_with_the_next_sweep(ada, act, how):
    at = MAY_2 + HOUR
    run_until(at)
    act(first_invoice(ada), at)
    # What a process leaves that knows nothing of dunning.
    Mail.objects.filter(kind="recovered").delete()
    Dunning.objects.update(settled_at=None, ended_at=None, outcome="", next_retry_at=MAY_4)
    Subscription.objects.update(status="past_due", grace_period_ends_at=MAY_8)

    assert end_dunning(at + HOUR).done == 1

    assert (state(ada), outcome(ada)) == (("active", None), [how])
    assert Dunning.objects.get().settled_at == at + HOUR
    assert ("recovered" in told(ada)) == (how == "paid")
    assert end_dunning(MAY_8 + DAY).done == 0
    assert_clean(at + HOUR)


def test_what_is_paused_by_hand_is_not_canceled_by_dunning_of_its_last_invoice(ada, pro):
    terms(action="cancel_subscription")
    run_until(MAY_2)
    use(ada, pro.metric, 12_500, MAY_2)

    pause(subscription=Subscription.objects.get(), at=MAY_2 + HOUR)
    run_until(MAY + 15 * DAY)

    # What was used up to the pause is billed and declined, too.
    assert (state(ada), outcome(ada)) == (("paused", None), ["withdrawn", "not_paid"])
    assert [mail.facts["end_action"] for mail in Mail.objects.filter(kind="charge_failed").order_by("pk")] == [
        "cancel_subscription",
        "",
    ]
    assert_clean(MAY + 15 * DAY)


def copy_of_invoice(customer, number):
    copy = first_invoice(customer)
    copy.pk, copy.public_id, copy.number, copy._state.adding = None, f"inv_copy_{number}", f"COPY-{number}", True
    copy.closes_at, copy.collect_at = MAY + (number + 1) * HOUR, None
    copy.save()
    return copy


def test_a_hundred_that_have_to_wait_hold_up_no_other(ada, pro):
    run_until(MAY_8 - HOUR)
    Invoice.objects.update(collect_at=None)
    Dunning.objects.update(next_retry_at=None)
    waiting = CustomerFactory()
    subscribe(at=MAY, customer=waiting, plan=pro.plan)
    # What was scheduled comes first, and no sweep has done it yet.
    held = Subscription.objects.get(customer=waiting)
    ScheduledChange.objects.create(subscription=held, kind="cancel", effective_at=MAY_2, created_at=MAY)
    invoices = [copy_of_invoice(waiting, number) for number in range(100)]
    Dunning.objects.bulk_create(
        Dunning(invoice=invoice, customer=waiting, started_at=MAY, end_at=MAY_8 - DAY) for invoice in invoices
    )

    assert end_dunning(MAY_8).done == 1

    assert state(ada) == ("paused", None)
    assert Dunning.objects.running().count() == 100
