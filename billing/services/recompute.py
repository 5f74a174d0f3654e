"""What settled periods were rated with, and what their events of today come to."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from django.db.models import Q

from billing.explanations import Working, work_out
from billing.models import InvoiceLine
from credits.models import CreditTransaction, TransactionKind, UsageDifference
from credits.services.late_usage import LateUsage, look_again
from credits.services.positions import Pair, read_positions
from metering.services.read_usage import UsageByDay, read_counted_by_day
from metering.windows import Window
from plans.models import MetricVersion, SubscriptionPeriod
from plans.money import exactly, share_of_quantity
from plans.pricing import Charge
from plans.services.parts import days_between, is_part

_ZERO = Decimal(0)
# Grants taken together, where it does not matter which of them paid.
_ALL_GRANTS = 0


@dataclass(frozen=True, slots=True)
class RatedUsage:
    """What a period has been rated with, in metered units, and what was billed for it in minor units.

    `events` are those of positive value, where its price counts them.
    """

    used: Decimal
    included: Decimal
    credited: Decimal
    events: int
    net_cents: int


@dataclass(frozen=True, slots=True)
class PeriodAccount:
    """What a settled period was rated with: by its settlement, whose grants stand in burn order, and by what was found
    of it later, the first difference first."""

    period: SubscriptionPeriod
    by_grant: Mapping[int, Decimal]
    differences: tuple[UsageDifference, ...]
    moved: Mapping[int, tuple[CreditTransaction, ...]]

    @exactly
    def rated(self, *, before: int | None = None) -> RatedUsage:
        """What it was rated with in all, or before the difference of a number was found."""
        period = self.period
        found = [one for one in self.differences if before is None or one.number < before]
        return RatedUsage(
            used=sum((one.usage for one in found), period.settled_usage or _ZERO),
            included=sum((one.included for one in found), period.settled_included or _ZERO),
            credited=sum((one.credited for one in found), period.settled_credited or _ZERO),
            events=sum((one.events or 0 for one in found), period.settled_events or 0),
            net_cents=sum((one.net_cents for one in found), period.settled_net_cents or 0),
        )

    def free_of(self, rated: RatedUsage) -> Decimal:
        """Units that the plan's feature gave to what was rated. Where a quota took their place, no more was included
        than what the component includes."""
        period = self.period
        return period.given_units if rated.included > min(rated.used, period.units_in_price) else _ZERO

    def work_out(self, charge: Charge, rated: RatedUsage) -> Working:
        """Price what it was rated with, all its grants taken together."""
        return work_out(
            charge,
            used=rated.used,
            included=rated.included,
            free=self.free_of(rated),
            events=rated.events,
            by_grant={_ALL_GRANTS: rated.credited} if rated.credited else {},
            hidden={_ALL_GRANTS},
        )


@dataclass(frozen=True, slots=True)
class CountedUsage:
    """What counts for a period today, by the version of the metric that it goes by."""

    version: MetricVersion
    by_day: UsageByDay

    @property
    def events(self) -> int:
        """How many events count."""
        return sum(day.events for day in self.by_day.days)


@dataclass(frozen=True, slots=True)
class NumberOfPart:
    """The one number of a metric in a part of a turn, such as a peak, by the events of today, and the days of the part
    and `of_days` of the turn: that share of it counts."""

    number: Decimal
    days: int
    of_days: int

    @property
    def units(self) -> Decimal:
        """What it comes to."""
        return share_of_quantity(self.number, Fraction(self.days, self.of_days))


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What a period was rated with so far, and what late usage would be found of it now: None where its events of today
    give the same."""

    account: PeriodAccount
    rated: RatedUsage
    late: LateUsage | None

    @property
    def used(self) -> Decimal:
        """What was used by the events of today."""
        return self.rated.used if self.late is None else self.rated.used + self.late.usage

    @property
    def net_cents(self) -> int:
        """What that comes to."""
        return self.rated.net_cents if self.late is None else self.rated.net_cents + self.late.net_cents


