from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from django.utils import timezone

from config.keys import create_api_key
from plans.refusals import Refusal


class Command(BaseCommand):
    help = "Make an API key and print it, alone, on standard output. It cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", default="", help="what the key is for, 1 to 100 characters")
        parser.add_argument("--type", default="", dest="key_type", help="secret or publishable")
        parser.add_argument("--environment", default="live", help="live (default) or test")
        parser.add_argument(
            "--scope",
            action="append",
            dest="scopes",
            help='such as "customers:read"; may be given several times; without it a secret key may do everything',
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            _, text = create_api_key(
                name=options["name"],
                key_type=options["key_type"],
                environment=options["environment"],
                scopes=options["scopes"],
                at=timezone.now(),
            )
        except Refusal as refusal:
            raise CommandError(_sentence(refusal)) from refusal
        except DatabaseError as error:
            raise CommandError("The database is not there or not migrated; run: manage.py migrate") from error
        self.stdout.write(text)


def _sentence(refusal: Refusal) -> str:
    return refusal.details if isinstance(refusal.details, str) else refusal.message
