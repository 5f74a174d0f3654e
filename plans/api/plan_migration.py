"""`/v1/plans/{id}/migrate` and its preview."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.services.migrate import Move, migrate_subscribers, preview_migration
from billing.services.simulate import Compared
from plans.models import Plan, Price
from plans.refusals import InvalidInput
from plans.serializers.fields import Choice, JsonValue, Text
from plans.serializers.reading import read_exactly
from plans.services.plans import find_plan
from plans.services.prices import find_price


class MigratePlan(serializers.Serializer[Plan]):
    """Where the subscribers of a plan version go: `priceMap` leads from each of its prices to one of the other plan."""

    toPlanId = Text(max_length=80)
    priceMap = JsonValue()
    when = Choice(choices=["period_end"], required=False, default="period_end")


class MigratePlanView(APIView):
    """POST `/v1/plans/{id}/migrate`."""

    scope = "plans"

    def post(self, request: Request, identifier: str) -> Response:
        """Let the subscribers of a plan version change to another with the end of what they paid for."""
        terms = _read_terms(identifier, request)
        moves = migrate_subscribers(**terms, at=timezone.now())
        return Response(_words(moves) | {"subscriptions": [_move_words(move) for move in moves]})


class MigratePlanPreviewView(APIView):
    """POST `/v1/plans/{id}/migrate/preview`."""

    scope = "plans:read"
    # Asking changes nothing, so there is no answer to keep.
    own_idempotency = True

    def post(self, request: Request, identifier: str) -> Response:
        """Tell who would change, when, and who would have paid what in the last month; nothing is written."""
        preview = preview_migration(**_read_terms(identifier, request), at=timezone.now())
        nothing = Compared()
        rows = [
            _move_words(move) | _compared_words(preview.compared.get(move.subscription.customer_id, nothing))
            for move in preview.moves
        ]
        total = Compared()
        for one in preview.compared.values():
            total.add(one)
        return Response(_words(preview.moves) | {"totals": _compared_words(total), "subscriptions": rows})


def _read_terms(identifier: str, request: Request) -> dict[str, Any]:
    terms = read_exactly(MigratePlan, request.data)
    given = terms["priceMap"]
    if not isinstance(given, Mapping) or not given or not all(isinstance(value, str) for value in given.values()):
        raise InvalidInput.at("priceMap", "must be an object that leads from ids of prices to ids of prices.")
    price_map: dict[Price, Price] = {find_price(old): find_price(new) for old, new in given.items()}
    return {"plan": find_plan(identifier), "to_plan": find_plan(terms["toPlanId"]), "price_map": price_map}


def _words(moves: Sequence[Move]) -> dict[str, int]:
    staying = sum(1 for move in moves if move.refusal)
    return {"moving": len(moves) - staying, "staying": staying}


def _move_words(move: Move) -> dict[str, Any]:
    return {
        "subscriptionId": move.subscription.public_id,
        "customerId": move.subscription.customer.public_id,
        "customerName": move.subscription.customer.name,
        "fromPriceId": move.subscription.price.public_id,
        "toPriceId": move.price.public_id,
        "effectiveAt": move.effective_at,
        "staysBecause": move.refusal or None,
    }


def _compared_words(compared: Compared) -> dict[str, int]:
    return {
        "oldCents": compared.old_cents,
        "newCents": compared.new_cents,
        "differenceCents": compared.difference_cents,
    }
