import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max, Q
from django.utils.text import slugify

from plans.models import ComponentKind, Plan, Price, PriceComponent, PricingTable, PricingTablePlan
from plans.periods import Clock
from plans.refusals import InvalidInput, NotFound, Refusal

DEFAULT_SLUG = "default"
LONGEST_SLUG = 80
LAST_DISPLAY_ORDER = 32767
_SLUG = re.compile(r"[a-z0-9_-]{1,80}")


class PricingTableNotFound(NotFound):
    code = "pricing_table_not_found"


class InvalidPlanIds(Refusal):
    """A pricing table names a plan that does not exist or is deleted."""

    code = "invalid_plan_ids"


class DuplicatePricingTable(Refusal):
    """Another pricing table has this slug."""

    code = "duplicate_pricing_table"
    status = 409


class PlanAlreadyOnTable(Refusal):
    """A pricing table shows a plan once."""

    code = "plan_already_on_pricing_table"
    status = 409


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A plan as a table is to show it, named by its id or stable id (the latest version). `look` holds the fields of
    PricingTablePlan that were said; `path` is where a refusal points."""

    plan_id: str
    path: str
    look: dict[str, Any] = field(default_factory=dict)


def find_pricing_table(identifier: str) -> PricingTable:
    """Return the pricing table with this id. Raises PricingTableNotFound."""
    table = PricingTable.objects.filter(public_id=identifier).first()
    if table is None:
        raise PricingTableNotFound("Pricing table not found or access denied")
    return table


def find_shown_table(slug: str = "") -> PricingTable:
    """Return the active table with this slug; without one, that with the slug `default`, else the first made.

    Raises PricingTableNotFound where there is no such table or it is switched off.
    """
    tables = PricingTable.objects.filter(is_active=True)
    table = tables.filter(slug=slug or DEFAULT_SLUG).first()
    if table is None and not slug:
        table = tables.order_by("pk").first()
    if table is None:
        raise PricingTableNotFound("Pricing table not found")
    return table


@transaction.atomic
def create_pricing_table(
    *, name: str, slug: str = "", placements: Sequence[Placement] = (), **texts: Any
) -> PricingTable:
    """Create a table with its plans. Without `slug` one is made of the name.

    Raises InvalidInput for a slug that cannot be one, DuplicatePricingTable for one in use, InvalidPlanIds for a plan
    that does not exist.
    """
    slug = slug or slugify(name)[:LONGEST_SLUG]
    if not slug:
        raise InvalidInput.at("slug", "is required: the name has no letters or digits to make one of.")
    _check_slug(slug)
    table = PricingTable(name=name, slug=slug, **texts)
    _save(table)
    _place_plans(table, placements)
    return table


@transaction.atomic
def update_pricing_table(
    *, identifier: str, placements: Sequence[Placement] | None = None, **changes: Any
) -> PricingTable:
    """Change the fields of a table that are named. With `placements` these are its plans from now on.

    A plan that stays keeps what is not said of its look, and takes its place in the new order. Raises what
    `create_pricing_table` raises, and PricingTableNotFound.
    """
    table = _lock(identifier)
    if "slug" in changes:
        _check_slug(changes["slug"])
    for name, value in changes.items():
        setattr(table, name, value)
    _save(table)
    if placements is not None:
        _place_plans(table, placements)
    return table


@transaction.atomic
def delete_pricing_table(*, identifier: str) -> None:
    """Delete a table; its plans stay. Raises PricingTableNotFound."""
    _lock(identifier).delete()


@transaction.atomic
def ensure_default_table() -> PricingTable:
    """Return the table that visitors see first, making it where it is missing."""
    table, _ = PricingTable.objects.get_or_create(
        slug=DEFAULT_SLUG, defaults={"name": "Default", "heading": "Plans and prices"}
    )
    return table


def add_plan_to_default_table(*, plan: Plan) -> None:
    """Put a plan last on the default table."""
    add_plan_to_table(identifier=ensure_default_table().public_id, plan=plan)


def add_plan_to_table(*, identifier: str, plan: Plan, **look: Any) -> PricingTablePlan:
    """Put a plan on a table, after the others unless `display_order` says where.

    Raises PricingTableNotFound and PlanAlreadyOnTable.
    """
    table = _lock(identifier)
    if "display_order" not in look:
        last = table.table_plans.aggregate(last=Max("display_order"))["last"]
        look["display_order"] = 0 if last is None else min(last + 1, LAST_DISPLAY_ORDER)
    try:
        with transaction.atomic():
            return PricingTablePlan.objects.create(pricing_table=table, plan=plan, **look)
    except IntegrityError as error:
        if "plan_is_on_a_table_once" in str(error):
            raise PlanAlreadyOnTable("This plan is already in the pricing table") from None
        raise


def _lock(identifier: str) -> PricingTable:
    """Find a table and keep others from changing its plans until the transaction ends."""
    table = PricingTable.objects.select_for_update().filter(public_id=identifier).first()
    if table is None:
        raise PricingTableNotFound("Pricing table not found or access denied")
    return table


def _check_slug(slug: str) -> None:
    if not _SLUG.fullmatch(slug):
        raise InvalidInput.at("slug", f"must be 1 to {LONGEST_SLUG} lowercase letters, digits, hyphens or underscores.")


def _save(table: PricingTable) -> None:
    try:
        with transaction.atomic():
            table.save()
    except IntegrityError as error:
        if "slug" in str(error):
            raise DuplicatePricingTable("A pricing table with this slug already exists") from None
        raise


def _place_plans(table: PricingTable, placements: Sequence[Placement]) -> None:
    """Make these the plans of a table, in this order where a look does not say another one."""
    plans = _find_plans(placements)
    there = {placed.plan_id: placed for placed in table.table_plans.all()}
    table.table_plans.exclude(plan__in=plans).delete()
    for position, (plan, placement) in enumerate(zip(plans, placements, strict=True)):
        placed = there.get(plan.pk) or PricingTablePlan(pricing_table=table, plan=plan)
        for name, value in ({"display_order": position} | placement.look).items():
            setattr(placed, name, value)
        placed.save()


def _find_plans(placements: Sequence[Placement]) -> list[Plan]:
    """Find the plan of each placement. Raises InvalidPlanIds, and InvalidInput for a plan that is named twice."""
    identifiers = [placement.plan_id for placement in placements]
    named = Plan.objects.live().filter(Q(public_id__in=identifiers) | Q(stable_plan_id__in=identifiers))
    found: dict[str, Plan] = {}
    for plan in named.order_by("version_number"):
        found |= {plan.public_id: plan, plan.stable_plan_id: plan}
    unknown = [placement for placement in placements if placement.plan_id not in found]
    if unknown:
        raise InvalidPlanIds(
            "Invalid plan IDs",
            details=[{"path": placement.path, "message": "is not the id of a plan."} for placement in unknown],
        )
    plans = [found[identifier] for identifier in identifiers]
    for index, plan in enumerate(plans):
        if plan in plans[:index]:
            raise InvalidInput.at(placements[index].path, "is on the table already.")
    return plans


@dataclass(frozen=True, kw_only=True)
class Offer:
    """The prices at which a table offers a plan: one by the month and one by the year where there are such; `shown`
    is the monthly one, else the yearly one, else the one with the shortest interval."""

    shown: Price
    monthly: Price | None
    yearly: Price | None


def offer_of(prices: Sequence[Price], *, default_currency: str) -> Offer | None:
    """Choose among a plan's prices, the oldest first, with their components. None without a price.

    They are of one currency: the default one where there is a price in it, else that of the first price. Of several
    for the same interval the newest is on sale, since prices are replaced by new ones and never changed.
    """
    if not prices:
        return None
    currencies = {price.currency for price in prices}
    currency = default_currency if default_currency in currencies else prices[0].currency
    by_interval = {interval_of(price): price for price in prices if price.currency == currency}
    monthly, yearly = by_interval.get("month"), by_interval.get("year")
    shortest = min(by_interval.values(), key=lambda price: fee_clock_of(price).approximate_days)
    return Offer(shown=monthly or yearly or shortest, monthly=monthly, yearly=yearly)


def interval_of(price: Price) -> str:
    """The words for what a price's fee pays for: month, year, 3 months; once for a fee that is paid one time."""
    clock = fee_clock_of(price)
    return "once" if clock.count == 1 else interval_text(clock)


