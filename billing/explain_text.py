"""Explanations of invoice lines in sentences that a person can follow by hand."""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from billing.explanations import PaidByGrant, Working
from billing.lines import credit_words
from billing.models import Invoice, InvoiceKind, InvoiceLine, LineType
from billing.services.explain import AddedShare, Explanation, MoneyCredit, ShareOfDays
from billing.services.recompute import CountedUsage, Recomputed, line_that_bills
from credits.models import TopUpPack, UsageDifference
from plans.charge_words import metered_unit
from plans.models import SubscriptionPeriod
from plans.models.metrics import Aggregation
from plans.money import exactly, round_cents, written_exactly
from plans.page_words import day_text, number_text, period_text, units_text
from plans.pricing import OF_AMOUNTS, VOLUME, Step
from plans.words import money_text

# What the number of a period is where it is no sum, by the way of counting.
_NUMBERS = {
    Aggregation.MAX: "peak {}",
    Aggregation.MIN: "lowest {}",
    Aggregation.AVG: "mean {}",
    Aggregation.LAST: "latest {}",
    Aggregation.UNIQUE_COUNT: "{} different",
}
_ROUNDED = {"up": "up", "down": "down", "half_up": "to the nearest"}


def explanation_sentences(explanation: Explanation, zone: ZoneInfo) -> list[str]:
    """Say how a line's amount came about, its days in `zone`."""
    return _Text(explanation, zone).sentences()


def agreement_sentences(explanation: Explanation) -> list[str]:
    """Say whether a recompute from today's events gives the same, and what it gives where it does not."""
    return _Text(explanation, None).agreement()


def events_query(counted: CountedUsage, period: SubscriptionPeriod) -> str:
    """Write the address that lists exactly the events that count for a period today."""
    filters = {
        "customerId": period.customer.public_id,
        "metricId": counted.version.metric.public_id,
        "metricVersion": counted.version.number,
        "startTime": _instant(period.start_at),
        "endTime": _instant(period.end_at),
    }
    return f"/v1/events?{urlencode(filters, safe=':')}"


