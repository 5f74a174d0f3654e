from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import Q

from credits.burn import ZERO, BurnableGrant
from credits.models import CreditGrant
from credits.positions import GrantState, Position
from credits.services.positions import read_positions
from plans.models import Customer, Feature, Metric
from plans.money import exactly


@dataclass(frozen=True)
class GrantShare:
    """A grant's part in a balance: what the ledger has left of it (`settled`), what usage that is not settled yet burns
    of that (`pending`), and what is left then (`remaining`). It may be burned in `[starts_at, ends_at)`.

    `is_rolled_over` marks the rest of `grant` that the settlement of its period will make a grant of its own.
    """

    grant: CreditGrant
    starts_at: datetime
    ends_at: datetime | None
    granted: Decimal
    settled: Decimal
    pending: Decimal
    is_rolled_over: bool = False

    @property
    def remaining(self) -> Decimal:
        """What is left live."""
        return self.settled - self.pending


@dataclass(frozen=True)
class Balance:
    """What a customer has of one metric, or of one currency, in the order in which it will be burned.

    `features` are the live features that the metric measures. `included` are the units that the open period includes
    before any grant is asked, and `included_left` those not used yet.
    """

    shares: Sequence[GrantShare]
    metric: Metric | None = None
    features: Sequence[Feature] = ()
    currency: str = ""
    included: Decimal = ZERO
    included_left: Decimal = ZERO

    @exactly
    def total(self, of: str) -> Decimal:
        """The sum of `granted`, `settled`, `pending` or `remaining` over its grants."""
        return sum((getattr(share, of) for share in self.shares), ZERO)


def read_balances(*, customer: Customer, at: datetime) -> list[Balance]:
    """Read what a customer has of each metric and currency that something was ever granted of: the grants that are
    active at this instant, with live numbers. Money comes last."""
    ever = CreditGrant.objects.filter(customer=customer)
    active = ever.filter(Q(expires_at=None) | Q(expires_at__gt=at), starts_at__lte=at, revoked_at=None)
    metrics = list(Metric.objects.filter(pk__in=ever.values("metric")).select_related("current").order_by("pk"))
    positions = read_positions([(customer.pk, metric.pk) for metric in metrics], at=at)
    keys = {grant.stored_key for position in positions.values() for grant in position.active_grants(at)}
    grants = ever.filter(Q(pk__in=keys) | Q(pk__in=active.filter(metric=None))).select_related("definition")
    found = grants.in_bulk()
    features = _features_of(metrics)
    units = [
        _of_metric(metric, features[metric.pk], positions[customer.pk, metric.pk], found, at) for metric in metrics
    ]
    money = [grant for grant in found.values() if grant.metric_id is None]
    currencies = ever.filter(metric=None).order_by("currency").values_list("currency", flat=True).distinct()
    return units + [
        _of_currency(currency, [grant for grant in money if grant.currency == currency]) for currency in currencies
    ]


def _features_of(metrics: Iterable[Metric]) -> dict[int, list[Feature]]:
    features: dict[int, list[Feature]] = defaultdict(list)
    links = Feature.metrics.through.objects.filter(metric__in=list(metrics), feature__deleted_at=None).select_related(
        "feature"
    )
    for link in links.order_by("feature_id"):
        features[link.metric_id].append(link.feature)
    return features


def _of_metric(
    metric: Metric, features: Sequence[Feature], position: Position, found: dict[int, CreditGrant], at: datetime
) -> Balance:
    period = position.period_at(at)
    included = ZERO if period is None else position.included_in(period)
    used = ZERO if period is None else position.burn.included.get(period.key, ZERO)
    active = sorted(position.active_grants(at), key=_burn_order)
    return Balance(
        shares=[_share(state, position, found[state.stored_key]) for state in active if state.stored_key in found],
        metric=metric,
        features=features,
        included=included,
        included_left=included - used,
    )


def _share(state: GrantState, position: Position, grant: CreditGrant) -> GrantShare:
    return GrantShare(
        grant=grant,
        starts_at=state.starts_at,
        ends_at=state.ends_at,
        granted=state.ledger_remaining if state.is_provisional else grant.initial_amount + grant.adjusted_amount,
        settled=state.ledger_remaining,
        pending=state.ledger_remaining - position.burn.remaining[state.key],
        is_rolled_over=state.is_provisional,
    )


def _burn_order(state: GrantState) -> tuple:
    return BurnableGrant(
        key=state.key,
        remaining=state.ledger_remaining,
        starts_at=state.starts_at,
        ends_at=state.ends_at,
        priority=state.priority,
    ).order


def _of_currency(currency: str, grants: Iterable[CreditGrant]) -> Balance:
    """Money is spent when an invoice is finalized, so nothing of it is ever pending."""

    def order(grant: CreditGrant) -> tuple:
        return BurnableGrant(
            key=grant.pk,
            remaining=grant.ledger_remaining,
            starts_at=grant.starts_at,
            ends_at=grant.expires_at,
            priority=grant.priority,
        ).order

    shares = [
        GrantShare(
            grant=grant,
            starts_at=grant.starts_at,
            ends_at=grant.expires_at,
            granted=grant.initial_amount + grant.adjusted_amount,
            settled=grant.ledger_remaining,
            pending=ZERO,
        )
        for grant in sorted(grants, key=order)
    ]
    return Balance(shares=shares, currency=currency)
