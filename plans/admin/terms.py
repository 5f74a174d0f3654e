"""Rows that a service makes: a form states the terms, and what the service refuses shows at the field that it names."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib.admin.options import csrf_protect_m
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.forms.boundfield import BoundField
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.widgets import INPUT_CLASSES, SELECT_CLASSES, TEXTAREA_CLASSES, UnfoldBooleanWidget

from plans.admin.pages import PageAdmin
from plans.refusals import Refusal


class TermsForm(forms.Form):
    """A form that looks like the others of these pages.

    `sections` are titles with the names of their fields, `field_of_path` the field for a path that a service names.
    Below the section `further_in` stand terms that few need, folded under `further_title`: rows of fields, each with
    the choices of the field `model` that it belongs to, or none for all.
    """

    sections: ClassVar[list[tuple[str, list[str]]]] = []
    further_in: ClassVar[str] = ""
    further_title: ClassVar[str] = ""
    further: ClassVar[list[tuple[str, list[str]]]] = []
    field_of_path: ClassVar[dict[str, str]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields |= self.rows_of_fields()
        for field in self.fields.values():
            widget = field.widget
            if isinstance(widget, forms.CheckboxInput):
                field.widget = UnfoldBooleanWidget(attrs=widget.attrs)
            elif isinstance(widget, forms.Textarea):
                widget.attrs |= {"class": " ".join(TEXTAREA_CLASSES), "rows": 3}
            elif not widget.is_hidden:
                classes = SELECT_CLASSES if isinstance(widget, forms.Select) else INPUT_CLASSES
                widget.attrs["class"] = " ".join(classes)

    def rows_of_fields(self) -> dict[str, forms.Field]:
        """Make fields of which there are several of a kind."""
        return {}

    def sectioned(self) -> Iterator[tuple[str, list[BoundField]]]:
        """The fields by section, in the order in which a person thinks."""
        for title, names in self.sections:
            yield title, [self[name] for name in names]

    def further_rows(self) -> Iterator[tuple[str, list[BoundField]]]:
        """The rows of what is folded."""
        for models_of_row, names in self.further:
            yield models_of_row, [self[name] for name in names]

    @property
    def is_further_open(self) -> bool:
        """Tell whether something stands there already, or is wrong."""
        fields = [field for _, row in self.further_rows() for field in row]
        return any(field.errors or field.value() not in (None, "", field.field.initial) for field in fields)

    def add_refusal(self, refusal: Refusal) -> None:
        """Show what a service refused, at its field where the form has it."""
        for problem in refusal.details if isinstance(refusal.details, list) else [{}]:
            if isinstance(problem, dict) and problem.get("path") in self.field_of_path:
                self.add_error(self.field_of_path[problem["path"]], sentence(problem["message"]))
            else:
                self.add_error(None, refusal.message)


def sentence(words: str) -> str:
    """Begin with a capital letter: services write what follows the name of a field."""
    return words[:1].upper() + words[1:]


class TermsAdmin(PageAdmin):
    """Pages of a model whose rows are made by a service from the terms of `terms_form`."""

    terms_form: type[TermsForm]
    lines_formset: type[forms.BaseFormSet] | None = None
    terms_title: str
    terms_words: str = ""

    def make(self, form: Any, lines: Any, at: datetime) -> models.Model:
        """Make the row by its service. Runs in a transaction; may raise Refusal."""
        raise NotImplementedError

    def initial_terms(self, request: HttpRequest) -> dict[str, Any]:
        """What the empty form proposes."""
        return {}

    @csrf_protect_m
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the form, or make the row. A refusal leaves everything as it was typed and nothing written."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        data = request.POST if request.method == "POST" else None
        form = self.terms_form(data, initial=self.initial_terms(request))
        lines = self.lines_formset(data, prefix="lines") if self.lines_formset is not None else None
        words = {"title": self.terms_title, "words": self.terms_words} | (extra_context or {})
        return self.state_or_make(request, form, lines, self.make, words)

    def state_or_make(
        self,
        request: HttpRequest,
        form: TermsForm,
        lines: Any,
        make: Callable[..., models.Model],
        words: dict[str, Any],
    ) -> HttpResponse:
        """Show the form that states the terms, or make the row of what was sent."""
        # Both are asked, so that all problems show at once.
        if form.is_bound and all([form.is_valid(), lines is None or lines.is_valid()]):
            try:
                with transaction.atomic():
                    row = make(form, lines, timezone.now())
                    self.log_addition(request, row, [{"added": {}}])
            except Refusal as refusal:
                form.add_refusal(refusal)
            else:
                return self.response_add(request, row)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "form": form,
            "lines": lines,
            "media": self.media,
            **words,
        }
        return TemplateResponse(request, "admin/terms.html", context)
