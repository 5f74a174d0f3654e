import django.db.models.deletion
import django.db.models.functions.comparison
import functools
import plans.ids
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("credits", "0002_ledger_is_append_only"),
        ("plans", "0002_metric_versions_seats_and_overrides"),
    ]

    operations = [
        migrations.CreateModel(
            name="Reservation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=functools.partial(plans.ids.new_public_id, *("rsv_",), **{}),
                        editable=False,
                        max_length=48,
                        unique=True,
                        verbose_name="id",
                    ),
                ),
                ("units", models.DecimalField(decimal_places=6, max_digits=24)),
                ("reserved_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("idempotency_key", models.CharField(blank=True, max_length=255, null=True)),
                ("committed_at", models.DateTimeField(blank=True, null=True)),
                ("committed_units", models.DecimalField(blank=True, decimal_places=6, max_digits=24, null=True)),
                ("event_id", models.BigIntegerField(blank=True, null=True)),
                ("released_at", models.DateTimeField(blank=True, null=True)),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="plans.customer"
                    ),
                ),
                (
                    "feature",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="plans.feature"
                    ),
                ),
                (
                    "member",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="plans.customer",
                    ),
                ),
                (
                    "metric",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="plans.metric"),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("committed_at__isnull", True), ("released_at__isnull", True)),
                        fields=["customer", "metric", "expires_at"],
                        name="reservation_held",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        django.db.models.functions.comparison.Coalesce("member", "customer"),
                        models.F("idempotency_key"),
                        name="reservation_is_made_once",
                    ),
                    models.UniqueConstraint(fields=("event_id",), name="reservation_records_one_event"),
                    models.CheckConstraint(
                        condition=models.Q(("units__gt", 0)), name="reservation_holds_positive_units"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("expires_at__gt", models.F("reserved_at"))),
                        name="reservation_expires_after_its_start",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("committed_at", None), ("released_at", None), _connector="OR"),
                        name="reservation_ends_in_one_way",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("committed_at", None), ("committed_units", None), ("event_id", None)),
                            models.Q(
                                ("committed_at__isnull", False),
                                ("committed_units__isnull", False),
                                ("event_id__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="committed_reservation_says_what_it_recorded",
                    ),
                ],
            },
        ),
    ]
