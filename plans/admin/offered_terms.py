"""What was entered into the plan form, as the terms that publish a plan."""

from typing import Any

from django import forms

from credits.services.publish_plan import QuotaTerms, SeatTerms, UsageTerms
from plans.admin.plan_form import check_plan_name, find_feature, name_of
from plans.models import Merchant
from plans.refusals import InvalidInput


def offered_terms(form: Any, lines: Any) -> dict[str, Any]:
    """The arguments of `publish_plan` that a plan and its versions have in common. Raises InvalidInput where the plan
    would cost nothing that anybody could say."""
    terms = form.cleaned_data
    usage = [usage_terms(line) for line in lines.filled()]
    seats = seat_terms(terms)
    amounts = (terms["monthly_fee"], terms["yearly_fee"], seats.monthly_amount_cents, seats.yearly_amount_cents)
    if amounts == (None,) * 4 and not any(line.is_priced for line in usage):
        raise InvalidInput.at("monthly_fee", "say what the plan costs; 0 makes it free.")
    per_seat = [line.name for line in usage if line.quota is not None and line.quota.per_seat]
    if per_seat and amounts[2:] == (None, None):
        raise InvalidInput.at("monthly_seat_fee", f"say what a seat costs: {per_seat[0]} come with each seat.")
    return {
        "name": terms["name"],
        "description": terms["description"],
        "button_text": terms["button_text"],
        "currency": terms["currency"],
        "monthly_amount_cents": terms["monthly_fee"],
        "yearly_amount_cents": terms["yearly_fee"],
        "usage_components": usage,
        "seats": seats,
    }


def refuse_second(name: str) -> None:
    """Raise InvalidInput when the form is sent twice: the second waits here for the first, and finds its plan."""
    Merchant.objects.select_for_update(no_key=True).get()
    try:
        check_plan_name(name)
    except forms.ValidationError as error:
        raise InvalidInput.at("name", str(error.message)) from None


def seat_terms(terms: dict[str, Any]) -> SeatTerms:
    """The terms of seats as they were entered."""
    return SeatTerms(
        monthly_amount_cents=terms["monthly_seat_fee"],
        yearly_amount_cents=terms["yearly_seat_fee"],
        minimum_quantity=terms["minimum_seats"] or 1,
        unit_label=terms["seat_label"] or "seat",
    )


def usage_terms(line: dict[str, Any]) -> UsageTerms:
    """The terms of one kind of usage as it was entered; an existing feature keeps its name."""
    known = find_feature(line["slug"])
    included = line["included_units"]
    return UsageTerms(
        slug=line["slug"],
        name=known.display_name if known else line["feature_name"] or name_of(line["event_name"]),
        event_name=line["event_name"],
        unit_label=line["unit_label"],
        unit_cost_cents=line["unit_cost_cents"],
        pricing=line["pricing"],
        overage=line["overage"],
        quota=None
        if included is None
        else QuotaTerms(
            units=included,
            renews=line["renews"],
            shown_on_invoices=line["shown_on_invoices"],
            per_seat=line["per_seat"],
        ),
    )
