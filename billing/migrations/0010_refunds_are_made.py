from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Now

# What waits is asked for by the next sweep. So far nothing was ever refunded.
ASK_FOR_WHAT_WAITS = """
UPDATE billing_refund SET refund_at = created_at,
    credit_at = CASE WHEN credit_note_id IS NOT NULL THEN created_at END
WHERE refunded_at IS NULL
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0009_parties_of_issued_invoices")]

    operations = [
        migrations.AddField(
            "refund",
            "status",
            models.CharField(
                choices=[("pending", "Pending"), ("succeeded", "Succeeded"), ("failed", "Failed")],
                default="pending",
                db_default="pending",
                max_length=16,
            ),
        ),
        migrations.AddField("refund", "refund_at", models.DateTimeField(blank=True, null=True, db_default=Now())),
        migrations.AddField("refund", "credit_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField("refund", "attempts", models.PositiveIntegerField(default=0, db_default=0)),
        migrations.AddField("refund", "error", models.TextField(blank=True, default="", db_default="")),
        migrations.RunSQL(ASK_FOR_WHAT_WAITS, migrations.RunSQL.noop),
        migrations.RemoveIndex("refund", "refund_to_make"),
        migrations.AddIndex(
            "refund",
            models.Index(condition=Q(refund_at__isnull=False), fields=["refund_at"], name="refund_to_ask_for"),
        ),
        migrations.AddIndex(
            "refund",
            models.Index(condition=Q(credit_at__isnull=False), fields=["credit_at"], name="refund_to_credit"),
        ),
        migrations.AddConstraint(
            "refund",
            models.CheckConstraint(
                condition=Q(status="pending", refunded_at=None, refund_at__isnull=False)
                | Q(status="succeeded", refunded_at__isnull=False, external_id__isnull=False, refund_at=None)
                | Q(status="failed", refunded_at=None, external_id__isnull=False, refund_at=None),
                name="refund_is_asked_for_until_it_ends",
            ),
        ),
    ]
