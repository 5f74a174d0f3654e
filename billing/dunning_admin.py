"""The operator's pages of dunning: its terms, what runs, and the mails that were sent."""

from itertools import pairwise
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.postgres.forms import SimpleArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import linebreaks
from django.utils.safestring import SafeString, mark_safe
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextInputWidget

from billing.letters import compose
from billing.models import LONGEST_DAYS, MOST_RETRIES, Dunning, DunningConfig, Mail
from billing.services.dunning import read_config
from billing.services.mail import MailHasNoAddress, mail_to_send, send_again
from billing.tax_admin import OneRowAdmin
from plans.admin.pages import CappedPaginator, FactsAdmin, amount, link, moment

OUTCOME_COLOURS = {
    "running": "warning",
    "paid": "success",
    "voided": "info",
    "credited": "info",
    "carried": "info",
    "withdrawn": "info",
    "paused": "danger",
    "marked unpaid": "danger",
    "canceled": "danger",
    "not paid": "danger",
}
MAIL_COLOURS = {"queued": "info", "sent": "success", "failed": "danger", "skipped": "warning"}


class DunningConfigForm(forms.ModelForm):
    """The terms of dunning that begins from now on."""

    retry_schedule = SimpleArrayField(
        forms.IntegerField(min_value=1, max_value=LONGEST_DAYS),
        max_length=MOST_RETRIES,
        required=False,
        label="Charged again after days",
        help_text="Days after the first decline, such as 1, 3, 7. Empty: not charged again without another card.",
        widget=UnfoldAdminTextInputWidget,
    )

    def clean_retry_schedule(self) -> list[int]:
        """Days one after the other."""
        days: list[int] = self.cleaned_data["retry_schedule"] or []
        if any(later <= earlier for earlier, later in pairwise(days)):
            raise ValidationError("Use days in ascending order, each once, such as 1, 3, 7.")
        return days


@admin.register(DunningConfig)
class DunningConfigAdmin(OneRowAdmin):
    """What is done about declined charges. Dunning that has begun keeps the terms that it began with."""

    form = DunningConfigForm
    fields = ["grace_period_days", "retry_schedule", "end_action", "public_id"]
    readonly_fields = ["public_id"]

    def row(self) -> models.Model:
        """The terms, which are made when they are first looked at."""
        return read_config()[0]

    def formfield_for_dbfield(self, db_field: models.Field, request: HttpRequest, **kwargs: Any) -> Any:
        """Say what the terms mean."""
        helps = {
            "grace_period_days": "A subscription goes on for so many days after the first decline, at least until the "
            "last retry.",
            "end_action": "After that. Pausing and marking as unpaid stop what is given and billed until all is paid.",
        }
        if db_field.name in helps:
            kwargs["help_text"] = helps[db_field.name]
        return super().formfield_for_dbfield(db_field, request, **kwargs)


