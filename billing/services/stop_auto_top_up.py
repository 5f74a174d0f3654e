"""Automatic top-ups that stop, and that go on again. The caller holds the invoice or the customer that it is about."""

from datetime import datetime

from django.db.models import Q, QuerySet

from billing.models import AutoTopUp, Invoice
from plans.models import Customer

PAYMENT_FAILED = "payment_failed"
INVOICE_VOIDED = "invoice_voided"


def stop_auto_top_up(*, key: int, code: str, message: str, at: datetime) -> None:
    """Stop an automatic top-up with a reason; one that is stopped already keeps its first reason."""
    _stop(AutoTopUp.objects.filter(pk=key, stopped_at=None), code, message, at)


def _stop(which: QuerySet[AutoTopUp], code: str, message: str, at: datetime) -> None:
    which.update(stopped_at=at, stop_code=code, stop_message=message, updated_at=at)


def stop_as_its_charge_failed(*, invoice: Invoice, reason: str, at: datetime) -> None:
    """Stop the automatic top-up, if one it was, whose purchase could not be charged."""
    if invoice.auto_top_up_id is not None:
        stop_auto_top_up(key=invoice.auto_top_up_id, code=PAYMENT_FAILED, message=reason, at=at)


def stop_as_its_invoice_is_void(*, invoice: Invoice, at: datetime) -> None:
    """Stop the automatic top-up, if one it was, whose purchase was withdrawn: it would buy the same again at once.

    That is the reason also where its charge had failed before: another card is not to buy again what somebody withdrew.
    """
    if invoice.auto_top_up_id is not None:
        message = f"Invoice {invoice.number} was made void."
        which = AutoTopUp.objects.filter(Q(stopped_at=None) | Q(stop_code=PAYMENT_FAILED), pk=invoice.auto_top_up_id)
        _stop(which, INVOICE_VOIDED, message, at)


def go_on_after_payment(*, invoice: Invoice, at: datetime) -> None:
    """Let the automatic top-up, if one it was, go on whose purchase is paid at last."""
    if invoice.auto_top_up_id is not None:
        _go_on({"pk": invoice.auto_top_up_id}, at)


def go_on_with_another_card(*, customer: Customer, at: datetime) -> None:
    """Let the automatic top-ups of a customer go on that a failed charge has stopped."""
    _go_on({"customer": customer}, at)


def _go_on(whose: dict[str, object], at: datetime) -> None:
    AutoTopUp.objects.filter(stop_code=PAYMENT_FAILED, **whose).update(
        stopped_at=None, stop_code="", stop_message="", updated_at=at
    )
