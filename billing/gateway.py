"""The one module that writes to Stripe. No function here is called inside a transaction.

Each write carries an idempotency key derived from our row, so a lost answer is asked for again instead of doing the
work twice; each object carries our id in its metadata, so that it is found when Stripe has forgotten the key (a day
later). What comes back is mirrored into dj-stripe's tables.
"""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import stripe
from django.conf import settings
from djstripe import models as mirrored

from billing.exchange import (
    CHECKOUT_ID,
    INVOICE_ID,
    INVOICE_REVISION,
    Card,
    ChargeToMake,
    CustomerToSend,
    Declined,
    Intent,
    IntentProgress,
    IntentToOpen,
    InvoiceToSend,
    InvoiceToVoid,
    LineToSend,
    Paid,
)
from billing.stripe_amounts import from_stripe, to_stripe
from plans.money import plain_number

logger = logging.getLogger(__name__)

CUSTOMER_ID = "candela_customer"
LINE_ID = "candela_line"
# No secret: the sandbox takes any test key, and dj-stripe wants one of this length.
SANDBOX_KEY = "sk_test_CandelaSandboxTakesAnyKey"
SANDBOX_PUBLISHABLE_KEY = "pk_test_CandelaSandboxTakesAnyKey"
TIMEOUT_SECONDS = 20
NETWORK_RETRIES = 2
OPEN_PAGE = 100


class StripeUnavailable(Exception):
    """Stripe did not give a definite answer: not reached, timed out, overloaded. The same call may be made again."""


class StripeRefused(Exception):
    """Stripe refused the call; made again unchanged, it would refuse it again."""


