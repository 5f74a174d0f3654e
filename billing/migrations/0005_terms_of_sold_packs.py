from django.db import migrations, models
from django.db.models import Q

# What was sold before is kept as it would have been granted until now. Nothing of these lines that stands on an invoice
# changes, so they may be written although their invoices are issued.
KEEP_WHAT_WAS_SOLD = """
ALTER TABLE billing_invoiceline DISABLE TRIGGER issued_line_is_frozen;
UPDATE billing_invoiceline line SET sold_amount = pack.amount * line.quantity,
    sold_expiry_days = definition.expiry_days, sold_priority = definition.priority
FROM credits_topuppack pack JOIN credits_creditdefinition definition ON definition.id = pack.definition_id
WHERE pack.id = line.pack_id;
-- Checks of references that the rows owe are made now, since the table changes again.
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE billing_invoiceline ENABLE TRIGGER issued_line_is_frozen;
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0004_top_ups_bounds_and_late_usage")]

    operations = [
        migrations.AddField(
            model_name="invoiceline",
            name="sold_amount",
            field=models.DecimalField(blank=True, decimal_places=6, max_digits=24, null=True),
        ),
        migrations.AddField(
            model_name="invoiceline",
            name="sold_expiry_days",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="invoiceline",
            name="sold_priority",
            field=models.IntegerField(blank=True, null=True),
        ),
        migrations.RunSQL(KEEP_WHAT_WAS_SOLD, migrations.RunSQL.noop),
        migrations.RemoveConstraint(model_name="invoiceline", name="top_up_line_says_what_was_bought"),
        migrations.AddConstraint(
            model_name="invoiceline",
            constraint=models.CheckConstraint(
                condition=Q(type="top_up", pack__isnull=False, sold_amount__gt=0)
                | ~Q(type="top_up") & Q(pack=None, sold_amount=None, sold_expiry_days=None, sold_priority=None),
                name="top_up_line_says_what_was_bought",
            ),
        ),
    ]
