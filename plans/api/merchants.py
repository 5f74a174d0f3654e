"""`/v1/merchants`: one deployment has one seller, so there is one to show."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing import gateway
from billing.models import TaxRate
from billing.services.tax_settings import read_settings
from plans.models import Merchant, Plan
from plans.refusals import Refusal
from plans.serializers.merchants import MerchantChange, merchant_words
from plans.serializers.reading import read
from plans.services.merchant import find_merchant, update_merchant
from plans.services.time_zone import billing_zone


class MerchantsAreNotMade(Refusal):
    """The seller was made with the database."""

    code = "merchant_creation_not_allowed"
    status = 403


def _answer(merchant: Merchant) -> Response:
    """The contract shows the seller's fields both bare and under `merchant`; so they are found in either place."""
    words: dict[str, Any] = merchant_words(merchant, billing_zone())
    return Response(words | {"merchant": words})


class CurrentMerchantView(APIView):
    """`/v1/merchants/current`."""

    scope = "merchants"

    def get(self, request: Request) -> Response:
        """Show the seller."""
        return _answer(find_merchant())

    def post(self, request: Request) -> Response:
        """Change the seller, who stands on the invoices."""
        return _answer(update_merchant(read(MerchantChange, request.data)))


class MerchantView(APIView):
    """`/v1/merchants/{id}`."""

    scope = "merchants"

    def get(self, request: Request, identifier: str) -> Response:
        """Show the seller by his id."""
        return _answer(find_merchant(identifier))


class OnboardingView(APIView):
    """`/v1/merchants/checkonboarding`."""

    scope = "merchants:read"

    def get(self, request: Request) -> Response:
        """Tell what of the set-up is done; the sandbox is no payment provider."""
        settings = read_settings()
        has_rates = settings.default_tax_rate is not None or TaxRate.objects.filter(is_active=True).exists()
        return Response(
            {
                "hasPlans": Plan.objects.live().exists(),
                "hasPaymentProvider": not gateway.uses_sandbox(),
                "hasTax": has_rates or settings.auto_tax_calculation,
            }
        )


class MerchantCreationView(APIView):
    """`/v1/merchants/onboarding-create-merchant`."""

    scope = "merchants"

    def post(self, request: Request) -> Response:
        """Refuse: a key belongs to a merchant already."""
        raise MerchantsAreNotMade("Merchant creation is not allowed via API keys")
