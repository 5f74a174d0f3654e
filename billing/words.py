"""How invoices and payments go over the wire, and how requests for them are read."""

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from billing.credit_note_words import adjustment_body
from billing.exchange import Intent
from billing.models import (
    Checkout,
    CreditNote,
    DisputeStatus,
    Invoice,
    InvoiceLine,
    Payment,
    PaymentMethod,
    RefundStatus,
)
from billing.models.disputes import FINAL
from billing.models.invoices import InvoiceStatus
from billing.models.payments import PaymentMethodStatus
from billing.tax_words import invoice_tax_words, line_tax_words, tax_line_bodies
from plans.serializers.fields import CountryCode, Email, OptionalText, Switch, Text


class CreatePaymentMethod(serializers.Serializer):
    """The body of POST /v1/payment-methods: a payment method of Stripe's that is to be attached to a customer."""

    customerId = serializers.CharField()
    provider = serializers.ChoiceField(choices=["stripe"], default="stripe")
    paymentType = serializers.CharField(required=False, default="card")
    status = serializers.ChoiceField(choices=PaymentMethodStatus.choices, required=False)
    externalPspPaymentMethodId = serializers.CharField(max_length=255)


class NewCheckoutSession(serializers.Serializer):
    """The body of POST /v1/customers/{id}/checkout-session."""

    priceId = OptionalText(max_length=64)


class TypedCustomer(serializers.Serializer):
    """The customer as the older body of payment-init nests it."""

    name = OptionalText(max_length=200)
    email = Email(max_length=254)


class PaymentInit(serializers.Serializer):
    """The body of POST /v1/public/payment-init.

    Prices, taxes and identities are not taken from a browser: of `taxData`, `currency`, `productName` and
    `organizationId` nothing is used, and `userId` (or `customerId`) is believed only of who is no customer yet.
    """

    priceId = Text(max_length=64)
    planId = OptionalText(max_length=64)
    checkoutSession = OptionalText(max_length=1000)
    userId = OptionalText(max_length=255)
    customerId = OptionalText(max_length=255)
    customer = TypedCustomer(required=False, allow_null=True)
    customerName = OptionalText(max_length=200)
    customerEmail = Email(max_length=254)
    startTrial = Switch(required=False, allow_null=True)
    businessName = OptionalText(max_length=200)
    taxId = OptionalText(max_length=64)
    customerAddress = OptionalText(max_length=255)
    customerAddressLine2 = OptionalText(max_length=255)
    customerZip = OptionalText(max_length=40)
    customerCity = OptionalText(max_length=120)
    customerCountry = CountryCode()
    customerStateProvince = OptionalText(max_length=120)

    def validate_startTrial(self, value: bool | None) -> bool | None:
        if value:
            raise serializers.ValidationError("this plan has no trial.")
        return value


def typed_profile(body: dict[str, Any]) -> dict[str, Any]:
    """Take the further fields of a new customer from a payment-init body."""
    return {
        "business_name": body.get("businessName"),
        "tax_id": body.get("taxId"),
        "billing_address_line1": body.get("customerAddress"),
        "billing_address_line2": body.get("customerAddressLine2"),
        "billing_postal_code": body.get("customerZip"),
        "billing_city": body.get("customerCity"),
        "billing_country": body.get("customerCountry"),
        "billing_state_province": body.get("customerStateProvince"),
    }


def started_words(checkout: Checkout, intent: Intent | None, *, stripe_key: str) -> dict[str, Any]:
    """Shape the answer of payment-init: what a browser confirms, or the subscription that needs nothing more."""
    if intent is not None:
        return {
            "stripePublishableKey": stripe_key,
            "clientSecret": intent.client_secret,
            "intentId": intent.id,
            "intentType": checkout.intent_type,
            "checkoutId": checkout.public_id,
        }
    assert checkout.subscription is not None
    return {
        "message": "Subscription created",
        "subscription_id": checkout.subscription.public_id,
        "checkoutId": checkout.public_id,
    }


class ListInvoices(serializers.Serializer):
    """The query of GET /v1/invoices."""

    customerId = serializers.CharField(required=False)
    status = serializers.ChoiceField(
        choices=[status for status in InvoiceStatus.values if status != InvoiceStatus.SKIPPED], required=False
    )
    limit = serializers.IntegerField(min_value=1, max_value=200, default=20)
    offset = serializers.IntegerField(min_value=0, max_value=1_000_000, default=0)


