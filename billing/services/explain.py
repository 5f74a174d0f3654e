"""What explains the lines of an invoice: read from the rows that made them, and from the events of today."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Sum

from billing.explanations import PaidByGrant, Working, work_out
from billing.lines import added_cents, rate_quantity
from billing.models import Invoice, InvoiceKind, InvoiceLine, InvoiceStatus, LineType
from billing.services.quantities import billed_quantities
from billing.services.recompute import (
    CountedUsage,
    NumberOfPart,
    PeriodAccount,
    RatedUsage,
    Recomputed,
    read_accounts,
    read_counted,
    read_numbers_of_parts,
    recompute,
)
from credits.models import CreditGrant, CreditTransaction, UsageDifference
from plans.models import AddedUnits, PriceComponent, SubscriptionPeriod
from plans.money import exactly, round_cents
from plans.pricing import Charge
from plans.refusals import NotFound
from plans.services.parts import charge_of, days_between, is_part, share_of

_BOUNDS = (LineType.MINIMUM, LineType.MAXIMUM)


class LineNotFound(NotFound):
    code = "invoice_line_not_found"


class InvoiceIsDraft(NotFound):
    """A draft that is worked out by itself has no lines yet, so there is none to explain."""

    code = "invoice_is_draft"


@dataclass(frozen=True, slots=True)
class FoundLater:
    """What was found of a settled period, the movements of grants that came of it, and what the period had been rated
    with before and is since."""

    difference: UsageDifference
    movements: tuple[CreditTransaction, ...]
    before: RatedUsage
    after: RatedUsage


@dataclass(frozen=True, slots=True)
class MoneyCredit:
    """What a monetary credit paid: what it had before that in minor units, and the lines that the credits of the
    invoice pay for together."""

    movement: CreditTransaction
    had_cents: int
    pays_for: tuple[InvoiceLine, ...]


@dataclass(frozen=True, slots=True)
class AddedShare:
    """What units that were added within a period cost: what all units cost for the whole period before and after, in
    minor units, and how many of its days are charged."""

    added: AddedUnits
    before_cents: int
    after_cents: int
    days: int
    of_days: int


@dataclass(frozen=True, slots=True)
class ShareOfDays:
    """What units cost for a whole period, in minor units, and how many of its days are charged."""

    whole_cents: int
    days: int
    of_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """How a line came about, and whether it would be the same today.

    `amount_cents` is what the arithmetic comes to, from what was recorded. `working` prices the line's period, and
    `grants` are those that it speaks of, by key; `credit` is what the line's own grant paid. `part` says how the number
    of a part of a turn became units. `others_cents` is what all other lines of the invoice come to. What a type of line
    does not have is None.
    """

    line: InvoiceLine
    amount_cents: int
    others_cents: int
    working: Working | None = None
    grants: Mapping[int, CreditGrant]
    credit: PaidByGrant | None = None
    late: FoundLater | None = None
    money: MoneyCredit | None = None
    added: AddedShare | None = None
    share: ShareOfDays | None = None
    counted: CountedUsage | None = None
    part: NumberOfPart | None = None
    recomputed: Recomputed | None = None

    @property
    def component(self) -> PriceComponent | None:
        """The component whose price the line goes by."""
        return self.line.component

    @property
    def adds_up(self) -> bool:
        """Tell whether the arithmetic gives the amount that was billed."""
        return self.amount_cents == self.line.amount_cents

    @property
    def agrees(self) -> bool:
        """Tell whether a recompute from today's events gives what was billed."""
        return self.adds_up and (self.recomputed is None or self.recomputed.late is None)


def explain_line(*, invoice: Invoice, line_id: str, at: datetime) -> Explanation:
    """Explain one line of an invoice, and whether it would be the same at an instant.

    Raises InvoiceIsDraft, or LineNotFound for an id that none of its lines has.
    """
    if invoice.status == InvoiceStatus.DRAFT and invoice.kind != InvoiceKind.MANUAL:
        raise InvoiceIsDraft(
            f"This invoice is a draft: it has no lines yet. They are made at {invoice.finalize_at:%Y-%m-%dT%H:%M:%SZ}, "
            "after the time in which late usage is waited for."
        )
    lines = _lines_of(invoice)
    wanted = [line for line in lines if line.public_id == line_id]
    if not wanted:
        raise LineNotFound("This invoice has no line with this id. GET /v1/invoices/{id} lists its lineItems.")
    (explanation,) = _explain(lines, wanted, at)
    return explanation


