from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("plans", "0006_enrollment_and_seats")]

    operations = [
        migrations.AddField(
            model_name="subscription",
            name="refunded_from",
            field=models.DateTimeField(blank=True, null=True),
        ),
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
