"""The children of `up`: real processes, small ones."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.processes import ChildEnded, Family

SLEEP = "import time; time.sleep(60)"
# A grandchild is a process that the child started and forgot.
WITH_GRANDCHILD = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}])
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    family = Family(logs=tmp_path / "logs", environment=os.environ, cwd=tmp_path)
    yield family
    family.stop()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def await_that(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Tell whether a process runs; one that ended and that nobody asked after does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_child_that_ends_is_named_with_its_last_words(family: Family) -> None:
    family.start("web", python("print('it is all over'); raise SystemExit(3)"))
    with pytest.raises(ChildEnded, match=r"(?s)web process ended with code 3.*it is all over"):
        family.await_that(lambda: False, seconds=10)


def test_waiting_ends_in_time(family: Family) -> None:
    family.start("web", python(SLEEP))
    assert family.await_that(lambda: False, seconds=0.2) is False
    assert family.await_that(lambda: True, seconds=0.2) is True


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_stopping_leaves_no_grandchild(family: Family) -> None:
    child = family.start("jobs", python(WITH_GRANDCHILD))
    await_that(lambda: len(child.log.last_lines(1)) == 1)
    grandchild = int(child.log.last_lines(1)[0])
    assert is_running(grandchild)
    family.stop()
    await_that(lambda: not is_running(grandchild))
    assert child.process.returncode == -signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent was killed")
def test_children_end_when_their_parent_is_killed(tmp_path: Path, family: Family) -> None:
    start = (
        "import os, pathlib, sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})\n"
        "from config.processes import Family\n"
        f"inner = Family(logs=pathlib.Path({str(tmp_path / 'inner')!r}), environment=os.environ, cwd='/')\n"
        f"print(inner.start('child', [sys.executable, '-c', {SLEEP!r}]).process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = family.start("parent", python(start))
    await_that(lambda: len(parent.log.last_lines(1)) == 1)
    child = int(parent.log.last_lines(1)[0])
    assert is_running(child)
    parent.process.kill()
    await_that(lambda: not is_running(child))


def test_only_errors_are_shown_and_with_their_tracebacks(family: Family) -> None:
    lines = [
        "2026-03-01 10:00:00,000 INFO django.server fine",
        "2026-03-01 10:00:01,000 ERROR django.request Internal Server Error: /v1/plans",
        "Traceback (most recent call last):",
        '  File "x.py", line 1, in view',
        "ValueError: no",
        "2026-03-01 10:00:02,000 WARNING django.request Not Found: /x",
        '{"event": "lost", "level": "error"}',
        "[INFO] Started worker-1",
    ]
    child = family.start("web", python(f"print({chr(10).join(lines)!r})"))
    child.process.wait()
    shown = list(family.new_errors())
    assert shown == [f"web: {line}" for line in [*lines[1:5], lines[6]]]
    assert list(family.new_errors()) == []


def test_words_of_an_earlier_run_are_not_repeated(family: Family) -> None:
    family.start("web", python("print('ERROR of yesterday')")).process.wait()
    again = family.start("web", python("print('today')"))
    again.process.wait()
    assert again.log.last_lines(5) == ["today"]
