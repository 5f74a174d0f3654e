"""Load on a server, made by processes that do little else: HTTP over kept connections, or SQL statements.

The processes live for the whole benchmark and import no Django. Each job is prepared by all of them before the first
one starts, so that no round measures its own preparation.
"""

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, Self

import psycopg

PROCESSES = 2
# Stands in a template where each request needs a text of its own; as long as what replaces it, so that lengths stay.
MARK = "@" * 16
LONGEST_WAIT_SECONDS = 120


@dataclass(slots=True)
class Tally:
    """What one job did: calls answered, those answered wrongly, those whose answer held the looked-for text, the
    seconds from the start to the last answer, and how long each call took, in seconds."""

    calls: int = 0
    errors: int = 0
    matches: int = 0
    elapsed: float = 0.0
    latencies: list[float] = field(default_factory=list)
    first_error: str = ""

    def add(self, other: "Tally") -> None:
        """Take in what another job did at the same time."""
        self.calls += other.calls
        self.errors += other.errors
        self.matches += other.matches
        self.elapsed = max(self.elapsed, other.elapsed)
        self.latencies += other.latencies
        self.first_error = self.first_error or other.first_error


class Job(Protocol):
    """A share of a load: what one process does."""

    def share(self, process: int) -> Self:
        """Give the share of one of the `PROCESSES` processes."""

    def prepare(self) -> Callable[[], Tally]:
        """Open what is needed; the answer does the work."""


def key_of(series: int, lane: int, number: int) -> str:
    """Make the key of call `number` in a lane (what calls one after the other) of a run; as long as `MARK`."""
    return f"{series:06x}{lane:02x}{number:08x}"


@dataclass(frozen=True, slots=True)
class Templates:
    """Texts to send one after the other, from the beginning again after the last, each with a key of its own in place
    of `MARK`. `series` names the run, so that no key is used twice."""

    texts: Sequence[str]
    series: int
    lane: int = 0

    def filled(self) -> Iterator[bytes]:
        """Yield the texts with their keys."""
        templates, mark = [text.encode() for text in self.texts], MARK.encode()
        for number in count():
            yield templates[number % len(templates)].replace(mark, key_of(self.series, self.lane, number).encode())


@dataclass(frozen=True, slots=True)
class HttpJob:
    """Whole HTTP requests over kept connections, as fast as answers come, until the seconds or the requests are over.

    `status` is the only right one; `match` is looked for in each answer, and counted.
    """

    port: int
    requests: Templates
    connections: int
    seconds: float
    most: int = 10**9
    status: int = 200
    match: bytes = b""

    def share(self, process: int) -> "HttpJob":
        """Give every process its part of the connections and requests."""
        return HttpJob(
            port=self.port,
            requests=Templates(
                self.requests.texts[process::PROCESSES] or self.requests.texts, self.requests.series, process
            ),
            connections=_part(self.connections, process),
            seconds=self.seconds,
            most=_part(self.most, process),
            status=self.status,
            match=self.match,
        )

    def prepare(self) -> Callable[[], Tally]:
        """Open the connections."""
        connections = [KeptConnection(self.port) for _ in range(min(self.connections, self.most))]
        return lambda: self._run(connections)

    def _run(self, connections: list["KeptConnection"]) -> Tally:
        tally, requests = Tally(), self.requests.filled()
        expected = b"HTTP/1.1 %d " % self.status
        start = time.perf_counter()
        deadline, left = start + self.seconds, self.most
        with selectors.DefaultSelector() as selector:
            for connection in connections:
                selector.register(connection.socket, selectors.EVENT_READ, connection)
                connection.send(next(requests))
                left -= 1
            while selector.get_map():
                ready = selector.select(LONGEST_WAIT_SECONDS)
                if not ready:
                    raise TimeoutError(f"No answer on port {self.port} for {LONGEST_WAIT_SECONDS} s.")
                for event, _ in ready:
                    connection = event.data
                    answer = connection.receive()
                    if answer is None:
                        continue
                    now = time.perf_counter()
                    tally.calls += 1
                    tally.latencies.append(now - connection.sent_at)
                    tally.matches += self.match in answer
                    if not answer.startswith(expected):
                        tally.errors += 1
                        tally.first_error = tally.first_error or answer.decode(errors="replace")[:2000]
                    if now < deadline and left > 0:
                        connection.send(next(requests))
                        left -= 1
                    else:
                        selector.unregister(connection.socket)
        tally.elapsed = time.perf_counter() - start
        for connection in connections:
            connection.socket.close()
        return tally


