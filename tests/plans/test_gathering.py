"""Calls that wait for one leader. Order is made by events, never by sleeping."""

from threading import Barrier, Event, Thread

import pytest

from plans.gathering import Gathering

LONG = 20


class Broken(Exception):
    """What a run raises."""


class Callers:
    """Threads that each ask once, and what they were answered."""

    def __init__(self, gathering):
        self.gathering = gathering
        self.answers = {}
        self.threads = []

    def ask(self, call, key="k"):
        def work():
            try:
                self.answers[call] = self.gathering.ask(key, call)
            except BaseException as error:
                self.answers[call] = error

        thread = Thread(target=work, daemon=True)
        self.threads.append(thread)
        thread.start()

    def ask_while_led(self, calls, key="k"):
        """Start callers one after the other, each once the one before it waits."""
        for number, call in enumerate(calls, start=1):
            self.ask(call, key)
            while len(self.gathering._waiting.get(key, ())) < number:
                assert self.threads[-1].is_alive()

    def join(self):
        for thread in self.threads:
            thread.join(LONG)
        assert not any(thread.is_alive() for thread in self.threads), "somebody waits for ever"


class Work:
    """A run that is held up until `go` is set, and remembers who was run with whom."""

    def __init__(self, most=10):
        self.started = Event()
        self.go = Event()
        self.batches = []
        self.gathering = Gathering(self.run, most=most)
        self.callers = Callers(self.gathering)

    def run(self, key, call, take):
        self.started.set()
        assert self.go.wait(LONG)
        self.interrupt(call, take)
        calls = list(take())
        self.batches.append(calls)
        return [self.answer(one) for one in calls]

    def answer(self, call):
        return f"{call}!"

    def interrupt(self, call, take):
        """What happens to a run before it takes anybody."""

    def lead(self, call="first"):
        self.callers.ask(call)
        assert self.started.wait(LONG)

    def finish(self):
        self.go.set()
        self.callers.join()
        return self.callers.answers


def test_a_lonely_call_is_run_alone():
    gathering = Gathering(lambda key, call, take: [f"{key}/{one}" for one in take()], most=10)

    assert gathering.ask("k", "a") == "k/a"
    assert gathering.ask("k", "b") == "k/b"


def test_calls_that_come_while_the_leader_is_held_up_are_run_with_it_in_their_order():
    work = Work()
    work.lead()
    work.callers.ask_while_led(["a", "b", "c"])

    answers = work.finish()

    assert work.batches == [["first", "a", "b", "c"]]
    assert answers == {"first": "first!", "a": "a!", "b": "b!", "c": "c!"}


def test_a_batch_is_bounded_and_the_rest_is_led_by_the_next_in_line():
    work = Work(most=3)
    work.lead()
    work.callers.ask_while_led(["a", "b", "c", "d", "e", "f"])

    answers = work.finish()

    assert work.batches == [["first", "a", "b"], ["c", "d", "e"], ["f"]]
    assert answers == {call: f"{call}!" for call in ["first", "a", "b", "c", "d", "e", "f"]}


def test_calls_with_different_keys_do_not_wait_for_each_other():
    meeting = Barrier(2)

    def run(key, call, take):
        meeting.wait(LONG)
        return list(take())

    callers = Callers(Gathering(run, most=10))

    callers.ask("a", key="one")
    callers.ask("b", key="other")
    callers.join()

    assert callers.answers == {"a": "a", "b": "b"}


def test_an_answer_that_is_an_exception_is_raised_to_its_caller_only():
    work = Work()
    work.answer = lambda call: Broken(call) if call == "a" else call
    work.lead()
    work.callers.ask_while_led(["a", "b"])

    answers = work.finish()

    assert isinstance(answers["a"], Broken)
    assert (answers["first"], answers["b"]) == ("first", "b")
    assert work.batches == [["first", "a", "b"]]


def test_when_the_joint_run_fails_each_call_is_run_alone_and_only_the_guilty_one_fails():
    work = Work()

    def answer(call):
        if call == "a":
            raise Broken(call)
        return call

    work.answer = answer
    work.lead()
    work.callers.ask_while_led(["a", "b"])

    answers = work.finish()

    assert work.batches[0] == ["first", "a", "b"]
    assert sorted(work.batches[1:]) == [["a"], ["b"], ["first"]]
    assert isinstance(answers["a"], Broken)
    assert (answers["first"], answers["b"]) == ("first", "b")


def test_a_run_that_fails_before_it_takes_anybody_fails_for_the_leader_only():
    work = Work()

    def refuse_first(call, take):
        if call == "first":
            raise Broken(call)

    work.interrupt = refuse_first
    work.lead()
    work.callers.ask_while_led(["a", "b"])

    answers = work.finish()

    assert isinstance(answers["first"], Broken)
    assert work.batches == [["a", "b"]]
    assert (answers["a"], answers["b"]) == ("a!", "b!")


def test_when_the_leaders_thread_ends_in_the_middle_the_others_go_on():
    work = Work()

    def die(call, take):
        if call == "first":
            take()
            raise SystemExit

    work.interrupt = die
    work.lead()
    work.callers.ask_while_led(["a", "b"])

    answers = work.finish()

    assert isinstance(answers["first"], SystemExit)
    assert sorted(work.batches) == [["a"], ["b"]]
    assert (answers["a"], answers["b"]) == ("a!", "b!")


def test_nothing_is_remembered_once_everybody_is_answered():
    work = Work()
    work.lead()
    work.callers.ask_while_led(["a"])
    work.finish()

    with pytest.raises(Broken):
        Gathering(lambda key, call, take: [Broken()], most=2).ask("k", "x")

    assert work.gathering._waiting == {}


def test_many_callers_are_each_answered_once():
    gathering = Gathering(lambda key, call, take: [one * 2 for one in take()], most=7)
    callers = Callers(gathering)

    for number in range(300):
        callers.ask(number, key=number % 3)
    callers.join()

    assert callers.answers == {number: number * 2 for number in range(300)}
    assert gathering._waiting == {}
