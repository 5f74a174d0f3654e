"""Real clusters of django-q2: a job that is delivered twice, two clusters, and a worker that is killed while it talks
to Stripe double nothing.

The clusters have the production's settings, so a task of a dead worker is delivered again after a quarter of an hour,
and an invoice is taken again when its lease is over. The tests let that time pass by setting both back in their rows.
"""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from email import message_from_bytes
from pathlib import Path
from threading import Event, Lock, Semaphore
from urllib.parse import urlsplit

import psutil
import pytest
import stripe
from django.conf import settings as project
from django.db import connection, transaction
from django.utils import timezone
from django_q.models import Failure, OrmQ
from django_q.tasks import async_task

from billing import gateway
from billing.models import Invoice, Mail, Payment
from billing.sandbox import Sandbox
from billing.sandbox.http_client import SandboxClient
from billing.sandbox.messages import Request, Response
from billing.sandbox.server import SandboxServer
from billing.services.collect import record_payment_method
from billing.services.send import customer_to_send, record_stripe_customer
from billing.services.subscribe import subscribe
from config.processes import Child, Family
from plans.models import Customer
from tests.billing.conftest import SECRET_KEY
from tests.factories import CustomerFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, use
from tests.walks.faulty_trade import differences

SECONDS = 20
CREATE, FINALIZE, PAY = "/v1/invoices", "/finalize", "/pay"
# The payers first: sweeps take what is due the longest.
CARDS = ["pm_card_visa"] * 4 + ["pm_card_chargeCustomerFail"]

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(sys.platform != "linux", reason="finds the worker that talks to Stripe by its connection"),
]


@dataclass
class Hold:
    """The next requests to an address that are held up: `before` Stripe does the work, or `after` it did."""

    path: str
    moment: str
    left: int = 1
    arrived: Semaphore = field(default_factory=lambda: Semaphore(0))
    released: Event = field(default_factory=Event)
    answered: Semaphore = field(default_factory=lambda: Semaphore(0))

    def wait(self) -> None:
        """Hold up a request; for as long as the test would wait at the most."""
        self.arrived.release()
        self.released.wait(SECONDS)


class HoldingSandbox(Sandbox):
    """A sandbox that can hold requests up."""

    held: Hold | None = None

    def __init__(self) -> None:
        super().__init__()
        self._counting = Lock()

    def hold(self, path: str, moment: str, *, times: int = 1) -> Hold:
        """Hold up the next POSTs to an address that ends so."""
        self.held = Hold(path, moment, left=times)
        return self.held

    def handle(self, request: Request) -> Response:
        """Answer a request, when it is its time."""
        hold = self._held_up(request)
        if hold and hold.moment == "before":
            hold.wait()
        response = super().handle(request)
        if hold and hold.moment == "after":
            hold.wait()
        if hold:
            hold.answered.release()
        return response

    def _held_up(self, request: Request) -> Hold | None:
        with self._counting:
            hold = self.held
            if hold is None or not hold.left or request.method != "POST" or not request.path.endswith(hold.path):
                return None
            hold.left -= 1
            return hold


@pytest.fixture
def sandbox() -> Iterator[HoldingSandbox]:
    made = HoldingSandbox()
    yield made
    made.close()


@pytest.fixture
def server(sandbox: HoldingSandbox) -> Iterator[SandboxServer]:
    with SandboxServer(sandbox) as running:
        yield running
        if sandbox.held:
            sandbox.held.released.set()


@pytest.fixture
def mails(tmp_path: Path) -> Path:
    return tmp_path / "mail"


@pytest.fixture
def workers() -> int:
    return 2


