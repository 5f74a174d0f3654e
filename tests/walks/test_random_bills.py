"""Whatever happens to a subscription and its invoices: each invoice is the sum of its lines and its tax and not
negative, nothing gives back more than was invoiced, and closing again changes nothing."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import transaction
from django.db.models import Max, Sum
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from billing.exchange import Paid
from billing.models import CreditNoteLine, Invoice, InvoiceLine, LineType
from billing.services.cancel import cancel_now
from billing.services.change import change_now
from billing.services.change_quantity import change_quantity
from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.collect import record_payment
from billing.services.credit_notes import credit_invoice
from billing.services.pause import pause, resume
from billing.services.subscribe import subscribe
from billing.services.tax_settings import update_settings
from billing.services.void import void_invoice
from credits.models import CreditTransaction
from plans.models import Subscription, SubscriptionPeriod
from plans.refusals import Refusal
from tests.billing.lives import run_sweeps
from tests.database import taken_back
from tests.factories import CustomerFactory, FixedComponentFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, use

MAY = datetime(2026, 5, 1, tzinfo=UTC)
END = datetime(2026, 7, 2, tzinfo=UTC)
IN_ADVANCE = (LineType.FIXED, LineType.PER_UNIT, LineType.MINIMUM, LineType.MAXIMUM)

pytestmark = pytest.mark.django_db

STEPS = st.tuples(
    # Hours since the first of May, up to the end of June.
    st.integers(0, 61 * 24 - 1),
    st.one_of(
        st.tuples(st.just("use"), st.integers(-500, 4_000)),
        st.tuples(st.just("change"), st.integers(0, 2)),
        st.tuples(st.just("units"), st.integers(1, 5)),
        st.tuples(st.sampled_from(["pause", "resume", "cancel", "prorate", "sweep"]), st.just(0)),
        st.tuples(st.sampled_from(["pay", "void", "rebill"]), st.integers(0, 3)),
        st.tuples(st.just("credit"), st.integers(1, 9_999)),
        st.tuples(st.just("rate"), st.sampled_from([0, 7, 19])),
    ),
)


class Life:
    """A customer of one of three plans with units in advance, who is taxed."""

    def __init__(self, *, included):
        update_settings({"default_tax_rate": Decimal("0.19"), "prices_include_tax": included})
        first = make_pro_plan(quota=1_000)
        others = [make_pro_plan(base_cents=cents, quota=2_000, beside=first) for cents in (9_900, 40)]
        self.plans, self.metric = [first, *others], first.metric
        for sold in self.plans:
            FixedComponentFactory(
                price=sold.price, kind="per_unit", label="Seats", amount_cents=1_000, position=5,
                component_id="comp_units",
            )  # fmt: skip
        self.customer = CustomerFactory()
        subscribe(at=MAY, customer=self.customer, plan=first.plan)

    def take(self, at, what, number):
        """Take one step; one that is not possible is refused by name, and changes nothing."""
        try:
            with transaction.atomic():
                getattr(self, what)(at, number)
        except Refusal:
            pass

    def use(self, at, units):
        use(self.customer, self.metric, units, at, key=f"{at}/{units}")

    def rate(self, at, percent):
        update_settings({"default_tax_rate": Decimal(percent) / 100})

    def change(self, at, number):
        if held := self._held():
            change_now(subscription=held, price=self.plans[number].price, at=at)
        else:
            subscribe(at=at, customer=self.customer, plan=self.plans[number].plan)

    def units(self, at, quantity):
        if held := self._held():
            change_quantity(at=at, subscription=held, component_id="comp_units", quantity=quantity)

    def pause(self, at, _):
        if held := self._held():
            pause(subscription=held, at=at)

    def resume(self, at, _):
        if held := self._held():
            resume(subscription=held, at=at)

    def cancel(self, at, _):
        if held := self._held():
            cancel_now(subscription=held, at=at)

    def prorate(self, at, _):
        if held := self._held():
            cancel_now(subscription=held, at=at, prorate=True)

    def sweep(self, at, _):
        run_sweeps(at)

    def pay(self, at, number):
        if (invoice := self._invoice(number)) and invoice.open_cents:
            paid = Paid(reference=f"in_{invoice.number}", amount_cents=invoice.open_cents)
            record_payment(invoice=invoice.public_id, paid=paid, at=at)

    def credit(self, at, cents):
        if invoice := self._invoice(cents):
            credit_invoice(invoice=invoice, reason="x", amount_cents=cents, at=at)

    def void(self, at, number, *, rebill=False):
        if invoice := self._invoice(number):
            void_invoice(invoice=invoice, reason="x", at=at, rebill=rebill)

    def rebill(self, at, number):
        self.void(at, number, rebill=True)

    def _held(self):
        return Subscription.objects.live().filter(customer=self.customer).select_related("price", "customer").first()

    def _invoice(self, number):
        invoices = list(Invoice.objects.shown().filter(customer=self.customer).order_by("pk"))
        return invoices[number % len(invoices)] if invoices else None


def assert_invoices_are_sums(customer):
    for invoice in Invoice.objects.filter(customer=customer):
        sums = invoice.lines.aggregate(amount=Sum("amount_cents", default=0), tax=Sum("tax_cents", default=0))
        net = sums["amount"] - (sums["tax"] if invoice.prices_include_tax else 0)
        assert (invoice.subtotal_cents, invoice.tax_cents) == (net, sums["tax"])
        assert invoice.total_cents == net + sums["tax"] >= 0 <= sums["tax"]
        notes = invoice.credit_notes.aggregate(total=Sum("total_cents", default=0), tax=Sum("tax_cents", default=0))
        assert notes["total"] == invoice.credited_cents <= invoice.total_cents
        assert notes["tax"] <= max(invoice.tax_cents, 0)


def assert_nothing_gives_back_more_than_was_invoiced(customer):
    """Of each charge in advance, what changes credited and what credit notes took back."""
    billed, given_back = defaultdict(int), defaultdict(int)
    for line in InvoiceLine.objects.filter(invoice__customer=customer, type__in=IN_ADVANCE, metric=None):
        billed[line.invoice_id, line.period_id, line.effective_at] += line.amount_cents
    credits = InvoiceLine.objects.filter(invoice__customer=customer, type=LineType.PRORATION)
    for line in credits.exclude(invoice__status="void").select_related("credited_line"):
        source = line.credited_line
        given_back[source.invoice_id, source.period_id, source.effective_at] -= line.amount_cents
    for part in CreditNoteLine.objects.filter(line__invoice__customer=customer).select_related("line"):
        if part.line.type in IN_ADVANCE:
            given_back[part.line.invoice_id, part.line.period_id, part.line.effective_at] += part.amount_cents
    for charge, cents in given_back.items():
        assert 0 <= cents <= billed[charge], charge


def written():
    """What closing again could change."""
    return [
        (model.__name__, model.objects.count(), model.objects.aggregate(Max("pk"))["pk__max"])
        for model in (Invoice, InvoiceLine, SubscriptionPeriod, CreditTransaction)
    ] + list(
        Invoice.objects.order_by("pk").values_list(
            "pk", "status", "number", "closes_at", "subtotal_cents", "tax_cents", "total_cents", "credited_cents"
        )
    )


@settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=st.lists(STEPS, max_size=8), included=st.booleans())
@example(steps=[(240, ("change", 1)), (241, ("change", 0)), (242, ("prorate", 0))], included=False)
@example(steps=[(240, ("change", 1)), (250, ("rebill", 1)), (480, ("change", 2)), (490, ("prorate", 0))], included=True)
def test_invoices_are_sums_and_nothing_gives_back_more_than_was_invoiced(steps, included):
    with taken_back():
        life = Life(included=included)
        for number, (hours, (what, amount)) in enumerate(sorted(steps)):
            life.take(MAY + timedelta(hours=hours, seconds=number), what, amount)
        run_sweeps(END)

        assert_invoices_are_sums(life.customer)
        assert_nothing_gives_back_more_than_was_invoiced(life.customer)
        before = written()
        close_periods(subscriptions=due_subscriptions(END), at=END)
        close_periods(subscriptions=Subscription.objects.values_list("pk", flat=True), at=END)
        run_sweeps(END)
        assert written() == before
        assert_books_add_up(END)
