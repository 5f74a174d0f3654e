"""A change to another price: the version before ends, and the next one begins where it stopped."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import TextChoices

from billing.models import Invoice, InvoiceKind, InvoiceLine
from billing.services.close_periods import draft_of, open_drafts
from billing.services.finalize import finalize_invoices
from billing.services.proration import credit_unused
from billing.services.seats import bill_added_units
from billing.services.subscribe import PlanNoLongerOffered
from billing.services.wind_down import (
    catch_up,
    end_open_periods,
    has_begun,
    hold_live,
    hold_to_end_periods,
    note_refund,
    refuse_overdue,
    withdraw_scheduled_change,
)
from credits.models import CreditDefinition, SubscriptionCredit
from credits.services.begin_again import begin_again
from credits.services.definitions import hold_definitions
from credits.services.earlier_turns import included_units
from credits.services.end_grants import revoke_plan_grants
from credits.services.renew import copy_credits
from credits.services.shared_allowances import grant_after_change
from plans.models import (
    ComponentKind,
    PeriodKind,
    Price,
    PriceComponent,
    ScheduledChange,
    ScheduledChangeKind,
    Subscription,
    SubscriptionItem,
    SubscriptionPeriod,
    SubscriptionStatus,
)
from plans.periods import Clock, boundary
from plans.refusals import Refusal
from plans.services.item_periods import is_in_advance, store_periods
from plans.services.overrides import carry_overrides
from plans.services.parts import included_in_share, is_part, share_of
from plans.services.scheduled_changes import paid_through, schedule
from plans.services.subscriptions import (
    ALREADY_METERED,
    MetricAlreadyPriced,
    SubscriptionNotActive,
    check_components,
    copy_features,
    meter_once,
    metrics_of_price,
    write_items,
)
from plans.services.time_zone import billing_zone
from plans.services.units import is_of_units

_ZERO = Decimal(0)


class Proration(TextChoices):
    """`prorate` credits what is not used of fees and charges the new ones for the days that are left; `none` charges
    the new ones from the next boundary on."""

    PRORATE = "prorate"
    NONE = "none"


class SamePrice(Refusal):
    """The subscription is at this price already, so there is nothing to change."""

    code = "same_price"
    status = 409


class OtherCurrency(Refusal):
    """A subscription keeps its currency: what was paid in one cannot be credited in another."""

    code = "currency_change"


@dataclass(frozen=True, slots=True)
class Change:
    """What a change came to: the version that begins, and the invoice of what ended and what begins with its lines;
    without lines there was nothing to bill. A subscription that has not begun has no invoice."""

    subscription: Subscription
    invoice: Invoice | None
    lines: Sequence[InvoiceLine]
    at: datetime


@transaction.atomic
def change_now(*, subscription: Subscription, price: Price, at: datetime, proration: str = Proration.PRORATE) -> Change:
    """Change a subscription to another price at once; one that has not begun begins with it.

    Usage is split at the instant, and what lies before is settled and billed with this change, since the allowance of
    the version that begins counts what was paid for by allowances already; what arrives later of it is late usage.
    Advance fees are credited and charged by the local days of their period; the day of the change belongs to the new
    price. Another clock of the fees starts a new anchor.

    Raises SubscriptionEnded, SubscriptionNotActive, SamePrice, OtherCurrency, PlanNoLongerOffered,
    PriceHasNoComponents, CustomerIsParked, ScheduledChangeIsDue, UsageIsStillCounted and MetricAlreadyPriced.
    """
    hold_definitions(price.plan)
    begun = has_begun(subscription, at=at)
    held, at = hold_to_end_periods(subscription, at=at, metrics=metrics_of_price(price))
    refuse_change(held, price)
    bill_added_units(subscription=held, at=at)
    open_items = list(held.items.filter(ended_at=None).select_related("component"))
    paid_until = _paid_until(open_items, at)
    due = end_open_periods(held, at=at)
    if proration == Proration.PRORATE:
        note_refund(held, at=at)
    _include_by_share(due)
    following = _begin_version(held, price, open_items, at)
    if proration == Proration.NONE:
        _start_fees_later(following, open_items, paid_until)
    _sell_credits(held, following, at)
    stored = store_periods(items=following.items.select_related("component__price"), through=at)
    _include_by_share(stored)
    _go_on_with_trial(following, due)
    draft = _draft(following, due if begun else [], at) if begun else None
    if draft is not None:
        unused = credit_unused(draft, held, at=at) if proration == Proration.PRORATE else []
        finalize_invoices([draft], at=at, prorations={draft.pk: unused})
    revoke_plan_grants(subscription=held, at=at)
    grant_after_change(subscription=following, at=at)
    begin_again(subscription=following, at=at)
    lines = [] if draft is None else list(draft.lines.select_related("component", "metric", "grant"))
    return Change(following, draft, lines, at)


@transaction.atomic
def preview_change(
    *,
    subscription: Subscription,
    price: Price,
    at: datetime,
    proration: str = Proration.PRORATE,
    at_period_end: bool = False,
) -> Change:
    """Tell what a change would come to, now or at the end of what is paid for with what is used so far; nothing of it
    is kept. Raises what change_now raises."""
    with transaction.atomic():
        if at_period_end:
            held = hold_live(subscription)
            catch_up(held, at=at)
            withdraw_scheduled_change(held, at=at)
            at = paid_through(held, at=at)
        change = change_now(subscription=subscription, price=price, at=at, proration=proration)
        transaction.set_rollback(True)
    return change


def starts_anew(price: Price) -> list[PriceComponent]:
    """The usage components of a price whose cost depends on how much is used in a period: their tiers, flat fees and
    packages start anew with a change."""
    components = price.components.filter(kind=ComponentKind.USAGE).select_related("price")
    return [component for component in components if not component.charge(price.currency).is_plain]


@transaction.atomic
def change_at_period_end(*, subscription: Subscription, price: Price, at: datetime) -> ScheduledChange:
    """Let a subscription change to another price by itself with the end of what is paid for. What waited to happen
    takes its place no more. Raises what change_now raises."""
    held = hold_live(subscription)
    refuse_change(held, price)
    refuse_metered_twice(held, price)
    refuse_overdue(held, at=at)
    catch_up(held, at=at)
    Subscription.objects.filter(pk=held.pk).update(cancel_at_period_end=False)
    return schedule(subscription=held, kind=ScheduledChangeKind.CHANGE, price=price, at=at)


def refuse_change(subscription: Subscription, price: Price) -> None:
    """Raise why a subscription cannot change to a price."""
    if subscription.status not in (SubscriptionStatus.ACTIVE, SubscriptionStatus.PAST_DUE):
        raise SubscriptionNotActive(f"This subscription is {subscription.status}. Resume it first, then change it.")
    if price.pk == subscription.price_id:
        raise SamePrice("The subscription is at this price already.")
    if price.currency != subscription.price.currency:
        raise OtherCurrency(
            f"The subscription is billed in {subscription.price.currency}, this price is in {price.currency}. "
            "Cancel the subscription and subscribe anew.",
            details=[{"path": "priceId", "message": f"must be a price in {subscription.price.currency}."}],
        )
    if not Price.objects.live().filter(pk=price.pk, plan__deleted_at__isnull=True).exists():
        raise PlanNoLongerOffered("This plan is no longer offered.")
    check_components(price)


def refuse_metered_twice(subscription: Subscription, price: Price) -> None:
    """Raise MetricAlreadyPriced where another live subscription of the customer meters a metric of a price."""
    others = SubscriptionItem.objects.filter(customer=subscription.customer_id, ended_at=None)
    if others.filter(metric__in=metrics_of_price(price)).exclude(subscription=subscription).exists():
        raise MetricAlreadyPriced(ALREADY_METERED)


def _paid_until(items: Iterable[SubscriptionItem], at: datetime) -> dict[tuple[str, int], datetime]:
    """Up to when fees are paid, by their clocks. Fees that a change let begin later are paid until then."""
    items = [item for item in items if is_in_advance(item)]
    current = SubscriptionPeriod.objects.filter(item__in=[item.pk for item in items], start_at__lte=at, end_at__gt=at)
    ends = dict(current.values_list("item_id", "end_at"))
    paid: dict[tuple[str, int], datetime] = {}
    for item in items:
        until = ends.get(item.pk) or (item.started_at if item.started_at > at else None)
        if until is not None:
            paid[item.frequency, item.interval] = until
    return paid


def _include_by_share(periods: Iterable[SubscriptionPeriod]) -> None:
    """Give parts the share of what their components include in a whole period, less what parts before them had of it
    beyond their own share, such as one before a pause."""
    shared = []
    for period in periods:
        component = period.item.component
        if is_part(period) and component is not None and component.kind == ComponentKind.USAGE:
            before = list(
                SubscriptionPeriod.objects.filter(
                    item=period.item_id, kind=period.kind, start_at__gte=period.whole[0], start_at__lt=period.start_at
                ).select_related("item")
            )
            share = sum((share_of(part) for part in before), share_of(period))
            included = included_units(before)
            taken = sum((min(included[part.pk], part.units_in_price) for part in before), _ZERO)
            period.included_units = max(included_in_share(component, share) - taken, _ZERO)
            shared.append(period)
    SubscriptionPeriod.objects.bulk_update(shared, ["included_units"])


def _begin_version(
    held: Subscription, price: Price, open_items: Sequence[SubscriptionItem], at: datetime
) -> Subscription:
    """End a version and write the next one, with its features and its items."""
    Subscription.objects.filter(pk=held.pk).update(
        ended_at=at, status=SubscriptionStatus.CANCELED, grace_period_ends_at=None
    )
    SubscriptionItem.objects.filter(subscription=held, ended_at=None).update(ended_at=at)
    in_trial = held.trial_ends_at is not None and held.trial_ends_at > at
    following = Subscription.objects.create(
        stable_subscription_id=held.stable_subscription_id,
        version_number=held.version_number + 1,
        customer=held.customer,
        plan_id=price.plan_id,
        price=price,
        status=held.status,
        grace_period_ends_at=held.grace_period_ends_at,
        started_at=at,
        trial_ends_at=held.trial_ends_at if in_trial else None,
        beside_others=held.beside_others,
        metadata=held.metadata,
        created_at=at,
    )
    quotas = CreditDefinition.objects.granted_with(price.plan, price).values_list("metric_id", flat=True)
    with meter_once():
        items = write_items(
            following,
            set(quotas),
            clock_started_at=_anchor(held, price, open_items, at),
            started_at=at,
        )
    _go_on_with_own_clocks(items, held, at)
    _keep_quantities(items, open_items)
    copy_features(following)
    carry_overrides(before=held, following=following, metrics_with_quota=set(quotas), at=at)
    return following


def _anchor(held: Subscription, price: Price, open_items: Sequence[SubscriptionItem], at: datetime) -> datetime:
    """The instant from which the clocks of the next version count: that of the version before, unless the fees turn
    otherwise than they did."""
    old = [item.clock for item in open_items if is_in_advance(item) and not _has_end(item)]
    new = [part.clock for part in price.components.all() if part.kind != ComponentKind.USAGE and not part.clock.has_end]
    if _longest(old) != _longest(new) or not open_items:
        return at if held.trial_ends_at is None else max(at, held.trial_ends_at)
    return max(item.clock_started_at for item in open_items if not _has_end(item) or len(open_items) == 1)


def _has_end(item: SubscriptionItem) -> bool:
    return item.component is not None and item.component.clock.has_end


def _longest(clocks: Iterable[Clock]) -> tuple[str, int] | None:
    longest = max(clocks, key=lambda clock: clock.approximate_days, default=None)
    return None if longest is None else (longest.frequency, longest.interval)


def _go_on_with_own_clocks(items: Iterable[SubscriptionItem], held: Subscription, at: datetime) -> None:
    """Clocks with an end count from the change, unless a version before had their component: then instalments go on,
    and a fee that comes once, such as for the set-up, does not come again."""
    zone = billing_zone()
    before = {
        item.component.component_id: item
        for item in SubscriptionItem.objects.filter(
            subscription__stable_subscription_id=held.stable_subscription_id, component__isnull=False
        )
        .exclude(subscription__version_number__gt=held.version_number)
        .select_related("component")
        .order_by("-pk")
        if item.component is not None
    }
    for item in items:
        if item.component is None or not item.component.clock.has_end:
            continue
        goes_on = before.get(item.component.component_id)
        item.clock_started_at = max(item.started_at, at) if goes_on is None else goes_on.clock_started_at
        if goes_on is not None and item.component.clock.count == 1:
            item.started_at = max(item.started_at, boundary(item.component.clock, item.clock_started_at, 1, zone))
        item.save(update_fields=["clock_started_at", "started_at"])


def _keep_quantities(items: Iterable[SubscriptionItem], open_items: Iterable[SubscriptionItem]) -> None:
    """Let units in advance go on: of the component with the same id, else of the one with the same metric, else of the
    only one; at least the new minimum."""
    had = [item for item in open_items if is_of_units(item)]
    for item in items:
        source = _units_before(item, had) if is_of_units(item) else None
        if source is not None and source.quantity > item.quantity:
            item.quantity = source.quantity
            item.save(update_fields=["quantity"])


def _units_before(item: SubscriptionItem, had: Sequence[SubscriptionItem]) -> SubscriptionItem | None:
    assert item.component is not None
    for before in had:
        if before.component is not None and before.component.component_id == item.component.component_id:
            return before
    metric = item.component.metric_id
    same = [one for one in had if one.component is not None and metric and one.component.metric_id == metric]
    if same:
        return same[0]
    return had[0] if len(had) == 1 else None


def _start_fees_later(
    following: Subscription, open_items: Sequence[SubscriptionItem], paid_until: Mapping[tuple[str, int], datetime]
) -> None:
    """Let fees that turn as before begin where those that were paid end."""
    anchors = {item.clock_started_at for item in open_items}
    for item in following.items.select_related("component"):
        paid = paid_until.get((item.frequency, item.interval))
        if paid is not None and is_in_advance(item) and item.clock_started_at in anchors:
            item.started_at = paid
            item.save(update_fields=["started_at"])


def _sell_credits(held: Subscription, following: Subscription, at: datetime) -> None:
    """Write down what the next version grants, and let what the one before granted stop."""
    definitions = CreditDefinition.objects.granted_with(following.plan, following.price)
    copy_credits(definitions, [following], at=at)
    SubscriptionCredit.objects.filter(subscription=held).update(refilled_until=None)


def _go_on_with_trial(following: Subscription, due: Iterable[SubscriptionPeriod]) -> None:
    """Let the trial of a version be a part of the one that the version before began."""
    begun = next((period.whole for period in due if period.kind == PeriodKind.TRIAL), None)
    if begun is not None:
        trial = SubscriptionPeriod.objects.filter(subscription=following, kind=PeriodKind.TRIAL, end_at=begun[1])
        trial.update(whole_start_at=begun[0], whole_end_at=begun[1])


def _draft(following: Subscription, due: Sequence[SubscriptionPeriod], at: datetime) -> Invoice:
    beginning = SubscriptionPeriod.objects.filter(subscription=following, bill_at__lte=at, closed_at=None)
    periods = [*due, *beginning.select_related("item__component__price", "customer")]
    draft = draft_of(following, periods, at, kind=InvoiceKind.CHANGE, closes_at=at)
    draft.finalize_at = at
    (stored,) = open_drafts([(draft, periods)], at=at)
    return stored
