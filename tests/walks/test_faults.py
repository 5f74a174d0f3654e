"""Money moves exactly once, whatever the network, Stripe's webhooks and the workers do."""

from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from random import Random

import pytest
from django.db import connection

from billing import gateway
from billing.jobs import STRIPE_SWEEPS
from billing.sandbox import FaultKind
from billing.services.credit_notes import CreditAboveInvoice, NothingToCredit, PurchaseNotPaid
from billing.services.hold_invoice import ChargeUnderWay, InvoiceIsVoid
from billing.services.void import CreditedElsewhere, InvoiceIsPaid
from plans.services.subscriptions import AlreadySubscribed
from tests.billing.conftest import Killed
from tests.database import taken_back
from tests.walks.faulty_trade import DAY, HOUR, MINUTE, Buyer, Goods, NoSubscription, dying_at_commit, reasons, trading

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 28, tzinfo=UTC)
REQUEST_FAULTS = [kind for kind in FaultKind if not kind.is_webhook]
WEBHOOK_FAULTS = [kind for kind in FaultKind if kind.is_webhook]
MOVING_MONEY = {"POST /v1/invoices", "POST /v1/invoices/…/finalize", "POST /v1/invoices/…/pay"}
# Until Stripe has forgotten a key and the failure that it kept for it.
PATIENCE = [MINUTE, 31 * MINUTE, 3 * HOUR, 13 * HOUR, 13 * HOUR, HOUR]
# What a rule may answer to an act that comes too late, too often, or for too much; anything else is a mistake of ours.
REFUSED = (
    AlreadySubscribed,
    ChargeUnderWay,
    CreditAboveInvoice,
    CreditedElsewhere,
    InvoiceIsPaid,
    InvoiceIsVoid,
    NoSubscription,
    NothingToCredit,
    PurchaseNotPaid,
)
TOLD = (gateway.StripeUnavailable, gateway.StripeRefused, gateway.CardDeclined)
CUSTOMERS = 20
STEPS = 5 * CUSTOMERS
# The last two can be kept, and are refused when they are charged: for good, or until their holder confirms.
CARDS = ["pm_card_visa", "pm_card_mastercard", "pm_card_chargeCustomerFail", "pm_card_authenticationRequired"]
PAUSES = [MINUTE, 12 * MINUTE, HOUR, 13 * HOUR, 25 * HOUR, 4 * DAY]
SWEEPS = [name for name in STRIPE_SWEEPS if name != "inbox"]

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def goods(django_db_setup, django_db_blocker):
    """The plans, made once."""
    with django_db_blocker.unblock(), taken_back():
        made = Goods()
        connection.check_constraints()
        yield made


def live(buyer, step):
    """The life of a customer, in acts that may go wrong; `step` does one, with what the sweeps make of it."""
    trade = buyer.trade
    step(buyer.subscribe)
    step(buyer.give_card)
    buyer.use(12_500)
    trade.go_to(max(FEBRUARY + HOUR, trade.at))
    step(trade.keep_books, lambda: trade.sweep("send"))
    step(lambda: buyer.credit(1_000))
    step(lambda: buyer.credit(500))
    step(buyer.buy_pack, lambda: trade.sweep("send"))
    step(buyer.void)
    step(buyer.buy_pack)
    step(buyer.change)
    buyer.use(21_000)
    trade.go_to(trade.at + DAY)
    step(buyer.cancel)


