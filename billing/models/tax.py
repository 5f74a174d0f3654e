from django.db import models
from django.db.models import Q

from plans.ids import public_id_field


class TaxMethod(models.TextChoices):
    """The contract's words for who decided a rate: Stripe (`auto`), our own terms, or an exemption."""

    AUTO = "auto"
    MANUAL = "manual"
    EXEMPT = "exempt"


class TaxSettings(models.Model):
    """How the seller charges tax, in one row. Without a default rate only rate definitions charge any.

    A rate is a share of the net amount: 0.19 is 19 %. With `prices_include_tax` the amounts of prices and packs are
    gross, and the tax is taken out of them.
    """

    singleton = models.BooleanField(default=True, editable=False, unique=True)
    public_id = public_id_field("mer_tax_cfg_")
    auto_tax_calculation = models.BooleanField(default=False)
    default_tax_rate = models.DecimalField(max_digits=7, decimal_places=6, null=True, blank=True)
    prices_include_tax = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = verbose_name_plural = "tax settings"
        constraints = [
            models.CheckConstraint(condition=Q(singleton=True), name="tax_settings_are_one_row"),
            models.CheckConstraint(
                condition=Q(default_tax_rate=None) | Q(default_tax_rate__gte=0, default_tax_rate__lte=1),
                name="default_tax_rate_is_a_share",
            ),
        ]

    def __str__(self) -> str:
        return "Tax settings"


class TaxRate(models.Model):
    """A rate definition: for customers that were given it, and for all of a jurisdiction where it `applies_to_area`.

    `area` is the jurisdiction as a code, such as `DE` or `US-CA`; empty where its text names none that we know.
    """

    public_id = public_id_field("tax_rate_def_")
    name = models.CharField(max_length=200)
    description = models.CharField(max_length=500, blank=True)
    rate = models.DecimalField(max_digits=7, decimal_places=6)
    jurisdiction = models.CharField(max_length=120, blank=True)
    area = models.CharField(max_length=40, blank=True, editable=False)
    applies_to_area = models.BooleanField(default=False)
    tax_type = models.CharField(max_length=40, default="manual")
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(rate__gte=0, rate__lte=1), name="tax_rate_is_a_share"),
            models.CheckConstraint(
                condition=Q(applies_to_area=False) | ~Q(area=""), name="tax_rate_that_applies_names_its_area"
            ),
            models.UniqueConstraint(
                fields=["area"], condition=Q(is_active=True, applies_to_area=True), name="area_has_one_active_tax_rate"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class TaxNexus(models.Model):
    """Whether the seller has to charge sales tax in a state of the US, and why. Thresholds are minor units and a
    number of sales a year."""

    public_id = public_id_field("us_nexus_cfg_")
    state = models.CharField(max_length=2)
    has_nexus = models.BooleanField()
    nexus_type = models.CharField(max_length=40, blank=True)
    sales_threshold_cents = models.BigIntegerField(null=True, blank=True)
    transaction_threshold = models.BigIntegerField(null=True, blank=True)
    has_offices = models.BooleanField(default=False)
    has_employees = models.BooleanField(default=False)
    has_inventory = models.BooleanField(default=False)
    other_presence = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "tax nexus"
        constraints = [models.UniqueConstraint(fields=["state"], name="state_has_one_nexus")]

    def __str__(self) -> str:
        return self.state


class TaxRegistration(models.Model):
    """A number under which the seller is registered for tax somewhere; it stands on the invoices for that place."""

    public_id = public_id_field("tax_reg_")
    jurisdiction = models.CharField(max_length=120)
    area = models.CharField(max_length=40, blank=True, editable=False)
    registration_number = models.CharField(max_length=64)
    tax_type = models.CharField(max_length=40)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["jurisdiction", "tax_type", "registration_number"],
                condition=Q(is_active=True),
                name="tax_registration_is_noted_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.tax_type} {self.registration_number}"
