import django.db.models.deletion
import django.db.models.functions.comparison
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("metering", "0002_usage_day_leaves_room_for_updates"),
        ("plans", "0002_metric_versions_seats_and_overrides"),
    ]

    operations = [
        migrations.CreateModel(
            name="EventVoid",
            fields=[
                (
                    "event",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="void",
                        serialize=False,
                        to="metering.usageevent",
                    ),
                ),
                ("reason", models.CharField(max_length=500)),
                ("voided_by", models.CharField(max_length=200)),
                ("voided_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="UsageDayValue",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "customer_id",
                        "version_id",
                        "day",
                        "value_hash",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="plans.customer",
                    ),
                ),
                (
                    "version",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="plans.metricversion",
                    ),
                ),
                ("day", models.DateField()),
                ("value_hash", models.BinaryField()),
            ],
        ),
        migrations.RemoveConstraint(
            model_name="usageday",
            name="usage_day_is_one_row",
        ),
        migrations.RemoveConstraint(
            model_name="usageevent",
            name="event_is_recorded_once",
        ),
        migrations.AddField(
            model_name="usageday",
            name="last_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="usageday",
            name="last_event_id",
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="usageday",
            name="last_value",
            field=models.DecimalField(decimal_places=6, max_digits=24, null=True),
        ),
        migrations.AddField(
            model_name="usageday",
            name="maximum",
            field=models.DecimalField(decimal_places=6, max_digits=24, null=True),
        ),
        migrations.AddField(
            model_name="usageday",
            name="minimum",
            field=models.DecimalField(decimal_places=6, max_digits=24, null=True),
        ),
        migrations.AddField(
            model_name="usageday",
            name="version",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="plans.metricversion",
            ),
        ),
        migrations.RunSQL(
            "UPDATE metering_usageday usage SET version_id = version.id FROM plans_metricversion version"
            " WHERE version.metric_id = usage.metric_id; SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED",
            migrations.RunSQL.noop,
        ),
        migrations.AlterField(
            model_name="usageday",
            name="version",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="plans.metricversion"
            ),
        ),
        # Events with a text were among the events of a sum, to which they add nothing.
        migrations.RunSQL(
            """
            UPDATE metering_usageday usage SET events = usage.events - text.events
            FROM (
                SELECT event.customer_id, version.id AS version_id,
                    (event.occurred_at AT TIME ZONE merchant.billing_time_zone)::date AS day, count(*) AS events
                FROM plans_merchant merchant, metering_usageevent event
                JOIN plans_metricversion version ON version.event_name = event.event_name
                JOIN plans_metric metric ON metric.id = version.metric_id AND metric.aggregation_type = 'SUM'
                WHERE event.text_value IS NOT NULL AND event.customer_id IS NOT NULL
                GROUP BY 1, 2, 3
            ) AS text
            WHERE usage.customer_id = text.customer_id AND usage.version_id = text.version_id AND usage.day = text.day;
            DELETE FROM metering_usageday WHERE events = 0;
            SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED
            """,
            migrations.RunSQL.noop,
        ),
        migrations.RemoveField(model_name="usageday", name="metric"),
        migrations.AddField(
            model_name="usageevent",
            name="member",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="plans.customer",
            ),
        ),
        migrations.AddConstraint(
            model_name="usageday",
            constraint=models.UniqueConstraint(fields=("customer", "version", "day"), name="usage_day_is_one_row"),
        ),
        migrations.AddConstraint(
            model_name="usageevent",
            constraint=models.UniqueConstraint(
                django.db.models.functions.comparison.Coalesce("member", "customer"),
                models.F("idempotency_key"),
                name="event_is_recorded_once",
            ),
        ),
    ]
