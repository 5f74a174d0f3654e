import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("credits", "0004_terms_sold_money_and_differences"),
        ("plans", "0003_price_models_and_settled_net"),
    ]

    operations = [
        migrations.CreateModel(
            name="CalendarMonth",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField(default=0)),
                ("start_at", models.DateTimeField()),
                ("end_at", models.DateTimeField()),
                ("settled_at", models.DateTimeField(blank=True, null=True)),
                ("usage", models.DecimalField(blank=True, decimal_places=6, max_digits=38, null=True)),
                ("credited", models.DecimalField(blank=True, decimal_places=6, max_digits=38, null=True)),
                ("late_usage_closed_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.AddIndex(
            model_name="creditgrant",
            index=models.Index(
                condition=models.Q(("ledger_remaining__gt", 0), ("metric__isnull", False)),
                fields=["customer", "metric"],
                name="grant_with_units_left",
            ),
        ),
        migrations.AddField(
            model_name="calendarmonth",
            name="customer",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="plans.customer"
            ),
        ),
        migrations.AddField(
            model_name="calendarmonth",
            name="metric",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="plans.metric"
            ),
        ),
        migrations.AddField(
            model_name="credittransaction",
            name="month",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="credits.calendarmonth",
            ),
        ),
        migrations.AddConstraint(
            model_name="credittransaction",
            constraint=models.UniqueConstraint(
                condition=models.Q(("month__isnull", False)),
                fields=("month", "grant", "kind"),
                name="grant_moves_once_a_month_and_kind",
            ),
        ),
        migrations.AddConstraint(
            model_name="credittransaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("month", None),
                    models.Q(("difference", None), ("kind__in", ["burned", "expired", "returned"]), ("period", None)),
                    _connector="OR",
                ),
                name="transaction_names_a_period_or_a_month",
            ),
        ),
        migrations.AddIndex(
            model_name="calendarmonth",
            index=models.Index(condition=models.Q(("settled_at", None)), fields=["end_at"], name="month_to_settle"),
        ),
        migrations.AddIndex(
            model_name="calendarmonth",
            index=models.Index(
                condition=models.Q(("late_usage_closed_at", None), ("number", 0), ("settled_at__isnull", False)),
                fields=["end_at"],
                name="month_to_look_at",
            ),
        ),
        migrations.AddConstraint(
            model_name="calendarmonth",
            constraint=models.UniqueConstraint(
                fields=("customer", "metric", "start_at", "number"), name="month_is_settled_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="calendarmonth",
            constraint=models.UniqueConstraint(
                condition=models.Q(("settled_at", None)),
                fields=("customer", "metric"),
                name="one_month_is_settled_next",
            ),
        ),
        migrations.AddConstraint(
            model_name="calendarmonth",
            constraint=models.CheckConstraint(
                condition=models.Q(("end_at__gt", models.F("start_at"))), name="month_ends_after_its_start"
            ),
        ),
        migrations.AddConstraint(
            model_name="calendarmonth",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("credited", None), ("number", 0), ("settled_at", None), ("usage", None)),
                    models.Q(
                        ("credited__isnull", False),
                        ("settled_at__isnull", False),
                        ("usage__isnull", False),
                        models.Q(
                            ("number__gt", 0),
                            models.Q(("credited__gte", 0), ("usage__gte", models.F("credited"))),
                            _connector="OR",
                        ),
                    ),
                    _connector="OR",
                ),
                name="settled_month_says_with_what",
            ),
        ),
    ]
