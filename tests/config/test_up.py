"""`manage.py up`, as somebody starts it who has just cloned the project."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests
from django.conf import settings

START_SECONDS = 150
STOP_SECONDS = 60
# What an installation of the caller's own would be told by its environment.
CONFIGURED = ("DATABASE_URL", "STRIPE_SECRET_KEY", "STRIPE_LIVE_MODE", "SECRET_KEY", "PUBLIC_URL", "ALLOWED_HOSTS")


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder of its own, which the database's own user may enter too: pytest's folders are closed to it."""
    folder = Path(tempfile.mkdtemp(prefix="candela-up-", dir="/var/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture
def up(data: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    environment = {name: value for name, value in os.environ.items() if name not in CONFIGURED}
    with (data / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--port", str(port)],
            cwd=settings.BASE_DIR,
            env=environment | {"CANDELA_DATA": str(data), "PYTHONUNBUFFERED": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(STOP_SECONDS)


def await_that(condition: Callable[[], bool], *, seconds: float, log: Path) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def processes_of(data: Path, up: int) -> list[psutil.Process]:
    """All that runs below `up` or for its data folder, such as the database, which is nobody's child."""
    children = {child.pid for child in psutil.Process(up).children(recursive=True)} if psutil.pid_exists(up) else set()
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE
        and process.pid not in (os.getpid(), up)
        and (process.pid in children or any(str(data) in part for part in process.info["cmdline"] or []))
    ]


def test_starts_everything_says_how_to_get_in_and_stops_everything(
    up: subprocess.Popen[bytes], data: Path, port: int
) -> None:
    url, log = f"http://127.0.0.1:{port}", data / "up.log"
    await_that(lambda: is_ready(url) or up.poll() is not None, seconds=START_SECONDS, log=log)
    assert up.poll() is None, log.read_text()

    access_file = data / "access.json"
    access = json.loads(access_file.read_text())
    assert stat.S_IMODE(access_file.stat().st_mode) == 0o600
    assert access.keys() == {"url", "admin", "secretKey", "publishableKey", "sandboxUrl"}
    assert access["url"] == url
    assert access["admin"].keys() == {"username", "password"}
    assert access["admin"]["username"] == "operator"
    assert access["secretKey"].startswith("sk_test_")
    assert access["publishableKey"].startswith("pk_test_")

    plans = requests.get(f"{url}/v1/plans", headers={"Authorization": f"Bearer {access['secretKey']}"}, timeout=30)
    stranger = requests.get(f"{url}/v1/plans", timeout=30)
    sandbox = requests.get(f"{access['sandboxUrl']}/_sandbox/health", timeout=30)
    assert plans.status_code == 200
    assert {plan["planName"] for plan in plans.json()["plans"]} == {"Free", "Pro", "Scale"}
    assert stranger.status_code == 401
    assert sandbox.json()["status"] == "ok"

    running = processes_of(data, up.pid)
    assert len(running) >= 4, "the sandbox, the web server, the jobs and the database"
    up.send_signal(signal.SIGINT)
    assert up.wait(STOP_SECONDS) == 0, log.read_text()
    _, alive = psutil.wait_procs(running, timeout=STOP_SECONDS)
    assert alive == []
    assert processes_of(data, up.pid) == []
    assert not is_ready(url)
