from datetime import datetime

from django.db import transaction

from credits.models import CreditDefinition, CreditGrant
from metering.services.metrics import MetricInUse, delete_metric
from plans.models import Metric


@transaction.atomic
def delete_unused_metric(*, metric: Metric, at: datetime) -> None:
    """Delete a metric that neither quotas nor grants with something left are counted in. Raises MetricInUse for these,
    and as delete_metric does."""
    if CreditDefinition.objects.live().filter(metric=metric).exists():
        raise MetricInUse("This metric is used by a credit definition. Take it out there first.")
    if CreditGrant.objects.active(at).filter(metric=metric, ledger_remaining__gt=0).exists():
        raise MetricInUse("This metric is used by a grant with something left. Revoke it first.")
    delete_metric(metric=metric, at=at)
