"""Our squashed migrations of dj-stripe say what upstream's say; an upgrade that changes them fails here."""

from io import StringIO
from pathlib import Path

import djstripe
import pytest
from django.core.management import call_command

import config.djstripe_migrations


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("[0-9]*.py")}


def test_the_history_has_upstreams_names() -> None:
    ours, upstreams = (Path(package.__path__[0]) for package in (config.djstripe_migrations, djstripe))
    assert names_in(ours) == names_in(upstreams / "migrations")


@pytest.mark.django_db
def test_they_lead_to_the_tables_of_the_installed_version() -> None:
    said = StringIO()
    call_command("makemigrations", "djstripe", check_changes=True, dry_run=True, stdout=said)
    assert "No changes detected" in said.getvalue()
