"""Who looks on: a test suite that wants to see every request and its answer, in whatever sandbox of its process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from billing.sandbox.messages import Request, Response

Watcher = Callable[[Request, Response], None]

_watchers: list[Watcher] = []


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Show every request that a sandbox answers, with the answer, to `watcher` for as long as the block runs."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def show(request: Request, response: Response) -> None:
    """Show one request and its answer to everybody who looks on."""
    for watcher in tuple(_watchers):
        watcher(request, response)
