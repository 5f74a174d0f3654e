"""What the vendor's client libraries and customer portal read of a customer by the application's own user id."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.models import Invoice, Payment, PaymentMethod, PaymentStatus
from plans.listing import LONGEST_LIST
from plans.models import Customer, Subscription
from plans.models.subscriptions import ENTITLED_STATUSES
from plans.refusals import InvalidInput
from plans.services.customers import CustomerNotFound


class SubscriptionStatusView(APIView):
    """`/v1/customers/subscription-status`."""

    scope = "customers"

    def get(self, request: Request) -> Response:
        """Tell whether a customer has a subscription that gives something right now, and which."""
        customer = _customer_of(request.query_params)
        at = timezone.now()
        subscription = _subscription_of(customer, at)
        return Response(
            {
                "hasActiveSubscription": subscription is not None and _is_active(subscription, at),
                "customer": {"id": customer.public_id, "name": customer.name, "email": customer.email or None},
                "subscription": _status_words(subscription) if subscription is not None else None,
            }
        )


class PortalOverviewView(APIView):
    """`/v1/customers/portal/overview`."""

    scope = "customers"

    def get(self, request: Request) -> Response:
        """Show all that the customer portal shows: subscription, payment methods, invoices, payments."""
        customer = _customer_of(request.query_params)
        subscription = _subscription_of(customer, timezone.now())
        methods = list(PaymentMethod.objects.filter(customer=customer).order_by("-is_default", "-created_at", "-pk"))
        linked = next((method for method in methods if method.is_default), None) if subscription is not None else None
        invoices = Invoice.objects.shown().filter(customer=customer).order_by("-closes_at", "-pk")[:LONGEST_LIST]
        payments = list(
            Payment.objects.filter(customer=customer)
            .select_related("invoice")
            .order_by("-created_at", "-pk")[:LONGEST_LIST]
        )
        outcomes = _outcomes(payments)
        return Response(
            {
                "portal": {
                    "customer": {
                        "id": customer.public_id,
                        "name": customer.name or None,
                        "email": customer.email or None,
                    },
                    "subscription": _portal_subscription_words(subscription, linked) if subscription else None,
                    "paymentMethods": [_method_words(method, is_linked=method == linked) for method in methods],
                    "invoices": [_invoice_words(invoice, outcomes.get(invoice.pk)) for invoice in invoices],
                    "payments": [_payment_words(payment) for payment in payments],
                }
            }
        )


def _customer_of(query: Mapping[str, str]) -> Customer:
    identifier = query.get("externalCustomerId", "")
    if not identifier:
        raise InvalidInput.at("externalCustomerId", "is required.")
    customer = Customer.objects.addressed_by(identifier, external=True).first()
    if customer is None:
        # The client libraries compare this sentence.
        raise CustomerNotFound("Customer not found")
    return customer


def _subscription_of(customer: Customer, at: datetime) -> Subscription | None:
    """The subscription to show: the newest one that gives something, else the newest that has not ended."""
    subscriptions = (
        Subscription.objects.live()
        .filter(customer=customer)
        .select_related("plan", "price")
        .order_by("-created_at", "-pk")
    )
    return max(subscriptions, key=lambda subscription: _is_active(subscription, at), default=None)


def _is_active(subscription: Subscription, at: datetime) -> bool:
    return subscription.status in ENTITLED_STATUSES and subscription.started_at <= at


def _status_words(subscription: Subscription) -> dict[str, Any]:
    return {
        "id": subscription.public_id,
        "planId": subscription.plan.public_id,
        "planName": subscription.plan.name,
        "status": subscription.status,
        "planDescription": subscription.plan.description or None,
        "startTimestamp": subscription.started_at,
        "currency": subscription.price.currency,
    }


def _portal_subscription_words(subscription: Subscription, linked: PaymentMethod | None) -> dict[str, Any]:
    return {
        "id": subscription.public_id,
        "stableSubscriptionId": subscription.stable_subscription_id,
        "status": subscription.status,
        "planId": subscription.plan.public_id,
        "gracePeriodEndsAt": subscription.grace_period_ends_at,
        "paymentMethodId": linked.public_id if linked is not None else None,
    }


def _method_words(method: PaymentMethod, *, is_linked: bool) -> dict[str, Any]:
    return {
        "id": method.public_id,
        "provider": method.provider,
        "paymentType": method.payment_type,
        "status": method.status,
        "cardBrand": method.card_brand or None,
        "cardLastFour": method.card_last_four or None,
        "cardExpiryMonth": method.card_expiry_month,
        "cardExpiryYear": method.card_expiry_year,
        "linkedToSubscription": is_linked,
    }


def _outcomes(payments: Sequence[Payment]) -> dict[int, str]:
    """What came of the attempts to pay each invoice: a success for ever, else the failure."""
    outcomes: dict[int, str] = {}
    for payment in payments:
        if outcomes.get(payment.invoice_id) != PaymentStatus.SUCCEEDED:
            outcomes[payment.invoice_id] = payment.status
    return outcomes


def _invoice_words(invoice: Invoice, payment_status: str | None) -> dict[str, Any]:
    return {
        "id": invoice.public_id,
        "number": invoice.number,
        "status": invoice.status,
        "totalAmountCents": invoice.total_cents,
        "currency": invoice.currency,
        "issueDate": invoice.finalized_at,
        "paidDate": invoice.paid_at,
        "pdfUrl": None,
        "paymentStatus": payment_status,
        "documentType": "standard",
        "originalInvoiceId": None,
        "originalInvoiceNumber": None,
    }


def _payment_words(payment: Payment) -> dict[str, Any]:
    return {
        "id": payment.public_id,
        "amountCents": payment.amount_cents,
        "currency": payment.currency,
        "status": payment.status,
        "createdAt": payment.created_at,
        "errorMessage": payment.error_message or None,
        "invoiceId": payment.invoice.public_id,
    }
