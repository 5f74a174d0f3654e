"""A request with an `Idempotency-Key` does its work once, whatever is repeated, concurrent or broken off."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import include, path
from django.utils import timezone
from rest_framework.response import Response
from rest_framework.views import APIView

from config import idempotency
from config.keys import create_api_key
from config.models import IdempotencyRecord
from plans.exact_json import decode_object, encode
from plans.refusals import Refusal

JSON = "application/json"


class Full(Refusal):
    code = "full"
    status = 409


class Course:
    """What the views of a test do besides writing a row: wait at a gate, fail once, note how they are run."""

    def __init__(self):
        self.runs = 0
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.gate_of_later_runs = self.gate
        self.fail_first = None
        self.in_transaction = None
        self.lock_timeout = None


course = Course()


def work(request):
    """Write one row (a group is as good as any), then do what the test's course says."""
    course.runs += 1
    run = course.runs
    course.in_transaction = connection.in_atomic_block
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        course.lock_timeout = cursor.fetchone()[0]
    body = decode_object(request.body)
    group = Group.objects.create(name=f"{body.get('name', 'work')}-{run}")
    course.entered.set()
    assert (course.gate if run == 1 else course.gate_of_later_runs).wait(20)
    if run == 1 and course.fail_first is not None:
        if isinstance(course.fail_first, Exception):
            raise course.fail_first
        return HttpResponse(b'{"code":"status"}', status=course.fail_first, content_type=JSON)
    return HttpResponse(encode({"id": group.pk, "run": run}), status=202, content_type=JSON, headers={"X-Made": "1"})


def view(**attributes):
    def run(request):
        return work(request)

    run.__dict__.update({"scope": "events"} | attributes)
    return run


class Drf(APIView):
    scope = "events"

    def post(self, request):
        group = Group.objects.create(name=request.data["name"])
        return Response({"id": group.pk})


urlpatterns = [
    path(
        "v1/",
        include(
            [
                path("work", view()),
                path("other", view()),
                path("network", view(calls_network=True)),
                path("own", view(own_idempotency=True)),
                path("open", view(scope="none")),
                path("drf", Drf.as_view()),
            ]
        ),
    )
]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]
BOTH_KINDS = pytest.mark.parametrize("address", ["/v1/work", "/v1/network"])


@pytest.fixture(autouse=True)
def _fresh_course(monkeypatch):
    monkeypatch.setitem(globals(), "course", Course())


@pytest.fixture
def key():
    return create_api_key(name="Server", key_type="secret", at=timezone.now())


@pytest.fixture
def call(key):
    def send(address="/v1/work", *, once="k1", body=b'{"name":"a"}', method="POST", text=key[1]):
        client = Client(headers={"Authorization": f"Bearer {text}"}, raise_request_exception=False)
        headers = {} if once is None else {"Idempotency-Key": once}
        return client.generic(method, address, body, content_type=JSON, headers=headers)

    return send


@pytest.fixture
def in_threads(call):
    pool = ThreadPoolExecutor(8)

    def send(*args, **kwargs):
        def run():
            try:
                return call(*args, **kwargs)
            finally:
                connection.close()

        return pool.submit(run)

    yield send
    course.gate.set()
    course.gate_of_later_runs.set()
    pool.shutdown()


