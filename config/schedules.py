"""What django-q2 starts by the clock: the list in settings, as rows of its table."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection, transaction
from django_q.models import Schedule

# Ours; what an operator adds in the admin has other names and is left alone.
PREFIX = "candela: "

COLUMNS = ("func", "schedule_type", "minutes", "repeats", "cluster")


@transaction.atomic
def sync_schedules(*, entries: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Make our rows of the schedule table equal to `entries`; returns how many were added and removed.

    An entry calls `func`, a dotted path, every so many `minutes`, on the queue `cluster` where it names one.

    A row that is right already is not touched, so that its next run stays; a changed one is replaced and runs at once.
    Missed runs are not caught up with: that is `catch_up` in Q_CLUSTER, and a sweep finds by itself what is due.
    """
    # Nothing in the table keeps two of us from adding the same name. Readers, and the cluster's row locks, pass.
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {connection.ops.quote_name(Schedule._meta.db_table)} IN SHARE ROW EXCLUSIVE MODE")
    missing = {PREFIX + entry["name"].removeprefix(PREFIX): _columns(entry) for entry in entries}
    wrong = []
    for row in Schedule.objects.filter(name__startswith=PREFIX).order_by("pk"):
        if missing.get(row.name) == {column: getattr(row, column) for column in COLUMNS}:
            del missing[row.name]
        else:
            wrong.append(row.pk)
    Schedule.objects.filter(pk__in=wrong).delete()
    Schedule.objects.bulk_create(Schedule(name=name, **columns) for name, columns in missing.items())
    return len(missing), len(wrong)


def _columns(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Say what the row of an entry holds."""
    values = (entry["func"], Schedule.MINUTES, entry["minutes"], -1, entry.get("cluster"))
    return dict(zip(COLUMNS, values, strict=True))
