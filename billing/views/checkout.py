"""The checkout's pages: the form at `/checkout`, and how it ended at `/checkout/{id}`."""

import logging
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_http_methods, require_safe

from billing import checkouts, gateway
from billing.checkout_pages import checkout_page_path, order_summary, welcome
from billing.checkout_sessions import VALID_FOR, CheckoutSession, customer_session, read_session, sign_session
from billing.models import Checkout, CheckoutStatus
from billing.services.buyers import UNSEEN, Buyer, known_buyer, new_buyer
from billing.services.checkout import (
    CheckoutNotFound,
    find_checkout,
    find_completed_checkout,
    find_open_checkout,
    refuse_subscribed,
)
from billing.services.first_bill import needs_card
from billing.stripe_amounts import to_stripe
from billing.words import started_words
from plans.models import Price
from plans.refusals import Refusal

logger = logging.getLogger(__name__)

VISITOR = "candela_visitor"


class BuyerForm(forms.Form):
    """What a new customer types of himself."""

    name = forms.CharField(
        label="Name",
        max_length=200,
        error_messages={"required": "Type your name or that of your company: it stands on your invoices."},
        widget=forms.TextInput({"autocomplete": "name"}),
    )
    email = forms.EmailField(
        label="E-mail",
        max_length=254,
        error_messages={
            "required": "Type your e-mail address: it stands on your invoices.",
            "invalid": "This is no e-mail address. It looks like name@example.com.",
        },
        widget=forms.EmailInput({"autocomplete": "email", "inputmode": "email"}),
    )

    def clean_name(self) -> str:
        """Refuse what cannot be seen."""
        name: str = self.cleaned_data["name"]
        if UNSEEN.search(name):
            raise forms.ValidationError("Type the name on one line, in letters that can be seen.")
        return name


@dataclass(frozen=True, kw_only=True)
class Visit:
    """A visit to the checkout: who comes, for which price, and the token that says so.

    `is_new` tells that the visitor has no cookie yet that says who he is.
    """

    session: CheckoutSession
    token: str
    price: Price
    is_new: bool

    @property
    def known(self) -> bool:
        """Whether the seller's backend has sent a customer."""
        return bool(self.session.customer)

    @property
    def query(self) -> dict[str, str]:
        """What the address of a page of this visit says."""
        return {"price": self.price.public_id} | ({"session": self.token} if self.known else {})


@require_http_methods(["GET", "HEAD", "POST"])
@cache_control(no_store=True)
def checkout_page(request: HttpRequest) -> HttpResponse:
    """Show the form for `?price=`, or subscribe who has filled it in.

    A browser with JavaScript posts the form by itself, asking for JSON, and gets what it confirms with Stripe.
    """
    at = timezone.now()
    wants_json = request.headers.get("Accept") == "application/json"
    try:
        visit = _visit(request, at)
        if request.method == "POST" and "begin_again" in request.POST:
            return _begin_again(visit)
        response = _subscribe(request, visit, at, wants_json) if request.method == "POST" else _form(request, visit)
    except Refusal as refusal:
        return _refuse(request, refusal, wants_json)
    if visit.is_new:
        _remember(response, visit.token)
    return response


def _visit(request: HttpRequest, at: datetime) -> Visit:
    """Find out who comes, and for what. Raises PriceNotOnSale, and what is wrong with a session of the address."""
    token = request.GET.get("session", "")
    remembered = None if token else _visitor(request.COOKIES.get(VISITOR, ""), at)
    if token:
        session = customer_session(token, at=at)
    elif remembered is not None:
        session, token = remembered, request.COOKIES[VISITOR]
    else:
        session, token = _new_visitor(at)
    # PostgreSQL takes no NUL, and no id has one.
    price = checkouts.price_for(session, request.GET.get("price", "").replace("\x00", ""))
    return Visit(session=session, token=token, price=price, is_new=not session.customer and remembered is None)


def _visitor(token: str, at: datetime) -> CheckoutSession | None:
    """Read a cookie: it names a browser, and never a customer, who comes by an address alone."""
    try:
        session = read_session(token, at=at)
    except Refusal:
        return None
    return session if session.visitor else None


def _new_visitor(at: datetime) -> tuple[CheckoutSession, str]:
    session = CheckoutSession(visitor=secrets.token_urlsafe(16))
    return session, sign_session(session, at=at)[0]


def _remember(response: HttpResponse, token: str) -> None:
    """Let all tabs of this browser be one buyer."""
    response.set_cookie(
        VISITOR,
        token,
        max_age=int(VALID_FOR.total_seconds()),
        path="/checkout",
        secure=settings.IS_HTTPS,
        httponly=True,
        samesite="Lax",
    )


def _begin_again(visit: Visit) -> HttpResponse:
    """Let the next checkout of this browser be somebody else's."""
    response = HttpResponseRedirect(f"/checkout?{urlencode(visit.query)}")
    response.delete_cookie(VISITOR, path="/checkout")
    return response


