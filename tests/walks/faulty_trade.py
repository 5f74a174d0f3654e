"""Customers who buy and pay while the network, Stripe's webhooks and our workers fail, and what must be true then."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from traceback import extract_stack
from typing import Any
from urllib.parse import urlsplit

import stripe
import time_machine
from django.db import connection
from django.db.models import F, Sum

from billing import gateway
from billing.jobs import BOOK_SWEEPS, STRIPE_SWEEPS, Swept
from billing.models import (
    Invoice,
    InvoiceStatus,
    Payment,
    PaymentStatus,
    Refund,
    RefundStatus,
    StripeInbox,
    StripeVoid,
)
from billing.sandbox import Clock, FaultKind, Sandbox
from billing.sandbox.faults import refusal_for
from billing.sandbox.http_client import SandboxClient
from billing.services.cancel import cancel_now
from billing.services.change import change_now
from billing.services.collect import record_payment_method
from billing.services.credit_notes import credit_invoice
from billing.services.due import next_due
from billing.services.send import customer_to_send, record_stripe_customer
from billing.services.subscribe import subscribe
from billing.services.top_up import buy_pack
from billing.services.void import void_invoice
from config.first_start import WEBHOOK_EVENTS
from credits.models import CreditDefinition, TopUpPack
from credits.services.packs import create_pack
from plans.models import Customer, Subscription
from tests.billing.conftest import SECRET_KEY, STRIPE_ID, Killed, Wire, post_to_django
from tests.factories import START, CustomerFactory
from tests.pro_plan import ProPlan, assert_books_add_up, make_pro_plan, use

UUID = "11111111-2222-4333-8444-555555555555"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
# The longest pause between two attempts, and the life of an idempotency key.
PATIENCE = 26 * HOUR


class Goods:
    """What is for sale: 29.00 a month with 10,000 calls and 5 cents a call beyond, 99.00 with 20,000, and a pack of
    money for 9.00."""

    def __init__(self) -> None:
        self.pro: ProPlan = make_pro_plan()
        self.big: ProPlan = make_pro_plan(base_cents=9_900, quota=20_000, unit_cost_cents="4", beside=self.pro)
        prepaid = CreditDefinition.objects.create(
            name="Prepaid", scope="merchant", application_type="monetary", currency="USD", default_amount=Decimal(1),
            created_at=START,
        )  # fmt: skip
        self.pack: TopUpPack = create_pack(
            at=START, definition=prepaid, name="9 dollars", amount=Decimal(900), price_cents=900, currency="USD"
        )


class NoSubscription(Exception):
    """There is no live subscription to change or to end."""


class Buyer:
    """A customer, and what he and the operator do about him now."""

    def __init__(self, trade: "Trade") -> None:
        self.trade = trade
        number = Customer.objects.count()
        self.customer: Customer = CustomerFactory(email=f"buyer-{number}@example.com")

    @property
    def subscription(self) -> Subscription | None:
        """The live one."""
        return Subscription.objects.live().filter(customer=self.customer).select_related("price").first()

    @property
    def invoices(self) -> list[Invoice]:
        """What was issued, the latest first."""
        return list(Invoice.objects.filter(customer=self.customer, number__isnull=False).order_by("-pk"))

    def subscribe(self) -> None:
        """Buy the smaller plan."""
        subscribe(at=self.trade.at, customer=self.customer, plan=self.trade.goods.pro.plan)

    def change(self) -> None:
        """Change to the other plan."""
        goods, subscription = self.trade.goods, _there(self.subscription)
        price = goods.pro.price if subscription.price_id == goods.big.price.pk else goods.big.price
        change_now(subscription=subscription, price=price, at=self.trade.at)

    def cancel(self) -> None:
        """End the subscription."""
        cancel_now(subscription=_there(self.subscription), at=self.trade.at)

    def buy_pack(self) -> None:
        """Buy 9.00 of prepaid money."""
        buy_pack(customer=self.customer, pack=self.trade.goods.pack, at=self.trade.at)

    def use(self, units: int) -> None:
        """Make calls."""
        use(self.customer, self.trade.goods.pro.metric, units, self.trade.at, key=f"{self.trade.at}/{units}")

    def give_card(self, token: str = "pm_card_visa") -> None:
        """Do what the API does with a new card."""
        self.customer.refresh_from_db()
        stripe_id = gateway.ensure_customer(customer_to_send(self.customer))
        record_stripe_customer(customer=self.customer.public_id, stripe_id=stripe_id)
        card = gateway.attach_payment_method(stripe_customer=stripe_id, payment_method=token)
        record_payment_method(customer=self.customer, card=card, at=self.trade.at)

    def credit(self, cents: int, *, number: int = 0) -> None:
        """Let the operator credit a part of an invoice, counted from the latest."""
        credit_invoice(invoice=self.invoices[number], reason="Sorry", amount_cents=cents, at=self.trade.at)

    def void(self, *, number: int = 0, rebill: bool = False) -> None:
        """Let the operator withdraw an invoice, counted from the latest."""
        void_invoice(invoice=self.invoices[number], reason="Wrong", rebill=rebill, at=self.trade.at)


def _there(subscription: Subscription | None) -> Subscription:
    if subscription is None:
        raise NoSubscription
    return subscription


class Trade:
    """Our sweeps and Stripe: both live at the same instant, `at`."""

    def __init__(self, goods: Goods, wire: Wire, sandbox: Sandbox, traveller: Any, at: datetime) -> None:
        self.goods, self.wire, self.sandbox = goods, wire, sandbox
        self.outside = stripe.StripeClient(SECRET_KEY, http_client=SandboxClient(sandbox))
        self._traveller = traveller
        self.go_to(at)
        gateway.create_webhook_endpoint(url=f"http://127.0.0.1/stripe/webhook/{UUID}", uuid=UUID, events=WEBHOOK_EVENTS)

    def go_to(self, at: datetime) -> None:
        """Let it be `at`, everywhere."""
        self.at = at
        self._traveller.move_to(at)
        self.sandbox.set_clock(at)
        self.sandbox.wire_clock.set(at)

    def keep_books(self) -> None:
        """Run the sweeps of the books until nothing is due."""
        while sum(sweep(self.at).done for sweep in BOOK_SWEEPS.values()):
            pass

    def sweep(self, name: str) -> Swept:
        """Run one sweep of Stripe's."""
        return STRIPE_SWEEPS[name](self.at)

    def hear(self) -> None:
        """Let Stripe's webhooks come, and work them off."""
        self.sandbox.deliver_pending()
        self.sweep("inbox")

    def sweep_all(self, look: Callable[[], object] = lambda: None) -> bool:
        """Run every sweep of Stripe's once, hear of Stripe, and tell whether all went well. `look` is called after each
        sweep: what one could not do the next one may have healed."""
        went_well = True
        for name in STRIPE_SWEEPS:
            swept = self.sweep(name)
            look()
            went_well = went_well and not swept.failed and not swept.unavailable
        self.hear()
        return went_well

    def come_to_rest(self, buyers: Sequence[Buyer]) -> None:
        """Let everything work again, and time pass, until nothing is left to do; a good card pays what is open."""
        self.wire.heal()
        self.sandbox.faults.clear()
        self.go_to(self.at + PATIENCE)
        for buyer in buyers:
            buyer.give_card()
        for _ in range(6):
            self.keep_books()
            self.sweep_all()
            self.go_to(self.at + 13 * HOUR)
            if next_due(until=self.at) is None:
                break
        self.hear()

    def assert_nothing_doubled(self) -> None:
        """The books add up, nothing waits, and Stripe has what we have."""
        assert_books_add_up(self.at)
        assert differences(self.outside) == []
        assert list(Customer.objects.exclude(parked_reason="").values_list("parked_reason", flat=True)) == []
        assert list(Invoice.objects.filter(status=InvoiceStatus.ISSUED, total_cents__gt=F("credited_cents"))) == []
        assert list(Refund.objects.exclude(status=RefundStatus.SUCCEEDED)) == []


