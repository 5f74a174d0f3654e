import django.db.models.deletion
import django.db.models.expressions
import functools
import plans.ids
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0014_dunning_and_mails"),
        ("credits", "0008_withdrawn_grants_go_whole"),
        ("plans", "0007_units_that_are_owed"),
    ]

    operations = [
        migrations.AddField(
            model_name="invoice",
            name="auto_top_up_number",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.CreateModel(
            name="AutoTopUp",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=functools.partial(plans.ids.new_public_id, *("atu_",), **{}),
                        editable=False,
                        max_length=48,
                        unique=True,
                        verbose_name="id",
                    ),
                ),
                ("quantity", models.PositiveIntegerField(default=1)),
                ("threshold", models.DecimalField(decimal_places=6, max_digits=24)),
                ("monthly_limit_cents", models.BigIntegerField()),
                ("agreed_price_cents", models.BigIntegerField()),
                ("is_enabled", models.BooleanField(default=True)),
                ("stopped_at", models.DateTimeField(blank=True, null=True)),
                ("stop_code", models.CharField(blank=True, max_length=64)),
                ("stop_message", models.TextField(blank=True)),
                ("resumes_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField()),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="auto_top_ups", to="plans.customer"
                    ),
                ),
                (
                    "pack",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="auto_top_ups", to="credits.topuppack"
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="invoice",
            name="auto_top_up",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="invoices",
                to="billing.autotopup",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.UniqueConstraint(
                fields=("auto_top_up", "auto_top_up_number"), name="auto_top_up_buys_once_a_number"
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status__in", ["draft", "issued", "unpaid", "uncollectible"])),
                fields=("auto_top_up",),
                name="auto_top_up_has_one_open_purchase",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("auto_top_up", None), ("auto_top_up_number", None)),
                    models.Q(("auto_top_up__isnull", False), ("auto_top_up_number__gt", 0), ("kind", "top_up")),
                    _connector="OR",
                ),
                name="automatic_purchase_has_a_number",
            ),
        ),
        migrations.AddIndex(
            model_name="autotopup",
            index=models.Index(
                condition=models.Q(("is_enabled", True), ("stopped_at", None)),
                fields=["id"],
                name="auto_top_up_running",
            ),
        ),
        migrations.AddConstraint(
            model_name="autotopup",
            constraint=models.UniqueConstraint(fields=("customer", "pack"), name="customer_tops_up_a_pack_by_one_rule"),
        ),
        migrations.AddConstraint(
            model_name="autotopup",
            constraint=models.CheckConstraint(
                condition=models.Q(("quantity__gt", 0)), name="auto_top_up_buys_something"
            ),
        ),
        migrations.AddConstraint(
            model_name="autotopup",
            constraint=models.CheckConstraint(
                condition=models.Q(("threshold__gt", 0)), name="auto_top_up_threshold_is_positive"
            ),
        ),
        migrations.AddConstraint(
            model_name="autotopup",
            constraint=models.CheckConstraint(
                condition=models.Q(("agreed_price_cents__gt", 0)), name="auto_top_up_price_is_positive"
            ),
        ),
        migrations.AddConstraint(
            model_name="autotopup",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "monthly_limit_cents__gte",
                        django.db.models.expressions.CombinedExpression(
                            models.F("agreed_price_cents"), "*", models.F("quantity")
                        ),
                    )
                ),
                name="auto_top_up_limit_covers_a_purchase",
            ),
        ),
        migrations.AddConstraint(
            model_name="autotopup",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("stop_code", ""), ("stopped_at", None)),
                    models.Q(("stopped_at__isnull", False), models.Q(("stop_code", ""), _negated=True)),
                    _connector="OR",
                ),
                name="stopped_auto_top_up_says_why",
            ),
        ),
    ]
