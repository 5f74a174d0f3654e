from datetime import datetime, timedelta

from django.db import connection, transaction

from billing.exchange import Card, IntentToOpen, Paid
from billing.models import Checkout, CheckoutStatus, IntentType, Invoice
from billing.services.buyers import Buyer, refuse_claimed_customer
from billing.services.collect import record_payment, record_payment_method
from billing.services.first_bill import due_today_cents, first_bill, needs_card, tax_of_buyer
from billing.services.send import retry_delay
from billing.services.subscribe import subscribe
from metering.services.attribute_events import register_customer
from plans.models import Customer, Price, Subscription
from plans.refusals import NotFound, Refusal
from plans.services.customers import CustomerNotFound
from plans.services.subscriptions import AlreadySubscribed, check_components

# Stripe keeps a hold on a card for seven days; a buyer who comes back after a day begins anew.
OPEN_FOR = timedelta(hours=24)
FIRST_LOOK = timedelta(minutes=5)
LEASE = timedelta(minutes=2)
NOT_CHARGED = "Your card was not charged."
PAYMENT_REFUSED = f"The payment provider does not take this payment. {NOT_CHARGED} Please write to the seller."
REPLACED = f"This checkout was replaced by a newer one of yours. {NOT_CHARGED}"
EXPIRED = f"This checkout has expired. {NOT_CHARGED} Begin again on the pricing page."
# What a buyer is told where a rule's own sentence speaks to the seller's developers.
FOR_BUYERS = {
    "already_subscribed": "You have a subscription already.",
    "metric_already_priced": "You have a subscription already.",
    "duplicate_customer": "Somebody has opened an account for you meanwhile.",
    "customer_not_found": "This account was closed.",
    "plan_no_longer_offered": "This plan is no longer offered.",
    "price_has_no_components": "This plan cannot be bought yet.",
}


class CheckoutNotFound(NotFound):
    code = "checkout_not_found"


def find_checkout(**key: str) -> Checkout:
    """Return a checkout by `public_id` or `intent_id`. Raises CheckoutNotFound."""
    checkout = (
        Checkout.objects.filter(**key)
        .select_related("price__plan", "customer", "subscription__customer", "invoice")
        .first()
    )
    if checkout is None:
        raise CheckoutNotFound("Checkout not found")
    return checkout


def find_completed_checkout(buyer: str) -> Checkout | None:
    """Return the buyer's latest checkout whose subscription is live, None without one."""
    return (
        Checkout.objects.filter(
            buyer=buyer, status=CheckoutStatus.SUBSCRIBED, subscription__in=Subscription.objects.live()
        )
        .select_related("price__plan", "subscription__customer", "invoice")
        .order_by("-created_at")
        .first()
    )


@transaction.atomic
def open_checkout(*, buyer: Buyer, price: Price, at: datetime) -> Checkout:
    """Return the buyer's checkout for this price: the one that led to his subscription, else the open one, else a new
    one. A buyer who is not proven gets a new one each time, and only one of them is ever subscribed.

    An open one for another price is replaced: what its card holds is released, never taken. Raises AlreadySubscribed
    for a buyer with a live subscription, CheckoutSessionRequired for one who claims to be a customer, and
    PriceHasNoComponents.
    """
    check_components(price)
    _lock_buyer(buyer.key)
    done = find_completed_checkout(buyer.key)
    if done is not None and done.price_id == price.pk:
        return done
    if done is not None:
        raise AlreadySubscribed(f"You are subscribed to {done.price.plan.name} already.")
    refuse_claimed_customer(buyer)
    refuse_subscribed(buyer)
    if buyer.is_proven:
        there = find_open_checkout(buyer.key, lock=True)
        if there is not None and there.price_id == price.pk and there.expires_at > at:
            return there
        if there is not None:
            _end(there, CheckoutStatus.REPLACED, code="checkout_replaced", message=REPLACED, at=at)
    due_cents = due_today_cents(price, first_bill(price, tax_of_buyer(buyer)))
    return Checkout.objects.create(
        buyer=buyer.key,
        customer=buyer.customer,
        customer_public_id=buyer.customer.public_id if buyer.customer else Checkout.new_customer_id(),
        stripe_customer_id=(buyer.customer.psp_customer_id or "") if buyer.customer else "",
        price=price,
        name=buyer.name,
        email=buyer.email,
        external_customer_id=buyer.external_customer_id,
        profile=dict(buyer.profile),
        due_cents=due_cents,
        intent_type=_intent_type(price, due_cents),
        step_at=at + FIRST_LOOK,
        expires_at=at + OPEN_FOR,
        created_at=at,
    )


def refuse_subscribed(buyer: Buyer) -> None:
    """Raise AlreadySubscribed for a customer with a live subscription."""
    if buyer.customer is not None and Subscription.objects.live().filter(customer=buyer.customer).exists():
        raise AlreadySubscribed("You have a subscription already. Plans are changed in your account, not bought again.")