@BOTH_KINDS
def test_a_repetition_gets_the_same_answer_and_does_nothing(call, address):
    first, second = call(address), call(address)
    assert (first.status_code, first.json()["run"]) == (202, 1)
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert second["Content-Type"] == JSON
    assert second["X-Made"] == "1"
    assert second["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first
    assert Group.objects.count() == 1


def test_a_repetition_has_its_own_request_id(call):
    assert call()["X-Request-Id"] != call()["X-Request-Id"]


def test_drf_views_are_repeated_alike(call):
    first, second = call("/v1/drf"), call("/v1/drf")
    assert first.status_code == 200
    assert second.content == first.content
    assert Group.objects.count() == 1


@BOTH_KINDS
def test_another_key_is_another_request(call, address):
    assert call(address, once="k1").json() != call(address, once="k2").json()


@BOTH_KINDS
def test_without_the_header_nothing_is_kept(call, address):
    call(address, once=None)
    call(address, once=None)
    assert Group.objects.count() == 2
    assert not IdempotencyRecord.objects.exists()


def test_keys_belong_to_an_api_key(call):
    _, text = create_api_key(name="Another", key_type="secret", at=timezone.now())
    assert call().json() != call(text=text).json()


@pytest.mark.parametrize("address", ["/v1/own", "/v1/open"])
def test_views_that_see_to_it_themselves_or_need_no_api_key_are_left_alone(call, address):
    call(address)
    call(address)
    assert Group.objects.count() == 2
    assert not IdempotencyRecord.objects.exists()


def test_reading_is_never_kept(call):
    call(method="GET", body=b"")
    call(method="GET", body=b"")
    assert Group.objects.count() == 2


@BOTH_KINDS
@pytest.mark.parametrize(
    ("change", "differing"),
    [
        ({"body": b'{"name":"b"}'}, ["body"]),
        ({"method": "PUT"}, ["method"]),
        ({"address": "/v1/network?prorate=true"}, ["path"]),
        ({"address": "/v1/other"}, ["path"]),
    ],
)
def test_another_request_with_the_same_key_is_refused(call, address, change, differing):
    call(address)
    response = call(**({"address": address} | change))
    assert (response.status_code, response.json()["code"]) == (409, "idempotency_conflict")
    assert response.json()["details"] == {"differing": differing}
    assert Group.objects.count() == 1


@pytest.mark.parametrize("once", ["", "x" * 256, "tab\there", "über"])
def test_a_key_that_is_no_key_is_refused(call, once):
    response = call(once=once)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_idempotency_key")
    assert Group.objects.count() == 0


def test_a_key_may_have_255_characters(call):
    assert call(once="x" * 255).status_code == 202


@BOTH_KINDS
def test_a_refusal_by_the_rules_is_repeated(call, address):
    course.fail_first = Full("It is full.")
    first, second = call(address), call(address)
    assert (first.status_code, second.status_code, second.content) == (409, 409, first.content)
    assert course.runs == 1


@pytest.mark.parametrize("failure", [Full("It is full."), 400, 404])
def test_a_refusal_leaves_nothing_of_the_work_but_the_record(call, failure):
    course.fail_first = failure
    assert 400 <= call().status_code < 500
    assert Group.objects.count() == 0
    assert IdempotencyRecord.objects.get().state == "answered"


@BOTH_KINDS
@pytest.mark.parametrize("failure", [ValueError("bug"), 401, 413, 429, 500, 503])
def test_answers_that_may_change_are_not_kept(call, address, failure):
    course.fail_first = failure
    assert call(address).status_code in (401, 413, 429, 500, 503)
    assert not IdempotencyRecord.objects.exists()
    assert call(address).status_code == 202


@pytest.mark.parametrize("failure", [ValueError("bug"), 429, 503])
def test_work_whose_answer_is_not_kept_is_undone(call, failure):
    course.fail_first = failure
    call()
    assert Group.objects.count() == 0


def test_an_error_of_the_database_inside_the_view_undoes_all(call):
    Group.objects.create(name="a-1")
    assert call().status_code == 500
    assert not IdempotencyRecord.objects.exists()
    assert call().status_code == 202


@BOTH_KINDS
def test_a_body_that_cannot_be_read_does_not_take_the_key(call, address):
    assert call(address, body=b"{").json()["code"] == "invalid_json"
    assert call(address).status_code == 202


def test_a_refused_api_key_does_not_take_the_key(call):
    assert call(text="sk_live_unknown").status_code == 401
    assert call().status_code == 202


def test_a_view_that_calls_the_network_runs_outside_of_a_transaction_and_others_inside(call):
    call("/v1/network")
    assert course.in_transaction is False
    call("/v1/work", once="k2")
    assert course.in_transaction is True


@BOTH_KINDS
def test_locks_of_the_view_wait_as_long_as_without_the_header(call, address):
    call(address, once=None)
    usual = course.lock_timeout
    call(address)
    assert course.lock_timeout == usual


@BOTH_KINDS
def test_of_requests_at_once_one_works_and_the_others_get_its_answer(in_threads, address):
    course.gate.clear()
    answers = [in_threads(address) for _ in range(6)]
    assert course.entered.wait(10)
    time.sleep(0.3)
    course.gate.set()
    responses = [answer.result(20) for answer in answers]
    assert {response.content for response in responses} == {responses[0].content}
    assert sorted(response.get("Idempotent-Replayed", "first") for response in responses) == ["first"] + ["true"] * 5
    assert Group.objects.count() == 1


@BOTH_KINDS
def test_a_waiting_request_takes_its_turn_when_the_first_fails(in_threads, address):
    course.fail_first = 503
    course.gate.clear()
    first = in_threads(address)
    assert course.entered.wait(10)
    second = in_threads(address)
    time.sleep(0.3)
    course.gate.set()
    assert (first.result(20).status_code, second.result(20).status_code) == (503, 202)
    assert course.runs == 2


@BOTH_KINDS
def test_waiting_ends_with_a_refusal_that_says_when_to_come_back(monkeypatch, in_threads, call, address):
    monkeypatch.setattr(idempotency, "WAIT_SECONDS", 0.3)
    course.gate.clear()
    first = in_threads(address)
    assert course.entered.wait(10)
    response = call(address)
    assert (response.status_code, response.json()["code"]) == (409, "idempotency_in_progress")
    assert int(response["Retry-After"]) > 0
    course.gate.set()
    assert first.result(20).status_code == 202
    assert call(address)["Idempotent-Replayed"] == "true"


def test_another_request_with_the_key_of_one_in_progress_is_refused_when_that_is_done(in_threads):
    course.gate.clear()
    first = in_threads()
    assert course.entered.wait(10)
    second = in_threads(body=b'{"name":"b"}')
    time.sleep(0.3)
    course.gate.set()
    assert first.result(20).status_code == 202
    assert second.result(20).json()["code"] == "idempotency_conflict"


def test_requests_with_other_keys_do_not_wait_for_each_other(in_threads, call):
    course.gate.clear()
    first = in_threads(once="k1")
    assert course.entered.wait(10)
    second = in_threads(once="k2", body=b'{"name":"b"}')
    deadline = time.monotonic() + 10
    while course.runs < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert course.runs == 2
    course.gate.set()
    assert {first.result(20).status_code, second.result(20).status_code} == {202}


def leave_a_claim(key, *, age):
    """Leave behind what a process leaves that dies while it calls the network."""
    from hashlib import sha256

    at = timezone.now() - age
    return IdempotencyRecord.objects.create(
        api_key=key[0],
        key="k1",
        method="POST",
        path="/v1/network",
        body_hash=sha256(b'{"name":"a"}').digest(),
        created_at=at,
        claimed_at=at,
    )


def test_a_claim_left_behind_is_taken_over_after_two_minutes(call, key):
    leave_a_claim(key, age=timedelta(seconds=121))
    assert call("/v1/network").status_code == 202
    assert call("/v1/network")["Idempotent-Replayed"] == "true"
    assert course.runs == 1


def test_a_fresh_claim_is_not_taken_over(monkeypatch, call, key):
    monkeypatch.setattr(idempotency, "WAIT_SECONDS", 0.2)
    leave_a_claim(key, age=timedelta(seconds=100))
    assert call("/v1/network").json()["code"] == "idempotency_in_progress"
    assert course.runs == 0


def test_a_claim_left_behind_is_taken_over_by_one_of_several(in_threads, key):
    leave_a_claim(key, age=timedelta(minutes=3))
    answers = [in_threads("/v1/network") for _ in range(6)]
    assert {answer.result(20).status_code for answer in answers} == {202}
    assert course.runs == 1


def test_who_was_taken_over_does_not_overwrite_the_answer_of_who_took_over(in_threads, call):
    course.gate.clear()
    course.gate_of_later_runs = threading.Event()
    slow = in_threads("/v1/network")
    assert course.entered.wait(10)
    IdempotencyRecord.objects.update(claimed_at=timezone.now() - timedelta(minutes=3))
    course.entered.clear()
    quick = in_threads("/v1/network")
    assert course.entered.wait(10)
    course.gate.set()
    assert slow.result(20).json()["run"] == 1
    course.gate_of_later_runs.set()
    assert quick.result(20).json()["run"] == 2
    assert call("/v1/network").json()["run"] == 2


def test_the_database_refuses_a_second_record_of_a_key(key):
    leave_a_claim(key, age=timedelta(0))
    with pytest.raises(IntegrityError, match="one_answer_per_idempotency_key"):
        leave_a_claim(key, age=timedelta(0))


def test_the_database_refuses_an_answered_record_without_answer(key):
    record = leave_a_claim(key, age=timedelta(0))
    with pytest.raises(IntegrityError, match="idempotency_record_has_its_answer"), transaction.atomic():
        IdempotencyRecord.objects.filter(pk=record.pk).update(state="answered")
