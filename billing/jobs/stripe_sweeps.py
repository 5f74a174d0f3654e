"""The sweeps of Stripe: each takes one row at a time, asks Stripe between transactions, and stops when it cannot be
reached."""

import logging
from datetime import datetime

from billing import checkouts, gateway
from billing.exchange import ChargeToMake, Paid
from billing.jobs.swept import KeepGoing, SweepClock, Swept, to_the_end
from billing.services import checkout as checkout_rules
from billing.services import collect, disputes, inbox, refunds, send, stripe_voids
from billing.services.park import park_customer

logger = logging.getLogger(__name__)


def send_invoices(at: datetime, keep_going: KeepGoing = to_the_end) -> Swept:
    """Bring issued invoices to Stripe, one at a time, until none is due or Stripe cannot be reached."""
    swept, clock = Swept(), SweepClock(at)
    while keep_going() and (invoice := send.claim_invoice_to_send(at=at, now=clock.now())) is not None:
        try:
            stripe_customer = gateway.ensure_customer(invoice.customer)
            send.record_stripe_customer(customer=invoice.customer.id, stripe_id=stripe_customer)
            stripe_invoice = gateway.send_invoice(invoice, stripe_customer=stripe_customer)
        except gateway.StripeUnavailable as error:
            send.record_send_failure(invoice=invoice.id, error=str(error), at=at, revision=invoice.revision)
            swept.unavailable = str(error)
            break
        except (gateway.StripeRefused, gateway.CardDeclined) as error:
            logger.error("Stripe refused invoice %s: %s", invoice.number, error)
            send.record_send_failure(invoice=invoice.id, error=str(error), at=at, revision=invoice.revision)
            swept.fail(f"{invoice.number}: {error}")
        else:
            send.record_sent(invoice=invoice.id, stripe_invoice_id=stripe_invoice, at=at, revision=invoice.revision)
            swept.done += 1
    return swept


def void_invoices(at: datetime, keep_going: KeepGoing = to_the_end) -> Swept:
    """Make invoices void at Stripe that nobody is to pay there any more, until none is left or Stripe cannot be
    reached. One that somebody paid all the same is booked."""
    swept, clock = Swept(), SweepClock(at)
    while keep_going() and (invoice := stripe_voids.claim_invoice_to_void(at=at, now=clock.now())) is not None:
        try:
            paid = gateway.void_invoice(invoice)
            if paid is not None:
                collect.record_payment(invoice=invoice.id, paid=paid, at=at)
        except gateway.StripeUnavailable as error:
            stripe_voids.record_void_failure(voided=invoice, error=str(error), at=at)
            swept.unavailable = str(error)
            break
        except (gateway.StripeRefused, gateway.CardDeclined, collect.AmountMismatch) as error:
            logger.error("invoice %s could not be made void at Stripe: %s", invoice.id, error)
            stripe_voids.record_void_failure(voided=invoice, error=str(error), at=at)
            swept.fail(f"{invoice.id}: {error}")
        else:
            stripe_voids.record_voided(voided=invoice, at=at)
            swept.done += 1
    return swept


def make_refunds(at: datetime, keep_going: KeepGoing = to_the_end) -> Swept:
    """Give back what waits to go back to where it came from, and credit Stripe's invoices by it, until none is left or
    Stripe cannot be reached."""
    swept, clock = Swept(), SweepClock(at)
    while keep_going() and (refund := refunds.claim_refund(at=at, now=clock.now())) is not None:
        try:
            there = gateway.make_refund(refund)
        except gateway.StripeUnavailable as error:
            refunds.record_refund_failure(refund=refund.id, error=str(error), at=at)
            swept.unavailable = str(error)
            return swept
        except (gateway.StripeRefused, gateway.CardDeclined) as error:
            logger.error("Stripe refused refund %s: %s", refund.id, error)
            refunds.record_refund_failure(refund=refund.id, error=str(error), at=at)
            swept.fail(f"{refund.id}: {error}")
        else:
            refunds.record_refund(refund=refund.id, there=there, at=at)
            swept.done += 1
    return _credit_refunded_invoices(swept, at, clock, keep_going)