def read_accounts(periods: Collection[SubscriptionPeriod]) -> dict[int, PeriodAccount]:
    """Read what settled periods were rated with, by their keys; their items must be loaded."""
    by_grant: dict[int, dict[int, Decimal]] = defaultdict(dict)
    moved: dict[int, list[CreditTransaction]] = defaultdict(list)
    # A settlement books its burns in burn order.
    for one in CreditTransaction.objects.filter(period__in=periods).select_related("grant__definition").order_by("pk"):
        if one.difference_id is not None:
            moved[one.difference_id].append(one)
        elif one.kind == TransactionKind.BURNED:
            by_grant[one.period_id or 0][one.grant_id] = -one.amount
    found: dict[int, list[UsageDifference]] = defaultdict(list)
    differences = UsageDifference.objects.filter(period__in=periods).select_related(
        "invoice_line__invoice", "credit_note_line__credit_note"
    )
    for difference in differences.order_by("number"):
        found[difference.period_id].append(difference)
    return {
        period.pk: PeriodAccount(
            period=period,
            by_grant=by_grant[period.pk],
            differences=tuple(found[period.pk]),
            moved={one.pk: tuple(moved[one.pk]) for one in found[period.pk]},
        )
        for period in periods
    }


def line_that_bills(difference: UsageDifference) -> InvoiceLine | None:
    """Return the line that bills what was found; of a void invoice that was issued again, the one that repeats it."""
    line: InvoiceLine | None = getattr(difference, "invoice_line", None)
    while (again := getattr(line, "repeated_by", None)) is not None:
        line = again
    return line


def read_counted(period: SubscriptionPeriod) -> CountedUsage:
    """Read what counts for a period today, whole days from the roll-up, cut ones from their events; its customer must
    be loaded."""
    version = _version_of(period)
    window = Window(period.start_at, period.end_at)
    return CountedUsage(version, read_counted_by_day(customer=period.customer, version=version, window=window))


def _version_of(period: SubscriptionPeriod) -> MetricVersion:
    """The version of its metric that a period goes by: the latest that became the current one before its end."""
    versions = MetricVersion.objects.filter(
        Q(number=1) | Q(effective_at__lt=period.end_at), metric=period.metric_id, effective_at__isnull=False
    )
    version = versions.select_related("metric").order_by("-number").first()
    assert version is not None
    return version


def read_numbers_of_parts(
    counted: Mapping[int, CountedUsage], periods: Collection[SubscriptionPeriod], *, at: datetime
) -> dict[int, NumberOfPart]:
    """Read the numbers of those periods which are parts and whose metric has one number a period, by their keys."""
    parts = [one for one in periods if is_part(one) and not counted[one.pk].version.metric.is_additive]
    since: dict[Pair, datetime] = {}
    for part in parts:
        pair = _pair(part)
        since[pair] = min(part.start_at, since.get(pair, part.start_at))
    positions = read_positions(list(since), at=at, since=since)
    return {
        part.pk: NumberOfPart(
            number=positions[_pair(part)].numbers[part.pk],
            days=days_between(part.start_at, part.end_at),
            of_days=days_between(*part.whole),
        )
        for part in parts
        if part.pk in positions[_pair(part)].numbers
    }


def _pair(period: SubscriptionPeriod) -> Pair:
    assert period.metric_id is not None
    return (period.customer_id, period.metric_id)


def recompute(accounts: Mapping[int, PeriodAccount], *, at: datetime) -> dict[int, Recomputed]:
    """Rate settled periods again with what counts for them at an instant, just as late usage is found; by their keys.

    Writes nothing. The periods' items, with components and prices, must be loaded.
    """
    late = look_again([account.period for account in accounts.values()], at=at) if accounts else {}
    return {key: Recomputed(account, account.rated(), late.get(key)) for key, account in accounts.items()}
