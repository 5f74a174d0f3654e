"""The door of /v1/usage. A plain view: it answers in two formats."""

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from metering.services.metrics import find_metric
from metering.services.read_usage import UsageByDay, UsageByProperty, read_usage_by_day, read_usage_by_property
from metering.usage_words import read_grouping, read_window, usage_csv, usage_words
from plans.access import needs
from plans.exact_json import encode
from plans.query import boolean_parameter
from plans.refusals import InvalidInput
from plans.services.customers import find_customer


@needs(scope="usage")
@require_safe
def usage(request: HttpRequest, identifier: str) -> HttpResponse:
    """GET /v1/usage/{customerId}: a customer's usage of a metric by day or by a property, as JSON or as CSV."""
    query = request.GET
    if "metricId" not in query:
        raise InvalidInput.at("metricId", "is required.")
    customer = find_customer(identifier, external=boolean_parameter(query, "isExtCustId"))
    metric = find_metric(query["metricId"])
    window = read_window(query, customer=customer, metric=metric, at=timezone.now())
    property_name = read_grouping(query)
    answer: UsageByDay | UsageByProperty
    if property_name is None:
        answer = read_usage_by_day(customer=customer, metric=metric, window=window)
    else:
        answer = read_usage_by_property(customer=customer, metric=metric, window=window, property_name=property_name)
    if request.get_preferred_type(["application/json", "text/csv"]) == "text/csv":
        headers = {"Content-Disposition": 'attachment; filename="usage.csv"'}
        return HttpResponse(usage_csv(answer), content_type="text/csv; charset=utf-8", headers=headers)
    words = usage_words(answer, customer=customer, metric=metric, window=window)
    return HttpResponse(encode(words), content_type="application/json")