def _credit_refunded_invoices(swept: Swept, at: datetime, clock: SweepClock, keep_going: KeepGoing) -> Swept:
    while keep_going() and (invoice := refunds.claim_invoice_to_credit(at=at, now=clock.now())) is not None:
        try:
            gateway.credit_invoice(invoice)
        except gateway.StripeUnavailable as error:
            refunds.record_credit_failure(refund=invoice.refund, error=str(error), at=at)
            swept.unavailable = str(error)
            break
        except (gateway.StripeRefused, gateway.CardDeclined) as error:
            logger.error("Stripe refused to credit an invoice for %s: %s", invoice.number, error)
            refunds.record_credit_failure(refund=invoice.refund, error=str(error), at=at)
            swept.fail(f"{invoice.number}: {error}")
        else:
            refunds.record_credited(refund=invoice.refund)
    return swept


def collect_invoices(at: datetime, keep_going: KeepGoing = to_the_end) -> Swept:
    """Charge invoices whose customers have a payment method, until none is due or Stripe cannot be reached."""
    swept, clock = Swept(), SweepClock(at)
    while keep_going() and (charge := collect.claim_invoice_to_collect(at=at, now=clock.now())) is not None:
        try:
            answer = gateway.charge_invoice(charge)
        except gateway.StripeUnavailable as error:
            collect.record_collect_unknown(charge=charge, error=str(error), at=at)
            swept.unavailable = str(error)
            break
        except gateway.StripeRefused as error:
            logger.error("Stripe refused to charge %s: %s", charge.invoice, error)
            collect.record_collect_refused(charge=charge, error=str(error), at=at)
            swept.fail(f"{charge.invoice}: {error}")
            continue
        if isinstance(answer, Paid):
            _record_paid(charge, answer, at, swept)
        else:
            collect.record_declined(charge=charge, declined=answer, at=at)
            swept.fail(f"{charge.invoice}: {answer.message}")
    return swept


def _record_paid(charge: ChargeToMake, paid: Paid, at: datetime, swept: Swept) -> None:
    try:
        collect.record_payment(invoice=charge.invoice, paid=paid, at=at, payment_method=charge.payment_method)
        swept.done += 1
    except collect.AmountMismatch as error:
        park_customer(customers=[error.customer], reason=str(error), at=at)
        swept.fail(f"customer parked: {error}")


def work_off_inbox(at: datetime, keep_going: KeepGoing = to_the_end) -> Swept:
    """Work off Stripe's events, in whatever order they came."""
    swept, clock = Swept(), SweepClock(at)
    while keep_going() and (event := inbox.claim_event(at=at, now=clock.now())) is not None:
        try:
            intent = disputes.intent_to_look_up(event)
            inbox.work_off(event=event, at=at, paid=gateway.invoices_paid_by(intent) if intent else ())
        except Exception as error:
            logger.exception("could not work off %s", event.stripe_event_id)
            inbox.record_inbox_failure(event=event, error=f"{type(error).__name__}: {error}", at=at)
            if isinstance(error, collect.AmountMismatch):
                park_customer(customers=[error.customer], reason=str(error), at=at)
            swept.fail(f"{event.stripe_event_id}: {error}")
        else:
            gateway.mirror_event(event.payload)
            swept.done += 1
    return swept


def go_on_with_checkouts(at: datetime, keep_going: KeepGoing = to_the_end) -> Swept:
    """Take checkouts as far as they go without their buyers: subscribe, take or release what is held, expire."""
    swept, clock = Swept(), SweepClock(at)
    while keep_going() and (checkout := checkout_rules.claim_checkout(at=at, now=clock.now())) is not None:
        try:
            after, _ = checkouts.go_on(checkout, at=at)
        except gateway.StripeUnavailable as error:
            checkout_rules.record_step_failure(claimed=checkout, error=str(error), at=at)
            swept.unavailable = str(error)
            break
        except Exception as error:
            logger.exception("checkout %s could not go on", checkout)
            checkout_rules.record_step_failure(claimed=checkout, error=f"{type(error).__name__}: {error}", at=at)
            swept.fail(f"{checkout}: {error}")
        else:
            checkout_rules.wait_for_buyer(claimed=checkout, at=at)
            swept.done += after.settled_at is not None
    return swept
