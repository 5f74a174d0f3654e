"""The clock of these tests stands still, so that whole bodies can be compared."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import time_machine

NOW = datetime(2025, 3, 10, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def now() -> Iterator[datetime]:
    """The instant at which everything in a test happens: 10 March 2025, noon."""
    with time_machine.travel(NOW, tick=False):
        yield NOW
