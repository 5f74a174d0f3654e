"""The child processes of `up`: each in a process group of its own, watched, and stopped down to the last grandchild."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

MAX_LOG_BYTES = 10 * 1024 * 1024
GRACE_SECONDS = 10
PR_SET_PDEATHSIG = 1

# A record starts at the margin with a date, a bracket or a brace; what follows otherwise (a traceback) belongs to it.
RECORD_STARTS = re.compile(r"^(\d{2,4}[-:/ ]|\[|\{)")
RECORD_OF_ERROR = re.compile(r"\b(ERROR|CRITICAL)\b|\"level\": ?\"(error|critical)\"|\[(error|critical)\s*\]")


class ChildEnded(Exception):
    """A child process ended although nobody asked it to."""

    def __init__(self, child: "Child") -> None:
        lines = "\n".join(f"  {line}" for line in child.log.last_lines(20))
        super().__init__(
            f"The {child.name} process ended with code {child.process.returncode}. Its last words "
            f"({child.log.path} has all):\n{lines}"
        )


class Log:
    """The file that a child writes to, read from where this run began. One that grew large is put aside once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
            path.replace(path.with_suffix(".log.old"))
        self._begins_at = path.stat().st_size if path.exists() else 0
        self._read_to = self._begins_at
        self._in_error = False

    def last_lines(self, count: int) -> list[str]:
        """Read the last lines of this run."""
        return self._read_from(self._begins_at).decode(errors="replace").splitlines()[-count:]

    def new_errors(self) -> Iterator[str]:
        """Read what came since the last call, and yield the records that are errors, with their tracebacks."""
        complete, newline, _ = self._read_from(self._read_to).rpartition(b"\n")
        self._read_to += len(complete + newline)
        for line in complete.decode(errors="replace").splitlines():
            if RECORD_STARTS.match(line):
                self._in_error = RECORD_OF_ERROR.search(line) is not None
            if self._in_error or line.startswith("Traceback "):
                self._in_error = True
                yield line

    def _read_from(self, position: int) -> bytes:
        """Read the file from a position to its end."""
        with self.path.open("rb") as file:
            file.seek(position)
            return file.read()


class Child:
    """One child process and its log."""

    def __init__(
        self, name: str, command: Sequence[str], *, log: Log, environment: Mapping[str, str], cwd: Path
    ) -> None:
        self.name = name
        self.log = log
        with log.path.open("ab") as file:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_ending_with(os.getpid()),
            )

    def stop(self) -> None:
        """Ask the child to end, as it knows best how to end its own children; then end by force what is left of it."""
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Family:
    """The children of one `up`."""

    def __init__(self, *, logs: Path, environment: Mapping[str, str], cwd: Path) -> None:
        self._logs = logs
        self._environment = environment
        self._cwd = cwd
        self._children: list[Child] = []
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, command: Sequence[str]) -> Child:
        """Start a child whose output goes to the log of its name."""
        log = Log(self._logs / f"{name}.log")
        child = Child(name, command, log=log, environment=self._environment, cwd=self._cwd)
        self._children.append(child)
        return child

    def check(self) -> None:
        """Raise `ChildEnded` if a child is no more."""
        for child in self._children:
            if child.process.poll() is not None:
                raise ChildEnded(child)

    def new_errors(self) -> Iterator[str]:
        """Yield the error lines that came into the logs since the last call, each with its child's name."""
        for child in self._children:
            for line in child.log.new_errors():
                yield f"{child.name}: {line}"

    def await_that(self, condition: Callable[[], bool], *, seconds: float) -> bool:
        """Wait until something is so and tell whether it became so in time; raises `ChildEnded` if a child ends."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def stop(self) -> None:
        """Stop all children, the last started first, as those use the earlier ones."""
        while self._children:
            self._children[-1].stop()
            self._children.pop()


def _ending_with(parent: int) -> Callable[[], None] | None:
    """Make what a child does before anything else: ask Linux for SIGTERM when its parent ends, even by SIGKILL."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    return ask
