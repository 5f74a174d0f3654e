"""The pricing page: `/pricing` and `/pricing/{slug}`."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.functional import SimpleLazyObject
from django.views.decorators.http import require_safe

from credits.services.offered_plans import read_offered_plans
from plans.cards import Card, OfferedPlan, Seats
from plans.charge_words import short_charge_text
from plans.models import ComponentKind, Merchant, Price
from plans.money import currency_exponent
from plans.offered_lines import FeatureLine, feature_lines
from plans.page_words import each_text
from plans.periods import shortest
from plans.services.pricing_tables import PricingTableNotFound, find_shown_table, interval_of
from plans.words import money_text

CHECKOUT_PATH = "/checkout"
INTERVALS = ("month", "year")


@dataclass(frozen=True, kw_only=True)
class PageCard:
    """A plan in the words of the page; `link` is empty where there is nothing to follow."""

    name: str
    description: str
    popular_text: str
    amount: str
    per: str
    saving: str
    notes: list[str]
    lines: list[FeatureLine]
    button_text: str
    button_outline: bool
    link: str
    is_enterprise: bool


def merchant(request: HttpRequest) -> dict[str, Any]:
    """Give templates the seller, who is read when a page names them."""
    return {"merchant": SimpleLazyObject(Merchant.objects.get)}


@require_safe
def pricing_page(request: HttpRequest, slug: str = "") -> HttpResponse:
    """Show an active pricing table to visitors: without slug the default one, else the first.

    `?interval=year` shows yearly prices where there are such, `?session=` is handed on to the checkout.
    """
    try:
        table = find_shown_table(slug)
    except PricingTableNotFound:
        if slug:
            return render(request, "pages/not_found.html", {"sentence": "There is no such pricing page."}, status=404)
        table = None
    offered = read_offered_plans(table) if table is not None else []
    interval = "year" if request.GET.get("interval") == "year" else "month"
    session = request.GET.get("session", "")
    has_switch = any(one.monthly is not None and one.yearly is not None for one in offered)
    context = {
        "table": table,
        "cards": [page_card(one, interval=interval, session=session) for one in offered],
        "switch": _switch(interval, session) if has_switch else [],
    }
    response = render(request, "pages/pricing.html", context)
    if session:
        response["Cache-Control"] = "no-store"
    return response


def _switch(chosen: str, session: str) -> list[dict[str, Any]]:
    """The two links between monthly and yearly prices."""
    links = []
    for interval, text in zip(INTERVALS, ("Monthly", "Yearly"), strict=True):
        query = {"interval": interval} | ({"session": session} if session else {})
        links.append({"text": text, "address": f"?{urlencode(query)}", "is_chosen": interval == chosen})
    return links


def page_card(offered: OfferedPlan, *, interval: str, session: str = "") -> PageCard:
    """Put a plan into the words of the page, at its price for `interval`, else at the one it has."""
    plan = offered.placed.plan
    card = (offered.yearly if interval == "year" else offered.monthly) or offered.shown
    saving = offered.yearly_saving_percent if interval == "year" else None
    of_what = " on the fee" if card.rates else ""
    return PageCard(
        name=plan.name,
        description=plan.description,
        popular_text=offered.popular_text if offered.placed.is_popular else "",
        amount=_amount(card),
        per=_per(card),
        saving=f"Save {saving}%{of_what}" if saving else "",
        notes=_notes(card, interval),
        lines=feature_lines(card),
        button_text=offered.button_text,
        button_outline=offered.placed.button_outline,
        link=_contact(plan.enterprise_redirect_url) if plan.is_enterprise_plan else _checkout(card.price, session),
        is_enterprise=plan.is_enterprise_plan,
    )


def _amount(card: Card) -> str:
    if card.price is None:
        return "On request"
    seats = card.named_by_seats
    if seats is not None:
        return _without_zeros(seats.charge.unit_cost_cents, card.price)
    if card.least_cents:
        least = _without_zeros(card.least_cents, card.price)
        return f"From {least}" if card.seats else least
    return "Pay as you go" if card.rates else "Free"


def _without_zeros(cents: Decimal | int, price: Price) -> str:
    """A whole amount is read faster without its zeros, and is as exact."""
    return money_text(cents, price.currency).removesuffix("." + "0" * currency_exponent(price.currency))


def _per(card: Card) -> str:
    if card.price is None or not card.least_cents:
        return ""
    interval = interval_of(card.price)
    often = interval if interval == "once" else f"per {interval}"
    seats = card.named_by_seats
    return f"per {seats.unit_label or 'unit'} {often}" if seats is not None else often


def _notes(card: Card, interval: str) -> list[str]:
    """What a customer should know of the price before choosing it."""
    if card.price is None:
        return []
    notes = []
    own = interval_of(card.price)
    if card.least_cents and own != interval:
        paid = "it is paid once" if own == "once" else f"this price is per {own}"
        notes.append(f"Not offered by the {interval}: {paid}.")
    billing = _billing_sentence(card, card.price)
    return [*notes, billing] if billing else notes


def _billing_sentence(card: Card, price: Price) -> str:
    """Say when what is paid, where that is not all at the same time."""
    fees = [one for one in price.components.all() if one.kind == ComponentKind.FIXED and one.amount_cents]
    clocks = [fee.clock for fee in fees] + [one.clock for one in card.seats]
    usage = each_text(shortest(rate.clock for rate in card.rates)) if card.rates else ""
    if not clocks:
        return f"No fee. What you use is billed {usage}." if usage else ""
    often = {each_text(clock) for clock in clocks}
    is_one = len(often) == 1 and not (fees and card.seats)
    if is_one and usage in ("", *often) and not any(clock.has_end and clock.count != 1 for clock in clocks):
        return ""
    if is_one and fees and usage:
        parts = [f"{money_text(card.fee_cents, price.currency)} {often.pop()}"]
    else:
        parts = [f"{money_text(fee.amount_cents or 0, price.currency)} {each_text(fee.clock)}" for fee in fees]
        parts += [_seats_text(one, price) for one in card.seats]
    sentence = f"You pay {' and '.join(parts)}, in advance"
    return f"{sentence}; usage beyond what is included is billed {usage}." if usage else f"{sentence}."


def _seats_text(seats: Seats, price: Price) -> str:
    cost = short_charge_text(seats.charge, currency=price.currency, unit_label=seats.unit_label)
    return f"{cost} {each_text(seats.clock)}"


def _checkout(price: Price | None, session: str) -> str:
    """The address at which a price is bought."""
    if price is None:
        return ""
    query = {"price": price.public_id} | ({"session": session} if session else {})
    return f"{CHECKOUT_PATH}?{urlencode(query)}"


def _contact(address: str | None) -> str:
    """The address to contact the seller at; empty for one that a browser should not be sent to."""
    try:
        parts = urlsplit(address or "")
    except ValueError:
        return ""
    is_page = parts.scheme in ("http", "https") and bool(parts.netloc)
    is_mail = parts.scheme == "mailto" and bool(parts.path)
    return (address or "") if is_page or is_mail else ""
