from django.db import models

from plans.ids import public_id_field
from plans.json_values import NumberKeepingEncoder


class Merchant(models.Model):
    """The seller. One deployment serves one merchant, so this table holds one row, made when the database is migrated.

    `billing_time_zone` is frozen there: all stored periods and days of usage were cut at its midnights. The invoice
    prefix begins those of customers that are made from then on.
    """

    singleton = models.BooleanField(default=True, editable=False, unique=True)
    public_id = public_id_field("mer_")
    legal_name = models.CharField(max_length=200, blank=True)
    display_name = models.CharField(max_length=200, blank=True)
    website_url = models.URLField(blank=True)
    tax_id = models.CharField("tax ID", max_length=64, blank=True)
    support_email = models.EmailField(blank=True)
    billing_email = models.EmailField(blank=True)
    phone_number = models.CharField(max_length=40, blank=True)
    address_line1 = models.CharField(max_length=255, blank=True)
    address_line2 = models.CharField(max_length=255, blank=True)
    city = models.CharField(max_length=120, blank=True)
    state_province = models.CharField("state or province", max_length=120, blank=True)
    postal_code = models.CharField(max_length=40, blank=True)
    country = models.CharField(max_length=2, blank=True)
    default_currency = models.CharField(max_length=3, default="USD")
    supported_currencies = models.JSONField(default=list, blank=True)
    invoice_prefix = models.CharField(max_length=12, blank=True)
    branding_settings = models.JSONField(default=dict, blank=True, encoder=NumberKeepingEncoder)
    notification_preferences = models.JSONField(default=dict, blank=True, encoder=NumberKeepingEncoder)
    feature_flags = models.JSONField(default=dict, blank=True, encoder=NumberKeepingEncoder)
    billing_time_zone = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(singleton=True), name="merchant_is_one_row")]

    def __str__(self) -> str:
        return self.display_name or self.legal_name or self.public_id
