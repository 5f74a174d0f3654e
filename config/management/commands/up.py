import fcntl
import os
import signal
import socket
import sys
import time
from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor

from billing.sandbox import whereabouts
from billing.sandbox.whereabouts import free_port
from config.locks import open_lock, try_lock
from config.processes import ChildEnded, Family

if TYPE_CHECKING:
    from config.first_start import Access

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
READY_SECONDS = 60
# Two processes for two cores. Threads wait for the database most of the time; each keeps its own connection.
WEB_WORKERS = 2
WEB_THREADS = 16
# Not through a proxy: these are our own processes.
local_http = build_opener(ProxyHandler({}))


class Command(BaseCommand):
    help = "Set up what is missing and run everything: database, web server, jobs, and a Stripe sandbox without a key."
    # The web server checks the project when it loads it; here it would cost a second of every start.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1 (default: 8000)")
        parser.add_argument("--demo", action=BooleanOptionalAction, default=True, help="sample plans and customers")

    def handle(self, *args: Any, port: int, demo: bool, **options: Any) -> None:
        url = f"http://127.0.0.1:{port}"
        interrupt_on_stop_signals()
        try:
            with only_one(settings.CANDELA_DATA, url):
                refuse_taken_port(port)
                self._run(url, port=port, demo=demo)
        except (ChildEnded, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error

    def _run(self, url: str, *, port: int, demo: bool) -> None:
        """Set up, start the children, and watch them until somebody says stop."""
        if "PUBLIC_URL" not in os.environ:
            # Here and for the children: what the set-up writes down has to name the port of this run.
            settings.PUBLIC_URL = os.environ["PUBLIC_URL"] = url
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "CANDELA_DATA": str(settings.CANDELA_DATA)}
        family = Family(logs=settings.CANDELA_DATA / "logs", environment=environment, cwd=settings.BASE_DIR)
        try:
            access = self._start(family, port=port, demo=demo)
            self.stdout.write(announcement(access))
            self._watch(family)
        except KeyboardInterrupt:
            self.stdout.write("Stopping.")
        finally:
            ignore_stop_signals()
            family.stop()
            whereabouts.note_end(settings.CANDELA_DATA)

    def _start(self, family: Family, *, port: int, demo: bool) -> "Access":
        """Set up the database and start everything; returns when the web server answers."""
        from config.first_start import prepare
        from config.schedules import sync_schedules

        self.stdout.write("Starting Candela.")
        sandbox_url = None if settings.STRIPE_SECRET_KEY else start_sandbox(family)
        migrate_if_needed()
        if not settings.WHITENOISE_USE_FINDERS:
            call_command("collectstatic", interactive=False, verbosity=0)
        Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
        sync_schedules(entries=settings.SCHEDULES)
        if sandbox_url is not None:
            await_ok(family, f"{sandbox_url}/_sandbox/health", what="the Stripe sandbox")
        access = prepare(demo=demo, port=port, sandbox_url=sandbox_url)
        connections.close_all()
        family.start("web", web_command(port))
        for name, command in jobs_commands().items():
            family.start(name, command)
        host = urlsplit(settings.PUBLIC_URL).netloc
        await_ok(family, f"http://127.0.0.1:{port}/healthz", host=host, what="the web server")
        return access

    def _watch(self, family: Family) -> None:
        """Show the children's errors until one ends, or an interrupt comes."""
        while True:
            family.check()
            for line in family.new_errors():
                self.stderr.write(line)
            time.sleep(0.2)


@contextmanager
def only_one(data: Path, url: str) -> Iterator[None]:
    """Refuse to run if another `up` has this data folder; the kernel frees it when that one ends, however it ends."""
    data.mkdir(parents=True, exist_ok=True)
    path = data / "up.lock"
    handle = open_lock(path)
    try:
        if not try_lock(handle, fcntl.LOCK_EX):
            raise CommandError(f"Candela already runs on {data}: {path.read_text().strip()}.")
        path.write_text(f"{url}, process {os.getpid()}\n")
        yield
    finally:
        os.close(handle)


