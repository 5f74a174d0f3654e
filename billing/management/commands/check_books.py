from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from billing.books import check_books


class Command(BaseCommand):
    help = "Prove that the books add up: print the rows checked per invariant and those that break it; exit 1 if any."

    def handle(self, *args: Any, **options: Any) -> None:
        findings = check_books(at=timezone.now())
        widest = max(len(finding.invariant) for finding in findings)
        for finding in findings:
            verdict = f"{len(finding.offenders)} broken" if finding.offenders else "ok"
            self.stdout.write(f"{finding.invariant:<{widest}}  {finding.rows_checked:>12,} rows  {verdict}")
            for offender in finding.offenders:
                self.stdout.write(self.style.ERROR(f"    {offender}"))
        if any(finding.offenders for finding in findings):
            raise SystemExit(1)