def reasons() -> str:
    """All that our books say of what went wrong."""
    said = [
        Invoice.objects.values_list("send_error", "collect_error"),
        Payment.objects.values_list("error_code", "error_message"),
        Refund.objects.values_list("error"),
        StripeVoid.objects.values_list("error"),
        StripeInbox.objects.values_list("error"),
    ]
    return "\n".join(text for rows in said for row in rows for text in row)


def differences(at_stripe: stripe.StripeClient) -> list[str]:
    """Say where Stripe's invoices, charges and refunds are not ours, one sentence each."""
    there = _invoices_of(at_stripe)
    return [
        *(sentence for invoice in _issued() for sentence in _of_invoice(invoice, there.pop(invoice.public_id, []))),
        *(f"Stripe has an invoice of {unknown}, which is none of ours" for unknown in there),
        *_of_sums(at_stripe),
        *_of_balances(at_stripe),
    ]


def _issued() -> list[Invoice]:
    return list(Invoice.objects.filter(number__isnull=False, total_cents__gt=0).exclude(status=InvoiceStatus.CARRIED))


def _invoices_of(at_stripe: stripe.StripeClient) -> dict[str, list[stripe.Invoice]]:
    by_ours: dict[str, list[stripe.Invoice]] = defaultdict(list)
    for one in at_stripe.v1.invoices.list({"limit": 100}).auto_paging_iter():
        by_ours[one.metadata["candela_invoice"] if one.metadata else ""].append(one)
    return by_ours


