"""API keys, and the pages of the packages that Candela stands on, in the look of the others."""

from collections.abc import Callable
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
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django_q import admin as django_q_pages
from django_q.models import Failure, OrmQ, Schedule, Success
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from config.keys import create_api_key, revoke_api_key
from config.models import ADMIN, ApiKey, Environment, KeyType
from config.schedules import PREFIX
from plans.admin.pages import CappedPaginator, FactsAdmin, PageAdmin, amount, moment, yes_or_no
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
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
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
    list_display = [
        "name",
        "shown_prefix",
        "key_type",
        "environment",
        "state",
        moment("last_used_at"),
        moment("created_at"),
    ]
    list_filter = ["key_type", "environment"]
    search_fields = ["name", "prefix", "public_id"]
    search_help_text = "Name, beginning or id of a key."
    fields = [
        "name",
        "shown_prefix",
        "key_type",
        "environment",
        "opens",
        "state",
        moment("created_at"),
        moment("expires_at"),
        moment("revoked_at"),
        moment("last_used_at"),
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

    @admin.display(description="opens")
    def opens(self, key: ApiKey) -> str:
        """What the API lets it do."""
        if key.key_type == KeyType.PUBLISHABLE:
            return "public endpoints"
        return "everything" if ADMIN in key.scopes else ", ".join(key.scopes)

    @admin.action(description="Revoke…", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> HttpResponse | None:
        """Ask, and then revoke keys from this moment on."""
        keys = list(queryset.filter(revoked_at=None))
        if keys and "confirmed" not in request.POST:
            return self._ask_to_revoke(request, keys)
        for key in keys:
            revoke_api_key(public_id=key.public_id, at=timezone.now())
            self.log_change(request, key, "Revoked.")
        words = ", ".join(key.name for key in keys)
        self.message_user(request, f"Revoked: {words}. From now on they open nothing." if keys else "Revoked already.")
        return None

    def _ask_to_revoke(self, request: HttpRequest, keys: list[ApiKey]) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "Revoke API keys?",
            "opts": self.opts,
            "keys": keys,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/revoke_keys.html", context)


class OperatorAdmin(UserAdmin, PageAdmin):
    """People who may see these pages."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    # Two lists side by side do not fit beside the sidebar.
    filter_horizontal = ()


class OperatorGroupAdmin(GroupAdmin, PageAdmin):
    """Groups of them."""

    filter_horizontal = ()


def at_stripe(key: str) -> Callable[[Any], str | None]:
    """A column of what Stripe told of a row under `key`."""

    @admin.display(description=key.replace("_", " "))
    def column(row: Any) -> str | None:
        told = row.stripe_data.get(key)
        return None if told is None else str(told)

    column.__name__ = key
    return column


@admin.display(description="total")
def total_at_stripe(row: Any) -> SafeString | None:
    """The total of an invoice; dj-stripe's own words for it are a hundred times too much."""
    told = row.stripe_data
    return amount(told.get("total"), (told.get("currency") or "").upper())


class MirrorAdmin(FactsAdmin):
    """What dj-stripe mirrors of Stripe. It is looked at only: a change here would change nothing at Stripe, and some
    of dj-stripe's own columns fail with the API version that is pinned. Secrets, which its tables hold in plain text,
    are left out."""

    SECRETS = frozenset({"secret"})
    paginator = CappedPaginator

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Every column but the secrets; a related row by its id at Stripe."""
        shown = [field for field in self.opts.concrete_fields if field.name not in self.SECRETS]
        return [field.attname if field.is_relation else field.name for field in shown if not field.primary_key]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """All of them."""
        return self.get_fields(request, obj)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Headed by the id: what dj-stripe calls a row can hold an amount that is a hundred times too much."""
        name = str(getattr(context["original"], "id", context["original"].pk))
        return super().render_change_form(request, context | {"original": name, "subtitle": name}, *args, **kwargs)


# The tables that Candela's own calls and webhooks fill, with the columns of their lists.
MIRRORED: dict[str, dict[str, list[Any]]] = {
    "account": {"list_display": ["id", "__str__", moment("created")]},
    "apikey": {"list_display": ["secret_redacted", "type", yes_or_no("livemode", "live")]},
    "customer": {
        "list_display": ["id", at_stripe("name"), at_stripe("email"), moment("created")],
        "search_fields": ["id", "stripe_data__name", "stripe_data__email"],
    },
    "event": {"list_display": ["id", "type", moment("created")], "search_fields": ["id", "type"]},
    "invoice": {
        "list_display": ["id", at_stripe("number"), at_stripe("status"), total_at_stripe, moment("created")],
        "search_fields": ["id", "stripe_data__number"],
    },
    "paymentmethod": {
        "list_display": ["id", at_stripe("type"), at_stripe("customer"), moment("created")],
        "search_fields": ["id", "stripe_data__customer"],
    },
    "webhookendpoint": {"list_display": ["url", "status", "api_version", moment("created")]},
    "webhookeventtrigger": {
        "list_display": [moment("created", "received"), "remote_ip", yes_or_no("valid", "signature valid"), "exception"]
    },
}


def mirror_stripe() -> None:
    """Show the tables of dj-stripe that are filled, on pages of facts, and none of the others."""
    for model in [model for model in admin.site._registry if model._meta.app_label == "djstripe"]:
        admin.site.unregister(model)
        look = MIRRORED.get(model._meta.model_name or "")
        if look is not None:
            admin.site.register(model, MirrorAdmin, ordering=["-pk"], **look)


TASK_FIELDS = [
    "name",
    "func",
    "args",
    "kwargs",
    "group",
    moment("started"),
    moment("stopped"),
    "attempt_count",
    "result",
]
TASK_COLUMNS = ["name", "group", "func", moment("started"), moment("stopped")]


class FinishedTaskAdmin(FactsAdmin):
    """Tasks that the job runner has finished."""

    list_display = TASK_COLUMNS
    list_filter = ["group"]
    search_fields = ["name", "func", "group"]
    fields = TASK_FIELDS


class FailedTaskAdmin(FinishedTaskAdmin):
    """Tasks that raised an error. Once looked at they may be deleted; the sweeps run again by themselves."""

    list_display = [*TASK_COLUMNS, "problem"]
    actions = ["delete_selected"]  # type: ignore[assignment]  # the base has none

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Those who may, may."""
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    @admin.display(description="problem")
    def problem(self, task: Failure) -> str:
        """The beginning of the error."""
        return Truncator(task.result).chars(100)


class QueuedTaskAdmin(FactsAdmin):
    """Tasks that wait for the job runner."""

    list_display = ["name", "group", "func", moment("lock", "not before")]
    fields = ["name", "group", "func", "args", "kwargs", moment("lock", "not before")]


class ScheduleAdmin(PageAdmin, django_q_pages.ScheduleAdmin):
    """When the sweeps run. Our own are code, and without them nobody is billed; only others may be edited."""

    list_display = ["name", "func", "minutes", moment("next_run"), "get_last_run", "get_success"]
    list_display_links = ["name"]
    list_filter: list[str] = []

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Not of those that the settings list."""
        return not is_ours(obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Not of those that the settings list."""
        return not is_ours(obj) and super().has_delete_permission(request, obj)


def is_ours(schedule: Schedule | None) -> bool:
    """Tell whether a schedule is one of the settings."""
    return schedule is not None and (schedule.name or "").startswith(PREFIX)


PAGES: dict[Any, type[admin.ModelAdmin]] = {
    User: OperatorAdmin,
    Group: OperatorGroupAdmin,
    Schedule: ScheduleAdmin,
    Success: FinishedTaskAdmin,
    Failure: FailedTaskAdmin,
    OrmQ: QueuedTaskAdmin,
}
admin.site.index_title = "Home"
for model, page in PAGES.items():
    admin.site.unregister(model)
    admin.site.register(model, page)
mirror_stripe()
