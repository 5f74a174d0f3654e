"""`/v1/customers`."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Count, Sum
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.models import Payment, PaymentStatus
from metering.services.attribute_events import attribute_events, register_customer
from plans.listing import read_page
from plans.models import Customer
from plans.models.customers import OrgRole
from plans.query import boolean_parameter
from plans.serializers.customers import CustomerChange, NewCustomer, customer_words
from plans.serializers.reading import read
from plans.services.customers import find_customer, update_customer
from plans.services.merchant import find_merchant_id


class CustomersView(APIView):
    """`/v1/customers`."""

    scope = "customers"

    def get(self, request: Request) -> Response:
        """List the customers, without members of organizations; with `includePaymentData` also what they have paid."""
        with_payments = boolean_parameter(request.query_params, "includePaymentData")
        page = read_page(Customer.objects.live().exclude(org_role=OrgRole.MEMBER), request.query_params)
        merchant_id = find_merchant_id()
        words = [customer_words(customer, merchant_id=merchant_id) for customer in page.rows]
        if with_payments:
            paid = _payment_data(page.rows)
            for customer, described in zip(page.rows, words, strict=True):
                described |= paid[customer.pk]
        return Response({"customers": words} | page.words)

    def post(self, request: Request) -> Response:
        """Create a customer."""
        words = NewCustomer(data=request.data)
        words.is_valid(raise_exception=True)
        customer = register_customer(at=timezone.now(), **words.validated_data)
        return Response({"customer": customer_words(customer, merchant_id=find_merchant_id())})


class CustomerView(APIView):
    """`/v1/customers/{customerId}`."""

    scope = "customers"

    def get(self, request: Request, identifier: str) -> Response:
        """Show one customer."""
        customer = find_customer(identifier, external=boolean_parameter(request.query_params, "isExtCustId"))
        return Response({"customer": customer_words(customer, merchant_id=find_merchant_id())})

    def post(self, request: Request, identifier: str) -> Response:
        """Change a customer; a member that gets another organization or role moves now."""
        customer = find_customer(identifier, external=boolean_parameter(request.query_params, "isExtCustId"))
        changes = read(CustomerChange, request.data)
        customer = update_customer(at=timezone.now(), customer=customer, **changes)
        if changes.get("external_customer_id"):
            # What is left beyond one statement's worth, the sweep finds.
            attribute_events(customer=customer)
        return Response({"customer": customer_words(customer, merchant_id=find_merchant_id())})


def _payment_data(customers: Sequence[Customer]) -> dict[int, dict[str, Any]]:
    """Sum up what each customer has paid. Currencies are not added up: the one with the most payments is told."""
    data = {
        customer.pk: {"totalPaymentsCents": 0, "paymentCount": 0, "currency": customer.preferred_currency}
        for customer in customers
    }
    sums = (
        Payment.objects.filter(customer__in=customers, status=PaymentStatus.SUCCEEDED)
        .values("customer_id", "currency")
        .annotate(payments=Count("pk"), cents=Sum("amount_cents"))
        .order_by("payments", "-currency")
    )
    for row in sums:
        data[row["customer_id"]] = {
            "totalPaymentsCents": int(row["cents"]),
            "paymentCount": row["payments"],
            "currency": row["currency"],
        }
    return data