def find_open_checkout(buyer: str, *, lock: bool = False) -> Checkout | None:
    """Return the open checkout of a proven buyer, None without one; with `lock` it stays as it is for now."""
    there = Checkout.objects.filter(buyer=buyer, status=CheckoutStatus.OPEN)
    return (there.select_for_update(no_key=True) if lock else there).first()


def _lock_buyer(key: str) -> None:
    """Let whatever one buyer does in several tabs happen one after the other, until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"checkout {key}"])


def retype(*, checkout: Checkout, buyer: Buyer) -> None:
    """Take over what a new customer has typed anew in a checkout that is not confirmed yet."""
    if buyer.customer is None:
        Checkout.objects.filter(pk=checkout.pk, status=CheckoutStatus.OPEN).update(
            name=buyer.name, email=buyer.email, profile=dict(buyer.profile)
        )


def _intent_type(price: Price, due_cents: int) -> str:
    if due_cents:
        return IntentType.PAYMENT
    return IntentType.SETUP if needs_card(price) else ""


def intent_to_open(checkout: Checkout) -> IntentToOpen:
    """Take what Stripe is to know of a checkout."""
    return IntentToOpen(
        checkout=checkout.public_id,
        stripe_customer=checkout.stripe_customer_id,
        due_cents=checkout.due_cents,
        currency=checkout.price.currency,
    )


@transaction.atomic
def record_intent(*, checkout: Checkout, stripe_customer: str, intent: str, at: datetime) -> Checkout:
    """Keep Stripe's ids of a checkout's customer and intent. One that has ended meanwhile is to be looked at again, so
    that the intent is canceled too."""
    row = _lock(checkout)
    row.stripe_customer_id, row.intent_id = stripe_customer, intent
    if row.status != CheckoutStatus.OPEN:
        row.settled_at, row.step_at = None, at
    row.save(update_fields=["stripe_customer_id", "intent_id", "settled_at", "step_at"])
    return row


@transaction.atomic
def subscribe_by_checkout(*, checkout: Checkout, card: Card | None, at: datetime) -> Checkout:
    """Subscribe the buyer of an open checkout whose card is ready, creating the customer where he is new.

    One that is not open any more is left as it is. What the rules refuse now (the plan was deleted, the customer has
    subscribed meanwhile) ends the checkout as `refused`, with their sentence; its hold is then released.
    """
    _lock_buyer(checkout.buyer)
    row = _lock(checkout)
    if row.status != CheckoutStatus.OPEN:
        return row
    try:
        with transaction.atomic():
            if find_completed_checkout(row.buyer) is not None:
                raise AlreadySubscribed("The same buyer has subscribed by another checkout.")
            customer = _customer_of(row, at)
            if card is not None:
                record_payment_method(customer=customer, card=card, at=at)
            row.subscription = subscribe(at=at, customer=customer, plan=row.price.plan, price=row.price)
    except Refusal as refusal:
        row.step_error = refusal.message
        sentence = FOR_BUYERS.get(refusal.code, "This subscription could not be made.")
        message = f"{sentence} {NOT_CHARGED}" if row.intent_type else sentence
        _end(row, CheckoutStatus.REFUSED, code=refusal.code, message=message, at=at)
        return row
    row.customer = customer
    row.status = CheckoutStatus.SUBSCRIBED
    row.invoice = _hold_back_first_invoice(row)
    row.step_at = at
    row.save(update_fields=["subscription", "customer", "status", "invoice", "step_at"])
    return row


def _customer_of(checkout: Checkout, at: datetime) -> Customer:
    if checkout.customer_id is not None:
        customer = Customer.objects.select_for_update(no_key=True).get(pk=checkout.customer_id)
        if customer.deleted_at is not None:
            raise CustomerNotFound("This account was closed.")
        if customer.psp_customer_id is None and checkout.stripe_customer_id:
            customer.psp_customer_id = checkout.stripe_customer_id
            customer.save(update_fields=["psp_customer_id", "updated_at"])
        return customer
    return register_customer(
        at=at,
        public_id=checkout.customer_public_id,
        name=checkout.name,
        email=checkout.email,
        # An e-mail typed on a public page proves nothing, so it neither opens nor blocks the account that has it.
        share_email=True,
        external_customer_id=checkout.external_customer_id,
        psp_customer_id=checkout.stripe_customer_id or None,
        **checkout.profile,
    )


def _hold_back_first_invoice(checkout: Checkout) -> Invoice | None:
    """Find the invoice of the first fees. What is held for it on a card is taken first; until then it is neither sent
    nor charged, or it could be paid twice."""
    assert checkout.subscription is not None
    invoice = (
        Invoice.objects.shown()
        .filter(subscription=checkout.subscription, closes_at=checkout.subscription.started_at)
        .first()
    )
    if invoice is not None and checkout.due_cents:
        Invoice.objects.filter(pk=invoice.pk).update(send_at=None)
    return invoice


@transaction.atomic
def record_taken(*, checkout: Checkout, at: datetime, amount_cents: int, payment_method: str) -> Checkout:
    """Book what was held on the card as the payment of the first invoice. Booking it again changes nothing."""
    row = _lock(checkout)
    if row.settled_at is not None:
        return row
    assert row.invoice is not None
    assert row.intent_id is not None
    record_payment(
        invoice=row.invoice.public_id,
        paid=Paid(reference=row.intent_id, amount_cents=amount_cents),
        at=at,
        payment_method=payment_method,
    )
    _send_first_invoice(row, at)
    _settle(row, at)
    return row


@transaction.atomic
def record_wrong_amount(*, checkout: Checkout, at: datetime, error: str) -> Checkout:
    """Note that somebody else took another amount than was held. The invoice waits for the operator."""
    row = _lock(checkout)
    _settle(row, at, error=error)
    return row


@transaction.atomic
def record_nothing_taken(*, checkout: Checkout, at: datetime) -> Checkout:
    """Note that nothing is held for a checkout any more: there was no hold, it was released, or it is lost.

    A first invoice that is still to be paid then goes the way of all others: it is sent, and the card is charged.
    """
    row = _lock(checkout)
    if row.settled_at is None:
        if row.invoice is not None and row.due_cents:
            _send_first_invoice(row, at)
        _settle(row, at)
    return row


def _send_first_invoice(checkout: Checkout, at: datetime) -> None:
    Invoice.objects.filter(checkout=checkout, stripe_sent_at__isnull=True, total_cents__gt=0).update(send_at=at)


def _settle(checkout: Checkout, at: datetime, *, error: str = "") -> None:
    checkout.settled_at, checkout.step_at = at, None
    if checkout.status == CheckoutStatus.SUBSCRIBED:
        # Where it was refused the reason stays; what went wrong on the way to a subscription is over.
        checkout.step_error = error
    checkout.save(update_fields=["settled_at", "step_at", "step_error"])


def wait_for_buyer(*, claimed: Checkout, at: datetime) -> None:
    """Look at an open checkout again after a pause that doubles each time, at the latest when it expires.

    Stripe's webhook is faster, but not every installation can be reached by one. News that came during the step stay.
    """
    pause = FIRST_LOOK * 2 ** min(claimed.step_attempts, 10)
    Checkout.objects.filter(pk=claimed.pk, status=CheckoutStatus.OPEN, step_at=claimed.step_at).update(
        step_at=min(claimed.expires_at, at + pause), step_error=""
    )


@transaction.atomic
def refuse_checkout(*, checkout: Checkout, error: str, at: datetime) -> Checkout:
    """End an open checkout for which Stripe would open no intent; the next one gets another idempotency key."""
    row = _lock(checkout)
    if row.status == CheckoutStatus.OPEN and row.intent_id is None:
        row.step_error = error
        _end(row, CheckoutStatus.REFUSED, code="payment_refused", message=PAYMENT_REFUSED, at=at)
    return row


@transaction.atomic
def expire_checkout(*, checkout: Checkout, at: datetime) -> Checkout:
    """End an open checkout that nobody paid in time, or whose intent is no longer any good."""
    row = _lock(checkout)
    if row.status == CheckoutStatus.OPEN:
        _end(row, CheckoutStatus.EXPIRED, code="checkout_expired", message=EXPIRED, at=at)
    return row


def _end(checkout: Checkout, status: str, *, code: str, message: str, at: datetime) -> None:
    """End a checkout without a subscription; its hold is to be released, which is its next step."""
    checkout.status = status
    checkout.error_code, checkout.error_message = code, message
    checkout.step_at = at
    checkout.subscription = None
    checkout.save(update_fields=["status", "error_code", "error_message", "step_at", "step_error", "subscription"])


def _lock(checkout: Checkout) -> Checkout:
    # Without joins: after waiting for a lock PostgreSQL reads the row anew, but what was joined to it as it was before.
    return Checkout.objects.select_for_update(no_key=True).get(pk=checkout.pk)


@transaction.atomic
def claim_checkout(*, at: datetime, now: datetime) -> Checkout | None:
    """Claim the next checkout whose step is due, for as long as the lease lasts; None when there is none."""
    checkout = (
        Checkout.objects.due(at).select_for_update(no_key=True, skip_locked=True).order_by("step_at", "pk").first()
    )
    if checkout is not None:
        checkout.step_attempts += 1
        checkout.step_at = now + LEASE
        checkout.save(update_fields=["step_attempts", "step_at"])
    return checkout


def record_step_failure(*, claimed: Checkout, error: str, at: datetime) -> None:
    """Note why a step failed, and when it is tried again, unless there was news meanwhile."""
    unsettled = Checkout.objects.filter(pk=claimed.pk, settled_at__isnull=True)
    unsettled.update(step_error=error)
    unsettled.filter(step_at=claimed.step_at).update(step_at=at + retry_delay(claimed.step_attempts))


def hasten_checkout(*, intent: str, at: datetime) -> None:
    """Let the next sweep look at the checkout of an intent of which Stripe had news."""
    Checkout.objects.filter(intent_id=intent, settled_at__isnull=True).update(step_at=at)
