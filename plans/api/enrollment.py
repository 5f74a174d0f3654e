"""`/v1/enrollment`, and the hooks of sign-up services."""

from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.services.enroll import AlreadyEnrolled, Enrollment, enroll
from plans.api.subscriptions import describe
from plans.models import EnrollmentRule
from plans.refusals import InvalidInput
from plans.serializers.enrollment import ClerkUser, NewRule, SignUp, SupabaseUser, rule_words, sign_up_fields
from plans.serializers.reading import read
from plans.services.enrollment import create_rule, delete_rule, find_rule
from plans.services.plans import find_plan


class EnrollmentRulesView(APIView):
    """`/v1/enrollment/rules`."""

    scope = "enrollment"

    def get(self, request: Request) -> Response:
        """List the rules of a plan version, newest first."""
        plan_id = request.query_params.get("planId", "")
        if not plan_id:
            raise InvalidInput.at("planId", "is required.")
        rules = EnrollmentRule.objects.live().filter(plan=find_plan(plan_id)).select_related("plan")
        return Response({"rules": [rule_words(rule) for rule in rules.order_by("-created_at", "-pk")[:1000]]})

    def post(self, request: Request) -> Response:
        """Let whoever signs up with an address, or one of a domain, get a plan version."""
        body = read(NewRule, request.data)
        rule = create_rule(
            at=timezone.now(),
            plan=find_plan(body["planId"]),
            matcher_type=body["matcherType"],
            matcher_value=body["matcherValue"],
        )
        return Response({"rule": rule_words(rule)})


class EnrollmentRuleView(APIView):
    """`/v1/enrollment/rules/{id}`."""

    scope = "enrollment"

    def delete(self, request: Request, identifier: str) -> Response:
        """Let a rule hold no more."""
        delete_rule(rule=find_rule(identifier), at=timezone.now())
        return Response({"success": True, "message": "Enrollment rule deleted successfully"})


class EnrollView(APIView):
    """`/v1/enrollment/enroll`."""

    scope = "enrollment"

    def post(self, request: Request) -> Response:
        """Subscribe somebody who signs up to a free plan."""
        body = read(SignUp, request.data)
        return Response(_enrollment_words(enroll(at=timezone.now(), **sign_up_fields(body))))


class FreeSubscriptionView(APIView):
    """`/v1/subscriptions/create-free-subscription`."""

    scope = "subscriptions"

    def post(self, request: Request) -> Response:
        """Subscribe somebody who signs up to the free plan that is his by the rules, or that is shown."""
        at = timezone.now()
        body = read(SignUp, request.data)
        made = enroll(at=at, **sign_up_fields(body))
        return Response({"success": True, "subscription": describe(made.subscription, at=at)})


class SupabaseHookView(APIView):
    """`/v1/webhooks/supabase`: a row was written at Supabase."""

    scope = "enrollment"

    def post(self, request: Request) -> Response:
        """Enroll a new user. What is told of other rows is received, and that is all."""
        if (request.data.get("type"), request.data.get("table")) != ("INSERT", "users"):
            return Response({"received": True})
        user = read(SupabaseUser, _object(request.data, "record"))
        names = user.get("raw_user_meta_data") or {}
        return _answer_hook(user["id"], user.get("email"), names.get("first_name"), names.get("last_name"))


class ClerkHookView(APIView):
    """`/v1/webhooks/clerk`: something happened at Clerk."""

    scope = "enrollment"

    def post(self, request: Request) -> Response:
        """Enroll a new user. What else happens is received, and that is all."""
        if request.data.get("type") != "user.created":
            return Response({"received": True})
        user = read(ClerkUser, _object(request.data, "data"))
        return _answer_hook(
            user["id"], _first_address(user), user.get("first_name"), user.get("last_name"), user.get("username")
        )


def _object(data: dict[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    if not isinstance(value, dict):
        raise InvalidInput.at(name, "must be an object.")
    return value


def _first_address(user: dict[str, Any]) -> str | None:
    addresses = user["email_addresses"]
    primary = [one for one in addresses if one.get("id") and one["id"] == user.get("primary_email_address_id")]
    return next((one.get("email_address") for one in primary + addresses), None)


def _answer_hook(
    user_id: str, email: str | None, first_name: str | None, last_name: str | None, username: str | None = None
) -> Response:
    """Enroll a user of a sign-up service. It sends again what was not received, so who is enrolled already is fine."""
    if not email:
        raise InvalidInput.at("email", "is required: the account has no e-mail address.")
    name = " ".join(part for part in (first_name, last_name) if part) or username or email
    try:
        made = enroll(at=timezone.now(), user_id=user_id, email=email, name=name)
    except AlreadyEnrolled as refusal:
        return Response({"received": True, "message": refusal.message} | refusal.extra)
    return Response({"received": True} | _enrollment_words(made))


def _enrollment_words(made: Enrollment) -> dict[str, Any]:
    subscription = describe(made.subscription, at=timezone.now())
    return {
        "message": "Enrollment subscription created successfully",
        "subscription": subscription,
        "invoice": None,
        "plan": {"id": made.plan.public_id, "planName": made.plan.name},
        "credit_grants_created": made.grants,
    }
