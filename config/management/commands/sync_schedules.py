from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from config.schedules import sync_schedules


class Command(BaseCommand):
    help = "Make the schedule table equal to the list SCHEDULES in settings; schedules of other names are left alone."

    def handle(self, *args: Any, **options: Any) -> None:
        added, removed = sync_schedules(entries=settings.SCHEDULES)
        self.stdout.write(f"{len(settings.SCHEDULES)} schedules: {added} added, {removed} removed.")
