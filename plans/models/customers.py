from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import RangeOperators
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Lower

from plans.ids import public_id_field
from plans.json_values import NumberKeepingEncoder


class CustomerQuerySet(models.QuerySet["Customer"]):
    def live(self) -> "CustomerQuerySet":
        """Customers that are not deleted."""
        return self.filter(deleted_at__isnull=True)

    def addressed_by(self, identifier: str, *, external: bool) -> "CustomerQuerySet":
        """The live customer of a path or field: by external id when `external`, else by our id."""
        return self.live().filter(**{"external_customer_id" if external else "public_id": identifier})


class OrgRole(models.TextChoices):
    PRIMARY = "primary"
    MEMBER = "member"


class TaxCalculation(models.TextChoices):
    """Who is to compute a customer's tax: the payment provider, once it is connected, or our own rates."""

    AUTO = "auto"
    MANUAL = "manual"


class Customer(models.Model):
    """Who pays, or a member (seat) of an organization that pays.

    `tax_rate_definition_id` is the public id of the rate that was given to the customer; the database knows that there
    is one.

    `email_is_shared` records that the caller accepted a second customer with the same e-mail.
    A parked customer is not billed until an operator has looked: a sweep could not bill it rightly.
    """

    public_id = public_id_field("cus_")
    name = models.CharField(max_length=200)
    email = models.EmailField(max_length=254, blank=True)
    email_is_shared = models.BooleanField(default=False)
    phone_number = models.CharField(max_length=40, blank=True)
    external_customer_id = models.CharField(max_length=255, null=True, blank=True)
    psp_customer_id = models.CharField(max_length=255, null=True, blank=True)
    billing_address_line1 = models.CharField(max_length=255, blank=True)
    billing_address_line2 = models.CharField(max_length=255, blank=True)
    billing_city = models.CharField(max_length=120, blank=True)
    billing_state_province = models.CharField(max_length=120, blank=True)
    billing_postal_code = models.CharField(max_length=40, blank=True)
    billing_country = models.CharField(max_length=2, blank=True)
    business_name = models.CharField(max_length=200, blank=True)
    tax_id = models.CharField(max_length=64, blank=True)
    tax_exempt = models.BooleanField(default=False)
    tax_exemption_reason = models.CharField(max_length=255, blank=True)
    tax_exemption_certificate = models.CharField(max_length=255, blank=True)
    tax_rate_definition_id = models.CharField(max_length=48, null=True, blank=True)
    tax_calculation_method = models.CharField(max_length=16, choices=TaxCalculation, null=True, blank=True)
    invoice_prefix = models.CharField(max_length=20)
    last_invoice_number = models.PositiveIntegerField(default=0, editable=False)
    preferred_language = models.CharField(max_length=16, default="en")
    timezone = models.CharField(max_length=64, default="UTC")
    preferred_currency = models.CharField(max_length=3, default="USD")
    metadata = models.JSONField(default=dict, blank=True, encoder=NumberKeepingEncoder)
    customer_organization_id = models.CharField(max_length=255, null=True, blank=True)
    org_role = models.CharField(max_length=16, choices=OrgRole, null=True, blank=True)
    parked_at = models.DateTimeField(null=True, blank=True, editable=False)
    parked_reason = models.TextField(blank=True, editable=False)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = CustomerQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["external_customer_id"],
                condition=Q(deleted_at__isnull=True),
                name="customer_external_id_is_unique",
            ),
            models.UniqueConstraint(
                Lower("email"),
                condition=Q(deleted_at__isnull=True, email_is_shared=False) & ~Q(email=""),
                name="customer_email_is_unique_unless_shared",
            ),
            models.UniqueConstraint(fields=["invoice_prefix"], name="customer_invoice_prefix_is_unique"),
            models.UniqueConstraint(fields=["psp_customer_id"], name="customer_psp_id_is_unique"),
            models.UniqueConstraint(
                fields=["customer_organization_id"],
                condition=Q(deleted_at__isnull=True, org_role="primary"),
                name="organization_has_one_primary_customer",
            ),
        ]
        indexes = [models.Index(fields=["created_at"], name="customer_created_at")]

    def __str__(self) -> str:
        return self.name or self.email or self.public_id


class Seat(models.Model):
    """A member's time in an organization: `[started_at, ended_at)`, where NULL means without a bound.

    What a member uses in that time counts for the organization's primary customer.
    """

    member = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="seats")
    organization_id = models.CharField(max_length=255, help_text="The customer_organization_id of its customers.")
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(ended_at=None) | Q(started_at=None) | Q(ended_at__gt=F("started_at")),
                name="seat_ends_after_its_start",
            ),
            ExclusionConstraint(
                name="member_sits_in_one_organization_at_a_time",
                expressions=[
                    (Func("member", "member", Value("[]"), function="int8range"), RangeOperators.EQUAL),
                    (Func("started_at", "ended_at", function="tstzrange"), RangeOperators.OVERLAPS),
                ],
            ),
        ]
        indexes = [models.Index(fields=["organization_id"], name="seat_organization")]

    def __str__(self) -> str:
        return f"{self.member} in {self.organization_id}"
