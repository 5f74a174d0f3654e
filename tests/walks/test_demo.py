"""`manage.py demo`: the whole walk on scratch data, over real HTTP."""

import os
import subprocess
import sys

from django.conf import settings

SECONDS = 240


def test_prints_the_three_invoices_and_exits_0():
    walk = subprocess.run(
        [sys.executable, "manage.py", "demo"],
        cwd=settings.BASE_DIR,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert walk.returncode == 0, walk.stdout + walk.stderr
    invoices = [line.split(" for ")[1] for line in walk.stdout.splitlines() if line.startswith("  Invoice ")]
    totals = [line.split()[-1] for line in walk.stdout.splitlines() if line.startswith("  Total ")]
    assert invoices == ["Ada: paid", "Ben: paid", "Cleo: paid"]
    assert totals == ["$154.00", "$29.00", "$154.00"]
    assert "All the worked numbers came out" in walk.stdout
