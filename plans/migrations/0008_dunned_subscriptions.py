from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("plans", "0007_units_that_are_owed"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="subscription",
            name="paused_subscription_says_since_when",
        ),
        migrations.AddField(
            model_name="subscription",
            name="grace_period_ends_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="subscription",
            name="resumes_when_paid",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("paused_at__isnull", False), ("status", "paused")),
                    ("status", "unpaid"),
                    models.Q(models.Q(("status__in", ["paused", "unpaid"]), _negated=True), ("paused_at", None)),
                    _connector="OR",
                ),
                name="paused_subscription_says_since_when",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(("grace_period_ends_at", None), ("status", "past_due"), _connector="OR"),
                name="only_what_is_past_due_has_grace",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(("resumes_when_paid", False), ("status__in", ["paused", "unpaid"]), _connector="OR"),
                name="only_what_was_stopped_resumes",
            ),
        ),
    ]