@admin.register(Dunning)
class DunningAdmin(FactsAdmin):
    """Invoices whose charge was declined, and what is done about each."""

    nothing_yet = "When a charge is declined, what is done about it stands here."
    list_display = [
        "invoice",
        "customer",
        "owed",
        "state",
        "attempts",
        moment("next_retry_at", "charged again"),
        moment("end_at", "ends"),
    ]
    list_filter = [("ended_at", admin.EmptyFieldListFilter), ("settled_at", admin.EmptyFieldListFilter), "outcome"]
    list_select_related = ["customer", "invoice"]
    paginator = CappedPaginator
    search_fields = ["public_id", "invoice__number", "customer__public_id", "customer__name", "customer__email"]
    search_help_text = "Number of an invoice; name, e-mail or id of a customer."
    ordering = ["-pk"]
    fieldsets = [
        (None, {"fields": ["invoice_page", "customer_page", "owed", "state", "attempts", "public_id"]}),
        (
            "Time",
            {
                "fields": [
                    moment("started_at"),
                    moment("next_retry_at", "charged again"),
                    moment("end_at", "end action falls due"),
                    moment("ended_at"),
                    moment("settled_at", "nothing owed since"),
                ]
            },
        ),
        ("Terms when it started", {"fields": ["grace_period_days", "retry_days", "end_action"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Dunning]:
        """With the names of what it belongs to."""
        return super().get_queryset(request).select_related("customer", "invoice")

    @display(description="state", ordering="outcome", label=OUTCOME_COLOURS)
    def state(self, dunning: Dunning) -> str:
        """How it ended, if it has."""
        return dunning.outcome.replace("_", " ") or "running"

    @admin.display(description="owed")
    def owed(self, dunning: Dunning) -> SafeString | None:
        """What is still to be paid."""
        return amount(dunning.invoice.open_cents, dunning.invoice.currency)

    @admin.display(description="charged again after days")
    def retry_days(self, dunning: Dunning) -> str:
        """The schedule as people write it."""
        return ", ".join(str(days) for days in dunning.retry_schedule)

    @admin.display(description="invoice")
    def invoice_page(self, dunning: Dunning) -> SafeString | None:
        """What is to be paid."""
        return link(dunning.invoice)

    @admin.display(description="customer")
    def customer_page(self, dunning: Dunning) -> SafeString | None:
        """Who is to pay."""
        return link(dunning.customer)


@admin.register(Mail)
class MailAdmin(FactsAdmin):
    """Mails to customers."""

    actions: Any = ["send_once_more"]
    nothing_yet = "Mails to customers stand here once there are some."
    list_display = [moment("created_at", "written"), "address", "what", "invoice", "current_state", "error"]
    list_filter = ["state", "kind"]
    list_select_related = ["customer", "invoice"]
    paginator = CappedPaginator
    search_fields = ["public_id", "address", "invoice__number", "customer__public_id", "customer__name"]
    search_help_text = "Address; number of an invoice; name or id of a customer."
    ordering = ["-pk"]
    fieldsets = [
        (None, {"fields": ["customer_page", "invoice_page", "what", "address", "subject", "text"]}),
        (
            "Sending",
            {
                "fields": [
                    "current_state",
                    "error",
                    moment("created_at", "written"),
                    moment("send_at", "next attempt"),
                    "attempts",
                    moment("sent_at"),
                    "resends",
                    "public_id",
                ]
            },
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Mail]:
        """With the names of what it belongs to."""
        return super().get_queryset(request).select_related("customer", "invoice")

    def has_resend_permission(self, request: HttpRequest) -> bool:
        """Whoever may change mails may have them sent again."""
        return request.user.has_perm("billing.change_mail")

    @action(description="Send again", permissions=["resend"])
    def send_once_more(self, request: HttpRequest, mails: QuerySet[Mail]) -> HttpResponse | None:
        """Queue the chosen ones once more, each to the address that its customer has now."""
        queued = 0
        for mail in mails:
            try:
                send_again(mail=mail, at=timezone.now())
            except MailHasNoAddress as refusal:
                self.message_user(request, refusal.message, messages.WARNING)
            else:
                queued += 1
        if queued:
            words = "1 mail is" if queued == 1 else f"{queued} mails are"
            self.message_user(request, f"{words} sent by the next sweep.", messages.SUCCESS)
        return None

    @display(description="state", ordering="state", label=MAIL_COLOURS)
    def current_state(self, mail: Mail) -> str:
        """Whether it is sent."""
        return mail.state

    @admin.display(description="tells", ordering="kind")
    def what(self, mail: Mail) -> str:
        """What it tells."""
        return mail.get_kind_display()

    @admin.display(description="subject")
    def subject(self, mail: Mail) -> str:
        """Its subject."""
        return compose(mail_to_send(mail)).subject

    @admin.display(description="text")
    def text(self, mail: Mail) -> SafeString:
        """Its plain text."""
        return mark_safe(linebreaks(compose(mail_to_send(mail)).text, autoescape=True))

    @admin.display(description="customer")
    def customer_page(self, mail: Mail) -> SafeString | None:
        """To whom it goes."""
        return link(mail.customer)

    @admin.display(description="invoice")
    def invoice_page(self, mail: Mail) -> SafeString | None:
        """What it is about."""
        return link(mail.invoice)