def explain_lines(*, invoice: Invoice, at: datetime) -> list[Explanation]:
    """Explain every line of an invoice, in their order; only a draft that is written by hand has some."""
    lines = _lines_of(invoice)
    return _explain(lines, lines, at)


def _lines_of(invoice: Invoice) -> list[InvoiceLine]:
    return list(
        invoice.lines.select_related(
            "invoice",
            "component__price__plan",
            "metric",
            "period__item__component__price",
            "period__customer",
            "grant__definition",
            "credit_transaction",
            "replaced_line",
            "pack__definition__metric",
            "carried_invoice",
            "credited_line__invoice",
        )
    )


def _explain(lines: Sequence[InvoiceLine], wanted: Sequence[InvoiceLine], at: datetime) -> list[Explanation]:
    metered = {period.pk: period for line in wanted if (period := _metered_period(line)) is not None}
    reader = _Reader(lines, read_accounts(list(metered.values())), at)
    return [reader.explain(line) for line in wanted]


def _metered_period(line: InvoiceLine) -> SubscriptionPeriod | None:
    """The settled period whose usage a line bills, if it does."""
    period = line.period
    return None if period is None or period.metric_id is None or period.settled_at is None else period


def _difference_of(line: InvoiceLine) -> int | None:
    """The key of what a line of late usage bills. One that repeats a line of a void invoice bills the same as that."""
    while line.difference_id is None and line.replaced_line is not None:
        line = line.replaced_line
    return line.difference_id


