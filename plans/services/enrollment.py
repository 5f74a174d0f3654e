"""Who gets which plan by signing up: rules for e-mail addresses and their domains, and free plans."""

import re
from datetime import datetime

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from plans.models import EnrollmentRule, MatcherType, Plan, Price, PricingTable
from plans.refusals import InvalidInput, NotFound, Refusal
from plans.services.plans import find_plan
from plans.services.pricing_tables import DEFAULT_SLUG

_DOMAIN = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))+")


class EnrollmentRuleNotFound(NotFound):
    code = "enrollment_rule_not_found"


class DuplicateEnrollmentRule(Refusal):
    """Another rule is for the same address or domain, so nobody could say which plan it means."""

    code = "duplicate_enrollment_rule"
    status = 409


class NoFreePrice(Refusal):
    """Somebody signs up for a plan that costs something: he has to buy it."""

    code = "no_free_price"


class NoActivePricingTable(NotFound):
    """No pricing table is shown, so no plan is there for whoever signs up."""

    code = "no_active_pricing_table"


class NoFreePlan(NotFound):
    """No shown pricing table has a plan that costs nothing."""

    code = "no_free_plan"


@transaction.atomic
def create_rule(*, at: datetime, plan: Plan, matcher_type: str, matcher_value: str) -> EnrollmentRule:
    """Let whoever signs up with this address, or one of this domain, get a plan version. Raises InvalidInput for what
    is no address or domain, NoFreePrice for a plan that costs something, and DuplicateEnrollmentRule."""
    value = matcher_value.strip().lower()
    if matcher_type == MatcherType.DOMAIN:
        value = value.removeprefix("@")
    _check_value(matcher_type, value)
    free_price(plan)
    try:
        with transaction.atomic():
            return EnrollmentRule.objects.create(
                plan=plan, matcher_type=matcher_type, matcher_value=value, created_at=at
            )
    except IntegrityError as error:
        if "enrollment_rule_is_unique" not in str(error):
            raise
        raise DuplicateEnrollmentRule(f"Another rule is for {value}. Delete that one first.") from None


def _check_value(matcher_type: str, value: str) -> None:
    if matcher_type == MatcherType.DOMAIN:
        if not _DOMAIN.fullmatch(value) or len(value) > 253:
            raise InvalidInput.at("matcherValue", "must be a domain such as example.com.")
        return
    try:
        validate_email(value)
    except ValidationError:
        raise InvalidInput.at("matcherValue", "must be an e-mail address.") from None


def delete_rule(*, rule: EnrollmentRule, at: datetime) -> None:
    """Let a rule hold no more; who enrolled by it keeps his plan."""
    EnrollmentRule.objects.filter(pk=rule.pk, deleted_at=None).update(deleted_at=at)


def find_rule(identifier: str) -> EnrollmentRule:
    """Return the rule with this id. Raises EnrollmentRuleNotFound."""
    rule = EnrollmentRule.objects.filter(public_id=identifier, deleted_at=None).first()
    if rule is None:
        raise EnrollmentRuleNotFound("Enrollment rule not found")
    return rule


def choose_plan(*, email: str, plan_id: str | None = None) -> Plan:
    """Return the plan version that somebody gets who signs up: the named one, else that of the rule for his address,
    else that of the rule for its domain, else the first free one on a shown pricing table, the default table first.

    A rule means the latest version of its plan that is free. Raises PlanNotFound, NoActivePricingTable, NoFreePlan.
    """
    if plan_id:
        return find_plan(plan_id)
    rule = _matching_rule(email)
    return _latest_free_version(rule.plan) if rule is not None else _free_plan_on_a_table()


def _matching_rule(email: str) -> EnrollmentRule | None:
    address = email.strip().lower()
    live = EnrollmentRule.objects.live().select_related("plan")
    of_address = live.filter(matcher_type=MatcherType.EMAIL, matcher_value=address).first()
    of_domain = live.filter(matcher_type=MatcherType.DOMAIN, matcher_value=address.rpartition("@")[2])
    return of_address or of_domain.first()


def _latest_free_version(plan: Plan) -> Plan:
    later = Plan.objects.live().filter(stable_plan_id=plan.stable_plan_id, version_number__gt=plan.version_number)
    versions = later.order_by("-version_number")
    return next((version for version in versions if _find_free_price(version) is not None), plan)


def _free_plan_on_a_table() -> Plan:
    tables = list(PricingTable.objects.filter(is_active=True).order_by("pk"))
    if not tables:
        raise NoActivePricingTable("No active pricing tables found for this merchant")
    for table in sorted(tables, key=lambda one: one.slug != DEFAULT_SLUG):
        for placed in table.table_plans.filter(plan__deleted_at=None).select_related("plan"):
            if not placed.plan.is_enterprise_plan and _find_free_price(placed.plan) is not None:
                return placed.plan
    raise NoFreePlan("No active pricing table has a free plan. Send planId, or put a free plan on a table.")


def free_price(plan: Plan) -> Price:
    """Return the price of a plan version that costs nothing, whatever is used. Raises NoFreePrice."""
    price = _find_free_price(plan)
    if price is None:
        raise NoFreePrice("Selected plan has no pure free price; cannot auto-enroll")
    return price


def _find_free_price(plan: Plan) -> Price | None:
    prices = Price.objects.live().filter(plan=plan, is_override_price=False).order_by("pk")
    return next((price for price in prices.prefetch_related("components") if is_free(price)), None)


def is_free(price: Price) -> bool:
    """Tell whether nothing of a price can cost anything."""
    components = list(price.components.all())
    return bool(components) and not any(component.charge(price.currency).can_charge for component in components)
