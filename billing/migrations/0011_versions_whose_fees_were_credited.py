from django.db import migrations

# A change that credited the fees has such lines, and a cancel that did has issued its credit notes at that instant.
REFUNDED = """
UPDATE plans_subscription SET refunded_from = ended_at
WHERE ended_at IS NOT NULL AND refunded_from IS NULL AND (
    EXISTS (
        SELECT FROM billing_invoiceline line
        JOIN billing_invoiceline credited ON credited.id = line.credited_line_id
        JOIN billing_invoice invoice ON invoice.id = credited.invoice_id
        WHERE line.type = 'proration' AND invoice.subscription_id = plans_subscription.id
    ) OR EXISTS (
        SELECT FROM billing_creditnote note JOIN billing_invoice invoice ON invoice.id = note.invoice_id
        WHERE invoice.subscription_id = plans_subscription.id AND note.issued_at = plans_subscription.ended_at
    )
)
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0010_refunds_are_made"), ("plans", "0007_units_that_are_owed")]

    operations = [migrations.RunSQL(REFUNDED, migrations.RunSQL.noop)]
