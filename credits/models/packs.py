from django.db import models
from django.db.models import Q

from credits.models.definitions import CreditDefinition
from plans.ids import public_id_field


class TopUpPack(models.Model):
    """Units or money that a customer can buy at any time: `amount` of a definition for `price_cents`.

    The definition says what a grant of it pays for and when it expires.
    """

    public_id = public_id_field("pack_")
    name = models.CharField(max_length=200)
    definition = models.ForeignKey(CreditDefinition, on_delete=models.PROTECT, related_name="packs")
    amount = models.DecimalField(max_digits=24, decimal_places=6)
    price_cents = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="pack_holds_something"),
            models.CheckConstraint(condition=Q(price_cents__gt=0), name="pack_costs_something"),
        ]

    def __str__(self) -> str:
        return self.name
