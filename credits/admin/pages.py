"""Pages of rows that a form makes and actions move, each by its service, and how amounts look on them."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib.admin.utils import unquote
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import action

from plans.admin.pages import FactsAdmin
from plans.admin.terms import TermsAdmin, TermsForm
from plans.refusals import Refusal


def leads_to_form(words: str) -> Callable[..., HttpResponse]:
    """Make the button of a list that leads to its form: a round "+" says too little."""

    @action(description=words, url_path="create", permissions=["add"], icon="add")
    def create(model_admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
        opts = model_admin.opts
        return HttpResponseRedirect(reverse(f"admin:{opts.app_label}_{opts.model_name}_add"))

    return create


class MadeAdmin(TermsAdmin, FactsAdmin):
    """Rows that are made by a form and moved by actions of their pages; what they hold is never typed over."""

    actions_list = ["create"]
    show_add_link = False

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
        self.message_user(request, f"{self.opts.verbose_name.capitalize()} made: {obj}.")
        return HttpResponseRedirect(link_address(obj))

    def ask_and_do(
        self,
        request: HttpRequest,
        object_id: str,
        form_class: type[TermsForm],
        *,
        title: str,
        words: str | Callable[[Any], str],
        do: Callable[[Any, Any, datetime], Any],
        done: str | Callable[[Any], str | SafeString],
        initial: Callable[[Any], dict[str, Any]] = lambda row: {},
        leads_to_list: bool = False,
    ) -> HttpResponse:
        """Show the form of an action on a row, or do it by its service. A refusal shows at its field.

        `words` may be made of the row, and `done` of what `do` returned; `initial` is what the form proposes, and what
        it knows of the row.
        """
        rows = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        row = self.get_object(request, unquote(object_id))
        if row is None:
            return HttpResponseRedirect(rows)
        data = request.POST if request.method == "POST" else None
        form = form_class(data, initial=initial(row))
        if data is not None and form.is_valid():
            try:
                with transaction.atomic():
                    made = do(row, form, timezone.now())
                    told = done if isinstance(done, str) else done(made)
                    self.log_change(request, row, told)
            except Refusal as refusal:
                form.add_refusal(refusal)
            else:
                self.message_user(request, told)
                return HttpResponseRedirect(rows if leads_to_list else link_address(row))
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "words": words if isinstance(words, str) else words(row),
            "original": row,
            "back": link_address(row),
            "opts": self.opts,
            "form": form,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/terms.html", context)


def link_address(row: models.Model) -> str:
    """The address of a row's page."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
