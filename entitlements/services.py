import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from credits.services.positions import read_positions
from entitlements.decisions import Decision, SoldFeature, decide, unknown_feature
from entitlements.feature_sql import READ_FEATURES
from plans.models.subscriptions import ENTITLED_STATUSES
from plans.services.customers import CustomerNotFound


def check(*, customer: str, slug: str, at: datetime, external: bool = False) -> Decision:
    """Decide whether a customer may use a feature at `at`. Raises CustomerNotFound; an unknown slug is a no."""
    return check_many(customer=customer, slugs=[slug], at=at, external=external)[0]


def check_many(*, customer: str, slugs: Sequence[str], at: datetime, external: bool = False) -> list[Decision]:
    """Decide several features, in the order of `slugs`. Raises CustomerNotFound."""
    wanted = list(dict.fromkeys(slugs))
    decisions = {decision.slug: decision for decision in _decide(customer, wanted, external=external, at=at)}
    return [decisions.get(slug) or unknown_feature(slug) for slug in wanted]


def list_entitlements(*, customer: str, at: datetime, external: bool = False) -> list[Decision]:
    """Decide every feature that was sold to a customer or that a grant gives, by slug. Raises CustomerNotFound."""
    return _decide(customer, None, external=external, at=at)


def _decide(customer: str, slugs: list[str] | None, *, external: bool, at: datetime) -> list[Decision]:
    """Read features, then positions: two statements whatever the history. The second reads all that moves."""
    rows = _read_features(customer, slugs, external=external, at=at)
    if not rows:
        raise CustomerNotFound("Customer not found or access denied")
    key = rows[0]["customer_key"]
    features = [_sold_feature(row) for row in rows if row["slug"] is not None]
    positions = read_positions({(key, metric) for feature in features for metric, _ in feature.metrics})
    return [decide(feature, [positions[key, metric] for metric, _ in feature.metrics], at) for feature in features]


def _read_features(customer: str, slugs: list[str] | None, *, external: bool, at: datetime) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(
            READ_FEATURES,
            {
                "customer": customer,
                "external": external,
                "slugs": slugs or [],
                "all": slugs is None,
                "at": at,
                "statuses": [status.value for status in ENTITLED_STATUSES],
            },
        )
        columns = [column.name for column in cursor.description]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def _sold_feature(row: dict[str, Any]) -> SoldFeature:
    return SoldFeature(
        slug=row["slug"],
        name=row["display_name"],
        # Django has jsonb columns come as text.
        value=None if row["value"] is None else json.loads(row["value"], parse_float=Decimal),
        overage=row["overage"],
        source=row["source"],
        metrics=tuple(zip(row["keys"] or (), row["public_ids"] or (), strict=True)),
        quota=bool(row["quota"]),
    )
