"""The next version of a plan: the plan form, filled with what a version sells."""

from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.db.models import Max

from credits.models import CreditDefinition
from credits.services.earlier_version import frequency_of, plain_quotas, prices_on_sale
from plans.admin.plan_form import MOST_LINES, BaseUsageFormSet, PlanForm, UsageForm
from plans.admin.price_form import MOST_TIERS
from plans.models import ComponentKind, Plan, PlanFeature, Price, PriceComponent
from plans.models.features import USAGE_BASED
from plans.models.prices import Frequency
from plans.money import major_units, plain_number
from plans.pricing import GRADUATED, GRADUATED_PERCENTAGE, VOLUME
from plans.refusals import InvalidInput

# What the form can say of each kind of component; what stands elsewhere in one has no field.
_FEE_TERMS = {"amount_cents"}
_SEAT_TERMS = {"amount_cents", "unit_label", "minimum_quantity"}
_USAGE_TERMS = {
    "unit_label", "metric", "model", "unit_cost_cents", "tiers", "package_size", "package_cost_cents", "package_round",
    "rate_percent", "fixed_cost_cents", "divide_by", "divide_round", "minimum_cents", "maximum_cents",
}  # fmt: skip
_TERMS = {
    ComponentKind.FIXED: _FEE_TERMS,
    ComponentKind.PER_UNIT: _SEAT_TERMS,
    ComponentKind.USAGE: _USAGE_TERMS,
}
_NAMES = {"id", "price", "component_id", "component_name", "label", "position", "kind", "frequency"}


class CannotShow(Exception):
    """A version sells something that the form has no field for; says what, and what to do."""

    def __init__(self, what: str) -> None:
        super().__init__(f"The form cannot show {what}. Make the next version over the API: PUT /v1/plans/{{id}}.")


class NextVersionForm(PlanForm):
    """Name, fees and looks of the next version of a plan."""

    commit_message = forms.CharField(
        label="What is new",
        required=False,
        max_length=200,
        help_text="For your own records; customers do not see it. Empty: Version and its number.",
    )
    latest = forms.IntegerField(widget=forms.HiddenInput)

    sections: ClassVar[list[tuple[str, list[str]]]] = [
        ("Plan", ["name", "description"]),
        ("Price", ["currency", "monthly_fee", "yearly_fee"]),
        ("This version", ["commit_message", "button_text"]),
    ]

    def __init__(self, *args: Any, base: Plan, **kwargs: Any) -> None:
        self.stable_plan_id = base.stable_plan_id
        super().__init__(*args, **kwargs)
        del self.fields["is_visible_in_pricing_table"]

    def refuse_if_outdated(self) -> None:
        """Raise InvalidInput when another version was published since the form was opened, perhaps by this very form.

        The second of two that are sent at once waits here for the first.
        """
        versions = Plan.objects.filter(stable_plan_id=self.stable_plan_id)
        list(versions.order_by("pk").select_for_update(no_key=True).values_list("pk", flat=True))
        latest = versions.aggregate(latest=Max("version_number"))["latest"]
        if latest != self.cleaned_data["latest"]:
            raise InvalidInput(
                f"Version {latest} was published since you opened this form. Look at it and begin there."
            )


class NextUsageForm(UsageForm):
    """A kind of usage that a version counts; it stays with the feature that counts it, whatever that is called."""

    feature_slug = forms.CharField(required=False, max_length=50, widget=forms.HiddenInput)

    def slug(self, event_name: str) -> str:
        """The slug of the feature that counts it already."""
        return self.cleaned_data.get("feature_slug") or super().slug(event_name)

    # The event name is checked against the feature, so that must be read before.
    field_order = ("feature_slug",)


class BaseNextUsageFormSet(BaseUsageFormSet):
    """The usage of a version; an empty form only where there is none yet."""

    def total_form_count(self) -> int:
        """As many as were sent, or are counted already, and at least one."""
        return super().total_form_count() if self.is_bound else max(len(self.initial or []), 1)


NextUsageFormSet = forms.formset_factory(
    NextUsageForm, formset=BaseNextUsageFormSet, extra=0, can_delete=True, max_num=MOST_LINES, validate_max=True
)


