from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0016_rounding_lines")]

    operations = [
        migrations.AddField("invoice", "collect_error", models.TextField(blank=True, default="", db_default="")),
    ]