@pytest.fixture
def family(server: SandboxServer, mails: Path, tmp_path: Path, workers: int) -> Iterator[Family]:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.races.cluster_settings",
        "CLUSTER_DATABASE": str(connection.settings_dict["NAME"]),
        "CLUSTER_WORKERS": str(workers),
        "SECRET_KEY": project.SECRET_KEY,
        "STRIPE_SECRET_KEY": SECRET_KEY,
        "STRIPE_LIVE_MODE": "false",
        "STRIPE_API_HOST": server.url,
        "EMAIL_URL": f"filemail:///{mails}",
    }
    family = Family(logs=tmp_path / "logs", environment=environment, cwd=project.BASE_DIR)
    yield family
    family.stop()


@pytest.fixture
def at_stripe(sandbox: HoldingSandbox) -> stripe.StripeClient:
    return stripe.StripeClient(SECRET_KEY, http_client=SandboxClient(sandbox))


@pytest.fixture
def buyers(sandbox: HoldingSandbox, settings, monkeypatch: pytest.MonkeyPatch) -> list[Customer]:
    """Customers who subscribed 40 days ago and have made 12,500 calls, of which 10,000 are included; all but the last
    one can pay. The fee of the first month is billed; the calls, and the second month, are still to be."""
    settings.STRIPE_SECRET_KEY = SECRET_KEY
    monkeypatch.setattr(stripe, "default_http_client", SandboxClient(sandbox))
    monkeypatch.setattr(stripe, "api_base", stripe.api_base)
    monkeypatch.setattr(stripe, "max_network_retries", stripe.max_network_retries)
    pro, since = make_pro_plan(), timezone.now() - timedelta(days=40)
    customers = [CustomerFactory() for _ in CARDS]
    for customer, card in zip(customers, CARDS, strict=True):
        subscribe(at=since, customer=customer, plan=pro.plan)
        use(customer, pro.metric, 12_500, since + timedelta(hours=1))
        give_card(customer, card)
    return customers


def give_card(customer: Customer, token: str) -> None:
    stripe_id = gateway.ensure_customer(customer_to_send(customer))
    record_stripe_customer(customer=customer.public_id, stripe_id=stripe_id)
    card = gateway.attach_payment_method(stripe_customer=stripe_id, payment_method=token)
    record_payment_method(customer=customer, card=card, at=timezone.now())


def start_cluster(family: Family, number: int = 0) -> Child:
    return family.start(f"jobs-{number}", [sys.executable, "manage.py", "qcluster"])


def await_that(family: Family, condition: Callable[[], bool]) -> None:
    assert family.await_that(condition, seconds=SECONDS), "\n".join(family.new_errors())


@transaction.atomic
def deliver(job: str, *, times: int) -> None:
    """Let the queue deliver one and the same task so many times."""
    async_task(f"billing.jobs.{job}")
    task = OrmQ.objects.get()
    OrmQ.objects.bulk_create(OrmQ(key=task.key, payload=task.payload, lock=task.lock) for _ in range(times - 1))


def all_is_done() -> bool:
    return not OrmQ.objects.exists()


def do(family: Family, job: str, *, times: int) -> None:
    deliver(job, times=times)
    await_that(family, all_is_done)


def do_at_once(family: Family, job: str, hold: Hold, *, times: int) -> None:
    """Let a job run while as many workers as the hold holds up are in the middle of it."""
    held = hold.left
    deliver(job, times=times)
    for _ in range(held):
        await_that(family, lambda: hold.arrived.acquire(blocking=False))
    await_that(family, lambda: OrmQ.objects.count() < times)
    hold.released.set()
    await_that(family, all_is_done)


def worker_that_talks(cluster: Child, server: SandboxServer) -> psutil.Process:
    """The one process of the cluster that has a call to Stripe under way."""
    port = urlsplit(server.url).port
    (talking,) = [
        process
        for process in psutil.Process(cluster.process.pid).children(recursive=True)
        for one in process.net_connections(kind="tcp")
        if one.raddr and one.raddr.port == port and one.status == psutil.CONN_ESTABLISHED
    ]
    return talking


