from collections.abc import Callable, Sequence
from threading import Barrier, Thread
from typing import Any

import pytest
from django.db import connection

from tests.billing.conftest import at_stripe, run_sweeps, stripe_sandbox, wire  # noqa: F401 fixtures


@pytest.fixture
def at_once() -> Callable[[Sequence[Callable[[], Any]]], list[Any]]:
    """Run calls in threads of their own that start together; give what each returned or raised, in order."""

    def run(calls: Sequence[Callable[[], Any]]) -> list[Any]:
        barrier = Barrier(len(calls))
        outcomes: list[Any] = [None] * len(calls)

        def work(index: int, call: Callable[[], Any]) -> None:
            try:
                connection.ensure_connection()
                barrier.wait()
                outcomes[index] = call()
            except Exception as error:
                outcomes[index] = error
            finally:
                connection.close()

        threads = [Thread(target=work, args=pair) for pair in enumerate(calls)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return outcomes

    return run
