import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from billing.sandbox import whereabouts
from billing.sandbox.server import AlreadyServed, serve


class Command(BaseCommand):
    help = "Run Candela's stand-in for Stripe alone, on 127.0.0.1, until Ctrl-C. It is not Stripe; no money moves."
    # The sandbox knows neither the project's models nor its database.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, help="port on 127.0.0.1 (default: that of last time, or a free one)")
        parser.add_argument(
            "--state",
            metavar="FILE",
            help='file that keeps its state (default: in the data folder); ":memory:" keeps it until the end',
        )

    def handle(self, *args: Any, port: int | None, state: str | None, **options: Any) -> None:
        folder: Path = settings.CANDELA_DATA
        folder.mkdir(parents=True, exist_ok=True)
        of_the_folder = state is None
        path = str(whereabouts.state_path(folder)) if state is None else state

        def announce(url: str) -> None:
            if of_the_folder:
                whereabouts.note(folder, url=url, pid=os.getpid())
            self.stdout.write(_how_to_use(url, folder if of_the_folder else None))
            self.stdout.flush()

        try:
            chosen = whereabouts.free_port(whereabouts.last_port(folder)) if port is None else port
            serve(port=chosen, state_path=path, announce=announce)
        except AlreadyServed as error:
            raise CommandError(str(error)) from error
        except (OSError, OverflowError) as error:
            raise CommandError(f"The sandbox cannot be started ({error}): choose another --port or --state.") from error
        if of_the_folder:
            whereabouts.note_end(folder)
        self.stdout.write("The sandbox has stopped.")


def _how_to_use(url: str, folder: Path | None) -> str:
    found = (
        f"Commands of Candela with CANDELA_DATA={folder} and without STRIPE_SECRET_KEY find it by themselves.\n"
        if folder
        else ""
    )
    return f"""Candela's sandbox (not Stripe) is at {url}

{found}To point Candela, or anything else that calls Stripe, at it:

  STRIPE_API_HOST={url}
  STRIPE_SECRET_KEY=sk_test_anything

Open the address for its clock, its faults and what is in it. Ctrl-C stops it.
"""