def let_time_pass() -> None:
    """Let the lease of what a dead worker had taken be over, and the queue deliver its task again."""
    now = timezone.now()
    Invoice.objects.filter(stripe_sent_at=None, send_at__gt=now).update(send_at=now)
    Invoice.objects.filter(charge_started_at__isnull=False).update(collect_at=now)
    assert OrmQ.objects.filter(lock__gt=now).update(lock=now) == 1


def assert_nothing_doubled(at_stripe: stripe.StripeClient, mails: Path) -> None:
    """By hand: 29.00 and 29.00 + 2,500 × 0.05 for each of five; four pay both, the fifth is told that he could not."""
    assert Failure.objects.count() == 0
    assert_books_add_up(timezone.now())
    issued = Invoice.objects.order_by("number")
    assert sorted(issued.values_list("total_cents", flat=True)) == [2_900] * 5 + [15_400] * 5
    assert len(set(issued.values_list("number", flat=True))) == 10
    assert sorted(issued.values_list("status", flat=True)) == ["issued"] * 2 + ["paid"] * 8
    assert Payment.objects.filter(status="succeeded").count() == 8
    assert Payment.objects.filter(status="failed").count() == 2
    charges = at_stripe.v1.charges.list({"limit": 100}).data
    assert sorted(one.amount_captured for one in charges if one.paid) == [2_900] * 4 + [15_400] * 4
    assert len(at_stripe.v1.invoices.list({"limit": 100}).data) == 10
    assert differences(at_stripe) == []
    sent = [message_from_bytes(text) for file in mails.glob("*") for text in _letters(file)]
    assert len(sent) == len({one["Message-ID"] for one in sent}) == Mail.objects.count() == 2


def _letters(file: Path) -> list[bytes]:
    """Django writes a line of 79 dashes after each."""
    return [text for text in file.read_bytes().split(b"-" * 79 + b"\n") if text.strip()]


@pytest.mark.parametrize(
    ("clusters", "deliveries", "held"),
    # A cluster holds no more than five tasks: one for each of its two workers, two in its queue, one on the way there.
    # So the second one has work too, and when three workers are held up, both clusters have one that is.
    [(1, 2, 1), (2, 8, 3)],
    ids=["one cluster", "two clusters"],
)
def test_a_job_that_is_delivered_again_and_again_doubles_nothing(
    family, sandbox, buyers, at_stripe, mails, clusters, deliveries, held
):
    for number in range(clusters):
        start_cluster(family, number)
    do(family, "sweep_books", times=deliveries)
    do_at_once(family, "sweep_send", sandbox.hold(CREATE, "after", times=held), times=deliveries)
    do_at_once(family, "sweep_collect", sandbox.hold(PAY, "after", times=held), times=deliveries)
    do(family, "sweep_mail", times=deliveries)

    assert_nothing_doubled(at_stripe, mails)
    for job in ("sweep_books", "sweep_send", "sweep_collect", "sweep_mail"):
        do(family, job, times=2)
    assert_nothing_doubled(at_stripe, mails)


@pytest.mark.parametrize("workers", [1])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_worker_that_is_killed_in_the_middle_of_a_call_doubles_nothing(
    family, sandbox, server, buyers, at_stripe, mails, moment
):
    """Two workers die of each task before the third one does it. What a dead one had sent reaches Stripe after all."""
    cluster = start_cluster(family)
    do(family, "sweep_books", times=1)
    for job, calls in {"sweep_send": [CREATE, FINALIZE], "sweep_collect": [PAY, PAY]}.items():
        held = [sandbox.hold(calls[0], moment)]
        deliver(job, times=1)
        for following in [*calls[1:], None]:
            await_that(family, lambda hold=held[-1]: hold.arrived.acquire(blocking=False))
            worker_that_talks(cluster, server).kill()
            if following:
                held.append(sandbox.hold(following, moment))
            let_time_pass()
        await_that(family, all_is_done)
        for hold in held:
            hold.released.set()
            assert hold.answered.acquire(timeout=SECONDS)
    do(family, "sweep_mail", times=1)

    assert_nothing_doubled(at_stripe, mails)
