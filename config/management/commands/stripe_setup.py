from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from billing import gateway
from config import stripe_setup
from config.stripe_setup import Setup


class Command(BaseCommand):
    help = (
        "Check the keys of a Stripe account and make its webhook endpoint for PUBLIC_URL. Run again, it changes "
        "nothing that is right. No secret is ever printed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        either = parser.add_mutually_exclusive_group()
        either.add_argument("--check", action="store_true", help="change nothing; exit 1 if something is not right")
        either.add_argument(
            "--rotate", action="store_true", help="make a new endpoint with a new secret; the old one goes on for a day"
        )

    def handle(self, *args: Any, check: bool, rotate: bool, **options: Any) -> None:
        at = timezone.now()
        try:
            setup = stripe_setup.look(at=at) if check else stripe_setup.set_up(at=at, rotates=rotate)
        except gateway.StripeUnavailable as error:
            raise CommandError(f"Stripe cannot be asked: {error}") from error
        except gateway.StripeRefused as error:
            raise CommandError(f"Stripe refuses: {error}") from error
        self._print(setup)
        if setup.wrong:
            raise SystemExit(1)

    def _print(self, setup: Setup) -> None:
        if setup.account is not None:
            account = setup.account
            self.stdout.write(
                f"Account {account.id}: {account.name or 'without a name'}, {account.country}, {account.currency}"
            )
        for line in setup.done + setup.notes:
            self.stdout.write(line)
        for line in setup.wrong:
            self.stdout.write(self.style.ERROR(f"Not right: {line}"))
        if not (setup.wrong or setup.done):
            self.stdout.write("Nothing is to be done.")
