import billing.models.dunning
import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import functools
import plans.ids
import plans.json_values
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0013_disputes_and_reconciliation"),
        ("plans", "0008_dunned_subscriptions"),
    ]

    operations = [
        migrations.CreateModel(
            name="DunningConfig",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "grace_period_days",
                    models.PositiveSmallIntegerField(
                        default=7, validators=[django.core.validators.MaxValueValidator(365)]
                    ),
                ),
                (
                    "retry_schedule",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.PositiveSmallIntegerField(),
                        blank=True,
                        default=billing.models.dunning.usual_retries,
                        size=10,
                    ),
                ),
                (
                    "end_action",
                    models.CharField(
                        choices=[
                            ("pause_subscription", "Pause the subscription"),
                            ("cancel_subscription", "Cancel the subscription"),
                            ("mark_as_unpaid", "Mark the subscription as unpaid"),
                        ],
                        default="pause_subscription",
                        max_length=24,
                    ),
                ),
                ("singleton", models.BooleanField(default=True, editable=False, unique=True)),
                (
                    "public_id",
                    models.CharField(
                        default=functools.partial(plans.ids.new_public_id, *("dunning_",), **{}),
                        editable=False,
                        max_length=48,
                        unique=True,
                        verbose_name="id",
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "verbose_name": "dunning settings",
                "verbose_name_plural": "dunning settings",
                "abstract": False,
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("grace_period_days__lte", 365)),
                        name="dunningconfig_gives_a_year_of_grace_at_most",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("retry_schedule__len__lte", 10),
                            ("retry_schedule__0__lte", 365),
                            ("retry_schedule__1__lte", 365),
                            ("retry_schedule__2__lte", 365),
                            ("retry_schedule__3__lte", 365),
                            ("retry_schedule__4__lte", 365),
                            ("retry_schedule__5__lte", 365),
                            ("retry_schedule__6__lte", 365),
                            ("retry_schedule__7__lte", 365),
                            ("retry_schedule__8__lte", 365),
                            ("retry_schedule__9__lte", 365),
                            ("retry_schedule__0__gt", 0),
                            ("retry_schedule__1__gt", models.F("retry_schedule__0")),
                            ("retry_schedule__2__gt", models.F("retry_schedule__1")),
                            ("retry_schedule__3__gt", models.F("retry_schedule__2")),
                            ("retry_schedule__4__gt", models.F("retry_schedule__3")),
                            ("retry_schedule__5__gt", models.F("retry_schedule__4")),
                            ("retry_schedule__6__gt", models.F("retry_schedule__5")),
                            ("retry_schedule__7__gt", models.F("retry_schedule__6")),
                            ("retry_schedule__8__gt", models.F("retry_schedule__7")),
                            ("retry_schedule__9__gt", models.F("retry_schedule__8")),
                        ),
                        name="dunningconfig_retries_on_later_and_later_days",
                    ),
                    models.CheckConstraint(condition=models.Q(("singleton", True)), name="dunning_config_is_one_row"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Dunning",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "grace_period_days",
                    models.PositiveSmallIntegerField(
                        default=7, validators=[django.core.validators.MaxValueValidator(365)]
                    ),
                ),
                (
                    "retry_schedule",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.PositiveSmallIntegerField(),
                        blank=True,
                        default=billing.models.dunning.usual_retries,
                        size=10,
                    ),
                ),
                (
                    "end_action",
                    models.CharField(
                        choices=[
                            ("pause_subscription", "Pause the subscription"),
                            ("cancel_subscription", "Cancel the subscription"),
                            ("mark_as_unpaid", "Mark the subscription as unpaid"),
                        ],
                        default="pause_subscription",
                        max_length=24,
                    ),
                ),
                (
                    "public_id",
                    models.CharField(
                        default=functools.partial(plans.ids.new_public_id, *("dun_",), **{}),
                        editable=False,
                        max_length=48,
                        unique=True,
                        verbose_name="id",
                    ),
                ),
                ("started_at", models.DateTimeField()),
                ("end_at", models.DateTimeField()),
                ("next_retry_at", models.DateTimeField(blank=True, null=True)),
                ("attempts", models.PositiveIntegerField(default=1)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                (
                    "outcome",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("paid", "Paid"),
                            ("voided", "Voided"),
                            ("credited", "Credited"),
                            ("carried", "Carried"),
                            ("paused", "Paused"),
                            ("marked_unpaid", "Marked Unpaid"),
                            ("canceled", "Canceled"),
                            ("not_paid", "Not Paid"),
                            ("withdrawn", "Withdrawn"),
                        ],
                        max_length=16,
                    ),
                ),
                ("settled_at", models.DateTimeField(blank=True, null=True)),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="dunnings", to="plans.customer"
                    ),
                ),
                (
                    "invoice",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="dunning", to="billing.invoice"
                    ),
                ),
            ],
            options={
                "abstract": False,
                "indexes": [
                    models.Index(condition=models.Q(("ended_at", None)), fields=["end_at"], name="dunning_to_end"),
                    models.Index(condition=models.Q(("settled_at", None)), fields=["customer"], name="dunning_owed"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("grace_period_days__lte", 365)),
                        name="dunning_gives_a_year_of_grace_at_most",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("retry_schedule__len__lte", 10),
                            ("retry_schedule__0__lte", 365),
                            ("retry_schedule__1__lte", 365),
                            ("retry_schedule__2__lte", 365),
                            ("retry_schedule__3__lte", 365),
                            ("retry_schedule__4__lte", 365),
                            ("retry_schedule__5__lte", 365),
                            ("retry_schedule__6__lte", 365),
                            ("retry_schedule__7__lte", 365),
                            ("retry_schedule__8__lte", 365),
                            ("retry_schedule__9__lte", 365),
                            ("retry_schedule__0__gt", 0),
                            ("retry_schedule__1__gt", models.F("retry_schedule__0")),
                            ("retry_schedule__2__gt", models.F("retry_schedule__1")),
                            ("retry_schedule__3__gt", models.F("retry_schedule__2")),
                            ("retry_schedule__4__gt", models.F("retry_schedule__3")),
                            ("retry_schedule__5__gt", models.F("retry_schedule__4")),
                            ("retry_schedule__6__gt", models.F("retry_schedule__5")),
                            ("retry_schedule__7__gt", models.F("retry_schedule__6")),
                            ("retry_schedule__8__gt", models.F("retry_schedule__7")),
                            ("retry_schedule__9__gt", models.F("retry_schedule__8")),
                        ),
                        name="dunning_retries_on_later_and_later_days",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("attempts__gte", 1)), name="dunning_starts_with_a_decline"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("end_at__gte", models.F("started_at"))), name="dunning_ends_after_its_start"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("ended_at", None), ("outcome", "")),
                            models.Q(("ended_at__isnull", False), models.Q(("outcome", ""), _negated=True)),
                            _connector="OR",
                        ),
                        name="ended_dunning_says_how",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("settled_at", None),
                            models.Q(("ended_at__isnull", False), ("next_retry_at", None)),
                            _connector="OR",
                        ),
                        name="dunning_ends_with_its_invoice",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Mail",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=functools.partial(plans.ids.new_public_id, *("mail_",), **{}),
                        editable=False,
                        max_length=48,
                        unique=True,
                        verbose_name="id",
                    ),
                ),
                ("key", models.CharField(max_length=200, unique=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("charge_failed", "Charge Failed"),
                            ("retry_failed", "Retry Failed"),
                            ("dunning_ended", "Dunning Ended"),
                            ("recovered", "Recovered"),
                        ],
                        max_length=32,
                    ),
                ),
                ("address", models.CharField(blank=True, max_length=254)),
                ("facts", models.JSONField(default=dict, encoder=plans.json_values.NumberKeepingEncoder)),
                (
                    "state",
                    models.CharField(
                        choices=[("queued", "Queued"), ("sent", "Sent"), ("failed", "Failed"), ("skipped", "Skipped")],
                        default="queued",
                        max_length=8,
                    ),
                ),
                ("send_at", models.DateTimeField(blank=True, null=True)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("resends", models.PositiveIntegerField(default=0)),
                ("error", models.TextField(blank=True)),
                ("sent_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField()),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="mails", to="plans.customer"
                    ),
                ),
                (
                    "invoice",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="mails",
                        to="billing.invoice",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(condition=models.Q(("state", "queued")), fields=["send_at"], name="mail_to_send"),
                    models.Index(fields=["customer", "-created_at"], name="mail_of_customer"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("send_at__isnull", False),
                                ("sent_at", None),
                                ("state", "queued"),
                                models.Q(("address", ""), _negated=True),
                            ),
                            models.Q(("send_at", None), ("sent_at__isnull", False), ("state", "sent")),
                            models.Q(
                                ("send_at", None),
                                ("sent_at", None),
                                ("state__in", ["failed", "skipped"]),
                                models.Q(("error", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="mail_waits_until_it_is_sent_or_given_up",
                    )
                ],
            },
        ),
    ]
