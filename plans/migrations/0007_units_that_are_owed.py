from django.db import migrations, models

# Until now each change credited the fees of the version before.
REFUNDED = """
UPDATE plans_subscription SET refunded_from = ended_at
WHERE ended_at IS NOT NULL AND EXISTS (
    SELECT FROM plans_subscription later
    WHERE later.stable_subscription_id = plans_subscription.stable_subscription_id
        AND later.version_number > plans_subscription.version_number
)
"""


class Migration(migrations.Migration):
    dependencies = [("plans", "0006_enrollment_and_seats")]

    operations = [
        migrations.AddField(
            model_name="subscription",
            name="refunded_from",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.RunSQL(REFUNDED, migrations.RunSQL.noop),
        migrations.AddField(
            model_name="subscriptionitem",
            name="owed_units",
            field=models.DecimalField(db_default=0, decimal_places=6, default=0, max_digits=24),
        ),
        migrations.AddField(
            model_name="subscriptionitem",
            name="owed_until",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="subscriptionitem",
            name="fees_begin_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="subscriptionitem",
            name="units_before_fees",
            field=models.DecimalField(blank=True, decimal_places=6, max_digits=24, null=True),
        ),
        migrations.AddField(
            model_name="subscriptionperiod",
            name="withheld_units",
            field=models.DecimalField(blank=True, decimal_places=6, max_digits=24, null=True),
        ),
    ]