def _of_invoice(invoice: Invoice, there: list[stripe.Invoice]) -> Iterator[str]:
    paid = [one for one in there if one.status == "paid"]
    still_open = [one for one in there if one.status in ("open", "draft")]
    payments = Payment.objects.filter(invoice=invoice, status=PaymentStatus.SUCCEEDED)
    if len(paid) != payments.count():
        yield f"{invoice} is paid {payments.count()} times here and {len(paid)} times at Stripe"
    if len(paid) > 1:
        yield f"{invoice} is paid {len(paid)} times at Stripe"
    if [one.amount_paid for one in paid] != [one.amount_cents for one in payments]:
        yield f"{invoice}: the amounts that were paid differ"
    expected = [invoice.open_cents] if invoice.status == InvoiceStatus.ISSUED and invoice.open_cents else []
    if [one.amount_remaining for one in still_open] != expected:
        yield f"{invoice} ({invoice.status}): {expected} are open here, {still_open} at Stripe"


def _of_sums(at_stripe: stripe.StripeClient) -> Iterator[str]:
    charges = [one for one in at_stripe.v1.charges.list({"limit": 100}).auto_paging_iter() if one.paid]
    taken = sum(one.amount_captured for one in charges)
    booked = _sum(Payment.objects.filter(status=PaymentStatus.SUCCEEDED))
    if taken != booked:
        yield f"Stripe has taken {taken}, we have booked {booked}"
    intents = [one.payment_intent for one in charges]
    if len(intents) != len(set(intents)):
        yield "an intent was charged twice"
    given_back = sum(
        one.amount
        for one in at_stripe.v1.refunds.list({"limit": 100}).auto_paging_iter()
        if one.status in ("succeeded", "pending")
    )
    refunded = _sum(Refund.objects.exclude(status=RefundStatus.FAILED))
    if given_back != refunded:
        yield f"Stripe has given back {given_back}, we have booked {refunded}"
    credited = sum(one.amount for one in at_stripe.v1.credit_notes.list({"limit": 100}).auto_paging_iter())
    noted = _sum(Refund.objects.exclude(status=RefundStatus.FAILED).filter(credit_note__isnull=False))
    if credited != noted:
        yield f"Stripe has credited {credited} by credit notes, we {noted}"