def _form(request: HttpRequest, visit: Visit, form: BuyerForm | None = None, *, problem: str = "") -> HttpResponse:
    done = find_completed_checkout(visit.session.buyer)
    if done is not None:
        context = {"done": done, "done_path": checkout_page_path(done), "visit": visit}
        return render(request, "pages/checkout_done.html", context)
    buyer = known_buyer(customer_id=visit.session.customer) if visit.known else None
    if buyer is not None:
        refuse_subscribed(buyer)
    has_card_form = needs_card(visit.price)
    if has_card_form:
        checkouts.require_card_form()
    order = order_summary(visit.price, buyer)
    context = {
        "visit": visit,
        "buyer": buyer,
        "form": form or BuyerForm(initial=_typed_before(visit)),
        "order": order,
        "problem": problem,
        "has_card_form": has_card_form,
        "action": f"/checkout?{urlencode(visit.query)}",
        "stripe_key": checkouts.publishable_key(),
        "stripe_script": checkouts.stripe_script(),
        "stripe_amount": to_stripe(order.due_cents, visit.price.currency),
        "back": _pricing_path(visit.token if visit.known else ""),
    }
    response = render(request, "pages/checkout.html", context, status=400 if problem or (form and form.errors) else 200)
    if has_card_form:
        _allow_stripe(response)
    return response


def _typed_before(visit: Visit) -> dict[str, str]:
    """What this browser has typed in a checkout that is open still; the card is typed anew."""
    there = None if visit.known else find_open_checkout(visit.session.buyer)
    return {"name": there.name, "email": there.email} if there is not None else {}


def _allow_stripe(response: HttpResponse) -> None:
    """Let the page load the card form, which the payment provider serves, and talk to it."""
    response._csp_update = checkouts.stripe_sources()  # type: ignore[attr-defined]  # django-csp's way to widen one answer


def _subscribe(request: HttpRequest, visit: Visit, at: datetime, wants_json: bool) -> HttpResponse:
    form = BuyerForm(request.POST)
    if not visit.known and not form.is_valid():
        if wants_json:
            errors = {name: str(next(iter(found))) for name, found in form.errors.items()}
            return JsonResponse({"error": "Some fields need your attention.", "fields": errors}, status=400)
        return _form(request, visit, form)
    if needs_card(visit.price) and not wants_json:
        return _form(request, visit, form, problem="Paying by card needs JavaScript. Switch it on and reload the page.")
    started = checkouts.start(buyer=_buyer(visit, form), price=visit.price, at=at)
    path = checkout_page_path(started.checkout, session=visit.token if visit.known else "")
    if not wants_json:
        return HttpResponseRedirect(path)
    words = started_words(started.checkout, started.intent, stripe_key=checkouts.publishable_key())
    return JsonResponse(words | {"page": path})


def _buyer(visit: Visit, form: BuyerForm) -> Buyer:
    if visit.known:
        return known_buyer(customer_id=visit.session.customer)
    return new_buyer(visitor=visit.session.buyer, **form.cleaned_data)


def _refuse(request: HttpRequest, refusal: Refusal, wants_json: bool) -> HttpResponse:
    if wants_json:
        return JsonResponse({"error": refusal.message, "code": refusal.code}, status=refusal.status)
    token = request.GET.get("session", "")
    is_about_session = refusal.code.startswith("checkout_session")
    context = {
        "sentence": refusal.message,
        # Who was sent by the seller's app and is not let in would buy as a stranger on the public page.
        "back": "" if is_about_session else _pricing_path(token),
    }
    return render(request, "pages/checkout_refused.html", context, status=refusal.status)


def _pricing_path(session: str) -> str:
    """The address of the plans; a session of the seller's app is not lost on the way."""
    return f"/pricing?{urlencode({'session': session})}" if session else "/pricing"


@require_safe
@cache_control(no_store=True)
def checkout_result_page(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show how a checkout stands, going on with it where Stripe has news; to know its id is to be allowed to."""
    if "payment_intent" in request.GET or "setup_intent" in request.GET:
        # The bank's page leads here with a secret in the address, which is not to stay in the browser's history.
        session = request.GET.get("session", "")
        return HttpResponseRedirect(request.path + (f"?{urlencode({'session': session})}" if session else ""))
    try:
        checkout = find_checkout(public_id=public_id.replace("\x00", ""))
    except CheckoutNotFound:
        return render(request, "pages/not_found.html", {"sentence": "There is no such checkout."}, status=404)
    error, is_unreachable = "", False
    try:
        _, error = checkouts.go_on(checkout, at=timezone.now())
    except (gateway.StripeUnavailable, gateway.StripeRefused, gateway.CardDeclined) as failure:
        logger.warning("checkout %s could not go on: %s", checkout, failure)
        is_unreachable = isinstance(failure, gateway.StripeUnavailable)
    return _result(request, find_checkout(public_id=checkout.public_id), error, is_unreachable=is_unreachable)


def _result(request: HttpRequest, checkout: Checkout, error: str, *, is_unreachable: bool) -> HttpResponse:
    if checkout.status == CheckoutStatus.SUBSCRIBED:
        return render(request, "pages/checkout_success.html", {"welcome": welcome(checkout, at=timezone.now())})
    session = request.GET.get("session", "")
    query = {"price": checkout.price.public_id} | ({"session": session} if session else {})
    context: dict[str, Any] = {
        "is_open": checkout.status == CheckoutStatus.OPEN,
        "sentence": checkout.error_message or error,
        "is_unreachable": is_unreachable,
        "back": _pricing_path(session),
        "again": f"/checkout?{urlencode(query)}",
    }
    return render(request, "pages/checkout_open.html", context)
