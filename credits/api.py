"""The doors of /v1/credits. The older paths /v1/credit-definitions and /v1/credit-grants lead here too."""

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from credits.models import CreditDefinition, CreditTransaction
from credits.services.definitions import create_definition, find_definition
from credits.services.grants import find_grant, grant_credits, live_grant, live_grants, revoke_grant
from credits.words import (
    CreateDefinition,
    CreateGrant,
    ListTransactions,
    RevokeGrant,
    definition_body,
    grant_body,
    transaction_body,
)
from plans.query import boolean_parameter
from plans.serializers.reading import read
from plans.services.customers import find_customer
from plans.services.features import find_feature
from plans.services.merchant import find_merchant_id
from plans.services.plans import find_plan
from plans.services.prices import find_price

MOST_ROWS = 1000
_WITH_LINKS = ("plan", "price", "feature")


class DefinitionsView(APIView):
    """GET and POST /v1/credits/definitions."""

    scope = "credits"

    def get(self, request: Request) -> Response:
        definitions = CreditDefinition.objects.filter(deleted_at__isnull=True).select_related(*_WITH_LINKS)
        for parameter, column in (("scope", "scope"), ("applicationType", "application_type")):
            if parameter in request.query_params:
                definitions = definitions.filter(**{column: request.query_params[parameter]})
        merchant = find_merchant_id()
        rows = definitions.order_by("-created_at", "-pk")[:MOST_ROWS]
        return Response({"definitions": [definition_body(definition, merchant) for definition in rows]})

    def post(self, request: Request) -> Response:
        body = read(CreateDefinition, request.data)
        feature = body.get("featureId") or body.get("featureSlug")
        definition = create_definition(
            at=timezone.now(),
            name=body["name"],
            description=body.get("description", ""),
            scope=body["scope"],
            application_type=body["applicationType"],
            plan=find_plan(body["planId"]) if body.get("planId") else None,
            price=find_price(body["priceId"]) if body.get("priceId") else None,
            price_component_id=body.get("priceComponentId") or None,
            feature=find_feature(feature) if feature else None,
            default_amount=body["defaultAmount"],
            refill_amount=body.get("refillAmount"),
            expiry_days=body.get("expiryDays"),
            renew_on_billing=body["renewOnBilling"],
            billing_visible=body["billingVisible"],
            billing_description=body.get("billingDescription") or "",
            priority=body.get("priority"),
        )
        return Response({"definition": definition_body(definition, find_merchant_id())})


class DefinitionView(APIView):
    """GET /v1/credits/definitions/{id}."""

    scope = "credits"

    def get(self, request: Request, definition_id: str) -> Response:
        return Response({"definition": definition_body(find_definition(definition_id), find_merchant_id())})


class GrantsView(APIView):
    """POST /v1/credits/grants."""

    scope = "credits"

    def post(self, request: Request) -> Response:
        body = read(CreateGrant, request.data)
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
        notes = read(RevokeGrant, request.data).get("notes") or ""
        live = revoke_grant(at=timezone.now(), grant=find_grant(grant_id), notes=notes)
        return Response({"grant": grant_body(live, find_merchant_id())})


class CustomerGrantsView(APIView):
    """GET /v1/credits/customers/{customerId}/grants."""

    scope = "credits"

    def get(self, request: Request, customer_id: str) -> Response:
        external = boolean_parameter(request.query_params, "isExtCustId")
        grants = live_grants(at=timezone.now(), customer=find_customer(customer_id, external=external))
        status = request.query_params.get("status")
        kind = request.query_params.get("applicationType")
        merchant = find_merchant_id()
        return Response(
            {
                "grants": [
                    grant_body(live, merchant)
                    for live in grants
                    if status in (None, live.status) and kind in (None, live.grant.definition.application_type)
                ]
            }
        )


class CustomerTransactionsView(APIView):
    """GET /v1/credits/customers/{customerId}/transactions."""

    scope = "credits"

    def get(self, request: Request, customer_id: str) -> Response:
        query = read(ListTransactions, request.query_params)
        external = boolean_parameter(request.query_params, "isExtCustId")
        rows = CreditTransaction.objects.filter(customer=find_customer(customer_id, external=external))
        if "fromDate" in query:
            rows = rows.filter(occurred_at__gte=query["fromDate"])
        if "toDate" in query:
            rows = rows.filter(occurred_at__lt=query["toDate"])
        rows = rows.select_related(
            "customer", "grant__metric", "grant__definition__feature", "grant__definition__price"
        ).order_by("-occurred_at", "-pk")[: query["limit"]]
        merchant = find_merchant_id()
        return Response({"transactions": [transaction_body(row, merchant) for row in rows]})