@pytest.mark.parametrize("turn", range(len(REQUEST_FAULTS)), ids=REQUEST_FAULTS)
def test_a_whole_life_under_each_fault_at_each_call(goods, monkeypatch, settings, turn):
    """Over all turns each fault strikes the first call of each kind."""
    faults = REQUEST_FAULTS[turn:] + REQUEST_FAULTS[:turn]
    with trading(goods, monkeypatch, settings, AT, faults=faults) as trade:
        buyer, told = Buyer(trade), []

        def goes_well(act):
            try:
                act()
            except InvoiceIsPaid:
                pass  # Stripe was faster: what was to be voided is paid, say.
            except TOLD as error:
                told.append(str(error))
                trade.go_to(trade.at + MINUTE)
                return False
            return True

        def each_failure_is_visible():
            seen = "\n".join(told) + reasons()
            assert [sentence for sentence in trade.wire.to_be_seen if sentence not in seen] == []
            trade.wire.to_be_seen.clear()
            told.clear()

        def step(*acts):
            order_webhook_faults(trade, turn)
            for act in acts:
                while not goes_well(act):
                    pass
                each_failure_is_visible()
            for pause in PATIENCE:
                if trade.sweep_all(look=each_failure_is_visible):
                    break
                trade.go_to(trade.at + pause)

        live(buyer, step)
        assert set(trade.wire.struck) >= MOVING_MONEY
        trade.come_to_rest([buyer])
        trade.assert_nothing_doubled()


def order_webhook_faults(trade, turn):
    """Let the next events of each type come in another way each."""
    for number, kind in enumerate(("invoice.", "refund.", "payment_intent.", "")):
        trade.sandbox.faults.add(WEBHOOK_FAULTS[(turn + number) % len(WEBHOOK_FAULTS)], event_type=kind)


class Chance:
    """A random sequence of what customers, operators, the network and the workers do."""

    def __init__(self, trade, seed):
        self.trade = trade
        self.random = Random(seed)
        self.buyers = [Buyer(trade) for _ in range(CUSTOMERS)]
        self.done = []

    def happen(self):
        """Let one thing happen to one customer, or to all of them, and keep what it was."""
        buyer = self.random.choice(self.buyers)
        acts = {
            lambda: buyer.subscribe(): 2,
            lambda: buyer.buy_pack(): 6,
            lambda: buyer.give_card(self.random.choice(CARDS)): 6,
            lambda: buyer.credit(self.random.randint(1, 900), number=self.some_invoice(buyer)): 4,
            lambda: buyer.void(number=self.some_invoice(buyer)): 3,
            lambda: buyer.use(self.random.randint(1, 12_000)): 1,
            lambda: buyer.change(): 1,
            lambda: buyer.cancel(): 1,
            lambda: self.trade.go_to(self.trade.at + self.random.choice(PAUSES)): 6,
            lambda: self.trade.keep_books(): 1,
            lambda: self.trade.hear(): 4,
            lambda: self.trade.sweep(self.random.choice(SWEEPS)): 12,
        }
        (act,) = self.random.choices(list(acts), weights=acts.values())
        with self.trouble(), suppress(Killed, *REFUSED, *TOLD):
            act()
        self.trade.wire.heal()

    def some_invoice(self, buyer):
        return self.random.randrange(max(len(buyer.invoices), 1))

    def trouble(self):
        """What goes wrong with the next act: often nothing, else one call, one webhook, or the whole worker."""
        what = self.random.choice(["nothing", "call", "webhook", "killed at a call", "killed at a commit"])
        place = self.random.randrange(6)
        if what == "call":
            self.trade.wire.break_at(place, self.random.choice(REQUEST_FAULTS))
        if what == "killed at a call":
            self.trade.wire.kill_at(place, self.random.choice(["before", "after"]))
        if what == "webhook":
            self.trade.sandbox.faults.add(self.random.choice(WEBHOOK_FAULTS), times=self.random.randint(1, 3))
        if what == "killed at a commit":
            return dying_at_commit(place, self.random.choice(["before", "after"]))
        return nullcontext()


@pytest.mark.parametrize("seed", range(200 // CUSTOMERS))
def test_random_lives_under_random_faults(goods, monkeypatch, settings, seed):
    """Twenty customers with a random sequence each, in one trade."""
    with trading(goods, monkeypatch, settings, AT) as trade:
        chance = Chance(trade, seed)
        for buyer in chance.buyers:
            buyer.buy_pack()
            buyer.give_card(chance.random.choice(CARDS))
        for _ in range(STEPS):
            chance.happen()
        trade.come_to_rest(chance.buyers)
        trade.assert_nothing_doubled()