class AskUpcoming(serializers.Serializer):
    """The query of GET /v1/invoices/upcoming."""

    customerId = serializers.CharField()
    subscriptionId = serializers.CharField(required=False)


def invoice_body(invoice: Invoice, merchant_id: str) -> dict[str, Any]:
    """Shape an invoice as a row of the contract's list."""
    return {
        "id": invoice.public_id,
        "customerInvoiceNumber": invoice.number,
        "merchantId": merchant_id,
        "customerId": invoice.customer.public_id,
        "subscriptionId": invoice.subscription and invoice.subscription.public_id,
        "kind": invoice.kind,
        "status": invoice.status,
        "subtotalCents": invoice.subtotal_cents,
        "taxAmountCents": invoice.tax_cents,
        "totalAmountCents": invoice.total_cents,
        **invoice_tax_words(invoice),
        "currency": invoice.currency,
        "creditedAmountCents": invoice.credited_cents,
        "openAmountCents": invoice.open_cents,
        "issueDate": invoice.issue_date or invoice.finalized_at,
        "dueDate": invoice.due_at,
        "paidDate": invoice.paid_at,
        "billingPeriodStart": invoice.period_start_at,
        "billingPeriodEnd": invoice.period_end_at,
        "stripeInvoiceId": invoice.stripe_invoice_id,
        "pdfUrl": None,
        "hasPdf": False,
        "notes": invoice.notes or None,
        "documentType": "standard",
        "originalInvoiceId": None,
        "replacesInvoiceId": invoice.replaces and invoice.replaces.public_id,
        "carriedToInvoiceId": invoice.carried_into and invoice.carried_into.public_id,
        "cancellationOrCreditReason": invoice.void_reason or None,
        "voidedAt": invoice.voided_at,
        "createdAt": invoice.created_at,
        # One that is not stored has never changed.
        "updatedAt": invoice.updated_at or invoice.created_at,
        "customer": {"id": invoice.customer.public_id, "name": invoice.customer.name},
    }


def whole_invoice_body(
    invoice: Invoice, lines: Sequence[InvoiceLine], payments: Sequence[Payment], merchant_id: str
) -> dict[str, Any]:
    """Shape an invoice with its lines, one for the tax at each rate, and its payments."""
    subscription = invoice.subscription
    taxes = tax_line_bodies(invoice, lines)
    return invoice_body(invoice, merchant_id) | {
        "customer": {
            "id": invoice.customer.public_id,
            "name": invoice.customer.name,
            "email": invoice.customer.email or None,
        },
        "subscription": subscription
        and {"id": subscription.public_id, "stableSubscriptionId": subscription.stable_subscription_id},
        "taxLineItemDescriptions": [tax["description"] for tax in taxes],
        "lineItems": [*(line_body(line) for line in lines), *taxes],
        "payments": [payment_body(payment) for payment in payments],
        "adjustmentInvoices": [adjustment_body(note) for note in _notes_of(invoice)],
    }


def _notes_of(invoice: Invoice) -> Sequence[CreditNote]:
    """The credit notes of an invoice; one that is not stored has none."""
    return [] if invoice.pk is None else list(invoice.credit_notes.order_by("pk"))


def line_body(line: InvoiceLine) -> dict[str, Any]:
    """Shape a line. `unitAmountCents` may have decimals: sub-cent prices are normal. It is null where units do not all
    cost the same. `monetaryCreditCents` is what credits of money pay of it; their own lines take that off the total."""
    return {
        "id": line.public_id,
        "type": line.type,
        "componentId": line.component and line.component.component_id,
        "metricId": line.metric and line.metric.public_id,
        "creditGrantId": line.grant and line.grant.public_id,
        "packId": line.pack and line.pack.public_id,
        "description": line.description,
        "quantity": line.quantity,
        "unitAmountCents": line.unit_amount_cents,
        "subtotalCents": line.amount_cents,
        "monetaryCreditCents": line.monetary_credit_cents,
        "taxMetadata": line_tax_words(line),
        "billingPeriodStart": line.billing_period_start_at,
        "billingPeriodEnd": line.billing_period_end_at,
        "usagePeriodStart": line.usage_period_start_at,
        "usagePeriodEnd": line.usage_period_end_at,
    }


