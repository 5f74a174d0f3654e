"""The doors of /v1/credits/auto-top-ups. They stand here because to top up is to be billed."""

from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.models import AutoTopUp
from billing.services.auto_top_up import (
    Standing,
    create_auto_top_up,
    find_auto_top_up,
    standings,
    update_auto_top_up,
)
from billing.services.top_up import MOST_PACKS
from credits.services.packs import find_pack
from plans.listing import read_page
from plans.price_language import LARGEST_AMOUNT_CENTS
from plans.query import boolean_parameter
from plans.refusals import InvalidInput
from plans.serializers.fields import CurrencyCode, JsonValue, Switch, Text, WholeNumber
from plans.serializers.reading import read_exactly
from plans.services.customers import find_customer
from plans.services.merchant import find_merchant_id

_WHO_AND_WHAT = ("customerId", "packId", "currency")


class CreateAutoTopUp(serializers.Serializer):
    """The body of POST /v1/credits/auto-top-ups."""

    customerId = Text(max_length=255)
    packId = Text(max_length=80)
    threshold = serializers.DecimalField(max_digits=24, decimal_places=6)
    quantity = WholeNumber(required=False, default=1, min_value=1, max_value=MOST_PACKS)
    monthlyLimitCents = WholeNumber(min_value=1, max_value=LARGEST_AMOUNT_CENTS)
    currency = CurrencyCode()
    enabled = Switch(required=False, default=True)


class UpdateAutoTopUp(serializers.Serializer):
    """The body of POST /v1/credits/auto-top-ups/{id}/update: what is sent is changed."""

    threshold = serializers.DecimalField(max_digits=24, decimal_places=6, required=False)
    quantity = WholeNumber(required=False, min_value=1, max_value=MOST_PACKS)
    monthlyLimitCents = WholeNumber(required=False, min_value=1, max_value=LARGEST_AMOUNT_CENTS)
    enabled = Switch(required=False)
    # They are known, and refused with their reason.
    customerId = JsonValue(required=False, allow_null=True)
    packId = JsonValue(required=False, allow_null=True)
    currency = JsonValue(required=False, allow_null=True)

    def validate(self, body: dict[str, Any]) -> dict[str, Any]:
        for field in _WHO_AND_WHAT:
            if field in self.initial_data:
                raise InvalidInput.at(field, "cannot be changed. Disable this automatic top-up and create another.")
        return body


class AutoTopUpsView(APIView):
    """`/v1/credits/auto-top-ups`."""

    scope = "credits"

    def get(self, request: Request) -> Response:
        """List automatic top-ups; with `customerId` those of one customer."""
        rows = AutoTopUp.objects.select_related("customer", "pack__definition")
        if "customerId" in request.query_params:
            external = boolean_parameter(request.query_params, "isExtCustId")
            rows = rows.filter(customer=find_customer(request.query_params["customerId"], external=external))
        page = read_page(rows, request.query_params)
        return Response({"autoTopUps": _bodies(page.rows)} | page.words)

    def post(self, request: Request) -> Response:
        """Top a customer's balance up automatically from now on."""
        body = read_exactly(CreateAutoTopUp, request.data)
        external = boolean_parameter(request.query_params, "isExtCustId")
        pack = find_pack(body["packId"])
        if body.get("currency") not in (None, "", pack.currency):
            raise InvalidInput.at("currency", f"must be {pack.currency}, the currency of the pack's price.")
        made = create_auto_top_up(
            auto_top_up=AutoTopUp(
                customer=find_customer(body["customerId"], external=external),
                pack=pack,
                threshold=body["threshold"],
                quantity=body["quantity"],
                monthly_limit_cents=body["monthlyLimitCents"],
                is_enabled=body["enabled"],
            ),
            at=timezone.now(),
        )
        return _answer(made)


class AutoTopUpView(APIView):
    """`/v1/credits/auto-top-ups/{id}`."""

    scope = "credits"

    def get(self, request: Request, auto_top_up_id: str) -> Response:
        """One automatic top-up, and where it stands."""
        return _answer(find_auto_top_up(auto_top_up_id))


class AutoTopUpUpdateView(APIView):
    """`/v1/credits/auto-top-ups/{id}/update`."""

    scope = "credits"

    def post(self, request: Request, auto_top_up_id: str) -> Response:
        """Change its terms, switch it off, or enable it again."""
        body = read_exactly(UpdateAutoTopUp, request.data)
        changed = update_auto_top_up(
            auto_top_up=find_auto_top_up(auto_top_up_id),
            threshold=body.get("threshold"),
            quantity=body.get("quantity"),
            monthly_limit_cents=body.get("monthlyLimitCents"),
            is_enabled=body.get("enabled"),
            at=timezone.now(),
        )
        return _answer(changed)


def _answer(auto_top_up: AutoTopUp) -> Response:
    return Response({"autoTopUp": _bodies([auto_top_up])[0]})


def _bodies(rows: list[AutoTopUp]) -> list[dict[str, Any]]:
    where = standings(rows, at=timezone.now())
    merchant = find_merchant_id()
    return [auto_top_up_body(row, where[row.pk], merchant) for row in rows]


def auto_top_up_body(auto_top_up: AutoTopUp, standing: Standing, merchant_id: str) -> dict[str, Any]:
    """Shape an automatic top-up. `threshold` counts units of the pack's metric, or minor units of its money; amounts in
    cents are minor units of `currency`."""
    stopped = auto_top_up.stopped_at is not None
    return {
        "id": auto_top_up.public_id,
        "merchantId": merchant_id,
        "customerId": auto_top_up.customer.public_id,
        "packId": auto_top_up.pack.public_id,
        "threshold": auto_top_up.threshold,
        "quantity": auto_top_up.quantity,
        "monthlyLimitCents": auto_top_up.monthly_limit_cents,
        "currency": auto_top_up.pack.currency,
        "agreedPriceCents": auto_top_up.agreed_price_cents,
        "enabled": auto_top_up.is_enabled,
        "status": standing.state,
        "stopped": {
            "code": auto_top_up.stop_code,
            "message": auto_top_up.stop_message,
            "at": auto_top_up.stopped_at,
        }
        if stopped
        else None,
        "resumesAt": auto_top_up.resumes_at,
        "spentThisMonthCents": standing.spent_cents,
        "pendingInvoiceId": standing.pending and standing.pending.public_id,
        "createdAt": auto_top_up.created_at,
        "updatedAt": auto_top_up.updated_at,
    }
