from datetime import datetime

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce

from plans.ids import public_id_field
from plans.models import Customer, Feature, Metric


class ReservationState(models.TextChoices):
    HELD = "held"
    COMMITTED = "committed"
    RELEASED = "released"
    EXPIRED = "expired"


class Reservation(models.Model):
    """Units kept back for `customer` from `reserved_at` until they are committed, released, or `expires_at` has come.

    A commit records an event of `member` or `customer` at `reserved_at`: `event`, of `committed_units`. Nothing has to
    happen when one expires: it just no longer counts. Where units are given out again after that, `released_at` becomes
    `expires_at`, so that a commit which began before the expiry and comes late finds it ended.
    """

    public_id = public_id_field("rsv_")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+")
    member = models.ForeignKey(Customer, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    feature = models.ForeignKey(Feature, on_delete=models.PROTECT, related_name="+")
    metric = models.ForeignKey(Metric, on_delete=models.PROTECT, related_name="+")
    units = models.DecimalField(max_digits=24, decimal_places=6)
    reserved_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)
    committed_at = models.DateTimeField(null=True, blank=True)
    committed_units = models.DecimalField(max_digits=24, decimal_places=6, null=True, blank=True)
    event_id = models.BigIntegerField(null=True, blank=True)
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(Coalesce("member", "customer"), "idempotency_key", name="reservation_is_made_once"),
            models.UniqueConstraint(fields=["event_id"], name="reservation_records_one_event"),
            models.CheckConstraint(condition=Q(units__gt=0), name="reservation_holds_positive_units"),
            models.CheckConstraint(
                condition=Q(expires_at__gt=F("reserved_at")), name="reservation_expires_after_its_start"
            ),
            models.CheckConstraint(
                condition=Q(committed_at=None) | Q(released_at=None), name="reservation_ends_in_one_way"
            ),
            models.CheckConstraint(
                condition=Q(committed_at=None, committed_units=None, event_id=None)
                | Q(committed_at__isnull=False, committed_units__isnull=False, event_id__isnull=False),
                name="committed_reservation_says_what_it_recorded",
            ),
        ]
        indexes = [
            models.Index(
                fields=["customer", "metric", "expires_at"],
                condition=Q(committed_at__isnull=True, released_at__isnull=True),
                name="reservation_held",
            )
        ]

    @property
    def addressee(self) -> Customer:
        """Who reserved: the member of an organization, or the customer itself."""
        return self.member or self.customer

    def state(self, at: datetime) -> ReservationState:
        """Tell what has become of it by an instant."""
        if self.committed_at is not None:
            return ReservationState.COMMITTED
        if self.released_at is not None and self.released_at < self.expires_at:
            return ReservationState.RELEASED
        return ReservationState.HELD if self.released_at is None and at < self.expires_at else ReservationState.EXPIRED

    def __str__(self) -> str:
        return f"{self.units.normalize():f} until {self.expires_at:%H:%M:%S}"
