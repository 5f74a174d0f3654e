"""Concurrent calls for the same thing run together: one of them does the work for all that wait. No database."""

from collections.abc import Callable, Hashable, Sequence
from threading import Event, Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Call = TypeVar("Call")
Answer = TypeVar("Answer")


class _Place(Generic[Call, Answer]):
    """One caller's place among those that wait. `leads` and `answer` are set before it is woken."""

    __slots__ = ("answer", "call", "leads", "woken")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.woken = Event()
        self.leads = False
        # None until there is one; a caller that is woken without it, and does not lead, runs alone.
        self.answer: Answer | Exception | None = None


class Gathering(Generic[Key, Call, Answer]):
    """Runs calls with the same key together while one of their callers, the leader, works; the others wait.

    `run(key, call, take)` does the work. `call` is the leader's own. `take()` is called once, as late as the work
    allows: it ends the waiting of up to `most` calls, the leader's first, and gives them in the order of their coming.
    `run` returns an answer to each, in that order; one that is an exception is raised to its caller and to nobody else.
    When `run` itself raises, each call that was taken is run alone, by its own caller.
    """

    def __init__(
        self, run: Callable[[Key, Call, Callable[[], Sequence[Call]]], Sequence[Answer | Exception]], *, most: int
    ) -> None:
        self._run = run
        self._most = most
        self._lock = Lock()
        # Who waits, by key; a key is here as long as somebody leads.
        self._waiting: dict[Key, list[_Place[Call, Answer]]] = {}

    def ask(self, key: Key, call: Call) -> Answer:
        """Have a call answered, together with others or alone. Raises what `run` raised or gave as its answer."""
        place: _Place[Call, Answer] = _Place(call)
        if not self._leads(key, place):
            place.woken.wait()
        if place.leads:
            self._lead(key, place)
        if place.answer is None:
            (place.answer,) = self._run(key, call, lambda: [call])
        if isinstance(place.answer, Exception):
            raise place.answer
        return place.answer

    def _leads(self, key: Key, place: _Place[Call, Answer]) -> bool:
        """Let a caller lead if nobody does, else make it wait."""
        with self._lock:
            waiting = self._waiting.get(key)
            if waiting is None:
                self._waiting[key] = []
                place.leads = True
            else:
                waiting.append(place)
        return place.leads

    def _lead(self, key: Key, place: _Place[Call, Answer]) -> None:
        taken = [place]

        def take() -> list[Call]:
            taken.extend(self._end_waiting(key))
            return [one.call for one in taken]

        try:
            answers = self._run(key, place.call, take)
            for one, answer in zip(taken, answers, strict=True):
                one.answer = answer
        except Exception:
            # With others it may have been one of them who made it fail.
            if len(taken) == 1:
                raise
        finally:
            # Whatever happened, even the end of this thread: nobody waits for it any longer.
            self._hand_over(key)
            for one in taken:
                one.woken.set()

    def _end_waiting(self, key: Key) -> list[_Place[Call, Answer]]:
        with self._lock:
            waiting = self._waiting[key]
            taken = waiting[: self._most - 1]
            del waiting[: len(taken)]
        return taken

    def _hand_over(self, key: Key) -> None:
        """Let the first of those that still wait lead."""
        with self._lock:
            waiting = self._waiting[key]
            if not waiting:
                del self._waiting[key]
                return
            following = waiting.pop(0)
            following.leads = True
        following.woken.set()
