import pytest
from django.db import InternalError, ProgrammingError, connection

from plans.models import Metric
from plans.services.snapshot import one_snapshot
from tests.factories import MetricFactory


@pytest.mark.django_db(transaction=True)
def test_sees_one_instant_and_refuses_to_write(at_once):
    MetricFactory()

    with one_snapshot():
        before = Metric.objects.count()
        at_once([MetricFactory])
        assert Metric.objects.count() == before
        with pytest.raises((InternalError, ProgrammingError)), connection.cursor() as cursor:
            cursor.execute("DELETE FROM plans_metric")

    assert Metric.objects.count() == before + 1


@pytest.mark.django_db
def test_within_a_transaction_it_sees_what_that_sees():
    MetricFactory()

    with one_snapshot():
        assert Metric.objects.count() == 1
