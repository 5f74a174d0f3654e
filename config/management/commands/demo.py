import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import requests
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, OutputWrapper

from billing.gateway import SANDBOX_KEY
from plans.words import money_text

READY_SECONDS = 120
CALL_SECONDS = 30
# The demo brings its own database, sandbox and keys; none of the caller's installation may be touched.
SCRATCH = {
    "DATABASE_URL": "",
    "STRIPE_SECRET_KEY": "",
    "STRIPE_LIVE_MODE": "false",
    "BILLING_TIME_ZONE": "UTC",
    "INVOICE_GRACE_HOURS": "1",
    "SECRET_KEY": "",
    "ALLOWED_HOSTS": "127.0.0.1",
    "DEBUG": "false",
}
MONTHLY = "RRULE:FREQ=MONTHLY;INTERVAL=1"
COMPONENT = "comp_usage_api_calls"
JSON = dict[str, Any]


class Command(BaseCommand):
    help = "Walk through usage, quota and overage over real HTTP, on scratch data, and check the worked numbers."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        begun = time.monotonic()
        with (
            tempfile.TemporaryDirectory(prefix="candela-demo-") as folder,
            running_server(Path(folder)) as (url, key),
        ):
            walk(Server(url=url, key=key, data=Path(folder), out=self.stdout))
        self.stdout.write(f"\nAll the worked numbers came out, in {time.monotonic() - begun:.0f} s.")


@contextmanager
def running_server(data: Path) -> Iterator[tuple[str, str]]:
    """Run `up` on a data folder and a free port until the block ends; gives its address and secret key."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = data / "up.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--no-demo", "--port", str(port)],
            cwd=settings.BASE_DIR,
            env=environment(data, f"http://127.0.0.1:{port}"),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        await_ready(server, url, log)
        yield url, json.loads((data / "access.json").read_text())["secretKey"]
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()


def environment(data: Path, url: str) -> dict[str, str]:
    """The environment of the demo's processes."""
    # Set rather than left out: what the environment lacks is read from the file .env.
    return os.environ | SCRATCH | {"CANDELA_DATA": str(data), "PUBLIC_URL": url}


