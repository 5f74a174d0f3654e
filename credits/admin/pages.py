"""Pages of rows that a form makes and actions move, each by its service, and how amounts look on them."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib.admin.utils import unquote
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from plans.admin.pages import FactsAdmin, amount, units
from plans.admin.terms import TermsAdmin, TermsForm
from plans.refusals import Refusal


def held(quantity: Decimal | None, currency: str) -> SafeString | None:
    """Units, or money where there is a currency, for a column."""
    return amount(quantity, currency) if currency else units(quantity)


class MadeAdmin(TermsAdmin, FactsAdmin):
    """Rows that are made by a form and moved by actions of their pages; what they hold is never typed over."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever may add them in Django's words."""
        return ModelAdmin.has_add_permission(self, request)

    def has_move_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Whoever may change them in Django's words."""
        return ModelAdmin.has_change_permission(self, request)

    def has_remove_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Whoever may delete them in Django's words."""
        return ModelAdmin.has_delete_permission(self, request)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Show what was made."""
        self.message_user(request, f"Made: {obj}.")
        return HttpResponseRedirect(link_address(obj))

    def ask_and_do(
        self,
        request: HttpRequest,
        object_id: str,
        form_class: type[TermsForm],
        *,
        title: str,
        words: str,
        do: Callable[[Any, Any, datetime], object],
        done: str,
        initial: Callable[[Any], dict[str, Any]] = lambda row: {},
        leads_to_list: bool = False,
    ) -> HttpResponse:
        """Show the form of an action on a row, or do it by its service. A refusal shows at its field."""
        rows = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        row = self.get_object(request, unquote(object_id))
        if row is None:
            return HttpResponseRedirect(rows)
        data = request.POST if request.method == "POST" else None
        form = form_class(data, initial=initial(row))
        if data is not None and form.is_valid():
            try:
                with transaction.atomic():
                    do(row, form, timezone.now())
                    self.log_change(request, row, done)
            except Refusal as refusal:
                form.add_refusal(refusal)
            else:
                self.message_user(request, done)
                return HttpResponseRedirect(rows if leads_to_list else link_address(row))
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "words": f"{row}. {words}",
            "opts": self.opts,
            "form": form,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/terms.html", context)


def link_address(row: models.Model) -> str:
    """The address of a row's page."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