def fee_cents_of(price: Price) -> int:
    """What the fixed components of a price cost together in the longest of their intervals, in minor units.

    Fees that end by themselves, such as one for the set-up, are left out unless nothing else is paid in advance.
    """
    longest = fee_clock_of(price)
    # The clocks of a price nest, so the shorter ones turn a whole number of times in it.
    return sum(
        (component.amount_cents or 0) * (longest.approximate_days // component.clock.approximate_days)
        for component in _named_by(price)
        if component.kind == ComponentKind.FIXED
    )


def interval_text(clock: Clock) -> str:
    """Write the length of a clock's turn: day, week, month, year, 3 months."""
    number, unit = clock.interval, "day" if clock.frequency == "DAILY" else "week"
    if clock.months is not None:
        number, unit = (clock.months, "month") if clock.months % 12 else (clock.months // 12, "year")
    return unit if number == 1 else f"{number} {unit}s"


def fee_clock_of(price: Price) -> Clock:
    """The clock of what a price is named by, the longest of several."""
    clocks = [component.clock for component in _named_by(price)]
    return max(clocks, key=lambda clock: clock.approximate_days, default=Clock(frequency="MONTHLY"))


def _named_by(price: Price) -> Sequence[PriceComponent]:
    """The components that a price is named by: what is paid in advance and lasts, else what is and ends, else all."""
    components = list(price.components.all())
    in_advance = [one for one in components if one.kind != ComponentKind.USAGE]
    charging = [one for one in in_advance if one.charge(price.currency).can_charge]
    lasting = [one for one in charging if not one.clock.has_end]
    return lasting or charging or in_advance or components
