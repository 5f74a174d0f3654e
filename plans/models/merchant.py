from django.db import models

from plans.ids import public_id_field


class Merchant(models.Model):
    """The seller. One deployment serves one merchant, so this table holds one row, made when the database is migrated.

    `billing_time_zone` is frozen there: all stored periods and days of usage were cut at its midnights.
    """

    singleton = models.BooleanField(default=True, editable=False, unique=True)
    public_id = public_id_field("mer_")
    legal_name = models.CharField(max_length=200, blank=True)
    display_name = models.CharField(max_length=200, blank=True)
    support_email = models.EmailField(blank=True)
    default_currency = models.CharField(max_length=3, default="USD")
    billing_time_zone = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(singleton=True), name="merchant_is_one_row")]

    def __str__(self) -> str:
        return self.display_name or self.legal_name or self.public_id
