"""API keys, and the pages of the packages that Candela stands on, in the look of the others."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from config.keys import create_api_key, revoke_api_key
from config.models import ApiKey, Environment, KeyType
from plans.admin.terms import TermsAdmin, TermsForm


class ApiKeyForm(TermsForm):
    """What a new key opens."""

    name = forms.CharField(max_length=100, help_text="Who or what will use it.")
    key_type = forms.ChoiceField(
        label="Type",
        choices=[(KeyType.SECRET, "Secret: for your servers"), (KeyType.PUBLISHABLE, "Publishable: for web pages")],
        help_text="A new publishable key revokes the one before it of its environment.",
    )
    environment = forms.ChoiceField(choices=[(Environment.LIVE, "Live"), (Environment.TEST, "Test")])
    scopes = forms.CharField(
        required=False,
        help_text="Separated by blanks, such as customers:read events:write. Empty: a secret key opens everything.",
    )
    expires_at = forms.DateTimeField(
        label="Expires",
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        help_text="In UTC. Empty: never.",
    )

    sections = [("API key", ["name", "key_type", "environment", "scopes", "expires_at"])]
    field_of_path = {"name": "name", "keyType": "key_type", "environment": "environment", "expiresAt": "expires_at"} | {
        f"scopes[{index}]": "scopes" for index in range(100)
    }

    def clean_scopes(self) -> list[str] | None:
        """The scopes one by one; None where none is named."""
        return self.cleaned_data["scopes"].replace(",", " ").split() or None


@admin.register(ApiKey)
class ApiKeyAdmin(TermsAdmin):
    """Keys of the API. The text of a new one is on the page that answers its making, and nowhere afterwards."""

    terms_form = ApiKeyForm
    terms_title = "Create an API key"
    list_display = ["name", "shown_prefix", "key_type", "environment", "state", "last_used_at", "created_at"]
    list_filter = ["key_type", "environment"]
    search_fields = ["name", "prefix", "public_id"]
    fields = [
        "name",
        "shown_prefix",
        "key_type",
        "environment",
        "scopes",
        "state",
        "created_at",
        "expires_at",
        "revoked_at",
        "last_used_at",
        "public_id",
    ]
    readonly_fields = fields[1:]
    actions = ["revoke"]

    def make(self, form: ApiKeyForm, lines: Any, at: datetime) -> ApiKey:
        """Make the key; its text travels on the row to the page that shows it."""
        key, text = create_api_key(**form.cleaned_data, at=at)
        key.text = text  # type: ignore[attr-defined]  # an attribute of ours
        return key

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Show the key, once."""
        context = {**self.admin_site.each_context(request), "title": "API key created", "opts": self.opts, "key": obj}
        return TemplateResponse(request, "admin/api_key_created.html", context)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Keys are revoked; what they did stays known."""
        return False

    @admin.display(description="begins with")
    def shown_prefix(self, key: ApiKey) -> str:
        """Enough to know a key by."""
        return f"{key.prefix}…"

    @display(description="state", label={"active": "success", "revoked": "danger", "expired": "warning"})
    def state(self, key: ApiKey) -> str:
        """Whether it opens anything."""
        if key.revoked_at is not None:
            return "revoked"
        return "expired" if key.expires_at is not None and key.expires_at <= timezone.now() else "active"

    @admin.action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Revoke keys from this moment on."""
        keys = list(queryset.filter(revoked_at=None))
        for key in keys:
            revoke_api_key(public_id=key.public_id, at=timezone.now())
            self.log_change(request, key, "Revoked.")
        self.message_user(request, f"{len(keys)} API keys revoked; they open nothing from now on.")


class OperatorAdmin(UserAdmin, ModelAdmin):
    """People who may see these pages."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


class OperatorGroupAdmin(GroupAdmin, ModelAdmin):
    """Groups of them."""


def restyle(app_label: str) -> None:
    """Register an app's pages again on the base that draws their inputs."""
    for model, page in list(admin.site._registry.items()):
        if model._meta.app_label == app_label and not isinstance(page, ModelAdmin):
            admin.site.unregister(model)
            admin.site.register(model, type(type(page).__name__, (ModelAdmin, type(page)), {}))


for model, page in ((User, OperatorAdmin), (Group, OperatorGroupAdmin)):
    admin.site.unregister(model)
    admin.site.register(model, page)
for app_label in ("djstripe", "django_q"):
    restyle(app_label)
