"""Changes nothing, as `0001_initial` already holds it; here so that the recorded history has upstream's names."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("djstripe", "0001_initial")]
