"""Which version of a metric a period is counted by must not change while somebody settles it."""

from django.db import connection

_SWITCH = "hashtextextended('candela: current version of a metric', 0)"


def hold_versions() -> None:
    """Keep every metric at its current version until the transaction ends. Does not keep others from doing the same."""
    _execute(f"SELECT pg_advisory_xact_lock_shared({_SWITCH})")


def lock_for_switch() -> None:
    """Wait until nobody holds the versions, and keep others from holding them until the transaction ends."""
    _execute(f"SELECT pg_advisory_xact_lock({_SWITCH})")


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
