import django.contrib.postgres.constraints
import django.db.models.deletion
import plans.json_values
from django.db import migrations, models


# What was metered so far was counted by the first version of each metric, which is complete.
FIRST_VERSIONS = """
INSERT INTO plans_metricversion (
    metric_id, number, event_name, property_filter, value_property, created_at, effective_at, built_at,
    built_customer_id, events_to_build, events_built
)
SELECT id, 1, event_name, '{}', '', created_at, created_at, created_at, 0, 0, 0 FROM plans_metric ORDER BY id;
UPDATE plans_metric metric SET current_id = version.id FROM plans_metricversion version
WHERE version.metric_id = metric.id;
"""

# A member has been in its organization since it is known.
FIRST_SEATS = """
INSERT INTO plans_seat (member_id, organization_id)
SELECT id, customer_organization_id FROM plans_customer
WHERE org_role = 'member' AND customer_organization_id IS NOT NULL
"""

# Nobody kept an organization from having several; the first stays, the others go on by themselves.
ONE_PRIMARY_EACH = """
UPDATE plans_customer later SET org_role = NULL
WHERE org_role = 'primary' AND deleted_at IS NULL AND EXISTS (
    SELECT FROM plans_customer first
    WHERE first.org_role = 'primary' AND first.deleted_at IS NULL AND first.id < later.id
        AND first.customer_organization_id = later.customer_organization_id
)
"""

# Deferred checks of the rows above would keep their tables from being altered in the same transaction.
CHECK_NOW = "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED"


class Migration(migrations.Migration):
    dependencies = [
        ("plans", "0001_customers_plans_prices_subscriptions"),
    ]

    operations = [
        migrations.RunSQL(f"{ONE_PRIMARY_EACH}; {CHECK_NOW}", migrations.RunSQL.noop),
        migrations.CreateModel(
            name="MetricVersion",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField(default=1)),
                ("event_name", models.CharField(max_length=255)),
                (
                    "property_filter",
                    models.JSONField(blank=True, default=dict, encoder=plans.json_values.NumberKeepingEncoder),
                ),
                ("value_property", models.CharField(blank=True, max_length=255)),
                ("created_at", models.DateTimeField()),
                ("effective_at", models.DateTimeField(blank=True, null=True)),
                ("built_at", models.DateTimeField(blank=True, null=True)),
                ("built_customer_id", models.BigIntegerField(default=0)),
                ("built_until", models.DateTimeField(blank=True, null=True)),
                ("events_to_build", models.BigIntegerField(default=0)),
                ("events_built", models.BigIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="Seat",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "organization_id",
                    models.CharField(help_text="The customer_organization_id of its customers.", max_length=255),
                ),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.RemoveConstraint(
            model_name="metric",
            name="metric_aggregation_is_known",
        ),
        migrations.AddField(
            model_name="subscriptionfeature",
            name="effective_from",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="subscriptionfeature",
            name="effective_until",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="subscriptionfeature",
            name="reason",
            field=models.CharField(blank=True, max_length=500),
        ),
        migrations.AlterField(
            model_name="metric",
            name="aggregation_type",
            field=models.CharField(
                choices=[
                    ("COUNT", "Count"),
                    ("SUM", "Sum"),
                    ("MAX", "Max"),
                    ("MIN", "Min"),
                    ("AVG", "Avg"),
                    ("UNIQUE_COUNT", "Unique Count"),
                    ("LAST", "Last"),
                ],
                max_length=16,
            ),
        ),
        migrations.AddConstraint(
            model_name="customer",
            constraint=models.UniqueConstraint(
                condition=models.Q(("deleted_at__isnull", True), ("org_role", "primary")),
                fields=("customer_organization_id",),
                name="organization_has_one_primary_customer",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscriptionfeature",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("effective_until", None),
                    ("effective_from", None),
                    ("effective_until__gt", models.F("effective_from")),
                    _connector="OR",
                ),
                name="override_ends_after_its_start",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscriptionfeature",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("source", "override"),
                    models.Q(("effective_from", None), ("effective_until", None)),
                    _connector="OR",
                ),
                name="feature_of_the_plan_is_always_effective",
            ),
        ),
        migrations.AddField(
            model_name="metricversion",
            name="metric",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="versions", to="plans.metric"
            ),
        ),
        migrations.AddField(
            model_name="metric",
            name="current",
            field=models.OneToOneField(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="plans.metricversion",
            ),
        ),
        migrations.AddConstraint(
            model_name="metric",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("aggregation_type__in", ["COUNT", "SUM", "MAX", "MIN", "AVG", "UNIQUE_COUNT", "LAST"])
                ),
                name="metric_aggregation_is_known",
            ),
        ),
        migrations.AddField(
            model_name="seat",
            name="member",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="seats", to="plans.customer"
            ),
        ),
        migrations.AddIndex(
            model_name="metricversion",
            index=models.Index(fields=["event_name"], name="metric_version_event_name"),
        ),
        migrations.AddIndex(
            model_name="metricversion",
            index=models.Index(
                condition=models.Q(("built_at__isnull", True)), fields=["id"], name="metric_version_to_build"
            ),
        ),
        migrations.AddConstraint(
            model_name="metricversion",
            constraint=models.UniqueConstraint(fields=("metric", "number"), name="metric_version_number_is_unique"),
        ),
        migrations.AddConstraint(
            model_name="metricversion",
            constraint=models.UniqueConstraint(
                condition=models.Q(("effective_at__isnull", True)),
                fields=("metric",),
                name="metric_has_one_version_to_come",
            ),
        ),
        migrations.AddIndex(
            model_name="seat",
            index=models.Index(fields=["organization_id"], name="seat_organization"),
        ),
        migrations.AddConstraint(
            model_name="seat",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("ended_at", None), ("started_at", None), ("ended_at__gt", models.F("started_at")), _connector="OR"
                ),
                name="seat_ends_after_its_start",
            ),
        ),
        migrations.AddConstraint(
            model_name="seat",
            constraint=django.contrib.postgres.constraints.ExclusionConstraint(
                expressions=[
                    (models.Func("member", "member", models.Value("[]"), function="int8range"), "="),
                    (models.Func("started_at", "ended_at", function="tstzrange"), "&&"),
                ],
                name="member_sits_in_one_organization_at_a_time",
            ),
        ),
        migrations.RunSQL(f"{FIRST_VERSIONS}; {FIRST_SEATS}; {CHECK_NOW}", migrations.RunSQL.noop),
        migrations.RemoveIndex(model_name="metric", name="metric_live_event_name"),
        migrations.RemoveField(model_name="metric", name="event_name"),
    ]
