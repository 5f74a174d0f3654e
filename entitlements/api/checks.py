"""The doors of /v1/entitlements. Plain views: they are asked a thousand times for every bill."""

import re
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from entitlements.services.check import check, check_many, list_entitlements, list_entitlements_of
from entitlements.words import entitlement_body, seat_words
from plans.access import needs
from plans.exact_json import decode_object, encode
from plans.listing import read_page
from plans.models import Customer
from plans.query import boolean_parameter
from plans.refusals import InvalidInput
from plans.services.customers import find_customer
from plans.services.seats import customers_of, organization_of, payers_of

_SLUG = re.compile(r"[a-z0-9-]{1,50}")
MOST_SLUGS = 100


@needs(scope="entitlements:read")
@require_GET
def entitlements(request: HttpRequest, customer_id: str) -> HttpResponse:
    """GET /v1/entitlements/{customerId}: every feature that the customer has."""
    decisions = list_entitlements(customer=customer_id, external=_is_external(request), at=timezone.now())
    return _answer({"entitlements": [entitlement_body(decision) for decision in decisions]})


@needs(scope="entitlements:read")
@require_GET
def feature(request: HttpRequest, customer_id: str, slug: str) -> HttpResponse:
    """GET /v1/entitlements/{customerId}/feature/{slug}: one check."""
    decision = check(customer=customer_id, slug=slug, external=_is_external(request), at=timezone.now())
    return _answer(entitlement_body(decision))


@needs(scope="entitlements:read")
@require_GET
def seat_aware(request: HttpRequest, customer_id: str) -> HttpResponse:
    """GET /v1/entitlements/{customerId}/seat-aware: what each customer of the same organization has, newest customers
    first; `limit` and `cursor` page through the customers."""
    at = timezone.now()
    customer = find_customer(customer_id, external=_is_external(request))
    organization_id = organization_of(customer, at=at)
    if organization_id is None:
        page = read_page(Customer.objects.filter(pk=customer.pk), request.GET)
    else:
        page = read_page(customers_of(organization_id, at=at), request.GET)
    payers = payers_of(page.rows, organization_id=organization_id)
    decisions = list_entitlements_of(set(payers.values()), at=at)
    bodies = {payer: [entitlement_body(decision) for decision in found] for payer, found in decisions.items()}
    entries = [body | seat_words(seat) for seat in page.rows for body in bodies.get(payers[seat.pk], ())]
    return _answer({"entitlements": entries} | page.words)


# Asking changes nothing, so there is no answer to keep.
@needs(scope="entitlements:read", own_idempotency=True)
@require_POST
def features(request: HttpRequest, customer_id: str) -> HttpResponse:
    """POST /v1/entitlements/{customerId}/features: many checks at once; features that say no are left out."""
    slugs = _read_slugs(decode_object(request.body))
    decisions = check_many(customer=customer_id, slugs=slugs, external=_is_external(request), at=timezone.now())
    return _answer({"entitlements": [entitlement_body(decision) for decision in decisions if decision.entitled]})


def _read_slugs(body: dict[str, Any]) -> list[str]:
    slugs = body.get("featureSlugs")
    if slugs == []:
        raise InvalidInput("featureSlugs array cannot be empty", details=[{"path": "featureSlugs", "message": "empty"}])
    if not isinstance(slugs, list) or len(slugs) > MOST_SLUGS:
        raise InvalidInput.at("featureSlugs", f"must be a list of 1 to {MOST_SLUGS} slugs.")
    for index, slug in enumerate(slugs):
        if not isinstance(slug, str) or not _SLUG.fullmatch(slug):
            raise InvalidInput.at(f"featureSlugs[{index}]", "must be lowercase letters, numbers and hyphens.")
    return slugs


def _is_external(request: HttpRequest) -> bool:
    return boolean_parameter(request.GET, "isExtCustId")


def _answer(body: dict[str, Any]) -> HttpResponse:
    return HttpResponse(encode(body), content_type="application/json")
