"""publish_plan joins a metric to a feature that others have already: from then on theirs is counted too."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.services.subscribe import subscribe
from credits.services.publish_plan import UsageTerms, publish_plan
from plans.models import SubscriptionPeriod
from tests.factories import START, CustomerFactory, FeatureFactory, PlanFeatureFactory, PriceFactory
from tests.pro_plan import use

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def test_whoever_has_the_feature_gets_a_period_in_which_it_is_counted(api):
    feature = FeatureFactory(slug="api-calls", value="usage_based")
    price = PriceFactory()
    PlanFeatureFactory(plan=price.plan, feature=feature, value=100)
    customer = CustomerFactory()
    subscription = subscribe(at=START, customer=customer, plan=price.plan)
    assert not subscription.items.exclude(metric=None).exists()

    calls = UsageTerms(slug="api-calls", name="API calls", unit_cost_cents=Decimal(5))
    publish_plan(at=START + DAY, name="Pro", currency="USD", usage_components=[calls])

    metric = feature.metrics.get()
    periods = SubscriptionPeriod.objects.filter(subscription=subscription, metric=metric)
    assert periods.filter(start_at__lte=START + DAY, end_at__gt=START + DAY).count() == 1
    assert use(customer, metric, 30, START + 2 * DAY).event_id is not None
    # It counts without a price: the plan that the customer has does not charge it.
    assert subscription.items.get(metric=metric).component is None
