import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction

from plans.models import Feature, FeatureSource, Metric, PlanFeature, SubscriptionFeature
from plans.models.features import USAGE_BASED
from plans.refusals import InvalidInput, NotFound, Refusal
from plans.services.unpriced_items import meter_feature

LONGEST_TEXT_VALUE = 1000
MOST_DIGITS = 15
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")
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


def limit_of(value: Any, *, path: str) -> Any:
    """Return what a feature gives that counts usage: a number, `usage_based` for no limit, or a switch. Text of a
    number is that number. Raises InvalidInput for other text, which would be no limit, and for a negative number."""
    if isinstance(value, str) and value != USAGE_BASED:
        if not _NUMBER.fullmatch(value):
            raise InvalidInput.at(path, "must be a number or usage_based: the feature counts usage.")
        number = Decimal(value)
        value = int(number) if number == number.to_integral_value() else number
        check_feature_value(value, path=path)
    check_limit(value, path=path)
    return value


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
    check_feature_value(value, path="featureValue")
    if metrics:
        value = limit_of(value, path="featureValue")
    if is_slug_taken(slug):
        raise _same_slug()
    with _conflict_named(), transaction.atomic():
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


@transaction.atomic
def update_feature(
    *, at: datetime, feature: Feature, metrics: Sequence[Metric] | None = None, **changes: Any
) -> Feature:
    """Change a feature's columns named in `changes`, and its metrics where they are given: these are all it has then.

    A new value goes on to the plans and to what was sold with them, wherever the old one stands there; what a plan or
    an override says on its own stays. It governs answers from now on. Invoices keep to what was sold: the items of
    subscriptions, their prices and the units that they include do not change, and neither do quotas. Metrics that
    nothing meters yet are counted by the periods of the subscriptions which have the feature.

    Raises FeatureNotFound if it was deleted meanwhile, InvalidInput, and DuplicateFeature for a slug in use.
    """
    locked = Feature.objects.live().select_for_update(no_key=True).filter(pk=feature.pk).first()
    if locked is None:
        raise FeatureNotFound("Feature not found or access denied")
    slug, value = changes.get("slug", locked.slug), changes.get("value", locked.value)
    if slug != locked.slug and is_slug_taken(slug):
        raise _same_slug()
    check_feature_value(value, path="featureValue")
    counts = bool(metrics) if metrics is not None else locked.metrics.filter(deleted_at__isnull=True).exists()
    if counts and (metrics is not None or "value" in changes):
        limit = limit_of(value, path="featureValue")
        changes |= {"value": limit} if "value" in changes or limit != value else {}
    old_value = locked.value
    for column, new in changes.items():
        setattr(locked, column, new)
    with _conflict_named(), transaction.atomic():
        locked.save(update_fields=[*changes, "updated_at"])
    if "value" in changes:
        _cascade(locked, old_value)
    if metrics is not None:
        locked.metrics.set(metrics)
        meter_feature(feature=locked, at=at)
    return locked


def _cascade(feature: Feature, old_value: Any) -> None:
    following = {"feature": feature, "value": old_value}
    PlanFeature.objects.filter(**following).update(value=feature.value)
    SubscriptionFeature.objects.filter(source=FeatureSource.PLAN, **following).update(value=feature.value)


@transaction.atomic
def delete_feature(*, at: datetime, feature: Feature) -> None:
    """Delete a feature: plans give it no more, and checks say no to everybody who had it.

    What runs goes on: items meter and bill the usage of its metrics, and quotas that a plan gives are granted. What was
    sold stays written. Deleting it again changes nothing.
    """
    Feature.objects.live().filter(pk=feature.pk).update(deleted_at=at)
    PlanFeature.objects.filter(feature=feature).delete()


def is_slug_taken(slug: str) -> bool:
    """Tell whether a feature has this slug. Raises InvalidInput for a text that cannot be one."""
    check_slug(slug)
    return Feature.objects.live().filter(slug=slug).exists()


@contextmanager
def _conflict_named() -> Iterator[None]:
    """Say that the slug is taken when a concurrent call was faster."""
    try:
        yield
    except IntegrityError as error:
        if "feature_slug" in str(error):
            raise _same_slug() from None
        raise


def _same_slug() -> DuplicateFeature:
    return DuplicateFeature("Feature with this slug already exists")
