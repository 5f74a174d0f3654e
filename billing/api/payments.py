"""The doors of /v1/payments and /v1/payment-methods."""

from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing import gateway
from billing.models import Payment, PaymentMethod
from billing.services.collect import record_payment_method
from billing.services.send import customer_to_send, record_stripe_customer
from billing.stripe_refusals import refusals_of_stripe
from billing.words import CreatePaymentMethod, payment_body, payment_method_body, whole_payment_body
from plans.query import boolean_parameter
from plans.refusals import NotFound
from plans.serializers.reading import read
from plans.services.customers import find_customer

LATEST_PAYMENTS = 10
MOST_PAYMENTS = 1000


class PaymentsView(APIView):
    """GET /v1/payments: a customer's, or the latest ten of all."""

    scope = "payments"

    def get(self, request: Request) -> Response:
        payments = with_names(Payment.objects.all())
        if "customerId" in request.query_params:
            external = boolean_parameter(request.query_params, "isExtCustId")
            customer = find_customer(request.query_params["customerId"], external=external)
            rows = payments.filter(customer=customer)[:MOST_PAYMENTS]
        else:
            rows = payments[:LATEST_PAYMENTS]
        return Response({"payments": [payment_body(payment) for payment in rows]})


class PaymentView(APIView):
    """GET /v1/payments/{id}: one payment, with its customer, its invoice and what paid."""

    scope = "payments"

    def get(self, request: Request, payment_id: str) -> Response:
        payment = with_names(Payment.objects.filter(public_id=payment_id)).first()
        if payment is None:
            raise NotFound("Payment not found")
        return Response({"payment": whole_payment_body(payment)})


class PaymentMethodsView(APIView):
    """POST /v1/payment-methods: attach a payment method of Stripe's to a customer, as the default one."""

    scope = "payment-methods"
    calls_network = True

    def post(self, request: Request) -> Response:
        body = read(CreatePaymentMethod, request.data)
        external = boolean_parameter(request.query_params, "isExtCustId")
        customer = find_customer(body["customerId"], external=external)
        with refusals_of_stripe():
            stripe_customer = gateway.ensure_customer(customer_to_send(customer))
            record_stripe_customer(customer=customer.public_id, stripe_id=stripe_customer)
            card = gateway.attach_payment_method(
                stripe_customer=stripe_customer, payment_method=body["externalPspPaymentMethodId"]
            )
        method = record_payment_method(customer=customer, card=card, at=timezone.now())
        return Response(payment_method_body(method))


class PaymentMethodView(APIView):
    """GET /v1/payment-methods/{id}: a list of one, as the contract has it."""

    scope = "payment-methods"

    def get(self, request: Request, method_id: str) -> Response:
        method = PaymentMethod.objects.select_related("customer").filter(public_id=method_id).first()
        if method is None:
            raise NotFound("Payment method not found")
        return Response({"paymentMethod": [payment_method_body(method)]})


def with_names(payments: Any) -> Any:
    """Read payments, the latest first, with all that their words show."""
    return (
        payments.select_related("customer", "payment_method", "invoice__subscription__plan")
        .prefetch_related("refunds", "disputes")
        .order_by("-created_at", "-pk")
    )
