"""`manage.py stripe_sandbox` runs the sandbox alone."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
import stripe
from django.conf import settings

STOP_SECONDS = 30
CONFIGURED = ("STRIPE_SECRET_KEY", "STRIPE_API_HOST")

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts the command on a data folder of the test's own."""
    running = []

    def run(*options: str) -> "subprocess.Popen[str]":
        environment = {name: value for name, value in os.environ.items() if name not in CONFIGURED}
        process = subprocess.Popen(
            [sys.executable, "manage.py", "stripe_sandbox", *options],
            cwd=settings.BASE_DIR,
            env=environment | {"CANDELA_DATA": str(tmp_path), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def announcement(process: "subprocess.Popen[str]") -> str:
    """Return what the command prints once the sandbox answers."""
    assert process.stdout is not None
    said = ""
    while not said.endswith("Ctrl-C stops it.\n"):
        line = process.stdout.readline()
        assert line, said
        said += line
    return said


def address_in(said: str) -> str:
    found = re.match(r"Candela's sandbox \(not Stripe\) is at (http://127\.0\.0\.1:\d+)\n", said)
    assert found, said
    return found[1]


def stop(process: "subprocess.Popen[str]") -> str:
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=STOP_SECONDS)
    return said


def test_serves_says_how_to_use_it_and_comes_back_where_it_was(start: Start, tmp_path: Path) -> None:
    first = start()
    said = announcement(first)
    url = address_in(said)
    known = json.loads((tmp_path / "sandbox.json").read_text())
    api = stripe.StripeClient("sk_test_anything", base_addresses={"api": url}, max_network_retries=0)
    customer = api.v1.customers.create({"name": "Ada"})

    last_words = stop(first)

    assert known == {"url": url, "pid": first.pid}
    assert first.returncode == 0
    assert f"STRIPE_API_HOST={url}\n" in said
    assert "STRIPE_SECRET_KEY=sk_test_anything\n" in said
    assert last_words == "The sandbox has stopped.\n"
    assert json.loads((tmp_path / "sandbox.json").read_text()) == {"url": url, "pid": None}
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)

    again = start()
    assert address_in(announcement(again)) == url
    assert api.v1.customers.retrieve(customer.id).name == "Ada"
    stop(again)


def test_two_never_share_a_state_or_a_port(start: Start, tmp_path: Path) -> None:
    first = start("--port", "0")
    url = address_in(announcement(first))

    same_state, _ = start("--port", "0").communicate(timeout=STOP_SECONDS)
    same_port, _ = start("--state", ":memory:", "--port", url.rpartition(":")[2]).communicate(timeout=STOP_SECONDS)

    assert "Another sandbox keeps its state in" in same_state
    assert "choose another --port or --state" in same_port
    assert json.loads((tmp_path / "sandbox.json").read_text())["url"] == url


def test_a_sandbox_beside_it_leaves_the_data_folder_alone(start: Start, tmp_path: Path) -> None:
    process = start("--state", ":memory:")
    said = announcement(process)

    stop(process)

    assert "find it by themselves" not in said
    assert list(tmp_path.glob("sandbox*")) == []
