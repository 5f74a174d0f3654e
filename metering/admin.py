"""Events, as they arrived."""

from collections.abc import Iterable

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.safestring import SafeString

from metering.models import EVENT_PREFIX, UsageEvent
from plans.admin.pages import CappedPaginator, FactsAdmin, in_column, link, moment, units, yes_or_no
from plans.ids import key_of
from plans.models import Customer, Seat
from plans.models.customers import OrgRole


def _with_members(customers: Iterable[Customer]) -> set[int]:
    """The keys of customers and of all who have had a seat in their organizations."""
    organizations = [one.customer_organization_id for one in customers if one.org_role == OrgRole.PRIMARY]
    members = Seat.objects.filter(organization_id__in=organizations).values_list("member", flat=True)
    return {one.pk for one in customers} | set(members)


@admin.register(UsageEvent)
class UsageEventAdmin(FactsAdmin):
    """The newest events, or those of one customer or event name. Only what an index answers can be searched for."""

    list_display = ["short_id", "customer", "event_name", "amount_used", moment("occurred_at"), moment("received_at")]
    list_select_related = ["customer"]
    paginator = CappedPaginator
    ordering = ["-pk"]
    sortable_by = ()
    # Django shows the search box only where this is not empty.
    search_fields = ["event_name__exact"]
    search_help_text = "An event's id, a customer's id, external id or e-mail, or an event name; each in full."
    fields = [
        "public_id",
        "customer_page",
        "external_customer_id",
        "event_name",
        "amount_used",
        moment("occurred_at"),
        moment("received_at"),
        yes_or_no("timestamp_given", "time said by the client"),
        "idempotency_key",
        "properties",
    ]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[UsageEvent], search_term: str
    ) -> tuple[QuerySet[UsageEvent], bool]:
        """Find by one exact word, each kind of which has an index."""
        term = search_term.strip()
        if not term:
            return queryset, False
        key = key_of(EVENT_PREFIX, term) if term.startswith(EVENT_PREFIX) else None
        if key is not None:
            return queryset.filter(pk=key), False
        of_customer = Q(public_id=term) | Q(external_customer_id=term) | Q(email__iexact=term)
        customers = Customer.objects.filter(of_customer)[:50]
        if customers:
            # By the index, which knows whom an event was addressed to.
            addressed = queryset.annotate(addressed=Coalesce("member", "customer"))
            return addressed.filter(addressed__in=_with_members(customers)), False
        return queryset.filter(Q(event_name=term) | Q(customer=None, external_customer_id=term)), False

    @admin.display(description="event")
    def short_id(self, event: UsageEvent) -> str:
        """The id that the API names it by."""
        return event.public_id

    @admin.display(description="id")
    def public_id(self, event: UsageEvent) -> str:
        """The id that the API names it by."""
        return event.public_id

    @admin.display(description="customer", empty_value="nobody yet")
    def customer_page(self, event: UsageEvent) -> SafeString | None:
        """Who used it."""
        return link(event.customer)

    @admin.display(description="value")
    def amount_used(self, event: UsageEvent) -> SafeString | None:
        """The number or the text that was sent."""
        return in_column(event.text_value) if event.text_value is not None else units(event.value)
