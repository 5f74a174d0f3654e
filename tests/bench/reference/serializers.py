from typing import Any

from rest_framework import serializers

from plans.models import Customer
from tests.bench.reference.models import ReferenceEvent


class EventListSerializer(serializers.ListSerializer):
    """Many events at once: one query for their customers, one insert."""

    def create(self, validated_data: list[dict[str, Any]]) -> list[ReferenceEvent]:
        wanted = {entry["customerId"] for entry in validated_data}
        customers = Customer.objects.in_bulk(wanted, field_name="public_id")
        events = [
            ReferenceEvent(customer=customers[entry.pop("customerId")], **entry)
            for entry in validated_data
            if entry["customerId"] in customers
        ]
        return ReferenceEvent.objects.bulk_create(events, ignore_conflicts=True)


class EventSerializer(serializers.Serializer):
    """One event as a client sends it."""

    eventName = serializers.CharField(source="event_name", max_length=255)
    customerId = serializers.CharField(max_length=48)
    eventValue = serializers.DecimalField(source="value", max_digits=24, decimal_places=6)
    eventTimestamp = serializers.DateTimeField(source="occurred_at")
    idempotencyKey = serializers.CharField(source="idempotency_key", max_length=255)
    properties = serializers.JSONField()

    class Meta:
        list_serializer_class = EventListSerializer

    def create(self, validated_data: dict[str, Any]) -> ReferenceEvent:
        customer = Customer.objects.get(public_id=validated_data.pop("customerId"))
        event, _ = ReferenceEvent.objects.get_or_create(
            customer=customer,
            idempotency_key=validated_data.pop("idempotency_key"),
            defaults=validated_data,
        )
        return event

    def to_representation(self, instance: ReferenceEvent) -> dict[str, Any]:
        return {"id": instance.pk, "eventName": instance.event_name, "idempotencyKey": instance.idempotency_key}
