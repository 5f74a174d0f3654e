"""The door of /v1/late-usage."""

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.late_usage_words import ListLateUsage, difference_body, late_usage_body
from billing.services.late_invoices import without_next_invoice
from billing.services.late_usage import late_usage_of
from plans.query import boolean_parameter
from plans.serializers.reading import read
from plans.services.customers import find_customer


class LateUsageView(APIView):
    """GET /v1/late-usage: what a customer's settled periods differ by from what was billed."""

    scope = "invoices"

    def get(self, request: Request) -> Response:
        query = read(ListLateUsage, request.query_params)
        external = boolean_parameter(request.query_params, "isExtCustId")
        customer = find_customer(query["customerId"], external=external)
        kept, found = late_usage_of(customer, at=timezone.now())
        periods = [one.period for one in found] + [one.period for one in kept]
        ended = without_next_invoice(period.subscription_id for period in periods)
        bodies = [late_usage_body(one, ended) for one in found] + [difference_body(one, ended) for one in kept]
        return Response({"lateUsage": bodies})
