from collections.abc import Iterable
from datetime import date
from typing import Any

from django.db import connection

from metering import recount_sql
from plans.models import MetricVersion
from plans.models.metrics import Aggregation
from plans.services.time_zone import billing_zone

CustomerDay = tuple[int, date]


def recount_days(*, version: MetricVersion, days: Iterable[CustomerDay]) -> None:
    """Count the days of customers (by their keys) anew for a version of a metric, exactly, while events arrive.

    Runs inside a transaction; the rows of the days stay locked until it ends, and whoever records an event of one of
    them waits until then.
    """
    wanted = sorted(set(days))
    terms: dict[str, Any] = {
        "version": version.pk,
        "customers": [customer for customer, _ in wanted],
        "days": [day for _, day in wanted],
        "zone": billing_zone().key,
    }
    statements = [recount_sql.LOCK_DAYS, recount_sql.RECOUNT_DAYS]
    if version.metric.aggregation_type == Aggregation.UNIQUE_COUNT:
        statements += [recount_sql.FORGET_VALUES, recount_sql.TELL_VALUES_APART]
    with connection.cursor() as cursor:
        for statement in [*statements, recount_sql.DROP_EMPTY_DAYS]:
            cursor.execute(statement, terms)