def payment_body(payment: Payment) -> dict[str, Any]:
    """Shape a payment; its invoice, customer, subscription's plan, refunds and disputes must be loaded."""
    invoice = payment.invoice
    subscription = invoice.subscription
    return {
        "id": payment.public_id,
        "invoiceId": invoice.public_id,
        "customerId": payment.customer.public_id,
        "paymentMethodId": payment.payment_method and payment.payment_method.public_id,
        "externalPaymentId": payment.external_id,
        "amountCents": payment.amount_cents,
        "currency": payment.currency,
        "status": payment.status,
        **_refunded(payment),
        "disputeStatus": _dispute_status(payment),
        "paymentProvider": "stripe",
        "customerInvoiceNumber": invoice.number,
        "subscriptionId": subscription and subscription.public_id,
        "planId": subscription and subscription.plan.public_id,
        "planName": subscription and subscription.plan.name,
        "customerName": payment.customer.name,
        "errorMessage": payment.error_message or None,
        "createdAt": payment.created_at,
        "updatedAt": payment.created_at,
    }


def whole_payment_body(payment: Payment) -> dict[str, Any]:
    """Shape a payment with its customer, its invoice, its means of payment and its refunds; see payment_body."""
    invoice, method = payment.invoice, payment.payment_method
    return payment_body(payment) | {
        "customer": {
            "id": payment.customer.public_id,
            "name": payment.customer.name,
            "email": payment.customer.email or None,
        },
        "invoice": {
            "id": invoice.public_id,
            "customerInvoiceNumber": invoice.number,
            "status": invoice.status,
            "totalAmountCents": invoice.total_cents,
            "currency": invoice.currency,
        },
        "pspPaymentMethod": method
        and {
            "id": method.public_id,
            "type": method.payment_type,
            "cardLastFour": method.card_last_four or None,
            "cardBrand": method.card_brand or None,
        },
        "refunds": [
            {
                "id": refund.public_id,
                "amountCents": refund.amount_cents,
                "currency": refund.currency,
                "status": refund.status,
                "externalRefundId": refund.external_id,
                "errorMessage": refund.error or None,
                "refundedAt": refund.refunded_at,
                "createdAt": refund.created_at,
            }
            for refund in payment.refunds.all()
        ],
        "disputes": [
            {
                "id": dispute.public_id,
                "externalDisputeId": dispute.external_id,
                "amountCents": dispute.amount_cents,
                "currency": dispute.currency,
                "reason": dispute.reason or None,
                "status": dispute.status,
                "evidenceDueAt": dispute.evidence_due_at,
                "openedAt": dispute.opened_at,
                "closedAt": dispute.closed_at,
            }
            for dispute in payment.disputes.all()
        ],
    }


def _dispute_status(payment: Payment) -> str:
    """Say whether a bank questions the payment: `charged_back` where a dispute was lost, `open` while one is not
    decided, `closed` where none took anything, else `none`."""
    statuses = {dispute.status for dispute in payment.disputes.all()}
    if DisputeStatus.LOST in statuses:
        return "charged_back"
    if statuses - set(FINAL):
        return "open"
    return "closed" if statuses else "none"


def _refunded(payment: Payment) -> dict[str, Any]:
    """Say how much went back, and how that stands: `failed` where the bank did not take a part of it, `pending` while
    one is under way, else `full`, `partial` or `none`."""
    by_status: dict[str, int] = dict.fromkeys(RefundStatus, 0)
    for refund in payment.refunds.all():
        by_status[refund.status] += refund.amount_cents
    refunded_cents = by_status[RefundStatus.SUCCEEDED]
    if by_status[RefundStatus.FAILED]:
        status = "failed"
    elif by_status[RefundStatus.PENDING]:
        status = "pending"
    elif refunded_cents:
        status = "full" if refunded_cents >= payment.amount_cents else "partial"
    else:
        status = "none"
    return {"refundStatus": status, "refundedAmountCents": refunded_cents}


def payment_method_body(method: PaymentMethod) -> dict[str, Any]:
    """Shape a payment method."""
    return {
        "id": method.public_id,
        "customerId": method.customer.public_id,
        "provider": method.provider,
        "paymentType": method.payment_type,
        "status": method.status,
        "isDefault": method.is_default,
        "cardBrand": method.card_brand or None,
        "cardLastFour": method.card_last_four or None,
        "cardExpiryMonth": method.card_expiry_month,
        "cardExpiryYear": method.card_expiry_year,
        "externalPspPaymentMethodId": method.external_id,
        "createdAt": method.created_at,
    }
