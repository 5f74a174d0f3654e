import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction

from plans.models import Feature, Metric
from plans.refusals import InvalidInput, NotFound, Refusal

LONGEST_TEXT_VALUE = 1000
MOST_DIGITS = 15
_SLUG = re.compile(r"[a-z0-9-]{3,50}")


class FeatureNotFound(NotFound):
    code = "feature_not_found"


class DuplicateFeature(Refusal):
    """Another feature has this slug."""

    code = "duplicate_feature"
    status = 409


def find_feature(identifier: str) -> Feature:
    """Return the live feature with this id or slug. Raises FeatureNotFound."""
    for field in ("public_id", "slug"):
        feature = Feature.objects.live().filter(**{field: identifier}).first()
        if feature is not None:
            return feature
    raise FeatureNotFound("Feature not found or access denied")


def check_slug(slug: str) -> None:
    """Raise InvalidInput unless the text can be a feature's slug."""
    if not _SLUG.fullmatch(slug):
        raise InvalidInput(
            "Slug must contain only lowercase letters, numbers, and hyphens",
            details=[{"path": "slug", "message": "Use 3 to 50 lowercase letters, numbers and hyphens."}],
        )


def check_feature_value(value: Any, *, path: str) -> None:
    """Raise InvalidInput at `path` unless the value is a switch, a number of at most 15 digits, or text."""
    if not isinstance(value, bool | int | Decimal | str):
        raise InvalidInput.at(path, "must be true or false, a number, or text.")
    if isinstance(value, str) and len(value) > LONGEST_TEXT_VALUE:
        raise InvalidInput.at(path, f"must have at most {LONGEST_TEXT_VALUE} characters.")
    # Digits are counted on a Decimal: formatting an int goes through a float.
    if isinstance(value, int | Decimal) and len(f"{abs(Decimal(value)):f}".replace(".", "")) > MOST_DIGITS:
        raise InvalidInput.at(path, f"must have at most {MOST_DIGITS} digits.")


def check_limit(value: Any, *, path: str) -> None:
    """Raise InvalidInput for a negative limit of usage: some would read it as "unlimited", others as "nothing"."""
    if isinstance(value, int | Decimal) and value < 0:
        raise InvalidInput.at(path, "must not be negative. Usage without a limit has the value usage_based.")


def create_feature(
    *,
    at: datetime,
    slug: str,
    display_name: str,
    value: Any,
    description: str = "",
    is_override_feature: bool = False,
    metrics: Sequence[Metric] = (),
) -> Feature:
    """Create a feature, joined to the metrics whose usage it limits.

    Raises InvalidInput for a slug or value that cannot be one, DuplicateFeature for a slug in use.
    """
    check_slug(slug)
    check_feature_value(value, path="featureValue")
    if metrics:
        check_limit(value, path="featureValue")
    if Feature.objects.live().filter(slug=slug).exists():
        raise DuplicateFeature("Feature with this slug already exists")
    try:
        with transaction.atomic():
            feature = Feature.objects.create(
                slug=slug,
                display_name=display_name,
                description=description,
                value=value,
                is_override_feature=is_override_feature,
                created_at=at,
            )
            feature.metrics.set(metrics)
            return feature
    except IntegrityError as error:
        if "feature_slug" in str(error):
            raise DuplicateFeature("Feature with this slug already exists") from None
        raise
