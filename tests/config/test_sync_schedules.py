from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django_q.models import Schedule

from config.schedules import sync_schedules

pytestmark = pytest.mark.django_db

CLOSE = {"name": "close periods", "func": "billing.jobs.close_periods", "minutes": 1}
PUSH = {"name": "push invoices", "func": "billing.jobs.push_invoices", "minutes": 5}


@pytest.fixture(autouse=True)
def empty_table() -> None:
    Schedule.objects.all().delete()


def rows() -> list[tuple[Any, ...]]:
    return list(Schedule.objects.order_by("name").values_list("name", "func", "schedule_type", "minutes", "repeats"))


def test_adds_what_is_listed_to_run_for_ever() -> None:
    assert sync_schedules(entries=[CLOSE, PUSH]) == (2, 0)
    assert rows() == [
        ("candela: close periods", "billing.jobs.close_periods", "I", 1, -1),
        ("candela: push invoices", "billing.jobs.push_invoices", "I", 5, -1),
    ]


def test_a_second_time_touches_nothing() -> None:
    sync_schedules(entries=[CLOSE])
    before = Schedule.objects.values().get()
    assert sync_schedules(entries=[CLOSE]) == (0, 0)
    assert Schedule.objects.values().get() == before


def test_a_changed_entry_replaces_its_row() -> None:
    sync_schedules(entries=[CLOSE])
    assert sync_schedules(entries=[CLOSE | {"minutes": 10}]) == (1, 1)
    assert rows() == [("candela: close periods", "billing.jobs.close_periods", "I", 10, -1)]


def test_removes_ours_that_are_no_longer_listed_and_keeps_an_operators() -> None:
    Schedule.objects.create(name="nightly export", func="ops.export")
    Schedule.objects.create(name=None, func="ops.nameless")
    sync_schedules(entries=[CLOSE, PUSH])
    assert sync_schedules(entries=[PUSH]) == (0, 1)
    assert set(Schedule.objects.values_list("name", flat=True)) == {"nightly export", None, "candela: push invoices"}


def test_removes_a_double_of_ours() -> None:
    sync_schedules(entries=[CLOSE])
    Schedule.objects.create(name="candela: close periods", func=CLOSE["func"], schedule_type="I", minutes=1)
    assert sync_schedules(entries=[CLOSE]) == (0, 1)
    assert len(rows()) == 1


def test_a_name_may_have_the_prefix_already() -> None:
    assert sync_schedules(entries=[CLOSE | {"name": "candela: close periods"}]) == (1, 0)
    assert sync_schedules(entries=[CLOSE]) == (0, 0)


def test_the_command_takes_the_list_from_settings(settings: Any) -> None:
    settings.SCHEDULES = [CLOSE]
    said = StringIO()
    call_command("sync_schedules", stdout=said)
    assert said.getvalue() == "1 schedules: 1 added, 0 removed.\n"
    assert [row[0] for row in rows()] == ["candela: close periods"]
