"""The doors of /v1/invoices, /v1/payments and /v1/payment-methods."""

from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing import gateway
from billing.models import Invoice, Payment, PaymentMethod
from billing.services.collect import record_payment_method
from billing.services.send import customer_to_send, record_stripe_customer
from billing.words import (
    CreatePaymentMethod,
    ListInvoices,
    invoice_body,
    payment_body,
    payment_method_body,
    whole_invoice_body,
)
from plans.query import boolean_parameter
from plans.refusals import NotFound, Refusal
from plans.serializers.reading import read
from plans.services.customers import find_customer
from plans.services.merchant import find_merchant_id

LATEST_PAYMENTS = 10
MOST_PAYMENTS = 1000


class InvoiceNotFound(NotFound):
    code = "invoice_not_found"


class PaymentMethodRefused(Refusal):
    """Stripe refused the payment method."""

    code = "payment_method_refused"
    status = 402


class PaymentProviderUnavailable(Refusal):
    """Stripe could not be reached; the same request may succeed later."""

    code = "payment_provider_unavailable"
    status = 503


class InvoicesView(APIView):
    """GET /v1/invoices: newest first."""

    scope = "invoices"

    def get(self, request: Request) -> Response:
        query = read(ListInvoices, request.query_params)
        invoices = Invoice.objects.shown()
        if "customerId" in query:
            external = boolean_parameter(request.query_params, "isExtCustId")
            invoices = invoices.filter(customer=find_customer(query["customerId"], external=external))
        if "status" in query:
            invoices = invoices.filter(status=query["status"])
        limit, offset = query["limit"], query["offset"]
        merchant = find_merchant_id()
        rows = invoices.select_related("customer", "subscription").order_by("-closes_at", "-pk")
        return Response(
            {
                "invoices": [invoice_body(invoice, merchant) for invoice in rows[offset : offset + limit]],
                "pagination": {"total": invoices.count(), "limit": limit, "offset": offset},
            }
        )


class InvoiceView(APIView):
    """GET /v1/invoices/{id}: with lines and payments."""

    scope = "invoices"

    def get(self, request: Request, invoice_id: str) -> Response:
        invoice = (
            Invoice.objects.shown()
            .filter(public_id=invoice_id)
            .select_related("customer", "subscription__plan")
            .first()
        )
        if invoice is None:
            raise InvoiceNotFound("Invoice not found")
        lines = invoice.lines.select_related("component", "metric", "grant")
        payments = _with_names(Payment.objects.filter(invoice=invoice))
        return Response({"invoice": whole_invoice_body(invoice, list(lines), list(payments), find_merchant_id())})


class PaymentsView(APIView):
    """GET /v1/payments: a customer's, or the latest ten of all."""

    scope = "payments"

    def get(self, request: Request) -> Response:
        payments = _with_names(Payment.objects.all())
        if "customerId" in request.query_params:
            external = boolean_parameter(request.query_params, "isExtCustId")
            customer = find_customer(request.query_params["customerId"], external=external)
            rows = payments.filter(customer=customer)[:MOST_PAYMENTS]
        else:
            rows = payments[:LATEST_PAYMENTS]
        return Response({"payments": [payment_body(payment) for payment in rows]})


class PaymentMethodsView(APIView):
    """POST /v1/payment-methods: attach a payment method of Stripe's to a customer, as the default one."""

    scope = "payment-methods"
    calls_network = True

    def post(self, request: Request) -> Response:
        body = read(CreatePaymentMethod, request.data)
        external = boolean_parameter(request.query_params, "isExtCustId")
        customer = find_customer(body["customerId"], external=external)
        try:
            stripe_customer = gateway.ensure_customer(customer_to_send(customer))
            record_stripe_customer(customer=customer.public_id, stripe_id=stripe_customer)
            card = gateway.attach_payment_method(
                stripe_customer=stripe_customer, payment_method=body["externalPspPaymentMethodId"]
            )
        except gateway.CardDeclined as error:
            raise PaymentMethodRefused(error.message, details={"code": error.code}) from error
        except gateway.StripeRefused as error:
            raise PaymentMethodRefused(f"Stripe refused this payment method: {error}") from error
        except gateway.StripeUnavailable as error:
            raise PaymentProviderUnavailable(
                "Stripe cannot be reached right now; nothing was changed. Send the request again."
            ) from error
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


def _with_names(payments: Any) -> Any:
    return payments.select_related("customer", "payment_method", "invoice__subscription__plan").order_by(
        "-created_at", "-pk"
    )
