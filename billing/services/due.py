from datetime import datetime

from django.db.models import F, Min, QuerySet

from billing.models import (
    AutoTopUp,
    Checkout,
    Dunning,
    Invoice,
    Mail,
    MailState,
    PaymentMethodStatus,
    Refund,
    StripeInbox,
    StripeVoid,
)
from billing.services.end_of_dunning import paid_subscriptions
from billing.services.late_usage import open_windows, window
from billing.services.months import grace
from credits.models import SubscriptionCredit
from credits.services.late_months import settled_months
from credits.services.settle_months import months_that_wait
from plans.models import SubscriptionPeriod
from plans.services.scheduled_changes import waiting_changes


def next_due(
    *, until: datetime, after: datetime | None = None, with_stripe: bool = True, with_mail: bool = True
) -> datetime | None:
    """Find the earliest instant, not later than `until` and later than `after`, at which some sweep has work.

    Without `with_stripe` what waits for Stripe is left out, without `with_mail` what waits for the mail server.
    """
    waiting = _waiting_for_us() + (_waiting_for_stripe() if with_stripe else [])
    if with_mail:
        waiting.append((Mail.objects.filter(state=MailState.QUEUED), "send_at"))
    instants = []
    for rows, column in waiting:
        window = {f"{column}__lte": until} | ({f"{column}__gt": after} if after else {})
        instants.append(rows.filter(**window).aggregate(first=Min(column))["first"])
    return min((instant for instant in instants if instant is not None), default=None)


def _waiting_for_us() -> list[tuple[QuerySet, str]]:
    return [
        (
            SubscriptionPeriod.objects.filter(
                closed_at__isnull=True, customer__parked_at__isnull=True, subscription__ended_at__isnull=True
            ),
            "bill_at",
        ),
        (
            SubscriptionCredit.objects.filter(subscription__customer__parked_at__isnull=True).exclude(refill_rrule=""),
            "refilled_until",
        ),
        (waiting_changes(), "effective_at"),
        (Invoice.objects.computed_drafts().filter(customer__parked_at__isnull=True), "finalize_at"),
        (months_that_wait().annotate(settle_at=F("end_at") + grace()), "settle_at"),
        (open_windows().annotate(window_ends_at=F("end_at") + window()), "window_ends_at"),
        (settled_months().annotate(window_ends_at=F("end_at") + window()), "window_ends_at"),
        (Dunning.objects.to_end(), "end_at"),
        (paid_subscriptions(), "resume_at"),
        (AutoTopUp.objects.running(), "resumes_at"),
        (StripeInbox.objects.filter(processed_at__isnull=True), "process_at"),
    ]


def _waiting_for_stripe() -> list[tuple[QuerySet, str]]:
    chargeable = Invoice.objects.to_be_paid().filter(
        stripe_sent_at__isnull=False,
        customer__payment_methods__is_default=True,
        customer__payment_methods__status=PaymentMethodStatus.ACTIVE,
    )
    return [
        (Checkout.objects.all(), "step_at"),
        (StripeVoid.objects.filter(voided_at=None), "void_at"),
        (Invoice.objects.unsent(), "send_at"),
        (chargeable, "collect_at"),
        (Refund.objects.to_ask_for(), "refund_at"),
        (Refund.objects.to_credit(), "credit_at"),
    ]
