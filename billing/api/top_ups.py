"""The doors of /v1/credits/packs. They stand here because to buy a pack is to be billed."""

from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.services.top_up import MOST_PACKS, bought_grants, buy_pack
from billing.words import invoice_body
from credits.models import TopUpPack
from credits.services.definitions import find_definition
from credits.services.grants import live_grant
from credits.services.packs import create_pack, find_pack, update_pack
from credits.words import grant_body
from plans.listing import read_page
from plans.price_language import LARGEST_AMOUNT_CENTS
from plans.query import boolean_parameter
from plans.refusals import InvalidInput
from plans.serializers.fields import CurrencyCode, JsonValue, Switch, Text, WholeNumber
from plans.serializers.reading import read_exactly
from plans.services.customers import find_customer
from plans.services.merchant import find_merchant_id

_WHAT_IT_HOLDS = ("amount", "creditDefinitionId", "currency")


class CreatePack(serializers.Serializer):
    """The body of POST /v1/credits/packs."""

    name = Text(max_length=200)
    creditDefinitionId = Text(max_length=80)
    amount = serializers.DecimalField(max_digits=24, decimal_places=6)
    priceCents = WholeNumber(min_value=1, max_value=LARGEST_AMOUNT_CENTS)
    currency = CurrencyCode()


class UpdatePack(serializers.Serializer):
    """The body of POST /v1/credits/packs/{id}/update: what is sent is changed."""

    name = Text(max_length=200, required=False)
    priceCents = WholeNumber(min_value=1, max_value=LARGEST_AMOUNT_CENTS, required=False)
    isActive = Switch(required=False)
    # They are known, and refused with their reason.
    amount = JsonValue(required=False, allow_null=True)
    creditDefinitionId = JsonValue(required=False, allow_null=True)
    currency = JsonValue(required=False, allow_null=True)

    def validate(self, body: dict[str, Any]) -> dict[str, Any]:
        for field in _WHAT_IT_HOLDS:
            if field in self.initial_data:
                raise InvalidInput.at(
                    field, "cannot be changed: what a pack holds stays. Retire this pack and create another."
                )
        return body


class BuyPack(serializers.Serializer):
    """The body of POST /v1/credits/packs/{id}/purchase."""

    customerId = Text(max_length=255)
    quantity = WholeNumber(required=False, default=1, min_value=1, max_value=MOST_PACKS)


class PacksView(APIView):
    """`/v1/credits/packs`."""

    scope = "credits"

    def get(self, request: Request) -> Response:
        """List packs; with `isActive` only those on offer, or only the retired ones."""
        packs = TopUpPack.objects.select_related("definition__metric")
        if "isActive" in request.query_params:
            packs = packs.filter(is_active=boolean_parameter(request.query_params, "isActive"))
        page = read_page(packs, request.query_params)
        merchant = find_merchant_id()
        return Response({"packs": [pack_body(pack, merchant) for pack in page.rows]} | page.words)

    def post(self, request: Request) -> Response:
        """Offer a pack."""
        body = read_exactly(CreatePack, request.data)
        pack = create_pack(
            at=timezone.now(),
            name=body["name"],
            definition=find_definition(body["creditDefinitionId"]),
            amount=body["amount"],
            price_cents=body["priceCents"],
            currency=body.get("currency") or "",
        )
        return Response({"pack": pack_body(pack, find_merchant_id())})


class PackUpdateView(APIView):
    """`/v1/credits/packs/{id}/update`."""

    scope = "credits"

    def post(self, request: Request, pack_id: str) -> Response:
        """Rename a pack, change its price, retire it or offer it again."""
        body = read_exactly(UpdatePack, request.data)
        pack = update_pack(
            pack=find_pack(pack_id),
            name=body.get("name"),
            price_cents=body.get("priceCents"),
            is_active=body.get("isActive"),
        )
        return Response({"pack": pack_body(pack, find_merchant_id())})


class PackPurchaseView(APIView):
    """`/v1/credits/packs/{id}/purchase`."""

    scope = "credits"

    def post(self, request: Request, pack_id: str) -> Response:
        """Sell packs to a customer: `invoice`, and `grant`, which is null until the invoice is paid."""
        body = read_exactly(BuyPack, request.data)
        at = timezone.now()
        external = boolean_parameter(request.query_params, "isExtCustId")
        invoice = buy_pack(
            customer=find_customer(body["customerId"], external=external),
            pack=find_pack(pack_id),
            quantity=body["quantity"],
            at=at,
        )
        merchant = find_merchant_id()
        grants = [grant_body(live_grant(at=at, grant=grant), merchant) for grant in bought_grants(invoice)]
        return Response({"invoice": invoice_body(invoice, merchant), "grant": grants[0] if grants else None})


def pack_body(pack: TopUpPack, merchant_id: str) -> dict[str, Any]:
    """Shape a pack; its definition and metric are to be fetched already. `amount` counts units of the metric, or minor
    units of money."""
    definition = pack.definition
    return {
        "id": pack.public_id,
        "merchantId": merchant_id,
        "name": pack.name,
        "creditDefinitionId": definition.public_id,
        "applicationType": definition.application_type,
        "metricId": definition.metric and definition.metric.public_id,
        "amount": pack.amount,
        "priceCents": pack.price_cents,
        "currency": pack.currency,
        "isActive": pack.is_active,
        "createdAt": pack.created_at,
        "updatedAt": pack.updated_at,
    }
