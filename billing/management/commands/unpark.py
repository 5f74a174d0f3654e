from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing.services.park import unpark_customer
from plans.models import Customer


class Command(BaseCommand):
    help = "Bill a customer again whom a sweep had parked because its books did not add up."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("customer", metavar="cus_…", help="the customer's id, as `manage.py bill` prints it")

    def handle(self, *args: Any, customer: str, **options: Any) -> None:
        parked = Customer.objects.filter(public_id=customer).first()
        if parked is None:
            raise CommandError(f"There is no customer {customer}.")
        if parked.parked_at is None:
            self.stdout.write(f"{parked.name} ({parked.public_id}) is not parked; nothing was changed.")
            return
        unpark_customer(customer=parked)
        self.stdout.write(f"{parked.name} ({parked.public_id}) is billed again from the next sweep on.")