class CardDeclined(Exception):
    """The bank or Stripe refused a card. The message is meant for the person who holds it."""

    def __init__(self, message: str, *, code: str, reference: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reference = reference


def sandbox_url() -> str | None:
    """Return the address of the sandbox that runs with this data folder, or None."""
    try:
        return json.loads((settings.CANDELA_DATA / "sandbox.json").read_text())["url"]
    except (OSError, ValueError, KeyError):
        return None


def uses_sandbox() -> bool:
    """Tell whether the sandbox stands in for Stripe: no key is configured."""
    return not settings.STRIPE_SECRET_KEY


@cache
def _http_client() -> stripe.HTTPClient:
    return stripe.new_default_http_client(timeout=TIMEOUT_SECONDS)


def _api_key() -> str:
    """Point the library at Stripe or the sandbox, and return the key to call it with."""
    stripe.max_network_retries = NETWORK_RETRIES
    if stripe.default_http_client is None:
        stripe.default_http_client = _http_client()
    if not uses_sandbox():
        stripe.api_base = settings.STRIPE_API_ADDRESS
        return settings.STRIPE_SECRET_KEY
    url = sandbox_url()
    if url is None:
        raise StripeUnavailable("STRIPE_SECRET_KEY is not set and no sandbox is running; `manage.py up` starts one")
    if urlsplit(url).hostname != "127.0.0.1":
        raise StripeUnavailable(f"the sandbox must run on 127.0.0.1, not at {url}")
    stripe.api_base = url
    return SANDBOX_KEY


def _call(idempotency_key: str | None = None) -> dict[str, Any]:
    options = {"api_key": _api_key(), "stripe_version": settings.STRIPE_API_VERSION}
    return options | ({"idempotency_key": idempotency_key} if idempotency_key else {})


@contextmanager
def _errors_in_our_words() -> Iterator[None]:
    try:
        yield
    except stripe.CardError as error:
        intent = _payment_intent_of(error)
        raise CardDeclined(
            error.user_message or str(error),
            code=_decline_code(error),
            reference=intent,
        ) from error
    except (stripe.APIConnectionError, stripe.RateLimitError) as error:
        raise StripeUnavailable(str(error)) from error
    except (stripe.AuthenticationError, stripe.PermissionError) as error:
        # Nothing is wrong with what was sent; once the key is mended, the same call succeeds.
        raise StripeUnavailable("Stripe does not accept the configured API key") from error
    except stripe.StripeError as error:
        if error.http_status is None or error.http_status >= 500 or error.http_status == 409:
            raise StripeUnavailable(str(error)) from error
        raise StripeRefused(error.user_message or str(error)) from error


def _decline_code(error: stripe.CardError) -> str:
    return (error.error and error.error.decline_code) or error.code or "card_error"


def _payment_intent_of(error: stripe.CardError) -> str:
    intent = error.error.payment_intent if error.error else None
    return intent.id if intent else ""


def _our_id(stripe_object: Any, name: str) -> str:
    """Read an id of ours from the metadata of an object at Stripe; empty where there is none."""
    metadata = stripe_object.metadata
    return metadata[name] if metadata and name in metadata else ""


def ensure_customer(customer: CustomerToSend, *, is_new: bool = False) -> str:
    """Return Stripe's id of a customer, creating it there first where it is missing.

    `is_new` says that an attempt of more than a day ago cannot have made it: then it is not looked for among all who
    have the same e-mail.
    """
    if customer.stripe_id:
        return customer.stripe_id
    with _errors_in_our_words():
        if customer.email and not is_new:
            known = stripe.Customer.list(email=customer.email, limit=OPEN_PAGE, **_call())
            for candidate in known.auto_paging_iter():
                if _our_id(candidate, CUSTOMER_ID) == customer.id:
                    return candidate.id
        # Created with what never changes: a repeated key with another name or e-mail would be refused for a day.
        created = stripe.Customer.create(metadata={CUSTOMER_ID: customer.id}, **_call(f"{customer.id}-create"))
        details: dict[str, Any] = {"email": customer.email} if customer.email else {}
        created = stripe.Customer.modify(created.id, name=customer.name, **details, **_call())
    _mirror(mirrored.Customer, created)
    return created.id


def attach_payment_method(*, stripe_customer: str, payment_method: str) -> Card:
    """Attach a payment method to a customer and make it the one for invoices. Raises CardDeclined or StripeRefused."""
    with _errors_in_our_words():
        method = stripe.PaymentMethod.attach(payment_method, customer=stripe_customer, **_call())
        stripe.Customer.modify(stripe_customer, invoice_settings={"default_payment_method": method.id}, **_call())
    _mirror(mirrored.PaymentMethod, method)
    return _card_of(method)


def _card_of(method: stripe.PaymentMethod) -> Card:
    card = method.card
    return Card(
        stripe_id=method.id,
        payment_type=method.type,
        brand=card.brand if card else "",
        last_four=card.last4 or "" if card else "",
        expiry_month=card.exp_month if card else None,
        expiry_year=card.exp_year if card else None,
    )


def open_intent(intent: IntentToOpen) -> Intent:
    """Open what a buyer's browser confirms with a card; opened again for the same checkout it is the same one.

    A payment intent only holds the amount. It is taken by `take_held`, once there is a subscription to pay for.
    """
    common: dict[str, Any] = {
        "customer": intent.stripe_customer,
        "payment_method_types": ["card"],
        "metadata": {CHECKOUT_ID: intent.checkout},
        **_call(f"{intent.checkout}-intent"),
    }
    with _errors_in_our_words():
        if not intent.due_cents:
            return _intent(stripe.SetupIntent.create(usage="off_session", **common))
        return _intent(
            stripe.PaymentIntent.create(
                amount=to_stripe(intent.due_cents, intent.currency),
                currency=intent.currency.lower(),
                capture_method="manual",
                setup_future_usage="off_session",
                **common,
            )
        )


def read_intent(intent_id: str) -> Intent:
    """Look at a payment or setup intent as it stands at Stripe; one that Stripe does not know counts as canceled."""
    with _errors_in_our_words():
        try:
            if intent_id.startswith("seti_"):
                return _intent(stripe.SetupIntent.retrieve(intent_id, expand=["payment_method"], **_call()))
            return _intent(stripe.PaymentIntent.retrieve(intent_id, expand=["payment_method"], **_call()))
        except stripe.InvalidRequestError as error:
            if error.code != "resource_missing":
                raise
            logger.error("Stripe does not know %s: was the account changed?", intent_id)
            return Intent(id=intent_id, client_secret="", progress=IntentProgress.CANCELED)


def take_held(intent_id: str, *, checkout: str) -> Intent:
    """Take what a payment intent holds on a card. Raises StripeRefused when it holds nothing any more."""
    with _errors_in_our_words():
        taken = stripe.PaymentIntent.capture(intent_id, expand=["payment_method"], **_call(f"{checkout}-capture"))
    _mirror(mirrored.PaymentIntent, taken)
    return _intent(taken)


def release_held(intent_id: str) -> Intent:
    """Give free what an intent holds on a card, so that nothing can be taken, and return how it stands then.

    What was taken before cannot be given free; the caller sees that it was.
    """
    intent = read_intent(intent_id)
    if intent.progress in (IntentProgress.TAKEN, IntentProgress.CANCELED):
        return intent
    with _errors_in_our_words():
        if not intent_id.startswith("seti_"):
            return _intent(stripe.PaymentIntent.cancel(intent_id, expand=["payment_method"], **_call()))
        if intent.progress is IntentProgress.WAITING:
            return _intent(stripe.SetupIntent.cancel(intent_id, **_call()))
    return intent


def forget_card(card: str) -> None:
    """Detach a payment method from its customer, so that it can never be charged."""
    with _errors_in_our_words():
        stripe.PaymentMethod.detach(card, **_call())


def update_customer(*, stripe_customer: str, name: str, email: str, payment_method: str) -> None:
    """Tell Stripe a customer's name and e-mail, and which payment method pays invoices."""
    details: dict[str, Any] = {"email": email} if email else {}
    with _errors_in_our_words():
        updated = stripe.Customer.modify(
            stripe_customer,
            name=name,
            invoice_settings={"default_payment_method": payment_method},
            **details,
            **_call(),
        )
    _mirror(mirrored.Customer, updated)


_PROGRESS = {
    ("payment_intent", "requires_capture"): IntentProgress.READY,
    ("payment_intent", "succeeded"): IntentProgress.TAKEN,
    ("payment_intent", "canceled"): IntentProgress.CANCELED,
    ("setup_intent", "succeeded"): IntentProgress.READY,
    ("setup_intent", "canceled"): IntentProgress.CANCELED,
}


def _intent(intent: stripe.PaymentIntent | stripe.SetupIntent) -> Intent:
    if isinstance(intent, stripe.PaymentIntent):
        error, taken_cents = _failure_text(intent.last_payment_error), _taken_cents(intent)
    else:
        error, taken_cents = _failure_text(intent.last_setup_error), 0
    method = intent.payment_method
    return Intent(
        id=intent.id,
        client_secret=intent.client_secret or "",
        progress=_PROGRESS.get((intent.object, intent.status), IntentProgress.WAITING),
        taken_cents=taken_cents,
        card=_card_of(method) if isinstance(method, stripe.PaymentMethod) else None,
        error=error,
    )


def _failure_text(error: Any) -> str:
    """Say why the latest attempt failed. Stripe writes for the holder of a card only where the bank declined it."""
    if error is None:
        return ""
    if error.type == "card_error":
        return error.message or "Your card was declined."
    if (error.code or "").endswith("authentication_failure"):
        return "Your bank did not confirm the payment. Try again, or use another card."
    return "The payment did not go through. Try again, or use another card."


def _taken_cents(intent: stripe.PaymentIntent) -> int:
    try:
        return from_stripe(intent.amount_received, intent.currency)
    except ValueError as error:
        raise StripeRefused(f"{intent.id} has received {error}") from error


def send_invoice(invoice: InvoiceToSend, *, stripe_customer: str) -> str:
    """Bring an issued invoice to Stripe, finalized, and return its id there.

    It is unpaid, or paid by what `invoice.payment_intent` has taken already.
    Repeated after a crash or a lost answer it goes on where it stopped. Raises StripeRefused when Stripe's total
    would differ from ours; then nothing is finalized.
    """
    with _errors_in_our_words():
        key = _revision_key(invoice)
        sent = _find_invoice(invoice, stripe_customer) if invoice.retried else None
        if sent is None:
            sent = stripe.Invoice.create(
                customer=stripe_customer,
                currency=invoice.currency.lower(),
                auto_advance=False,
                collection_method="charge_automatically",
                pending_invoice_items_behavior="exclude",
                description=invoice.number,
                metadata={
                    INVOICE_ID: invoice.id,
                    INVOICE_REVISION: str(invoice.revision),
                    "candela_number": invoice.number,
                },
                **_call(f"{key}-create"),
            )
        if sent.status == "draft":
            _send_lines(invoice, sent.id, stripe_customer)
            sent = stripe.Invoice.retrieve(sent.id, **_call())
            total = to_stripe(invoice.total_cents, invoice.currency)
            if sent.total != total:
                raise StripeRefused(f"Stripe's total is {sent.total}, ours is {total}; not finalized.")
            sent = stripe.Invoice.finalize_invoice(sent.id, auto_advance=False, **_call(f"{key}-finalize"))
        if invoice.payment_intent and sent.status == "open":
            sent = stripe.Invoice.attach_payment(
                sent.id, payment_intent=invoice.payment_intent, **_call(f"{key}-attach")
            )
    _mirror(mirrored.Invoice, sent)
    return sent.id


def _revision_key(invoice: InvoiceToSend | InvoiceToVoid) -> str:
    return f"{invoice.id}-r{invoice.revision}" if invoice.revision else invoice.id


def _find_invoice(invoice: InvoiceToSend | InvoiceToVoid, stripe_customer: str) -> stripe.Invoice | None:
    """Look a revision of an invoice of ours up at Stripe, by our id in its metadata."""
    candidates = stripe.Invoice.list(customer=stripe_customer, limit=OPEN_PAGE, **_call())
    for candidate in candidates.auto_paging_iter():
        revision = _our_id(candidate, INVOICE_REVISION) or "0"
        if (_our_id(candidate, INVOICE_ID), revision) == (invoice.id, str(invoice.revision)):
            return candidate
    return None


def void_invoice(invoice: InvoiceToVoid) -> Paid | None:
    """Make sure that nobody can pay a revision of an invoice at Stripe, whether it got there or not. Return what was
    paid where somebody was faster."""
    with _errors_in_our_words():
        if invoice.stripe_invoice_id:
            there: stripe.Invoice | None = stripe.Invoice.retrieve(invoice.stripe_invoice_id, **_call())
        else:
            there = _find_invoice(invoice, invoice.stripe_customer) if invoice.stripe_customer else None
        if there is None:
            return None
        if there.status == "paid":
            return _paid(there)
        if there.status == "draft":
            stripe.Invoice.delete(there.id, **_call())
            return None
        if there.status != "void":
            there = stripe.Invoice.void_invoice(there.id, **_call(f"{_revision_key(invoice)}-void"))
    _mirror(mirrored.Invoice, there)
    return None


def _send_lines(invoice: InvoiceToSend, stripe_invoice: str, stripe_customer: str) -> None:
    there: set[str] = set()
    if invoice.retried:
        items = stripe.InvoiceItem.list(invoice=stripe_invoice, limit=OPEN_PAGE, **_call())
        there = {_our_id(item, LINE_ID) for item in items.auto_paging_iter()}
    for line in invoice.lines:
        if line.id not in there:
            stripe.InvoiceItem.create(
                customer=stripe_customer,
                invoice=stripe_invoice,
                currency=invoice.currency.lower(),
                description=line.description,
                metadata={LINE_ID: line.id},
                **_amount(line, invoice.currency),
                **_call(f"{line.id}-r{invoice.revision}" if invoice.revision else line.id),
            )


def _amount(line: LineToSend, currency: str) -> dict[str, Any]:
    """What a line comes to: units at so much each where that is exact, so that Stripe's pages show them."""
    if line.units is None or line.unit_amount_cents is None:
        return {"amount": to_stripe(line.amount_cents, currency)}
    # As text: the library would write a small Decimal with an exponent.
    each = plain_number(line.unit_amount_cents * to_stripe(1, currency))
    return {"quantity": line.units, "unit_amount_decimal": each}


def charge_invoice(charge: ChargeToMake) -> Paid | Declined:
    """Charge an invoice at Stripe off session, or learn that it is paid already. Raises StripeUnavailable when Stripe
    gave no definite answer: then the same charge is to be made again."""
    try:
        with _errors_in_our_words():
            before = stripe.Invoice.retrieve(charge.stripe_invoice_id, **_call())
            if before.status == "paid":
                return _paid(before)
            paid = stripe.Invoice.pay(
                charge.stripe_invoice_id,
                payment_method=charge.payment_method,
                off_session=True,
                # With the card: after a lost decline the same attempt may come with a new one, which is another charge.
                **_call(f"{charge.invoice}-pay-{charge.attempt}-{charge.payment_method}"),
            )
    except CardDeclined as declined:
        return Declined(reference=declined.reference, code=declined.code, message=declined.message)
    if paid.status != "paid":
        return Declined(
            reference=paid.id, code="not_paid", message="The payment was not completed; the customer has to confirm it."
        )
    _mirror(mirrored.Invoice, paid)
    return _paid(paid)


def _paid(invoice: stripe.Invoice) -> Paid:
    try:
        return Paid(reference=invoice.id, amount_cents=from_stripe(invoice.amount_paid, invoice.currency))
    except ValueError as error:
        raise StripeRefused(f"Stripe was paid {error}") from error


def mirror_event(event: dict[str, Any]) -> None:
    """Bring dj-stripe's copy of an event and of the object it is about up to date."""
    _mirror_by(lambda key: mirrored.Event.process(event, api_key=key), event["id"])


def _mirror(model: Any, stripe_object: stripe.StripeObject) -> None:
    _mirror_by(lambda key: model.sync_from_stripe_data(stripe_object, api_key=key), stripe_object["id"])


def _mirror_by(sync: Callable[[str], Any], stripe_id: str) -> None:
    """Sync into dj-stripe's tables. They are a mirror to look into; a failure there must not stop the billing."""
    try:
        sync(_api_key())
    except Exception:
        logger.exception("could not mirror %s into dj-stripe", stripe_id)


def create_webhook_endpoint(*, url: str, uuid: str, events: list[str]) -> None:
    """Create the endpoint that Stripe sends its events to, and keep it with its secret where dj-stripe looks for it."""
    with _errors_in_our_words():
        endpoint = stripe.WebhookEndpoint.create(
            url=url,
            enabled_events=events,  # type: ignore[arg-type]  # the library lists the words one by one
            api_version=settings.STRIPE_API_VERSION,  # type: ignore[arg-type]  # likewise
            metadata={"djstripe_uuid": uuid},
            **_call(f"webhook-{uuid}"),
        )
    mirrored.WebhookEndpoint.sync_from_stripe_data(endpoint, api_key=_api_key())
    mirrored.WebhookEndpoint.objects.filter(id=endpoint.id).update(secret=endpoint.secret)


def update_webhook_events(endpoint_id: str, events: list[str]) -> None:
    """Let Stripe send an endpoint these events from now on."""
    with _errors_in_our_words():
        endpoint = stripe.WebhookEndpoint.modify(
            endpoint_id,
            enabled_events=events,  # type: ignore[arg-type]  # the library lists the words one by one
            **_call(),
        )
    _mirror(mirrored.WebhookEndpoint, endpoint)


def keep_webhook_secret(*, url: str, uuid: str, secret: str) -> None:
    """Keep the signing secret of an endpoint that somebody made in Stripe's dashboard, so that its events are taken."""
    mirrored.WebhookEndpoint.objects.update_or_create(
        djstripe_uuid=uuid,
        defaults={
            "id": f"we_configured_{uuid}",
            "url": url,
            "secret": secret,
            "enabled_events": ["*"],
            "status": "enabled",
            "livemode": settings.STRIPE_LIVE_MODE,
            "api_version": settings.STRIPE_API_VERSION,
        },
    )
