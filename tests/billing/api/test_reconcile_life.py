"""A whole life of a customer, from a checkout on, in which nothing differs from Stripe."""

from datetime import timedelta
from decimal import Decimal

from django.utils import timezone

from billing.jobs.reconcile_sweep import reconcile_with_stripe
from billing.jobs.swept import SweepClock
from billing.models import Difference, Invoice, Refund
from billing.services import reconcile
from billing.services.credit_notes import credit_invoice
from billing.services.top_up import buy_pack
from billing.services.void import void_invoice
from credits.services.packs import create_pack
from plans.models import Customer

HOUR = timedelta(hours=1)


def differences(at):
    run = reconcile.begin(since=None, at=at)
    assert reconcile_with_stripe(run, SweepClock(at))
    return [str(one) for one in Difference.objects.all()]


def test_nothing_differs_at_any_step(visitor, offer, at_stripe, run_sweeps):
    pro, now = offer(), timezone.now()
    started = visitor.init(pro.price)
    visitor.pay(started)
    assert differences(now + HOUR) == []

    assert visitor.status(started.body["intentId"]).body["status"] == "succeeded"
    assert differences(now + HOUR) == []
    run_sweeps(now + HOUR)
    assert differences(now + 2 * HOUR) == []

    customer, paid = Customer.objects.get(), Invoice.objects.get()
    credit_invoice(invoice=paid, reason="Sorry", amount_cents=900, at=now + 2 * HOUR)
    assert differences(now + 3 * HOUR) == []
    run_sweeps(now + 3 * HOUR)
    assert Refund.objects.get().status == "succeeded"
    assert differences(now + 4 * HOUR) == []

    pack = create_pack(at=now, name="Calls", definition=pro.quota, amount=Decimal(10), price_cents=900, currency="USD")
    buy_pack(customer=customer, pack=pack, at=now + 4 * HOUR)
    assert differences(now + 5 * HOUR) == []
    run_sweeps(now + 5 * HOUR)
    wrong = buy_pack(customer=customer, pack=pack, at=now + 5 * HOUR)
    void_invoice(invoice=wrong, reason="Wrong", at=now + 5 * HOUR)
    run_sweeps(now + 6 * HOUR)

    assert differences(now + 7 * HOUR) == []
    statuses = Invoice.objects.shown().order_by("pk").values_list("status", flat=True)
    assert list(statuses) == ["paid", "paid", "void"]


def test_what_a_buyers_card_holds_for_nothing_is_found(visitor, offer, stripe_sandbox):
    now = timezone.now()
    started = visitor.init(offer().price)
    visitor.pay(started)
    visitor.status(started.body["intentId"])
    there = stripe_sandbox.store.find(started.body["intentId"])
    stripe_sandbox.store.put({**there, "status": "requires_capture"})

    assert sorted(kind.partition(":")[0] for kind in differences(now + HOUR)) == [
        "another state", "paid here, not at Stripe"
    ]  # fmt: skip
