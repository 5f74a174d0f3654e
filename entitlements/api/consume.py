"""The door of /v1/entitlements/{customerId}/feature/{slug}/consume."""

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_POST

from entitlements.consume_words import consumed_body, read_consumption
from entitlements.services.consume import consume as consume_units
from plans.access import needs
from plans.exact_json import decode_object, encode
from plans.query import boolean_parameter


# The body is read here, once, and carries its own idempotency key.
@needs(scope="entitlements:write", own_idempotency=True)
@require_POST
def consume(request: HttpRequest, customer_id: str, slug: str) -> HttpResponse:
    """POST …/consume: check and record in one step. 200 also for a no."""
    at = timezone.now()
    consumed = consume_units(
        customer=customer_id,
        slug=slug,
        external=boolean_parameter(request.GET, "isExtCustId"),
        wanted=read_consumption(decode_object(request.body), at=at),
        at=at,
    )
    return HttpResponse(encode(consumed_body(consumed)), content_type="application/json")
