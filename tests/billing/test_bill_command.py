"""What `manage.py bill` prints."""

from io import StringIO

import pytest
from django.core.management import call_command

from billing.jobs import BOOK_SWEEPS, MAIL_SWEEPS, STRIPE_SWEEPS
from billing.management.commands.bill import WHAT_A_SWEEP_DOES

pytestmark = pytest.mark.django_db


def test_tells_in_words_what_every_sweep_did():
    told = StringIO()

    call_command("bill", dry_run=True, stdout=told)

    lines = told.getvalue().splitlines()
    for name in BOOK_SWEEPS:
        assert any(line.startswith(f"{name} ") for line in lines), name


def test_has_words_for_every_sweep():
    assert WHAT_A_SWEEP_DOES.keys() == BOOK_SWEEPS.keys() | STRIPE_SWEEPS.keys() | MAIL_SWEEPS.keys()
