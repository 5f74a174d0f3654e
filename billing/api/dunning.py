"""The door of the terms of dunning."""

from itertools import pairwise
from typing import Any

from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.models import LONGEST_DAYS, MOST_RETRIES, DunningConfig, EndOfDunning
from billing.services.dunning import read_config, update_config
from plans.serializers.fields import Choice, WholeNumber
from plans.serializers.reading import read_exactly
from plans.services.merchant import find_merchant_id


class DunningTerms(serializers.Serializer[DunningConfig]):
    """The body of POST /v1/merchants/dunning-config; a schedule that is not sent is kept."""

    gracePeriodDays = WholeNumber(min_value=0, max_value=LONGEST_DAYS, source="grace_period_days")
    retrySchedule = serializers.ListField(
        child=WholeNumber(min_value=1, max_value=LONGEST_DAYS),
        required=False,
        max_length=MOST_RETRIES,
        source="retry_schedule",
    )
    endOfDunningAction = Choice(choices=EndOfDunning.values, source="end_action")

    def validate_retrySchedule(self, days: list[int]) -> list[int]:
        if any(later <= earlier for earlier, later in pairwise(days)):
            raise serializers.ValidationError("must be days in ascending order, each once, such as [1, 3, 7].")
        return days


class DunningConfigView(APIView):
    """`/v1/merchants/dunning-config`."""

    scope = "merchants"

    def get(self, request: Request) -> Response:
        """Show the terms of dunning; where there are none yet, those of the contract are stored."""
        config, _ = read_config()
        return Response({"config": dunning_config_words(config)})

    def post(self, request: Request) -> Response:
        """Change the terms. They count for dunning that begins from now on."""
        config, is_new = update_config(read_exactly(DunningTerms, request.data))
        code = status.HTTP_201_CREATED if is_new else status.HTTP_200_OK
        return Response({"config": dunning_config_words(config)}, status=code)


def dunning_config_words(config: DunningConfig) -> dict[str, Any]:
    """Shape the terms of dunning."""
    return {
        "id": config.public_id,
        "merchantId": find_merchant_id(),
        "gracePeriodDays": config.grace_period_days,
        "retrySchedule": config.retry_schedule,
        "endOfDunningAction": config.end_action,
        "createdAt": config.created_at,
        "updatedAt": config.updated_at,
    }