def _instant(at: datetime) -> str:
    """Write an instant to the microsecond, which the periods that begin with a subscription need."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


class _Text:
    """The sentences of one explanation."""

    def __init__(self, explanation: Explanation, zone: ZoneInfo | None) -> None:
        self._it = explanation
        self._line = explanation.line
        self._currency = explanation.line.invoice.currency
        self._zone = zone
        component = explanation.component
        label = "" if component is None else component.unit_label
        working = explanation.working
        self._unit = label if working is None else metered_unit(working.charge, label)

    def sentences(self) -> list[str]:
        working = self._it.working
        if working is None:
            return self._without_usage()
        if self._it.late is not None:
            return self._late_usage(working)
        if self._line.type == LineType.CREDIT:
            return [] if self._it.credit is None else [self._credit(self._it.credit)]
        if self._line.type in (LineType.MINIMUM, LineType.MAXIMUM):
            return [self._bound(working)]
        return self._charge(working)

    def agreement(self) -> list[str]:
        line, recomputed = self._line, self._it.recomputed
        if not self._it.adds_up:
            return [f"The arithmetic gives {self._money(self._it.amount_cents)}, not {self._money(line.amount_cents)}."]
        if recomputed is None:
            return []
        return [*self._billed_apart(recomputed), *self._recomputed(recomputed)]

    def _charge(self, working: Working) -> list[str]:
        """Units, priced step by step, less what grants without a line take off."""
        taken_off = working.taken_off
        told = [self._steps(working), *(self._credit(credit) for credit in taken_off)]
        if taken_off:
            told.append(f"Together that is {self._money(working.charge_cents)}.")
        return told

    def _steps(self, working: Working) -> str:
        chain, steps = self._units(working), working.steps
        total = self._rounded(working.stepped)
        if len(steps) == 1 and steps[0].of == "units" and steps[0].rate_percent is None:
            each = self._money(steps[0].unit_cost_cents or 0)
            flat = f" + {self._money(steps[0].flat_cost_cents)}" if steps[0].flat_cost_cents else ""
            return f"{chain} × {each}{flat} = {total}.{self._tier_note(working)}"
        parts = " + ".join(self._step(step) for step in steps)
        start = f"{chain}{self._packages(working)}. " if self._says_more(chain, working) else ""
        return f"{start}{parts} = {total}."

    def _says_more(self, chain: str, working: Working) -> bool:
        """A percentage of one amount names that amount itself."""
        return working.charge.model not in OF_AMOUNTS or " " in chain

    def _tier_note(self, working: Working) -> str:
        if working.charge.model != VOLUME:
            return ""
        up_to = working.steps[0].up_to
        tier = "beyond the last bound" if up_to is None else f"for up to {number_text(up_to)}"
        return f" All units cost the price {tier}."

    def _step(self, step: Step) -> str:
        flat = f" + {self._money(step.flat_cost_cents)}" if step.flat_cost_cents else ""
        if step.rate_percent is not None:
            return f"{number_text(step.rate_percent)}% of {self._quantity(step.units)}{flat}"
        each = self._money(step.unit_cost_cents or 0)
        if step.of == "units":
            return f"{self._number(step.units)} × {each}{flat}"
        name = step.of if step.units != 1 else step.of.removesuffix("s")
        return f"{self._number(step.units)} {name} × {each}"

    def _packages(self, working: Working) -> str:
        (step, *_) = working.steps
        if step.of != "packages":
            return ""
        how = "begun" if working.charge.package_round == "up" else "full"
        noun = "package" if step.units == 1 else "packages"
        return f": {self._number(step.units)} {how} {noun} of {number_text(working.charge.package_size)}"

    @exactly
    def _units(self, working: Working) -> str:
        """How metered units become priced ones: 12,500 calls − 10,000 included = 2,500."""
        units, charge = working.units, working.charge
        rest = units.used - units.credited - units.free
        text = self._of_part(units.used) + self._used(units.used)
        if units.credited:
            text += f" − {self._quantity(units.credited)} paid for by {self._names(working.credits)}"
        if units.free:
            text += f" − {self._quantity(units.free)} that the plan includes"
        is_open = rest != units.used
        if charge.divide_by is not None:
            text += f" = {self._quantity(rest)}" if is_open else ""
            text += f" ÷ {number_text(charge.divide_by)} = {self._divided(working, rest)}"
            is_open = False
        if units.included:
            text += f" − {self._quantity(units.included)} included"
            is_open = True
        return f"{text} = {self._quantity(units.priced)}" if is_open else text

    def _of_part(self, used: Decimal) -> str:
        """How the number of a part became units: peak 30 × 10/30 days = …; empty where today's events give others."""
        part, counted = self._it.part, self._it.counted
        if part is None or counted is None or part.units != used:
            return ""
        number = _NUMBERS[Aggregation(counted.version.metric.aggregation_type)].format(self._quantity(part.number))
        return f"{number} × {part.days}/{part.of_days} days = "

    def _divided(self, working: Working, rest: Decimal) -> str:
        divide_by = working.charge.divide_by
        assert divide_by is not None
        exact, divided = Fraction(rest) / Fraction(divide_by), working.units.divided
        if exact == divided:
            return self._number(divided)
        return f"{self._number(exact)}, rounded {_ROUNDED[working.charge.divide_round]}: {self._number(divided)}"

    def _credit(self, credit: PaidByGrant) -> str:
        grant = self._it.grants[credit.grant]
        since = f" (from {day_text(grant.starts_at, self._zone)})" if self._zone is not None else ""
        return (
            f"{credit_words(grant)}{since} paid for {self._used(credit.units)}. Without it the price is "
            f"{self._rounded(credit.before)}, with it {self._rounded(credit.after)}: "
            f"{self._money(credit.amount_cents)}."
        )

    def _bound(self, working: Working) -> str:
        price, bound = round_cents(working.unbounded), self._money(working.net_cents)
        what = "at least" if working.bound_cents > 0 else "at most"
        return (
            f"The price comes to {self._money(price)}, and a period costs {what} {bound}: "
            f"{bound} − {self._money(price)} = {self._money(working.bound_cents)}."
        )

    def _late_usage(self, working: Working) -> list[str]:
        late = self._it.late
        assert late is not None
        assert self._zone is not None
        period = self._line.period
        assert period is not None
        days = period_text(period.start_at, period.end_at, self._zone)
        billed = self._money(late.before.net_cents)
        before = " and late usage of it" if late.difference.number > 1 else ""
        told = [
            f"After {days}{before} had been billed, {self._found(late.difference.usage)}.",
            f"In all: {self._steps(working)}",
        ]
        if working.bound_cents:
            limit = "at least" if working.bound_cents > 0 else "at most"
            told.append(f"A period costs {limit} {self._money(working.net_cents)}.")
        told.append(
            f"{self._money(working.net_cents)} − {billed} billed before = {self._money(self._it.amount_cents)}."
        )
        return told

    def _found(self, usage: Decimal) -> str:
        if not usage:
            return "other events were found"
        less = "more" if usage > 0 else "fewer"
        return f"{self._used(abs(usage))} {less} were found"

    def _without_usage(self) -> list[str]:
        line = self._line
        if self._it.money is not None:
            return self._money_credit(self._it.money)
        if line.type == LineType.REFUND:
            return [
                f"The other lines come to {self._money(self._it.others_cents)}. An invoice is never below zero, so "
                f"{self._money(line.amount_cents)} is kept as credit for later ones."
            ]
        if line.type == LineType.ROUNDING:
            return [
                f"The other lines and the tax come to {self._money(line.invoice.total_cents - line.amount_cents)}, and "
                f"{line.invoice.currency} is charged in coarser steps. The total is rounded to the nearest one."
            ]
        if line.carried_invoice is not None:
            return [self._brought_forward(line.carried_invoice)]
        if line.credited_line is not None:
            return [self._unused(line.credited_line)]
        if self._it.added is not None:
            return [self._added(self._it.added)]
        if self._it.share is not None:
            return [self._share(self._it.share)]
        if line.unit_amount_cents is None:
            return []
        by_hand = "Written by hand: " if line.invoice.kind == InvoiceKind.MANUAL else ""
        product = self._rounded(Fraction(line.quantity) * Fraction(line.unit_amount_cents))
        told = [f"{by_hand}{number_text(line.quantity)} × {self._money(line.unit_amount_cents)} = {product}."]
        return told if line.pack is None else [*told, self._bought(line.pack)]

    def _brought_forward(self, carried: Invoice) -> str:
        total, rest = self._money(carried.total_cents), self._money(self._line.amount_cents)
        credited = carried.total_cents - self._line.amount_cents
        less = f", of which {self._money(credited)} is credited" if credited else ""
        tax = " Its tax is in that." if carried.tax_cents else ""
        return (
            f"Invoice {carried.number} came to {total}{less}. That is too little to be charged by itself, so this "
            f"invoice takes {rest} along.{tax}"
        )

    def _unused(self, credited: InvoiceLine) -> str:
        since = "" if self._zone is None or self._line.effective_at is None else self._since(self._line.effective_at)
        return (
            f"Invoice {credited.invoice.number} billed {credited.description} in advance, "
            f"{self._money(credited.amount_cents)}. Its share of the days{since} is not used: "
            f"{self._money(self._line.amount_cents)}."
        )

    def _since(self, at: datetime) -> str:
        assert self._zone is not None
        return f" from {day_text(at, self._zone)} on"

    def _share(self, share: ShareOfDays) -> str:
        whole, part = self._money(share.whole_cents), self._money(self._it.amount_cents)
        units = units_text(self._line.quantity, self._unit)
        return f"For the whole period {units} cost {whole}. For {share.days} of its {share.of_days} days: {part}."

    def _added(self, share: AddedShare) -> str:
        return (
            f"For the whole period {share.added.from_quantity} cost {self._money(share.before_cents)} and "
            f"{share.added.to_quantity} cost {self._money(share.after_cents)}. For {share.days} of its {share.of_days} "
            f"days the difference is {self._money(self._it.amount_cents)}."
        )

    def _bought(self, pack: TopUpPack) -> str:
        with_money = pack.definition.currency
        holds = money_text(pack.amount, with_money) if with_money else number_text(pack.amount)
        of = "of credit" if with_money else f"units of {pack.definition.name}"
        return f"Each holds {holds} {of}, there for use once the invoice is paid."

    def _money_credit(self, money: MoneyCredit) -> list[str]:
        paid_cents = -int(money.movement.amount)
        grant = self._line.grant or money.movement.grant
        left = self._money(money.had_cents - paid_cents)
        told = [
            f"{credit_words(grant)} had {self._money(money.had_cents)} left. {self._money(paid_cents)} of it pays for "
            f"this invoice, {left} remains."
        ]
        if money.pays_for:
            over = ", ".join(f"{line.description} {self._money(line.monetary_credit_cents)}" for line in money.pays_for)
            told.append(f"Credits of money pay here for: {over}.")
        return told

    def _billed_apart(self, recomputed: Recomputed) -> list[str]:
        """Late usage that other lines have taken along."""
        own = None if self._it.late is None else self._it.late.difference
        return [
            f"Late usage of this period ({self._signed(one.usage)}) {self._where(one)}: {self._money(one.net_cents)}."
            for one in recomputed.account.differences
            if one != own
        ]

    def _where(self, difference: UsageDifference) -> str:
        line, noted = line_that_bills(difference), getattr(difference, "credit_note_line", None)
        if line is not None:
            return f"is a line of its own of invoice {line.invoice.number}"
        if noted is not None:
            return f"is credited by {noted.credit_note.number}"
        if difference.billed_at is None:
            return "is a line of its own of an invoice to come"
        return "is kept as credit" if difference.net_cents < 0 else "is billed by no invoice"

    def _recomputed(self, recomputed: Recomputed) -> list[str]:
        late = recomputed.late
        if late is None:
            together = " Together the lines of the period come to that." if recomputed.account.differences else ""
            return [f"Recomputed from the events of today: the same.{together}"]
        difference = self._money(late.net_cents, signed=True) if late.net_cents else "nothing"
        told = [
            f"The events of today come to {self._used(recomputed.used)} and not {self._used(recomputed.rated.used)}. "
            f"{self._reason(late.usage)}",
            f"With them the period costs {self._money(recomputed.net_cents)}; {difference} of that is not billed yet.",
        ]
        if late.period.late_usage_closed_at is not None:
            told.append("The time in which late usage is billed by itself is over.")
        return told

    def _reason(self, usage: Decimal) -> str:
        if usage > 0:
            return "Events of its days arrived after it was billed, or corrections were voided."
        if usage < 0:
            return "Events of its days were voided after it was billed, or corrections arrived."
        return "Their number is another one: events arrived or were voided after it was billed."

    def _signed(self, quantity: Decimal) -> str:
        return f"{'+' if quantity > 0 else ''}{self._used(quantity)}"

    def _names(self, credits: Iterable[PaidByGrant]) -> str:
        names = [credit_words(self._it.grants[one.grant]) for one in credits if one.grant in self._it.grants]
        return " and ".join(dict.fromkeys(names)) or "credits"

    def _used(self, quantity: Decimal) -> str:
        return self._quantity(quantity) if self._is_amount() else units_text(quantity, self._unit)

    def _quantity(self, quantity: Decimal | Fraction) -> str:
        """Units, or an amount where amounts are priced."""
        if not self._is_amount():
            return self._number(quantity)
        assert self._it.working is not None
        return self._money(written_exactly(Fraction(quantity) * self._it.working.charge.minor_per_major))

    def _is_amount(self) -> bool:
        return self._it.working is not None and self._it.working.charge.model in OF_AMOUNTS

    def _number(self, quantity: Decimal | Fraction) -> str:
        return number_text(written_exactly(Fraction(quantity)))

    def _money(self, cents: Decimal | int, *, signed: bool = False) -> str:
        sign = "+" if signed and cents > 0 else ""
        return f"{sign}{money_text(cents, self._currency)}"

    def _rounded(self, cents: Fraction) -> str:
        """An exact amount, and the whole minor units that it is rounded to where it has a fraction of them."""
        rounded = self._money(round_cents(cents))
        if cents.denominator == 1:
            return rounded
        return f"{self._money(written_exactly(cents))}, rounded {rounded}"
