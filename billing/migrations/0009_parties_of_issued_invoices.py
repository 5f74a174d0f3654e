from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0008_credit_notes_and_manual_invoices"),
        ("plans", "0006_enrollment_and_seats"),
    ]

    operations = [
        migrations.AddField("invoice", "seller", models.JSONField(null=True, blank=True)),
        migrations.AddField("invoice", "buyer", models.JSONField(null=True, blank=True)),
    ]