def _of_balances(at_stripe: stripe.StripeClient) -> Iterator[str]:
    for one in at_stripe.v1.customers.list({"limit": 100}).auto_paging_iter():
        if one.balance:
            yield f"{one.id} has a balance of {one.balance} at Stripe"


def _sum(rows: Any) -> int:
    return rows.aggregate(sum=Sum("amount_cents"))["sum"] or 0


class FickleWire(Wire):
    """Lets the first call of each kind go wrong once, each in another way: the next one of `faults`.

    It lists the sentences with which it did so, apart from what befell the mirror, of which the books say nothing.
    """

    def __init__(self, sandbox: Sandbox, faults: Sequence[FaultKind]) -> None:
        super().__init__(sandbox)
        self.faults = faults
        self.struck: dict[str, FaultKind] = {}
        self.to_be_seen: list[str] = []

    def heal(self) -> None:
        """Work from now on."""
        super().heal()
        self.faults = ()

    def request_with_retries(self, method: str, url: str, *others: Any, **more: Any) -> Any:
        """Make a call, or let it go wrong."""
        kind = f"{method.upper()} {STRIPE_ID.sub('/…', urlsplit(url).path)}"
        if self.faults and kind not in self.struck:
            fault = self.struck[kind] = self.faults[len(self.struck) % len(self.faults)]
            self.break_at(len(self.calls), fault)
            if not any(frame.name == "mirror_by" for frame in extract_stack()):
                self.to_be_seen.append(_sentence(fault))
        return super().request_with_retries(method, url, *others, **more)

    def break_at(self, position: int, kind: FaultKind) -> None:
        """Let the call at this position go wrong, and forget none that was made."""
        self._fault = position, kind


def _sentence(fault: FaultKind) -> str:
    refusal = refusal_for(fault)
    return refusal.message if refusal else "The sandbox dropped the connection"


@contextmanager
def trading(
    goods: Goods, monkeypatch: Any, settings: Any, at: datetime, *, faults: Sequence[FaultKind] | None = None
) -> Iterator[Trade]:
    """A trade with a sandbox of its own, and with faults on a wire that brings each of them in turn."""
    sandbox = Sandbox(clock=Clock(1), wire_clock=Clock(1), send=post_to_django)
    settings.STRIPE_SECRET_KEY = SECRET_KEY
    wire = Wire(sandbox) if faults is None else FickleWire(sandbox, ())
    monkeypatch.setattr(stripe, "default_http_client", wire)
    monkeypatch.setattr(stripe, "api_base", stripe.api_base)
    monkeypatch.setattr(stripe, "max_network_retries", stripe.max_network_retries)
    with time_machine.travel(at, tick=False) as traveller:
        trade = Trade(goods, wire, sandbox, traveller, at)
        if isinstance(wire, FickleWire) and faults:
            wire.faults = faults
        yield trade
    sandbox.close()


@contextmanager
def dying_at_commit(number: int, moment: str) -> Iterator[None]:
    """Let the caller die at the commit with this number, from 0, `before` it is made or `after`.

    The test's own transaction is open all the time, so what is committed in it is a savepoint of its.
    """
    depth, left, commit = len(connection.savepoint_ids), number, connection.savepoint_commit

    def commit_or_die(sid: str) -> None:
        nonlocal left
        is_commit = len(connection.savepoint_ids) == depth
        left -= is_commit
        dies = is_commit and left == -1
        if dies and moment == "before":
            connection.savepoint_rollback(sid)
            connection.run_on_commit = [one for one in connection.run_on_commit if one[0] != {sid}]
        else:
            commit(sid)
        if dies:
            raise Killed

    connection.savepoint_commit = commit_or_die
    try:
        yield
    finally:
        connection.savepoint_commit = commit
