import django.db.models.deletion
import functools
import plans.ids
from django.db import migrations, models


# What a checkout took is known by its payment intent.
KEEP_INTENTS = """
UPDATE billing_payment SET intent_id = external_id
WHERE status = 'succeeded' AND external_id LIKE 'pi\\_%' AND intent_id IS NULL
"""


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0012_keep_parties_of_issued_invoices"),
        ("plans", "0007_units_that_are_owed"),
    ]

    operations = [
        migrations.CreateModel(
            name="Difference",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("paid_there", "paid at Stripe, not here"),
                            ("paid_here", "paid here, not at Stripe"),
                            ("amount_differs", "another amount or currency"),
                            ("status_differs", "another state"),
                            ("paid_twice", "paid more than once"),
                            ("unknown_payment", "payment that belongs to nothing"),
                            ("unknown_invoice", "invoice that is not here"),
                            ("refund_there", "refund that is not here"),
                            ("refund_here", "refund that is not at Stripe"),
                            ("refund_differs", "refund of another amount or state"),
                            ("dispute_differs", "dispute that is not here, or in another state"),
                            ("missing_there", "Stripe does not have it"),
                        ],
                        max_length=32,
                    ),
                ),
                ("object_type", models.CharField(max_length=16)),
                ("object_id", models.CharField(blank=True, max_length=48)),
                ("stripe_id", models.CharField(blank=True, max_length=255)),
                ("ours", models.CharField(max_length=255)),
                ("theirs", models.CharField(max_length=255)),
                ("made_at", models.DateTimeField()),
                ("first_seen_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField()),
                ("resolved_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Dispute",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=functools.partial(plans.ids.new_public_id, *("dp_",), **{}),
                        editable=False,
                        max_length=48,
                        unique=True,
                        verbose_name="id",
                    ),
                ),
                ("external_id", models.CharField(max_length=255)),
                ("charge_id", models.CharField(blank=True, max_length=255)),
                ("intent_id", models.CharField(blank=True, max_length=255)),
                ("amount_cents", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("reason", models.CharField(blank=True, max_length=64)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("warning_needs_response", "inquiry, needs an answer"),
                            ("warning_under_review", "inquiry, under review"),
                            ("warning_closed", "inquiry, closed"),
                            ("needs_response", "needs an answer"),
                            ("under_review", "under review"),
                            ("won", "won"),
                            ("lost", "lost"),
                            ("prevented", "prevented"),
                        ],
                        max_length=32,
                    ),
                ),
                ("is_refundable", models.BooleanField(default=False)),
                ("evidence_due_at", models.DateTimeField(blank=True, null=True)),
                ("opened_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                ("told_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="Reconciliation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("is_nightly", models.BooleanField()),
                ("since", models.DateTimeField(blank=True, null=True)),
                ("until", models.DateTimeField()),
                (
                    "stage",
                    models.CharField(
                        choices=[
                            ("invoice", "Invoices"),
                            ("payment", "Payments"),
                            ("intent", "Intents"),
                            ("refund", "Refunds"),
                            ("dispute", "Disputes"),
                            ("look_again", "Look Again"),
                        ],
                        default="invoice",
                        max_length=16,
                    ),
                ),
                ("cursor", models.CharField(blank=True, max_length=255)),
                ("leased_until", models.DateTimeField(blank=True, null=True)),
                ("began_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                ("read", models.PositiveIntegerField(default=0)),
                ("looked_again", models.PositiveIntegerField(default=0)),
                ("unsettled", models.PositiveIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="SeenAtStripe",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("type", models.CharField(max_length=16)),
                ("stripe_id", models.CharField(max_length=255)),
                ("our_id", models.CharField(blank=True, max_length=255)),
                ("belongs_to", models.CharField(blank=True, max_length=255)),
                ("revision", models.CharField(blank=True, max_length=255)),
                ("status", models.CharField(max_length=40)),
                ("amount_cents", models.BigIntegerField(null=True)),
                ("paid_cents", models.BigIntegerField(null=True)),
                ("currency", models.CharField(blank=True, max_length=8)),
                ("stripe_invoice_id", models.CharField(blank=True, max_length=255)),
                ("intent_id", models.CharField(blank=True, max_length=255)),
                ("made_at", models.DateTimeField(null=True)),
                ("is_fresh", models.BooleanField(default=False)),
            ],
        ),
        migrations.AddField(
            model_name="payment",
            name="intent_id",
            field=models.CharField(blank=True, max_length=255, null=True),
        ),
        migrations.AddIndex(
            model_name="payment",
            index=models.Index(fields=["external_id"], name="payment_by_external_id"),
        ),
        migrations.RunSQL(KEEP_INTENTS, migrations.RunSQL.noop),
        migrations.AddConstraint(
            model_name="payment",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "succeeded")), fields=("intent_id",), name="intent_takes_one_payment"
            ),
        ),
        migrations.AddIndex(
            model_name="difference",
            index=models.Index(
                condition=models.Q(("resolved_at", None)), fields=["last_seen_at"], name="difference_open"
            ),
        ),
        migrations.AddConstraint(
            model_name="difference",
            constraint=models.UniqueConstraint(
                condition=models.Q(("resolved_at", None)),
                fields=("kind", "object_type", "object_id", "stripe_id"),
                name="difference_is_open_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="difference",
            constraint=models.CheckConstraint(
                condition=models.Q(("object_id", ""), ("stripe_id", ""), _negated=True),
                name="difference_is_about_something",
            ),
        ),
        migrations.AddField(
            model_name="dispute",
            name="customer",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="disputes", to="plans.customer"
            ),
        ),
        migrations.AddField(
            model_name="dispute",
            name="invoice",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="disputes", to="billing.invoice"
            ),
        ),
        migrations.AddField(
            model_name="dispute",
            name="payment",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="disputes",
                to="billing.payment",
            ),
        ),
        migrations.AddConstraint(
            model_name="reconciliation",
            constraint=models.UniqueConstraint(
                condition=models.Q(("finished_at", None), ("is_nightly", True)),
                fields=("is_nightly",),
                name="one_nightly_reconciliation_at_a_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="reconciliation",
            constraint=models.CheckConstraint(
                condition=models.Q(("since", None), ("since__lt", models.F("until")), _connector="OR"),
                name="reconciliation_begins_before_it_ends",
            ),
        ),
        migrations.AddField(
            model_name="seenatstripe",
            name="reconciliation",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="seen", to="billing.reconciliation"
            ),
        ),
        migrations.AddIndex(
            model_name="dispute",
            index=models.Index(
                condition=models.Q(("closed_at", None)), fields=["evidence_due_at"], name="dispute_open"
            ),
        ),
        migrations.AddConstraint(
            model_name="dispute",
            constraint=models.UniqueConstraint(fields=("external_id",), name="dispute_is_recorded_once"),
        ),
        migrations.AddConstraint(
            model_name="dispute",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_cents__gte", 0)), name="dispute_amount_is_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="dispute",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("closed_at__isnull", False), ("status__in", ("won", "lost", "warning_closed", "prevented"))
                    ),
                    models.Q(
                        models.Q(("status__in", ("won", "lost", "warning_closed", "prevented")), _negated=True),
                        ("closed_at", None),
                    ),
                    _connector="OR",
                ),
                name="decided_dispute_says_when",
            ),
        ),
        migrations.AddConstraint(
            model_name="seenatstripe",
            constraint=models.UniqueConstraint(
                fields=("reconciliation", "type", "stripe_id"), name="object_is_seen_once"
            ),
        ),
    ]
