"""The doors of /v1/credits. The older paths /v1/credit-definitions and /v1/credit-grants lead here too."""

from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from credits.models import CreditDefinition
from credits.services.balance import read_balances
from credits.services.definitions import create_definition, delete_definition, find_definition, update_definition
from credits.services.grants import (
    adjust_grant,
    find_grant,
    grant_credits,
    grants_in_state,
    live_grant,
    live_grants,
    revoke_grant,
)
from credits.services.movements import list_movements
from credits.words import (
    AdjustGrant,
    CreateDefinition,
    CreateGrant,
    DeleteDefinition,
    ListDefinitions,
    ListGrants,
    ListTransactions,
    RevokeGrant,
    UpdateDefinition,
    balances_body,
    definition_body,
    definition_fields,
    grant_body,
    movement_body,
)
from plans.listing import read_page
from plans.models import Customer, Feature
from plans.query import boolean_parameter
from plans.refusals import InvalidInput
from plans.serializers.reading import read, read_exactly
from plans.services.customers import find_customer
from plans.services.features import find_feature
from plans.services.merchant import find_merchant_id
from plans.services.plans import find_plan
from plans.services.prices import find_price


class DefinitionsView(APIView):
    """GET and POST /v1/credits/definitions."""

    scope = "credits"

    def get(self, request: Request) -> Response:
        query = read(ListDefinitions, request.query_params)
        definitions = CreditDefinition.objects.filter(deleted_at__isnull=True).select_related(
            "plan", "price", "feature"
        )
        for parameter, column in (("scope", "scope"), ("applicationType", "application_type")):
            if parameter in query:
                definitions = definitions.filter(**{column: query[parameter]})
        merchant = find_merchant_id()
        page = read_page(definitions, request.query_params)
        return Response(
            {"definitions": [definition_body(definition, merchant) for definition in page.rows]} | page.words
        )

    def post(self, request: Request) -> Response:
        body = read(CreateDefinition, request.data)
        definition = create_definition(at=timezone.now(), **definition_fields(body) | _links(body))
        return _definition_answer(definition)


class DefinitionView(APIView):
    """GET /v1/credits/definitions/{id}."""

    scope = "credits"

    def get(self, request: Request, definition_id: str) -> Response:
        return _definition_answer(find_definition(definition_id))


class UpdateDefinitionView(APIView):
    """POST /v1/credits/definitions/{id}/update."""

    scope = "credits"

    def post(self, request: Request, definition_id: str) -> Response:
        definition = find_definition(definition_id)
        body = read(UpdateDefinition, request.data)
        updated = update_definition(
            at=timezone.now(),
            definition=definition,
            changes=definition_fields(body) | _links(body),
            apply_to_existing=body["applyToExisting"],
        )
        return _definition_answer(updated)


class DeleteDefinitionView(APIView):
    """POST /v1/credits/definitions/{id}/delete."""

    scope = "credits"

    def post(self, request: Request, definition_id: str) -> Response:
        body = read(DeleteDefinition, request.data)
        # What was deleted for new subscriptions may still be stopped for those that run.
        definition = find_definition(definition_id, with_deleted=body["applyToExisting"])
        return _definition_answer(
            delete_definition(at=timezone.now(), definition=definition, apply_to_existing=body["applyToExisting"])
        )


def _links(body: dict[str, Any]) -> dict[str, Any]:
    """The objects that a body links a definition to; null takes a link away."""
    links: dict[str, Any] = {}
    if "planId" in body:
        links["plan"] = find_plan(body["planId"]) if body["planId"] else None
    if "priceId" in body:
        links["price"] = find_price(body["priceId"]) if body["priceId"] else None
    if "featureId" in body or "featureSlug" in body:
        links["feature"] = _feature(body)
    return links


def _feature(body: dict[str, Any]) -> Feature | None:
    """The feature that a body names by its id, its slug, or both; they must be of the same one."""
    named = [find_feature(body[field]) for field in ("featureId", "featureSlug") if body.get(field)]
    if len({feature.pk for feature in named}) > 1:
        raise InvalidInput.at("featureSlug", "names another feature than featureId. Send one of them.")
    return named[0] if named else None


def _definition_answer(definition: CreditDefinition) -> Response:
    return Response({"definition": definition_body(definition, find_merchant_id())})


class GrantsView(APIView):
    """POST /v1/credits/grants."""

    scope = "credits"

    def post(self, request: Request) -> Response:
        body = read_exactly(CreateGrant, request.data)
        at = timezone.now()
        grant = grant_credits(
            at=at,
            customer=find_customer(body["customerId"], external=boolean_parameter(request.query_params, "isExtCustId")),
            definition=find_definition(body["creditDefinitionId"]),
            source=body["source"],
            amount=body.get("initialAmount"),
            starts_at=body.get("startDate"),
            expires_at=body.get("expiryDate"),
            priority=body.get("priority"),
            reference_code=body.get("referenceCode"),
            notes=body.get("notes") or "",
        )
        return Response({"grant": grant_body(live_grant(at=at, grant=grant), find_merchant_id())})


class RevokeGrantView(APIView):
    """POST /v1/credits/grants/{id}/revoke."""

    scope = "credits"

    def post(self, request: Request, grant_id: str) -> Response:
        notes = read_exactly(RevokeGrant, request.data).get("notes") or ""
        live = revoke_grant(at=timezone.now(), grant=find_grant(grant_id), notes=notes)
        return Response({"grant": grant_body(live, find_merchant_id())})


class AdjustGrantView(APIView):
    """POST /v1/credits/grants/{id}/adjust."""

    scope = "credits"

    def post(self, request: Request, grant_id: str) -> Response:
        body = read_exactly(AdjustGrant, request.data)
        live = adjust_grant(
            at=timezone.now(), grant=find_grant(grant_id), amount=body["amount"], notes=body.get("notes") or ""
        )
        return Response({"grant": grant_body(live, find_merchant_id())})


class CustomerGrantsView(APIView):
    """GET /v1/credits/customers/{customerId}/grants."""

    scope = "credits"

    def get(self, request: Request, customer_id: str) -> Response:
        query, at = read(ListGrants, request.query_params), timezone.now()
        grants = grants_in_state(
            at=at,
            customer=_customer(request, customer_id),
            status=query.get("status"),
            application_type=query.get("applicationType"),
        )
        page = read_page(grants, request.query_params)
        merchant = find_merchant_id()
        return Response({"grants": [grant_body(live, merchant) for live in live_grants(page.rows, at=at)]} | page.words)


class CustomerBalanceView(APIView):
    """GET /v1/credits/customers/{customerId}/balance."""

    scope = "credits"

    def get(self, request: Request, customer_id: str) -> Response:
        customer = _customer(request, customer_id)
        balances = read_balances(customer=customer, at=timezone.now())
        return Response({"balance": balances_body(balances, customer.public_id)})


class CustomerTransactionsView(APIView):
    """GET /v1/credits/customers/{customerId}/transactions."""

    scope = "credits"

    def get(self, request: Request, customer_id: str) -> Response:
        query = read(ListTransactions, request.query_params)
        movements = list_movements(
            customer=_customer(request, customer_id),
            at=timezone.now(),
            limit=query["limit"],
            from_at=query.get("fromDate"),
            to_at=query.get("toDate"),
        )
        merchant = find_merchant_id()
        return Response({"transactions": [movement_body(movement, merchant) for movement in movements]})


def _customer(request: Request, customer_id: str) -> Customer:
    return find_customer(customer_id, external=boolean_parameter(request.query_params, "isExtCustId"))
