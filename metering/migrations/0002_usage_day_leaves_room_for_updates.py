from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("metering", "0001_events_and_days")]

    operations = [
        # Each batch of events updates the same few rows; with room on their page the updates stay there (HOT).
        migrations.RunSQL(
            "ALTER TABLE metering_usageday SET (fillfactor = 70)", "ALTER TABLE metering_usageday RESET (fillfactor)"
        )
    ]