def shown_terms(plan: Plan) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a version sells, as the plan form shows it: its fields, and those of each kind of usage.

    Raises CannotShow for terms that would be lost.
    """
    prices = prices_on_sale(plan)
    by_frequency = {frequency_of(price): price for price in prices}
    if len(by_frequency) < len(prices):
        raise CannotShow("two prices that are paid as often as each other")
    if len({price.currency for price in prices}) > 1:
        raise CannotShow("prices in several currencies")
    for price in prices:
        _check_components(price)
    latest = Plan.objects.filter(stable_plan_id=plan.stable_plan_id).aggregate(latest=Max("version_number"))["latest"]
    terms = {"name": plan.name, "description": plan.description, "button_text": plan.button_text, "latest": latest}
    terms["currency"] = prices[0].currency if prices else ""
    for frequency, word in ((Frequency.MONTHLY, "monthly"), (Frequency.YEARLY, "yearly")):
        if frequency in by_frequency:
            terms |= _in_advance(by_frequency[frequency], word)
    return terms, _usage_lines(plan, by_frequency)


def carried_text(plan: Plan) -> str:
    """Which definitions a new version takes along as they are, since the form does not show them."""
    shown = [quota.pk for quotas in plain_quotas(plan).values() for quota in quotas]
    others = CreditDefinition.objects.filter(plan=plan, deleted_at=None).exclude(pk__in=shown).order_by("pk")
    names = list(dict.fromkeys(others.values_list("name", flat=True)))
    return f"It takes along as they are: {', '.join(names)}. Change them on their own pages." if names else ""


def _check_components(price: Price) -> None:
    """Raise CannotShow for a term of a component that is neither left out nor in the form."""
    frequency = frequency_of(price)
    kinds = [part.kind for part in price.components.all()]
    for kind in (ComponentKind.FIXED, ComponentKind.PER_UNIT):
        if kinds.count(kind) > 1:
            raise CannotShow("two fees, or two kinds of seats, in one price")
    for part in price.components.all():
        expected = Frequency.MONTHLY if part.kind == ComponentKind.USAGE else frequency
        known = _TERMS[ComponentKind(part.kind)] | _NAMES
        further = [
            field.name
            for field in PriceComponent._meta.concrete_fields
            if field.name not in known and getattr(part, field.attname) != field.get_default()
        ]
        if part.frequency != expected:
            further.append("how often it is billed")
        if part.model == GRADUATED_PERCENTAGE or len(part.tiers) > MOST_TIERS:
            further.append("its tiers")
        if further:
            raise CannotShow(f"all of “{part.title}” ({', '.join(further)})")


def _in_advance(price: Price, word: str) -> dict[str, Any]:
    """The fee and the seats of a price."""
    terms: dict[str, Any] = {}
    for part in price.components.all():
        if part.kind == ComponentKind.USAGE:
            continue
        fee = plain_number(major_units(part.amount_cents or 0, price.currency))
        if part.kind == ComponentKind.FIXED:
            terms[f"{word}_fee"] = fee
        else:
            terms |= {f"{word}_seat_fee": fee, "seat_label": part.unit_label}
            terms["minimum_seats"] = part.minimum_quantity or None
    return terms


def _usage_lines(plan: Plan, prices: dict[str, Price]) -> list[dict[str, Any]]:
    """What the plan counts: first what it prices, in the order of the prices."""
    priced = _same_usage([_priced_usage(price) for price in prices.values()])
    quotas = plain_quotas(plan)
    sold = {}
    for given in PlanFeature.objects.filter(plan=plan).select_related("feature").order_by("pk"):
        metrics = list(given.feature.metrics.filter(deleted_at=None).select_related("current"))
        if not metrics:
            continue
        if len(metrics) > 1 or given.value != USAGE_BASED:
            raise CannotShow(f"what the plan gives of “{given.feature}”")
        sold[metrics[0].pk] = _counted(given, metrics[0].event_name) | _quota(quotas.get(metrics[0].pk, []))
    if priced.keys() - sold.keys():
        raise CannotShow("a price of usage that no feature of the plan counts")
    ordered = [*priced, *(metric for metric in sold if metric not in priced)]
    return [sold[metric] | priced.get(metric, {}) for metric in ordered]


def _same_usage(by_price: list[dict[int, dict[str, Any]]]) -> dict[int, dict[str, Any]]:
    """The usage of all prices together. Raises CannotShow unless it costs the same at each; what one of them leaves
    out must be free at the others."""
    priced: dict[int, dict[str, Any]] = {}
    for lines in by_price:
        priced = lines | priced
    together = {}
    for metric, line in priced.items():
        if any(lines.get(metric, line) != line for lines in by_price):
            raise CannotShow("usage that costs more at one price than at another")
        is_everywhere = all(metric in lines for lines in by_price)
        if not is_everywhere and (line["unit_cost_cents"] != "0" or line["model"]):
            raise CannotShow("usage that is charged at one price and not at another")
        # Beside a yearly fee a quota without a price stands at 0, so that it renews by the month.
        together[metric] = line if is_everywhere else line | {"unit_cost_cents": ""}
    return together


def _counted(given: PlanFeature, event_name: str) -> dict[str, Any]:
    return {
        "feature_slug": given.feature.slug, "event_name": event_name, "overage": given.overage,
        "renews": True, "shown_on_invoices": True,
    }  # fmt: skip


def _quota(quotas: list[CreditDefinition]) -> dict[str, Any]:
    if not quotas:
        return {}
    return {
        "included_units": plain_number(quotas[0].default_amount),
        "renews": quotas[0].renew_on_billing,
        "per_seat": quotas[0].per_seat,
        "shown_on_invoices": quotas[0].billing_visible,
    }


def _priced_usage(price: Price) -> dict[int, dict[str, Any]]:
    usage = [part for part in price.components.all() if part.kind == ComponentKind.USAGE]
    return {part.metric_id: _cost(part) for part in usage if part.metric_id is not None}


def _cost(part: PriceComponent) -> dict[str, Any]:
    """What a component charges, in the fields of the form."""
    line: dict[str, Any] = {"unit_label": part.unit_label, "model": "" if part.model == "per_unit" else part.model}
    for name in ("unit_cost_cents", "package_size", "package_cost_cents", "rate_percent", "divide_by"):
        line[name] = _number(getattr(part, name))
    line |= {"minimum_cents": part.minimum_cents, "maximum_cents": part.maximum_cents}
    line["fixed_cost_cents"] = _number(part.fixed_cost_cents or None)
    line["package_round"] = "down" if part.package_round == "down" else ""
    line["divide_round"] = "" if part.divide_round == "none" else part.divide_round
    if part.model in (GRADUATED, VOLUME):
        for row, tier in enumerate(part.tiers, start=1):
            line[f"tier_{row}_up_to"] = tier["up_to"]
            line[f"tier_{row}_unit_cost_cents"] = tier["unit_cost_cents"]
            line[f"tier_{row}_flat_cents"] = "" if tier["flat_cost_cents"] == "0" else tier["flat_cost_cents"]
    return line


def _number(value: Decimal | None) -> str:
    return "" if value is None else plain_number(value)
