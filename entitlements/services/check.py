import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from credits.services.positions import read_positions
from entitlements.decisions import Decision, SoldFeature, decide, unknown_feature
from entitlements.feature_sql import FEATURE_COLUMNS, FEATURES_OF_PAYERS, features_statement
from plans.prepared import run_prepared
from plans.services.customers import CustomerNotFound
from plans.services.features import FeatureNotFound


class UsableFeature(NamedTuple):
    """A feature as somebody may use it. `payer` is the key of the customer whose features and units are meant;
    `member` is the key of the customer that was addressed where that is another one, a member of its organization."""

    payer: int
    member: int | None
    feature: SoldFeature


def check(*, customer: str, slug: str, at: datetime, external: bool = False) -> Decision:
    """Decide whether a customer may use a feature at `at`. Raises CustomerNotFound; an unknown slug is a no.

    A member with a seat in an organization that has a primary customer is answered as that one: there is one pool.
    """
    return check_many(customer=customer, slugs=[slug], at=at, external=external)[0]


def check_many(*, customer: str, slugs: Sequence[str], at: datetime, external: bool = False) -> list[Decision]:
    """Decide several features, in the order of `slugs`. Raises CustomerNotFound."""
    wanted = list(dict.fromkeys(slugs))
    rows = _read_customer(customer, wanted, external=external, at=at)
    decisions = {decision.slug: decision for decision in _decide(rows, at)[rows[0]["payer_key"]]}
    return [decisions.get(slug) or unknown_feature(slug) for slug in wanted]


def list_entitlements(*, customer: str, at: datetime, external: bool = False) -> list[Decision]:
    """Decide every feature that was sold to a customer or that a grant gives, by slug. Raises CustomerNotFound."""
    rows = _read_customer(customer, None, external=external, at=at)
    return _decide(rows, at)[rows[0]["payer_key"]]


def list_entitlements_of(payers: Collection[int], *, at: datetime) -> dict[int, list[Decision]]:
    """Decide every feature of several customers by their keys, each as itself and not as a member, in two statements
    for all of them."""
    return _decide(_read(FEATURES_OF_PAYERS, {"payers": sorted(payers), "at": at}), at)


def find_feature_for_use(*, customer: str, slug: str, at: datetime, external: bool = False) -> UsableFeature:
    """Find the feature that a customer wants to use at `at`, and out of whose pool.

    It is found also where the customer has not bought it: then its `source` is None, and `decide` says no unless a
    grant gives it. Raises CustomerNotFound, and FeatureNotFound for a slug that no feature has.
    """
    (row,) = _read_customer(customer, [slug], external=external, at=at)
    if row["slug"] is None:
        raise FeatureNotFound("Feature not found or access denied")
    return UsableFeature(row["payer_key"], row["member_key"], _sold_feature(row))


def _decide(rows: Sequence[dict[str, Any]], at: datetime) -> dict[int, list[Decision]]:
    """Read the positions of all features in one statement, which reads all that moves, and decide."""
    features = [(row["payer_key"], _sold_feature(row)) for row in rows if row["slug"] is not None]
    positions = read_positions({(payer, metric) for payer, feature in features for metric, _ in feature.metrics}, at=at)
    decisions: dict[int, list[Decision]] = defaultdict(list)
    for payer, feature in features:
        decisions[payer].append(decide(feature, [positions[payer, metric] for metric, _ in feature.metrics], at))
    return decisions


def _read_customer(customer: str, slugs: list[str] | None, *, external: bool, at: datetime) -> list[dict[str, Any]]:
    """Read the features of one customer, those of `slugs` or all that it has; there is always a row."""
    statement = features_statement(external=external, slugs=slugs)
    named = {"slug": slugs[0]} if slugs and len(slugs) == 1 else {"slugs": slugs}
    rows = _read(statement, {"customer": customer, "at": at} | named)
    if not rows:
        raise CustomerNotFound("Customer not found or access denied")
    return rows


def _read(statement: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(FEATURE_COLUMNS, row, strict=True)) for row in run_prepared(statement, parameters)]


def _sold_feature(row: dict[str, Any]) -> SoldFeature:
    return SoldFeature(
        key=row["id"],
        slug=row["slug"],
        name=row["display_name"],
        # Django has jsonb columns come as text.
        value=None if row["value"] is None else json.loads(row["value"], parse_float=Decimal),
        overage=row["overage"],
        source=row["source"],
        metrics=tuple(zip(row["keys"] or (), row["public_ids"] or (), strict=True)),
        quota=bool(row["quota"]),
        is_suspended=bool(row["suspended"]),
        sold_units={
            key: units
            for key, units in zip(row["keys"] or (), row["sold_units"] or (), strict=True)
            if units is not None
        },
    )