def refuse_taken_port(port: int) -> None:
    """Refuse to start if the port is not to be had."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CommandError(f"Port {port} cannot be used ({reason}): choose another with --port.") from error


def interrupt_on_stop_signals() -> None:
    """Treat SIGTERM and a closed terminal like Ctrl-C, for the rest of this process."""

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    for number in STOP_SIGNALS:
        signal.signal(number, interrupt)


def ignore_stop_signals() -> None:
    """Let nothing interrupt the stopping: it is bounded in time, and half of it would leave orphans."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def migrate_if_needed() -> None:
    """Bring the database up to date; where it is, this is a look instead of a second of signals."""
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        call_command("migrate", interactive=False, verbosity=0, skip_checks=True)


def web_command(port: int) -> list[str]:
    """Say how the web server is started."""
    server = [sys.executable, "-m", "granian", "config.wsgi:application", "--interface", "wsgi", "--no-ws"]
    address = ["--host", "127.0.0.1", "--port", str(port)]
    # A thread takes its database connection along when it ends, so idle ones stay as long as granian lets them.
    threads = ["--blocking-threads", str(WEB_THREADS), "--blocking-threads-idle-timeout", "600"]
    return [*server, *address, "--workers", str(WEB_WORKERS), *threads]


def jobs_commands() -> dict[str, list[str]]:
    """Say how the job clusters are started: the main one, and one for each further queue in settings."""
    main = [sys.executable, str(settings.BASE_DIR / "manage.py"), "qcluster"]
    others = settings.Q_CLUSTER.get("ALT_CLUSTERS", {})
    return {"jobs": main} | {f"jobs-{name}": [*main, "--name", name] for name in others}


def start_sandbox(family: Family) -> str:
    """Start the stand-in for Stripe at the address it had last time, if that is free; returns its address."""
    port = free_port(whereabouts.last_port(settings.CANDELA_DATA))
    state = whereabouts.state_path(settings.CANDELA_DATA)
    command = [sys.executable, "-m", "billing.sandbox", "--port", str(port), "--state", str(state)]
    child = family.start("sandbox", command)
    url = f"http://{whereabouts.HOST}:{port}"
    whereabouts.note(settings.CANDELA_DATA, url=url, pid=child.process.pid)
    return url


def await_ok(family: Family, url: str, *, what: str, host: str = "") -> None:
    """Wait until an address answers 200; raises `CommandError` with its last answer when that takes too long."""
    answers = ["nothing"]

    def is_ok() -> bool:
        try:
            with local_http.open(Request(url, headers={"Host": host} if host else {}), timeout=5) as response:
                answers.append(str(response.status))
        except HTTPError as error:
            answers.append(f"{error.code} {error.read(300).decode(errors='replace')}")
        except OSError as error:
            answers.append(str(error))
        return answers[-1] == "200"

    if not family.await_that(is_ok, seconds=READY_SECONDS):
        raise CommandError(
            f"After {READY_SECONDS} s {what} is not ready; {url} last said: {answers[-1]}. "
            f"The logs are in {settings.CANDELA_DATA / 'logs'}."
        )


def announcement(access: "Access") -> str:
    """Write what one needs to know after the start: addresses, operator, keys, and a first call."""
    facts = {
        "Pages and API": access.url,
        "Admin": f"{access.url}/admin/",
        "Operator": f"{access.admin_username} / {access.admin_password or '(the password set in the admin)'}",
        "Secret key": access.secret_key,
        "Publishable key": access.publishable_key,
        "Stripe sandbox": f"{access.sandbox_url} (a stand-in, not Stripe)" if access.sandbox_url else "",
        "Data and logs": str(settings.CANDELA_DATA),
    }
    width = max(map(len, facts))
    lines = [f"  {name:<{width}}  {value}" for name, value in facts.items() if value]
    call = f'  curl -H "Authorization: Bearer {access.secret_key}" {access.url}/v1/plans'
    return "\n".join(["", "Candela is ready.", "", *lines, "", "Try it:", "", call, "", "Ctrl-C stops everything.", ""])