class KeptConnection:
    """One HTTP/1.1 connection with one request at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=LONGEST_WAIT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at = 0.0
        self._received = b""

    def send(self, request: bytes) -> None:
        """Send a request; its answer is awaited by `receive`."""
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """Read what has come: the whole answer, or None while some of it is missing."""
        chunk = self.socket.recv(262_144)
        if not chunk:
            raise ConnectionError(f"The server closed a kept connection after: {self._received[:500]!r}")
        self._received += chunk
        if not _is_whole(self._received):
            return None
        answer, self._received = self._received, b""
        return answer


def _is_whole(received: bytes) -> bool:
    """Tell whether an answer has come to its end, by its length or, where it comes in chunks, by its last one."""
    head, blank, body = received.partition(b"\r\n\r\n")
    if not blank:
        return False
    _, name, rest = head.lower().partition(b"\r\ncontent-length:")
    return len(body) >= int(rest.partition(b"\r\n")[0]) if name else body.endswith(b"0\r\n\r\n")


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL statement with the parameters of one call, in which `MARK` stands for keys. A list of them fills `$1`,
    `$2` and so on; a dict those with a name."""

    sql: str
    parameters: Any

    def cursor(self, connection: psycopg.Connection) -> psycopg.Cursor:
        """Make the cursor that reads its placeholders."""
        kind = psycopg.Cursor if isinstance(self.parameters, dict) else psycopg.RawCursor
        return kind(connection)

    def filled(self, key: str) -> Any:
        """Give the parameters with a key."""
        if isinstance(self.parameters, dict):
            return {name: _with_key(value, key) for name, value in self.parameters.items()}
        return [_with_key(value, key) for value in self.parameters]


@dataclass(frozen=True, slots=True)
class SqlJob:
    """Calls of statements, each call in the order given and committed by itself, on connections of their own."""

    address: dict[str, Any]
    calls: Sequence[Sequence[Statement]]
    series: int
    connections: int
    seconds: float
    process: int = 0

    def share(self, process: int) -> "SqlJob":
        """Give every process its part of the connections."""
        connections = _part(self.connections, process)
        return SqlJob(self.address, self.calls[process::PROCESSES], self.series, connections, self.seconds, process)

    def prepare(self) -> Callable[[], Tally]:
        """Connect."""
        opened = [psycopg.connect(**self.address, autocommit=True) for _ in range(self.connections)]
        return lambda: self._run(opened)

    def _run(self, opened: list[psycopg.Connection]) -> Tally:
        whole = Tally()
        start = time.perf_counter()
        tallies = [Tally() for _ in opened]
        threads = [
            threading.Thread(target=self._work, args=(connection, self.process + PROCESSES * lane, start, tally))
            for lane, (connection, tally) in enumerate(zip(opened, tallies, strict=True))
        ]
        for thread in threads:
            thread.start()
        for thread, tally, connection in zip(threads, tallies, opened, strict=True):
            thread.join()
            whole.add(tally)
            connection.close()
        whole.elapsed = time.perf_counter() - start
        return whole

    def _work(self, connection: psycopg.Connection, lane: int, start: float, tally: Tally) -> None:
        while (began := time.perf_counter()) < start + self.seconds:
            key = key_of(self.series, lane, tally.calls)
            for statement in self.calls[(lane + tally.calls) % len(self.calls)]:
                cursor = statement.cursor(connection)
                cursor.execute(statement.sql, statement.filled(key), prepare=True)
                if cursor.description is not None:
                    cursor.fetchall()
            tally.calls += 1
            tally.matches += 1
            tally.latencies.append(time.perf_counter() - began)


class Pool:
    """The load processes, from the first job to the last."""

    def __enter__(self) -> "Pool":
        context = get_context("spawn")
        self._members: list[tuple[BaseProcess, Pipe]] = []
        for _ in range(PROCESSES):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self._members.append((process, ours))
        return self

    def __exit__(self, *_: object) -> None:
        for process, pipe in self._members:
            pipe.close()
            process.join(10)
            if process.is_alive():
                process.kill()

    def run(self, job: Job) -> Tally:
        """Run a job, shared among all processes."""
        for number, (_, pipe) in enumerate(self._members):
            pipe.send(job.share(number))
        self._answers()
        for _, pipe in self._members:
            pipe.send("start")
        whole = Tally()
        for tally in self._answers():
            whole.add(tally)
        if whole.errors:
            raise RuntimeError(f"{whole.errors} of {whole.calls} calls were answered wrongly: {whole.first_error}")
        return whole

    def _answers(self) -> list[Any]:
        answers = [pipe.recv() for _, pipe in self._members]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers


def _serve(pipe: Pipe) -> None:
    """Do jobs until the pipe is closed, by the end of the benchmark or by its interruption."""
    with suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            job: Job = pipe.recv()
            try:
                run = job.prepare()
                pipe.send(None)
                pipe.recv()
                pipe.send(run())
            except Exception as error:
                pipe.send(error)


def _part(whole: int, process: int) -> int:
    """Split a number among the processes; the parts add up to it."""
    return whole // PROCESSES + (process < whole % PROCESSES)


def _with_key(value: Any, key: str) -> Any:
    return value.replace(MARK, key) if isinstance(value, str) else value