def await_ready(server: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    """Wait until the server answers. Raises CommandError with its log when it does not."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if requests.get(f"{url}/healthz", timeout=5).status_code == 200:
                return
        except requests.RequestException:
            pass
        time.sleep(0.2)
    raise CommandError(f"The server did not start. It said:\n{log.read_text()}")


@dataclass(frozen=True)
class Server:
    """The running server, as a client of its API sees it. What is asked and answered is printed to `out`."""

    url: str
    key: str
    data: Path
    out: OutputWrapper

    def step(self, title: str) -> None:
        self.out.write(f"\n{title}\n{'─' * len(title)}")

    def call(self, method: str, path: str, body: JSON | None = None, *, expect: int = 200, show: str = "") -> Any:
        """Make one call; prints it with the part of its answer that `show` names."""
        answer = requests.request(
            method,
            f"{self.url}/v1/{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=CALL_SECONDS,
        )
        shown = answer.text if not show else json.dumps(dig(answer.json(), show))
        self.out.write(f"  {method:<4} /v1/{path:<58} {answer.status_code}  {shown[:100]}")
        require(f"{method} {path}", answer.status_code, expect)
        return answer.json()

    def manage(self, *command: str) -> None:
        """Run a management command in a shell of its own, beside the running server."""
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=settings.BASE_DIR,
            env=environment(self.data, self.url),
            capture_output=True,
            text=True,
            check=False,
        )
        self.out.write(f"  $ manage.py {' '.join(command)}")
        self.out.write("\n".join(f"    {line}" for line in (done.stdout + done.stderr).splitlines()))
        require(f"manage.py {command[0]} exits with", done.returncode, 0)


def dig(value: Any, path: str) -> Any:
    """Take the part of a JSON answer that a dotted path names."""
    for part in path.split("."):
        value = value[part]
    return value


def require(what: str, found: Any, expected: Any) -> None:
    """Raise CommandError unless a number came out as worked by hand."""
    if found != expected:
        raise CommandError(f"{what}: expected {expected!r}, found {found!r}")


def walk(server: Server) -> None:
    """The guide from a plan to a paid invoice, for three customers."""
    server.step("1. A metric, a feature and two plans: 29 dollars, 10,000 calls included, then 5 cents each")
    metric = server.call(
        "POST",
        "metrics",
        {
            "name": "API calls",
            "eventName": "api-call",
            "queryType": "simple",
            "aggregationType": "SUM",
            "valueType": "NUMERIC",
        },
        show="id",
    )
    feature = server.call(
        "POST",
        "features",
        {
            "slug": "api-calls",
            "displayName": "API calls",
            "featureValue": "usage_based",
            "metricIds": [metric["id"]],
        },
        show="feature.id",
    )["feature"]
    shown = make_plan(server, "Pro", metric["id"], feature["id"], visible=True)
    hidden = make_plan(server, "Pro, credits not shown", metric["id"], feature["id"], visible=False)

    server.step("2. Three customers with a card subscribe")
    ada = subscribe(server, "Ada", *shown)
    ben = subscribe(server, "Ben", *shown)
    cleo = subscribe(server, "Cleo", *hidden)

    server.step("3. Ada uses 12,500 calls; the check says no once 10,000 are used, and events go on being accepted")
    check = f"entitlements/{ada['customerId']}/feature/api-calls"
    send_calls(server, ada, 9_999)
    require("entitled at 9,999 used", server.call("GET", check, show="remaining")["entitled"], True)
    send_calls(server, ada, 1)
    at_quota = server.call("GET", check, show="entitled")
    require("entitled at 10,000 used", at_quota["entitled"], False)
    require("remaining at 10,000 used", at_quota["remaining"], 0)
    server.call(
        "POST",
        "events",
        {"eventName": "api-call", "customerId": ada["customerId"], "eventValue": 1, "idempotencyKey": "call-10001"},
        expect=202,
        show="deduplicated",
    )
    send_calls(server, ada, 2_499)

    server.step("4. Ben uses 8,000 calls, Cleo 12,500")
    send_calls(server, ben, 8_000)
    send_calls(server, cleo, 12_500)

    server.step("5. The period ends, the grace time passes, everything due is billed and collected")
    ends = datetime.fromisoformat(ada["currentPeriodEnd"])
    server.manage("bill", "--at", (ends + timedelta(hours=2)).isoformat())

    server.step("6. The invoices")
    worked = {"fixed": 2_900, "usage": 62_500, "credit": -50_000}
    check_invoice(server, ada, worked, total=15_400)
    check_invoice(server, ben, {"fixed": 2_900, "usage": 40_000, "credit": -40_000}, total=2_900)
    check_invoice(server, cleo, {"fixed": 2_900, "usage": 12_500}, total=15_400)

    server.step("7. The books")
    server.manage("check_books")


def make_plan(server: Server, name: str, metric: str, feature: str, *, visible: bool) -> tuple[str, str]:
    """Create a plan with its price and quota; returns the ids of plan and price."""
    plan = server.call(
        "POST", "plans", {"planName": name, "planDescription": "", "featureIds": [feature]}, show="plan.id"
    )["plan"]
    price = server.call(
        "POST",
        "prices",
        {
            "planId": plan["id"],
            "currency": "USD",
            "pricingData": {
                "dsl_version": 1,
                "components": [
                    {
                        "type": "fixed",
                        "label": "Base fee",
                        "amount_cents": 2900,
                        "recurrence_rule": MONTHLY,
                    },
                    {
                        "type": "usage",
                        "component_id": COMPONENT,
                        "component_name": "usage_api-calls",
                        "label": "API calls",
                        "unit_label": "call",
                        "metric_id": metric,
                        "unit_cost_cents": 5,
                        "recurrence_rule": MONTHLY,
                    },
                ],
            },
        },
        show="price.id",
    )["price"]
    server.call(
        "POST",
        "credits/definitions",
        {
            "scope": "plan",
            "applicationType": "usage",
            "planId": plan["id"],
            "priceId": price["id"],
            "priceComponentId": COMPONENT,
            "name": "Monthly API quota",
            "defaultAmount": 10000,
            "refillAmount": 10000,
            "renewOnBilling": True,
            "billingVisible": visible,
        },
        show="definition.id",
    )
    return plan["id"], price["id"]


def subscribe(server: Server, name: str, plan: str, price: str) -> JSON:
    """Create a customer with a test card and subscribe it; returns the subscription."""
    customer = server.call(
        "POST", "customers", {"name": name, "email": f"{name.lower()}@customer.example"}, show="customer.id"
    )["customer"]
    server.call(
        "POST",
        "payment-methods",
        {
            "customerId": customer["id"],
            "provider": "stripe",
            "paymentType": "card",
            "status": "active",
            "externalPspPaymentMethodId": "pm_card_visa",
        },
        show="cardLastFour",
    )
    return server.call(
        "POST",
        "subscriptions",
        {"customerId": customer["id"], "planId": plan, "priceId": price},
        show="subscription.currentPeriodEnd",
    )["subscription"]


def send_calls(server: Server, subscription: JSON, count: int) -> None:
    """Report `count` calls in batches of up to 1,000 events of one call each."""
    accepted = 0
    while accepted < count:
        size = min(1_000, count - accepted)
        event = {"eventName": "api-call", "customerId": subscription["customerId"], "eventValue": 1}
        answer = requests.post(
            f"{server.url}/v1/events/batch",
            json={"events": [event] * size},
            headers={"Authorization": f"Bearer {server.key}"},
            timeout=CALL_SECONDS,
        )
        require("events accepted", answer.json().get("accepted"), size)
        accepted += size
    server.out.write(f"  POST /v1/events/batch: {count:,} events of one call")


def check_invoice(server: Server, subscription: JSON, worked: dict[str, int], *, total: int) -> None:
    """Print a customer's newest invoice as a table, and compare lines, total, payment and Stripe's copy."""
    invoices = server.call("GET", f"invoices?customerId={subscription['customerId']}", show="pagination.total")[
        "invoices"
    ]
    invoice = server.call("GET", f"invoices/{invoices[0]['id']}", show="invoice.status")["invoice"]
    print_invoice(server.out, invoice)
    found = {line["type"]: line["subtotalCents"] for line in invoice["lineItems"]}
    require("lines", found, worked)
    require("number of lines", len(invoice["lineItems"]), len(worked))
    require("total", invoice["totalAmountCents"], total)
    require("status", invoice["status"], "paid")
    require("payments", [payment["amountCents"] for payment in invoice["payments"]], [total])
    sandbox = json.loads((server.data / "sandbox.json").read_text())["url"]
    copy = requests.get(
        f"{sandbox}/v1/invoices/{invoice['stripeInvoiceId']}",
        headers={"Authorization": f"Bearer {SANDBOX_KEY}"},
        timeout=CALL_SECONDS,
    ).json()
    require("Stripe's total and status", (copy["total"], copy["status"]), (total, "paid"))
    server.out.write(f"  At Stripe: {copy['id']}, {copy['status']}, {money_text(copy['amount_paid'], 'USD')}\n")


def print_invoice(out: OutputWrapper, invoice: JSON) -> None:
    """Print an invoice as a table."""
    out.write(f"\n  Invoice {invoice['customerInvoiceNumber']} for {invoice['customer']['name']}: {invoice['status']}")
    out.write(f"  {'':<46} {'Quantity':>10} {'Unit price':>12} {'Amount':>14}")
    for line in invoice["lineItems"]:
        unit = money_text(Decimal(str(line["unitAmountCents"])), invoice["currency"])
        amount = money_text(line["subtotalCents"], invoice["currency"])
        out.write(f"  {line['description'][:46]:<46} {line['quantity']:>10,} {unit:>12} {amount:>14}")
    out.write(f"  {'Total':<46} {'':>10} {'':>12} {money_text(invoice['totalAmountCents'], invoice['currency']):>14}")
