"""`/v1/prices`."""

from django.db import transaction
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from credits.services.clone_price import clone_price_with_credits
from credits.services.definition_rules import check_fees_of
from plans.listing import read_page
from plans.models import Price
from plans.price_language import read_pricing_data
from plans.refusals import InvalidInput
from plans.serializers.prices import NewPrice, PriceClone, price_words
from plans.serializers.reading import read
from plans.services.merchant import find_merchant_id
from plans.services.plans import PlanNotFound, find_plan
from plans.services.prices import PriceNotFound, create_price, find_price


class PricesView(APIView):
    """`/v1/prices`."""

    scope = "prices"

    def get(self, request: Request) -> Response:
        """List the prices of a plan version, or of the latest one of a stable id."""
        plan_id = request.query_params.get("planId", "")
        if not plan_id:
            raise InvalidInput(
                "Empty planId provided. Name the plan whose prices are wanted: ?planId=…",
                details=[{"path": "planId", "message": "is required."}],
            )
        try:
            plan = find_plan(plan_id)
        except PlanNotFound:
            raise PlanNotFound(
                "Plan not found. If you have multiple accounts, are you using the right API key?"
            ) from None
        prices = (
            Price.objects.live().filter(plan=plan).select_related("cloned_from").prefetch_related("components__metric")
        )
        page = read_page(prices, request.query_params)
        merchant_id = find_merchant_id()
        words = [price_words(price, plan_id=plan.public_id, merchant_id=merchant_id) for price in page.rows]
        return Response({"prices": words} | page.words)

    def post(self, request: Request) -> Response:
        """Create a price of a plan version."""
        words = read(NewPrice, request.data)
        with transaction.atomic():
            price = create_price(
                at=timezone.now(),
                plan=find_plan(words["planId"]),
                currency=words["currency"],
                components=words["components"],
            )
            check_fees_of(price)
        return _answer(price)


class PriceView(APIView):
    """`/v1/prices/{priceId}`."""

    scope = "prices"

    def get(self, request: Request, identifier: str) -> Response:
        """Show one price."""
        return _answer(find_price(identifier))


class PriceCloneView(APIView):
    """`/v1/prices/clone/{priceId}`."""

    scope = "prices"

    def post(self, request: Request, identifier: str) -> Response:
        """Create a price like another one."""
        words = read(PriceClone, request.data)
        data = words["pricingData"]
        price = clone_price_with_credits(
            at=timezone.now(),
            source=_find_source(identifier),
            plan=find_plan(words["planId"]) if words.get("planId") else None,
            currency=words.get("currency") or None,
            components=None if data is None else read_pricing_data(data),
            is_override_price=words["isOverridePrice"],
        )
        return _answer(price)


def _find_source(identifier: str) -> Price:
    try:
        return find_price(identifier)
    except PriceNotFound:
        raise PriceNotFound("Source price not found or access denied") from None


def _answer(price: Price) -> Response:
    price = Price.objects.select_related("plan", "cloned_from").prefetch_related("components__metric").get(pk=price.pk)
    return Response({"price": price_words(price, plan_id=price.plan.public_id, merchant_id=find_merchant_id())})
