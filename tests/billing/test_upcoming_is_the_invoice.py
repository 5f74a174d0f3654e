"""Whatever is used late, sold and given: the lines of a draft, and those of the upcoming invoice, are the lines that
its finalization writes at that instant.

Two months are billed, the third is closed; then usage of all of them arrives. The quota may roll over, and grants may
last for some or all of the months, so that late usage and the usage that is being settled want the same units.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import transaction
from django.test import override_settings
from hypothesis import example, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from billing.books import check_books
from billing.models import Invoice
from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.finalize import finalize
from billing.services.subscribe import subscribe
from billing.services.upcoming import draft_as_it_stands, upcoming_invoice
from credits.models import CreditDefinition
from credits.services.definitions import create_definition
from credits.services.grants import grant_credits
from metering.services.record_events import record_events
from plans.models import PriceComponent
from tests.factories import CreditDefinitionFactory, CustomerFactory
from tests.pro_plan import event, make_pro_plan, sweep

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
FEBRUARY, MARCH, APRIL, MAY = (datetime(2026, month, 1, tzinfo=UTC) for month in (2, 3, 4, 5))
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# Of the month that is being settled 30 minutes of the next one have passed.
NOW = APRIL + HOUR / 2
DAYS = (APRIL - JANUARY).days

PLANS = st.fixed_dictionaries(
    {
        "quota": st.none() | st.integers(1, 60),
        "rollover": st.none() | st.tuples(st.none() | st.integers(0, 80), st.none() | st.integers(1, 70)),
        "shown": st.booleans(),
        "included": st.sampled_from([0, 0, 5]),
        "unit_cost": st.sampled_from(["5", "0.1"]),
        "money": st.sampled_from([0, 0, 300, 4_000]),
    }
)
# Each a day and a number of units.
USAGE = st.lists(st.tuples(st.integers(0, DAYS - 1), st.decimals(min_value=-30, max_value=60, places=1)), max_size=6)
# Units, first day, number of days (None: without an end) and priority.
GRANTS = st.lists(
    st.tuples(
        st.integers(1, 60),
        st.integers(0, DAYS),
        st.none() | st.integers(1, DAYS),
        st.none() | st.integers(0, 2),
    ),
    max_size=3,
)
PLAIN = {"quota": None, "rollover": None, "shown": True, "included": 0, "unit_cost": "5", "money": 0}


class TakenBack:
    """A savepoint per example."""

    def __enter__(self):
        self.block = transaction.atomic()
        self.block.__enter__()

    def __exit__(self, *raised):
        transaction.set_rollback(True)
        self.block.__exit__(*raised)


class Story:
    """A customer whose first two months are billed."""

    def __init__(self, terms, grants, early):
        self.pro = make_pro_plan(
            quota=terms["quota"], shown=terms["shown"], unit_cost_cents=terms["unit_cost"], base_cents=400
        )
        self.customer = CustomerFactory()
        if terms["rollover"] and self.pro.quota:
            cap, days = terms["rollover"]
            CreditDefinition.objects.filter(pk=self.pro.quota.pk).update(
                rolls_over=True, rollover_cap=cap, rollover_days=days
            )
        PriceComponent.objects.filter(price=self.pro.price, kind="usage").update(included_units=terms["included"])
        self.subscription = subscribe(at=JANUARY, customer=self.customer, plan=self.pro.plan)
        for grant in grants:
            self.give(*grant)
        if terms["money"]:
            self.give_money(terms["money"])
        self.use(early, at=FEBRUARY)
        for month in (FEBRUARY, MARCH):
            sweep(month + HOUR)

    def give(self, units, first_day, days, priority):
        definition = CreditDefinitionFactory(
            scope="merchant", plan=None, renew_on_billing=False, feature=self.pro.feature, priority=priority,
            billing_visible=True,
        )  # fmt: skip
        starts_at = JANUARY + first_day * DAY
        grant_credits(
            at=JANUARY, customer=self.customer, definition=definition, amount=Decimal(units), starts_at=starts_at,
            expires_at=None if days is None else starts_at + days * DAY,
        )  # fmt: skip

    def give_money(self, cents):
        definition = create_definition(
            at=JANUARY, name="Goodwill", scope="merchant", application_type="monetary", default_amount=Decimal(cents),
            currency="USD",
        )  # fmt: skip
        grant_credits(at=JANUARY, customer=self.customer, definition=definition)

    def use(self, usage, *, at):
        """Record usage of these days, all of which arrives at `at`."""
        events = [
            event(
                self.pro.metric.event_name, units, JANUARY + day * DAY + 12 * HOUR, f"{at}/{number}",
                customer=self.customer.public_id,
            )
            for number, (day, units) in enumerate(usage)
        ]  # fmt: skip
        if events:
            record_events(events=events, at=max(at, JANUARY + DAYS * DAY))


def shown(lines):
    """A line as people see it, without the keys that only a stored one has. A grant that is still to be written has no
    id to compare, but its words, its units and its amount."""
    return [
        (
            line.position, line.type, line.description, line.quantity, line.unit_amount_cents, line.amount_cents,
            line.monetary_credit_cents, line.component_id, line.metric_id, line.period_id,
            line.difference and (line.difference.period_id, line.difference.number, line.difference.usage,
                                 line.difference.included, line.difference.credited),
        )
        for line in lines
    ]  # fmt: skip


def finalized(story, at):
    """The lines that finalization writes at an instant; a draft without any is skipped."""
    draft = Invoice.objects.get(customer=story.customer, status="draft")
    assert finalize(invoices=[draft.pk], at=at) == 1
    return shown(draft.lines.select_related("difference").order_by("position"))


# One grant that late usage of the first month, late usage of the second, and the third month all want.
@example(terms=PLAIN, grants=[(20, 0, None, None)], early=[], late=[(9, 8), (40, 9)], open_usage=[(70, 7)])
# A rolled-over rest that late usage wants from behind, and the open month from before.
@example(
    terms=PLAIN | {"quota": 20, "rollover": (None, None)},
    grants=[],
    early=[(9, 5), (40, 20)],
    late=[(10, 8), (41, 4)],
    open_usage=[(70, 60)],
)
# Fewer units of the first month give units back, which those of the second take.
@example(terms=PLAIN, grants=[(20, 0, None, None)], early=[(9, 20)], late=[(9, -15), (40, 6)], open_usage=[(70, 60)])
@pytest.mark.django_db
@profile(max_examples=15, deadline=None)
@given(terms=PLANS, grants=GRANTS, early=USAGE, late=USAGE, open_usage=USAGE)
def test_a_draft_and_the_upcoming_invoice_have_the_lines_that_are_written_then(terms, grants, early, late, open_usage):
    with TakenBack(), override_settings(LATE_USAGE_DAYS=70):
        story = Story(terms, grants, [one for one in early if one[0] < 59])
        story.use([one for one in late if one[0] < 59], at=MARCH + DAY)
        story.use([(59 + day % 31, units) for day, units in open_usage], at=APRIL)

        upcoming = shown(upcoming_invoice(customer=story.customer, at=APRIL).lines)
        close_periods(subscriptions=due_subscriptions(APRIL), at=APRIL)
        draft = Invoice.objects.get(customer=story.customer, status="draft")
        tried = draft_as_it_stands(draft=draft, at=NOW)
        next_before = shown(upcoming_invoice(customer=story.customer, at=NOW).lines)
        written = finalized(story, NOW)

        assert shown(tried.lines) == written
        assert upcoming == written
        draft.refresh_from_db()
        assert (tried.invoice.subtotal_cents, tried.invoice.total_cents) == (draft.subtotal_cents, draft.total_cents)
        # What the next close bills does not depend on whether this one is finalized already.
        assert shown(upcoming_invoice(customer=story.customer, at=NOW).lines) == next_before
        assert [offender for finding in check_books(at=MAY) for offender in finding.offenders] == []


@pytest.mark.django_db
def test_units_that_late_usage_gives_back_pay_for_the_period_that_is_settled():
    # February took all 20 and gives 15 back: they pay for 15 of March's 60.
    story = Story(PLAIN, [(20, 0, None, None)], [(40, 20)])
    story.use([(40, -15)], at=MARCH + DAY)
    story.use([(70, 60)], at=APRIL)

    lines = upcoming_invoice(customer=story.customer, at=APRIL).lines

    assert [(line.type, line.quantity, line.amount_cents) for line in lines] == [
        ("fixed", 1, 400), ("usage", 60, 300), ("credit", 15, -75), ("late_usage", -15, 0),
    ]  # fmt: skip


@pytest.mark.django_db
def test_of_two_late_periods_the_earlier_one_takes_its_units_first(settings):
    settings.LATE_USAGE_DAYS = 70
    # 20 units: all 12 of January, 8 of February's 15. 7 are charged: 35.
    story = Story(PLAIN, [(20, 0, None, None)], [])
    story.use([(9, 12), (40, 15)], at=MARCH + DAY)

    lines = upcoming_invoice(customer=story.customer, at=APRIL).lines

    assert [(line.type, line.quantity, line.amount_cents) for line in lines] == [
        ("fixed", 1, 400), ("late_usage", 12, 0), ("late_usage", 15, 35),
    ]  # fmt: skip
