"""Every exception that says what is wrong with a request becomes one shape of answer."""

import json

import msgspec
import pytest
from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    ValidationError,
)
from django.db import DataError, IntegrityError
from django.http import Http404
from django.http.request import UnreadablePostError
from django.test import RequestFactory
from rest_framework import exceptions, serializers

from config import errors
from plans.refusals import InvalidInput, NotFound, Refusal


def answer(error):
    response = errors.exception_handler(error, {})
    assert response["Content-Type"] == "application/json"
    return response.status_code, json.loads(response.content)


class Component(serializers.Serializer):
    label = serializers.CharField()
    amount_cents = serializers.IntegerField()


class Pricing(serializers.Serializer):
    components = Component(many=True)
    tags = serializers.ListField(child=serializers.IntegerField(), required=False)

    def validate(self, attrs):
        raise serializers.ValidationError("These components do not fit together.")


class Body(serializers.Serializer):
    pricingData = Pricing()


def problems_of(body):
    with pytest.raises(exceptions.ValidationError) as caught:
        Body(data=body).is_valid(raise_exception=True)
    return answer(caught.value)


def test_a_refusal_keeps_its_status_code_details_and_extra_keys():
    class SeatTaken(Refusal):
        code = "seat_taken"
        status = 409

    refusal = SeatTaken("The seat is taken.", details=[1], extra={"seat_id": "s1"})
    assert answer(refusal) == (
        409,
        {"error": "The seat is taken.", "code": "seat_taken", "details": [1], "seat_id": "s1"},
    )


def test_a_refusal_without_details_says_null():
    assert answer(NotFound("Plan not found")) == (
        404,
        {"error": "Plan not found", "code": "not_found", "details": None},
    )


def test_a_refusal_may_carry_headers():
    class TooFast(Refusal):
        code = "too_fast"
        status = 429
        headers = {"Retry-After": "7"}

    assert errors.refusal_response(TooFast("Slower."))["Retry-After"] == "7"


def test_a_refusal_of_one_field_names_it():
    status, body = answer(InvalidInput.at("a.b[0]", "is wrong"))
    assert (status, body["code"]) == (400, "invalid_request")
    assert body["details"] == [{"path": "a.b[0]", "message": "is wrong"}]


def test_a_wrong_field_deep_inside_is_named_by_its_path():
    status, body = problems_of({"pricingData": {"components": [{"label": "a", "amount_cents": 1}, {"label": "b"}]}})
    assert status == 400
    assert body == {
        "error": "pricingData.components[1].amount_cents: This field is required.",
        "code": "invalid_request",
        "details": [{"path": "pricingData.components[1].amount_cents", "message": "This field is required."}],
    }


def test_a_wrong_element_of_a_plain_list_is_named_by_its_index():
    _, body = problems_of({"pricingData": {"components": [], "tags": [1, "x"]}})
    assert [problem["path"] for problem in body["details"]] == ["pricingData.tags[1]"]


def test_an_error_of_no_single_field_has_the_path_of_what_holds_it():
    _, body = problems_of({"pricingData": {"components": []}})
    assert body["details"] == [{"path": "pricingData", "message": "These components do not fit together."}]


def test_the_sentence_names_the_first_of_several_fields():
    _, body = problems_of({"pricingData": {"components": [{}]}})
    assert body["error"].startswith("pricingData.components[0].label: ")
    assert len(body["details"]) == 2


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (exceptions.ParseError(), 400, "invalid_json"),
        (exceptions.NotFound(), 404, "not_found"),
        (exceptions.MethodNotAllowed("PATCH"), 405, "method_not_allowed"),
        (exceptions.NotAcceptable(), 406, "not_acceptable"),
        (exceptions.UnsupportedMediaType("text/plain"), 415, "unsupported_media_type"),
        (exceptions.PermissionDenied(), 403, "permission_denied"),
        (exceptions.Throttled(wait=3), 429, "throttled"),
        (Http404("No plan."), 404, "not_found"),
        (PermissionDenied(), 403, "permission_denied"),
        (RequestDataTooBig(), 413, "body_too_large"),
        (TooManyFieldsSent(), 400, "invalid_request"),
        (SuspiciousOperation(), 400, "invalid_request"),
        (UnreadablePostError(), 400, "unreadable_body"),
        (DataError("integer out of range"), 400, "invalid_request"),
        (msgspec.DecodeError("JSON is malformed"), 400, "invalid_json"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_answers(error, status, code):
    got, body = answer(error)
    assert (got, body["code"]) == (status, code)
    assert body["error"].endswith(".")


def test_a_throttled_caller_is_told_when_to_come_back():
    assert errors.exception_handler(exceptions.Throttled(wait=3), {})["Retry-After"] == "3"


def test_a_validation_error_of_a_model_names_its_field():
    assert answer(ValidationError({"name": ["Too long."]}))[1] == {
        "error": "name: Too long.",
        "code": "invalid_request",
        "details": [{"path": "name", "message": "Too long."}],
    }


def test_a_validation_error_of_a_whole_model_has_no_path():
    assert answer(ValidationError("Does not fit."))[1]["details"] == [{"path": "", "message": "Does not fit."}]


def test_a_validation_error_of_a_typed_decoder_names_its_field():
    class Event(msgspec.Struct):
        value: int

    class Batch(msgspec.Struct):
        events: list[Event]

    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(b'{"events": [{"value": "x"}]}', type=Batch)
    assert answer(caught.value)[1]["details"] == [
        {"path": "events[0].value", "message": "Expected `int`, got `str`"},
    ]


@pytest.mark.parametrize("error", [ValueError("secret detail"), IntegrityError("duplicate key"), KeyError("x")])
def test_every_other_exception_is_raised_on(error):
    assert errors.exception_handler(error, {}) is None


@pytest.mark.parametrize("path", ["/v1", "/v1/x", "//v1/x", "/v1//x"])
def test_paths_of_the_api(path):
    request = RequestFactory().get("/")
    request.path_info = path
    assert errors.is_api(request)


@pytest.mark.parametrize("path", ["/", "/v1x", "/admin/v1/", "/v10/x"])
def test_paths_of_other_pages(path):
    request = RequestFactory().get("/")
    request.path_info = path
    assert not errors.is_api(request)


def test_a_sentence_of_the_contract_stands_without_the_path_which_the_details_have():
    error = exceptions.ValidationError({"customerId": ["Customer ID is required"]})

    assert answer(error)[1] == {
        "error": "Customer ID is required",
        "code": "invalid_request",
        "details": [{"path": "customerId", "message": "Customer ID is required"}],
    }