class _Reader:
    """Explains lines of one invoice; what several of them share is read once."""

    def __init__(self, lines: Sequence[InvoiceLine], accounts: Mapping[int, PeriodAccount], at: datetime) -> None:
        self._lines = lines
        self._accounts = accounts
        self._recomputed = recompute(accounts, at=at)
        self._counted = {key: read_counted(account.period) for key, account in accounts.items()}
        self._parts = read_numbers_of_parts(self._counted, [account.period for account in accounts.values()], at=at)
        self._grants = CreditGrant.objects.select_related("definition").in_bulk(
            {grant for account in accounts.values() for grant in account.by_grant}
        )

    def explain(self, line: InvoiceLine) -> Explanation:
        period = _metered_period(line)
        if line.type == LineType.LATE_USAGE and period is not None:
            return self._late_usage(line, period)
        if line.type == LineType.REFUND:
            return self._made(line, -self._others_cents(line))
        if line.credit_transaction is not None:
            return self._money_credit(line, line.credit_transaction)
        if line.type == LineType.PRORATION:
            return self._made(line, line.amount_cents)
        if line.component is None or line.type == LineType.FIXED:
            return self._made(line, _times(line))
        if line.type == LineType.PER_UNIT and line.effective_at is not None:
            return self._added(line)
        if line.type == LineType.PER_UNIT and line.period is not None and is_part(line.period):
            return self._of_part(line, line.component, line.period)
        return self._in_advance(line) if period is None else self._usage(line, period)

    def _made(self, line: InvoiceLine, amount_cents: int, **parts: Any) -> Explanation:
        return Explanation(
            line=line,
            amount_cents=amount_cents,
            others_cents=self._others_cents(line),
            grants=self._grants,
            **parts,
        )

    def _others_cents(self, line: InvoiceLine) -> int:
        return sum(other.amount_cents for other in self._lines if other.pk != line.pk)

    def _usage(self, line: InvoiceLine, period: SubscriptionPeriod) -> Explanation:
        """Usage of a period, what a grant paid of it, or what brings it to a bound."""
        account = self._accounts[period.pk]
        settled = account.rated(before=1)
        working = work_out(
            _charge(line),
            used=settled.used,
            included=settled.included,
            free=account.free_of(settled),
            events=settled.events,
            by_grant=account.by_grant,
            hidden=account.by_grant.keys() - {other.grant_id for other in self._of_period(line)},
        )
        return self._of_working(line, working, **self._of_today(period))

    def _of_today(self, period: SubscriptionPeriod) -> dict[str, Any]:
        """What is counted for a period today, and what that comes to."""
        return {
            "counted": self._counted[period.pk],
            "part": self._parts.get(period.pk),
            "recomputed": self._recomputed[period.pk],
        }

    def _in_advance(self, line: InvoiceLine) -> Explanation:
        """Units billed in advance, or what brings them to a bound."""
        charge = _charge(line)
        units = self._units_in_advance(line, charge)
        return self._of_working(line, work_out(charge, used=units, included=min(units, charge.included_metered_units)))

    def _added(self, line: InvoiceLine) -> Explanation:
        """Units that were added within a period that was billed already."""
        rows = AddedUnits.objects.select_related("period__item__component__price")
        assert line.effective_at is not None
        added = rows.get(period=line.period_id, effective_at=line.effective_at)
        component, currency = added.period.item.component, line.invoice.currency
        assert component is not None
        before, after = (
            rate_quantity(component, quantity, currency=currency).net_cents
            for quantity in (added.from_quantity, added.to_quantity)
        )
        days = days_between(added.needed_at, added.period.end_at)
        share = AddedShare(added, before, after, days, days_between(*added.period.whole))
        return self._made(line, added_cents(added, currency=currency), added=share)

    def _of_part(self, line: InvoiceLine, component: PriceComponent, period: SubscriptionPeriod) -> Explanation:
        """Units in advance for some days of a period: their share of what they cost for all of it."""
        rated = rate_quantity(component, line.quantity, currency=line.invoice.currency)
        days, of_days = days_between(period.start_at, period.end_at), days_between(*period.whole)
        share = ShareOfDays(rated.net_cents, days, of_days)
        return self._made(line, round_cents(rated.unrounded_net * share_of(period)), share=share)

    def _of_working(self, line: InvoiceLine, working: Working, **parts: Any) -> Explanation:
        credit = working.credit_of(line.grant_id)
        if line.type == LineType.CREDIT:
            cents = 0 if credit is None else credit.amount_cents
        else:
            cents = working.bound_cents if line.type in _BOUNDS else working.charge_cents
        return self._made(line, cents, working=working, credit=credit, **parts)

    def _units_in_advance(self, line: InvoiceLine, charge: Charge) -> Decimal:
        """How many units were billed. A line counts those beyond what is included; when that is none, there were as
        many as are recorded, up to what is included."""
        beyond = sum((other.quantity for other in self._of_period(line) if other.type == LineType.PER_UNIT), Decimal(0))
        if beyond:
            return beyond + charge.included_metered_units
        assert line.period is not None
        recorded = billed_quantities([line.period]).get(line.period.pk, 0)
        return min(Decimal(recorded), charge.included_metered_units)

    def _of_period(self, line: InvoiceLine) -> list[InvoiceLine]:
        """The lines that bill the same period, without late usage of it."""
        of_period = [other for other in self._lines if other.period_id == line.period_id]
        return [other for other in of_period if other.type != LineType.LATE_USAGE]

    def _late_usage(self, line: InvoiceLine, period: SubscriptionPeriod) -> Explanation:
        account, key = self._accounts[period.pk], _difference_of(line)
        difference = next(one for one in account.differences if one.pk == key)
        before, after = account.rated(before=difference.number), account.rated(before=difference.number + 1)
        working = account.work_out(_charge(line), after)
        return self._made(
            line,
            working.net_cents - before.net_cents,
            working=working,
            late=FoundLater(difference, account.moved[difference.pk], before, after),
            **self._of_today(period),
        )

    def _money_credit(self, line: InvoiceLine, movement: CreditTransaction) -> Explanation:
        earlier = CreditTransaction.objects.filter(grant=movement.grant_id, pk__lt=movement.pk)
        had = earlier.aggregate(sum=Sum("amount"))["sum"] or 0
        paid = tuple(other for other in self._lines if other.monetary_credit_cents)
        return self._made(line, int(movement.amount), money=MoneyCredit(movement, int(had), paid))


def _charge(line: InvoiceLine) -> Charge:
    assert line.period is not None
    return charge_of(line.period, line.invoice.currency)


@exactly
def _times(line: InvoiceLine) -> int:
    """A fee, or packs: so many at so much."""
    each = line.unit_amount_cents
    return line.amount_cents if each is None else round_cents(line.quantity * each)
