from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("billing", "0015_auto_top_ups")]

    operations = [
        migrations.AlterField(
            "invoiceline",
            "type",
            models.CharField(
                choices=[
                    ("fixed", "Fixed"),
                    ("per_unit", "Per Unit"),
                    ("usage", "Usage"),
                    ("credit", "Credit"),
                    ("minimum", "Minimum"),
                    ("maximum", "Maximum"),
                    ("proration", "Proration"),
                    ("late_usage", "Late Usage"),
                    ("top_up", "Top Up"),
                    ("refund", "Refund"),
                    ("brought_forward", "Brought Forward"),
                    ("rounding", "Rounding"),
                ],
                max_length=16,
            ),
        ),
        migrations.RemoveConstraint("invoiceline", "line_sign_fits_its_type"),
        # It allows more than the one before it, which every row has passed: there is nothing to look through.
        AddConstraintNotValid(
            "invoiceline",
            models.CheckConstraint(
                condition=Q(type__in=["credit", "maximum", "proration"], amount_cents__lte=0)
                | Q(type__in=["late_usage", "rounding"])
                | ~Q(type__in=["credit", "maximum", "proration", "late_usage", "rounding"]) & Q(amount_cents__gte=0),
                name="line_sign_fits_its_type",
            ),
        ),
    ]
