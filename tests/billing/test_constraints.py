"""Each "never" and "exactly one" of the database: rows that break it are refused by the constraint's name."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction

from billing.models import (
    AutoTopUp,
    Checkout,
    CreditNote,
    CreditNoteLine,
    Difference,
    Dispute,
    Dunning,
    DunningConfig,
    Invoice,
    Mail,
    Payment,
    PaymentMethod,
    Reconciliation,
    Refund,
    ReturnedCredit,
    SeenAtStripe,
    StripeVoid,
)
from billing.services.close_periods import close_periods
from billing.services.subscribe import subscribe
from billing.services.tax_settings import create_rate, register, set_nexus, update_settings
from credits.models import CalendarMonth, CreditGrant, CreditTransaction, Reservation, TopUpPack, UsageDifference
from metering.models import UsageEvent
from plans.models import AddedUnits, EnrollmentRule, ScheduledChange, Seat, SeatChange, SubscriptionPeriod
from tests.factories import CustomerFactory, PricingTableFactory, PricingTablePlanFactory
from tests.pro_plan import make_pro_plan, sweep, use

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 28, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def world():
    """One row of everything: a paid and a draft invoice, events, grants, ledger, payments."""
    pro, customer = make_pro_plan(), CustomerFactory(email="one@example.com", external_customer_id="one")
    subscription = subscribe(at=AT, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 12_500, AT + timedelta(days=1))
    sweep(FEBRUARY + timedelta(hours=1))
    close_periods(subscriptions=[subscription.pk], at=datetime(2026, 3, 31, tzinfo=UTC))
    table = PricingTableFactory()
    PricingTablePlanFactory(pricing_table=table, plan=pro.plan)
    invoice = Invoice.objects.filter(status="issued").earliest("closes_at")
    method = PaymentMethod.objects.create(
        customer=customer, external_id="pm_1", is_default=True, created_at=AT, card_last_four="4242"
    )
    for status in ("succeeded", "failed"):
        Payment.objects.create(
            customer=customer, invoice=invoice, status=status, amount_cents=2900, currency="USD", external_id="pi",
            created_at=AT, payment_method=method,
        )  # fmt: skip
    Checkout.objects.create(
        buyer="visitor:1", customer_public_id="cus_1", price=pro.price, name="Ada", due_cents=2900, created_at=AT,
        intent_type="payment", intent_id="pi_1", step_at=AT, expires_at=AT,
    )  # fmt: skip
    Seat.objects.create(member=customer, organization_id="org", started_at=AT)
    SeatChange.objects.create(
        organization_id="org", kind="add", member=customer, effective_at=AT, idempotency_key="k", created_at=AT
    )
    AddedUnits.objects.create(
        period=SubscriptionPeriod.objects.filter(metric=None).earliest("pk"), from_quantity=2, to_quantity=4,
        needed_at=AT, effective_at=AT, created_at=AT,
    )  # fmt: skip
    EnrollmentRule.objects.create(plan=pro.plan, matcher_type="domain", matcher_value="acme.io", created_at=AT)
    ScheduledChange.objects.create(subscription=subscription, kind="cancel", effective_at=FEBRUARY, created_at=AT)
    Reservation.objects.create(
        customer=customer, feature=pro.feature, metric=pro.metric, units=5, reserved_at=AT,
        expires_at=AT + timedelta(minutes=1), idempotency_key="k",
    )  # fmt: skip
    CreditGrant.objects.filter(pk=CreditGrant.objects.latest("pk").pk).update(reference_code="r")
    period = SubscriptionPeriod.objects.filter(settled_at__isnull=False, metric=pro.metric).earliest("start_at")
    difference = UsageDifference.objects.create(
        period=period, customer=customer, number=1, found_at=AT, usage=-1, included=0, credited=-1, net_cents=0
    )
    returned = CreditTransaction.objects.create(
        customer=customer, grant=CreditGrant.objects.earliest("pk"), kind="returned", amount=1, difference=difference,
        occurred_at=AT,
    )  # fmt: skip
    line, payment = invoice.lines.get(type="fixed"), Payment.objects.get(status="succeeded")
    for sequence in (1, 2):
        note = CreditNote.objects.create(
            customer=customer, invoice=invoice, sequence=sequence, number=f"CN-{sequence}", currency="USD", reason="x",
            subtotal_cents=5, total_cents=5, due_cents=5, issued_at=AT,
        )  # fmt: skip
    CreditNoteLine.objects.create(credit_note=note, position=1, line=line, description="x", amount_cents=5)
    ReturnedCredit.objects.create(line=line, transaction=returned, credit_note=note)
    Refund.objects.create(
        customer=customer,
        payment=payment,
        credit_note=note,
        amount_cents=5,
        currency="USD",
        refund_at=AT,
        created_at=AT,
    )
    StripeVoid.objects.create(invoice=invoice, revision=0, void_at=AT)
    Dispute.objects.create(
        customer=customer, invoice=invoice, payment=payment, external_id="du_1", amount_cents=2900, currency="USD",
        status="needs_response", opened_at=AT, told_at=AT,
    )  # fmt: skip
    run = Reconciliation.objects.create(is_nightly=True, until=AT, began_at=AT)
    SeenAtStripe.objects.create(reconciliation=run, type="invoice", stripe_id="in_1", status="open")
    Difference.objects.create(
        kind="paid_there", object_type="invoice", object_id="inv_1", stripe_id="in_1", ours="issued", theirs="paid",
        made_at=AT, first_seen_at=AT, last_seen_at=AT,
    )  # fmt: skip
    DunningConfig.objects.create()
    Dunning.objects.create(invoice=invoice, customer=customer, started_at=AT, end_at=FEBRUARY)
    Mail.objects.create(
        key="k", kind="charge_failed", customer=customer, address="one@example.com", send_at=AT, created_at=AT
    )
    month = CalendarMonth.objects.create(
        customer=customer, metric=pro.metric, start_at=AT, end_at=FEBRUARY, settled_at=FEBRUARY, usage=2, credited=1
    )
    CalendarMonth.objects.create(
        customer=customer, metric=pro.metric, start_at=FEBRUARY, end_at=FEBRUARY + timedelta(days=1)
    )
    CreditTransaction.objects.create(
        customer=customer, grant=CreditGrant.objects.earliest("pk"), kind="burned", amount=-1, month=month,
        occurred_at=AT,
    )  # fmt: skip
    update_settings({"default_tax_rate": Decimal("0.19")})
    create_rate(at=AT, name="VAT", rate=Decimal("0.07"), jurisdiction="DE")
    set_nexus(state="CA", changes={"has_nexus": True})
    register(at=AT, jurisdiction="DE", registration_number="DE1", tax_type="VAT")
    pack = TopUpPack.objects.create(
        name="Pack", definition=pro.quota, amount=100, price_cents=500, currency="USD", created_at=AT
    )
    AutoTopUp.objects.create(
        customer=customer, pack=pack, threshold=5, monthly_limit_cents=500, agreed_price_cents=500, created_at=AT
    )
    UsageEvent.objects.create(
        external_customer_id="who", event_name="x", value=1, occurred_at=AT, timestamp_given=True,
        idempotency_key="k", received_at=AT,
    )  # fmt: skip


def execute(statement):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(statement)
        return cursor.rowcount


def copy_of(table, where="true", **changes):
    """The statement that inserts a copy of a row (the latest) with changes; the key and public id are new."""
    with connection.cursor() as cursor:
        columns = [column.name for column in connection.introspection.get_table_description(cursor, table)]
    changes = {"public_id": "left(md5(random()::text), 20)"} | changes
    kept = [column for column in columns if column != "id"]
    values = ", ".join(str(changes.get(column, f'"{column}"')) for column in kept)
    names = ", ".join(f'"{column}"' for column in kept)
    return f"INSERT INTO {table} ({names}) SELECT {values} FROM {table} WHERE {where} ORDER BY id DESC LIMIT 1"


def change_of(table, where="true", **changes):
    """The statement that changes one row (the latest)."""
    changed = ", ".join(f'"{column}" = {value}' for column, value in changes.items())
    return f"UPDATE {table} SET {changed} WHERE id = (SELECT max(id) FROM {table} WHERE {where})"


OTHER = "left(md5(random()::text), 6)"
SETTLED_MONTH = "(SELECT max(id) FROM credits_calendarmonth WHERE settled_at IS NOT NULL)"
ANOTHER_INVOICE = "(SELECT min(id) FROM billing_invoice other WHERE other.id <> billing_payment.invoice_id)"
ORGANIZATION = "UPDATE plans_customer SET customer_organization_id = 'org', org_role = 'primary';"

BREACHES = {
    # plans
    "merchant_is_one_row": lambda: copy_of("plans_merchant", singleton="false"),
    "plans_merchant_singleton_key": lambda: copy_of("plans_merchant"),
    "customer_external_id_is_unique": lambda: copy_of("plans_customer", email="''", invoice_prefix=OTHER),
    "customer_email_is_unique_unless_shared": lambda: copy_of(
        "plans_customer", email="upper(email)", external_customer_id="NULL", invoice_prefix=OTHER
    ),
    "customer_invoice_prefix_is_unique": lambda: copy_of("plans_customer", email="''", external_customer_id="NULL"),
    "customer_psp_id_is_unique": lambda: "UPDATE plans_customer SET psp_customer_id = 'cus_1';"
    + copy_of("plans_customer", email="''", external_customer_id="NULL", invoice_prefix=OTHER),
    "feature_slug_is_unique": lambda: copy_of("plans_feature"),
    "metric_aggregation_is_known": lambda: change_of("plans_metric", aggregation_type="'MEDIAN'"),
    "metric_version_number_is_unique": lambda: copy_of("plans_metricversion"),
    "metric_has_one_version_to_come": lambda: ";".join(
        copy_of("plans_metricversion", number=number, effective_at="NULL") for number in (7, 8)
    ),
    "organization_has_one_primary_customer": lambda: ORGANIZATION
    + copy_of("plans_customer", email="''", external_customer_id="NULL", invoice_prefix=OTHER),
    "seat_ends_after_its_start": lambda: change_of("plans_seat", started_at="now()", ended_at="now()"),
    "member_sits_in_one_organization_at_a_time": lambda: copy_of("plans_seat", organization_id="'other'"),
    "added_units_are_more_than_before": lambda: change_of("plans_addedunits", from_quantity=4),
    "unit_of_a_period_is_added_once": lambda: copy_of(
        "plans_addedunits", from_quantity=3, to_quantity=5, effective_at="effective_at + interval '1 day'"
    ),
    "units_are_added_once_an_instant": lambda: copy_of("plans_addedunits", from_quantity=4, to_quantity=5),
    "seat_change_is_made_once": lambda: copy_of("plans_seatchange", kind="'remove'"),
    "enrollment_rule_is_unique": lambda: copy_of("plans_enrollmentrule"),
    "enrollment_rule_matches_something": lambda: change_of("plans_enrollmentrule", matcher_value="''"),
    "plan_version_is_unique": lambda: copy_of("plans_plan"),
    "plan_version_is_positive": lambda: change_of("plans_plan", version_number=0),
    "plan_has_feature_once": lambda: copy_of("plans_planfeature"),
    "component_id_is_unique_in_its_price": lambda: copy_of("plans_pricecomponent", "kind = 'fixed'", position=7),
    "component_position_is_unique_in_its_price": lambda: copy_of(
        "plans_pricecomponent", "kind = 'fixed'", component_id=OTHER
    ),
    "price_prices_a_metric_once": lambda: copy_of(
        "plans_pricecomponent", "kind = 'usage'", component_id=OTHER, position=7
    ),
    "component_has_what_its_kind_needs": lambda: change_of(
        "plans_pricecomponent", "kind = 'usage'", amount_cents=5, unit_cost_cents="NULL"
    ),
    "component_has_what_its_model_needs": lambda: change_of(
        "plans_pricecomponent", "kind = 'usage'", unit_cost_cents="NULL"
    ),
    "component_has_no_negative_terms": lambda: change_of("plans_pricecomponent", "kind = 'fixed'", amount_cents=-1),
    "component_maximum_is_not_below_its_minimum": lambda: change_of(
        "plans_pricecomponent", minimum_cents=2, maximum_cents=1
    ),
    "component_interval_is_positive": lambda: change_of("plans_pricecomponent", interval=0),
    "plan_is_on_a_table_once": lambda: copy_of("plans_pricingtableplan"),
    "customer_has_one_live_subscription": lambda: copy_of("plans_subscription", stable_subscription_id="'s'"),
    "subscription_version_is_unique": lambda: copy_of("plans_subscription", beside_others="true"),
    "subscription_has_component_once": lambda: copy_of(
        "plans_subscriptionitem", "component_id IS NOT NULL AND metric_id IS NULL"
    ),
    "customer_metric_is_metered_once": lambda: copy_of(
        "plans_subscriptionitem", "metric_id IS NOT NULL", component_id="NULL"
    ),
    "item_has_component_or_metric": lambda: change_of("plans_subscriptionitem", component_id="NULL", metric_id="NULL"),
    "item_includes_no_negative_units": lambda: change_of("plans_subscriptionitem", included_units=-1),
    "part_of_a_period_lies_within_it": lambda: change_of(
        "plans_subscriptionperiod", whole_start_at="start_at", whole_end_at="start_at"
    ),
    "period_includes_no_negative_units": lambda: change_of("plans_subscriptionperiod", included_units=-1),
    "paused_subscription_says_since_when": lambda: change_of("plans_subscription", status="'paused'"),
    "trial_ends_after_its_start": lambda: change_of("plans_subscription", trial_ends_at="started_at"),
    "one_scheduled_change_waits": lambda: copy_of("plans_scheduledchange"),
    "scheduled_change_names_its_price": lambda: change_of("plans_scheduledchange", kind="'change'"),
    "scheduled_change_ends_in_one_way": lambda: change_of(
        "plans_scheduledchange", applied_at="now()", withdrawn_at="now()"
    ),
    "period_ends_after_its_start": lambda: change_of("plans_subscriptionperiod", end_at="start_at"),
    "periods_of_an_item_do_not_overlap": lambda: copy_of(
        "plans_subscriptionperiod", number=99, start_at="end_at - interval '1 microsecond'", end_at="end_at + '1 day'"
    ),
    "settled_period_says_with_what": lambda: change_of(
        "plans_subscriptionperiod",
        "metric_id IS NOT NULL",
        settled_at="now()",
        settled_usage=5,
        settled_included=3,
        settled_credited=3,
    ),
    "subscription_has_feature_once_per_source": lambda: copy_of("plans_subscriptionfeature"),
    "override_ends_after_its_start": lambda: change_of(
        "plans_subscriptionfeature", source="'override'", effective_from="now()", effective_until="now()"
    ),
    "feature_of_the_plan_is_always_effective": lambda: change_of("plans_subscriptionfeature", effective_from="now()"),
    # metering
    "event_is_recorded_once": lambda: copy_of("metering_usageevent", "customer_id IS NOT NULL"),
    "unattributed_event_is_recorded_once": lambda: copy_of("metering_usageevent", "customer_id IS NULL"),
    "event_is_addressed_to_somebody": lambda: change_of(
        "metering_usageevent", customer_id="NULL", external_customer_id="NULL"
    ),
    "event_has_a_number_or_a_text": lambda: change_of("metering_usageevent", text_value="'x'"),
    "usage_day_is_one_row": lambda: copy_of("metering_usageday"),
    # credits
    **{
        f"{model}_{name}": partial(change_of, f"credits_{model}", **terms)
        for model in ("creditdefinition", "subscriptioncredit")
        for name, terms in (
            ("amount_is_positive", {"default_amount": 0}),
            ("refill_is_positive", {"refill_amount": 0}),
            ("renews_in_one_way", {"refill_rrule": "'FREQ=DAILY'"}),
            ("rolls_over_what_renews", {"rolls_over": "true", "renew_on_billing": "false"}),
        )
    },
    "definition_counts_units_or_money": lambda: change_of("credits_creditdefinition", currency="'USD'"),
    "definition_hangs_on_its_plan": lambda: change_of("credits_creditdefinition", plan_id="NULL"),
    "subscription_has_credit_once": lambda: copy_of("credits_subscriptioncredit"),
    "creditdefinition_per_seat_renews_with_periods": lambda: change_of(
        "credits_creditdefinition", per_seat="true", renew_on_billing="false"
    ),
    "subscriptioncredit_per_seat_renews_with_periods": lambda: change_of(
        "credits_subscriptioncredit", per_seat="true", renew_on_billing="false"
    ),
    "definition_grants_once_a_period": lambda: copy_of("credits_creditgrant", reference_code="NULL"),
    "definition_grants_once_a_subscription": lambda: "UPDATE credits_creditgrant SET period_id = NULL",
    "grant_reference_is_unique": lambda: copy_of("credits_creditgrant", period_id="NULL", source="'manual'"),
    "grant_remaining_is_between_zero_and_granted": lambda: change_of("credits_creditgrant", ledger_remaining=-1),
    "grant_amount_is_positive": lambda: change_of("credits_creditgrant", initial_amount=0, ledger_remaining=0),
    "grant_holds_units_or_money": lambda: change_of("credits_creditgrant", currency="'USD'"),
    "grant_expires_after_its_start": lambda: change_of("credits_creditgrant", expires_at="starts_at"),
    "grant_moves_once_a_period_and_kind": lambda: copy_of(
        "credits_credittransaction", "kind = 'burned' AND period_id IS NOT NULL"
    ),
    "grant_moves_once_a_difference_and_kind": lambda: copy_of("credits_credittransaction", "kind = 'returned'"),
    "grant_moves_once_a_month_and_kind": lambda: copy_of("credits_credittransaction", "month_id IS NOT NULL"),
    "transaction_names_a_period_or_a_month": lambda: copy_of(
        "credits_credittransaction", "kind = 'granted'", kind="'revoked'", amount=-1, month_id=SETTLED_MONTH
    ),
    "month_is_settled_once": lambda: copy_of("credits_calendarmonth", "settled_at IS NOT NULL"),
    "one_month_is_settled_next": lambda: copy_of(
        "credits_calendarmonth", "settled_at IS NULL", start_at="'2026-01-01'"
    ),
    "month_ends_after_its_start": lambda: change_of("credits_calendarmonth", end_at="start_at"),
    "settled_month_says_with_what": lambda: change_of("credits_calendarmonth", "settled_at IS NOT NULL", credited=3),
    "grant_is_granted_once": lambda: copy_of("credits_credittransaction", "kind = 'granted'"),
    "transaction_sign_fits_its_kind": lambda: copy_of(
        "credits_credittransaction", "kind = 'burned'", amount="-amount", period_id="NULL"
    ),
    "difference_number_is_unique": lambda: copy_of("credits_usagedifference"),
    "difference_number_is_positive": lambda: change_of("credits_usagedifference", number=0),
    "pack_holds_something": lambda: change_of("credits_topuppack", amount=0),
    "pack_costs_something": lambda: change_of("credits_topuppack", price_cents=0),
    "reservation_is_made_once": lambda: copy_of("credits_reservation"),
    "reservation_records_one_event": lambda: copy_of(
        "credits_reservation", idempotency_key="NULL", committed_at="now()", committed_units=1, event_id=1
    )
    + ";"
    + copy_of("credits_reservation", idempotency_key="NULL"),
    "reservation_holds_positive_units": lambda: change_of("credits_reservation", units=0),
    "reservation_expires_after_its_start": lambda: change_of("credits_reservation", expires_at="reserved_at"),
    "reservation_ends_in_one_way": lambda: change_of(
        "credits_reservation", committed_at="now()", committed_units=1, event_id=1, released_at="now()"
    ),
    "committed_reservation_says_what_it_recorded": lambda: change_of("credits_reservation", committed_at="now()"),
    # billing
    "one_invoice_per_subscription_kind_and_close": lambda: copy_of("billing_invoice", "status = 'draft'"),
    "invoice_number_is_unique": lambda: copy_of(
        "billing_invoice", "status = 'issued'", closes_at="now()", stripe_invoice_id="NULL"
    ),
    "invoice_is_at_stripe_once": lambda: "UPDATE billing_invoice SET stripe_invoice_id = 'in_1'",
    "tax_settings_are_one_row": lambda: copy_of("billing_taxsettings", singleton="false"),
    "billing_taxsettings_singleton_key": lambda: copy_of("billing_taxsettings"),
    "default_tax_rate_is_a_share": lambda: change_of("billing_taxsettings", default_tax_rate="1.01"),
    "tax_rate_is_a_share": lambda: change_of("billing_taxrate", rate="-0.01"),
    "tax_rate_that_applies_names_its_area": lambda: change_of("billing_taxrate", area="''"),
    "area_has_one_active_tax_rate": lambda: copy_of("billing_taxrate"),
    "state_has_one_nexus": lambda: copy_of("billing_taxnexus"),
    "tax_registration_is_noted_once": lambda: copy_of("billing_taxregistration"),
    "customer_tax_rate_exists": lambda: change_of("plans_customer", tax_rate_definition_id="'tax_rate_def_no'"),
    "invoice_tax_is_not_negative": lambda: change_of("billing_invoice", "status = 'draft'", tax_cents=-1),
    "invoice_total_adds_up": lambda: change_of("billing_invoice", "status = 'draft'", total_cents=1),
    "invoice_total_is_not_negative": lambda: change_of(
        "billing_invoice", "status = 'draft'", total_cents=-1, subtotal_cents=-1
    ),
    "issued_invoice_has_a_number": lambda: change_of("billing_invoice", "status = 'draft'", status="'issued'"),
    "paid_invoice_says_when": lambda: change_of("billing_invoice", "status = 'issued'", status="'paid'"),
    "line_position_is_unique": lambda: _line(position="position", period_id="NULL"),
    "period_is_billed_once_per_grant": lambda: _line(position=99),
    "line_is_credited_no_more_than_it_charges": lambda: _line(
        position=99, period_id="NULL", monetary_credit_cents="amount_cents + 1"
    ),
    "late_usage_line_says_what_was_found": lambda: _line(position=99, period_id="NULL", type="'late_usage'"),
    "proration_says_what_it_credits": lambda: _line(position=99, period_id="NULL", type="'proration'", amount_cents=-1),
    "billing_invoicedperiod_period_id_key": lambda: copy_of("billing_invoicedperiod"),
    "top_up_line_says_what_was_bought": lambda: _line(position=99, period_id="NULL", type="'top_up'"),
    "line_sign_fits_its_type": lambda: _line(position=99, period_id="NULL", type="'credit'", amount_cents=1),
    "customer_has_one_default_payment_method": lambda: copy_of("billing_paymentmethod", external_id="'pm_2'"),
    "billing_paymentmethod_external_id_key": lambda: copy_of("billing_paymentmethod", is_default="false"),
    "invoice_is_paid_once": lambda: copy_of("billing_payment", "status = 'succeeded'"),
    "failed_attempt_is_recorded_once": lambda: copy_of("billing_payment", "status = 'failed'"),
    "payment_amount_is_not_negative": lambda: change_of("billing_payment", amount_cents=-1),
    "proven_buyer_has_one_open_checkout": lambda: copy_of("billing_checkout", "status = 'open'", intent_id="NULL"),
    "intent_belongs_to_one_checkout": lambda: copy_of("billing_checkout", "status = 'open'", buyer="'visitor:2'"),
    "subscribed_checkout_has_its_subscription": lambda: change_of("billing_checkout", status="'subscribed'"),
    "checkout_due_is_not_negative": lambda: change_of("billing_checkout", due_cents=-1),
    "settled_checkout_is_at_its_end": lambda: change_of("billing_checkout", settled_at="now()"),
    "invoice_is_credited_no_more_than_its_total": lambda: change_of(
        "billing_invoice", "status = 'issued'", credited_cents="total_cents + 1"
    ),
    "void_invoice_says_when": lambda: change_of("billing_invoice", "status = 'issued'", status="'void'"),
    "only_a_carried_invoice_is_taken_along": lambda: change_of("billing_invoice", carried_into_id="id"),
    "billing_invoice_replaces_id_key": lambda: "UPDATE billing_invoice SET replaces_id = (SELECT min(id) FROM"
    " billing_invoice)",
    "billing_invoiceline_replaced_line_id_key": lambda: "ALTER TABLE billing_invoiceline DISABLE TRIGGER"
    " issued_line_is_frozen; UPDATE billing_invoiceline SET replaced_line_id = (SELECT min(id) FROM"
    " billing_invoiceline)",
    "invoice_is_brought_forward_once": lambda: ";".join(_brought_forward(position) for position in (98, 99)),
    "brought_forward_line_says_of_what": lambda: _line(position=99, period_id="NULL", type="'brought_forward'"),
    "credit_note_number_is_unique": lambda: copy_of("billing_creditnote", sequence=7),
    "credit_note_sequence_is_unique": lambda: copy_of("billing_creditnote", number="'x'"),
    "credit_note_credits_something": lambda: _note(subtotal_cents=0, total_cents=0, due_cents=0),
    "credit_note_total_adds_up": lambda: _note(tax_cents=1),
    "credit_note_credits_a_line_once": lambda: copy_of("billing_creditnoteline"),
    "credit_note_line_is_positive": lambda: _free_notes() + change_of("billing_creditnoteline", amount_cents=0),
    "billing_creditnoteline_difference_id_key": lambda: _free_notes()
    + "UPDATE billing_creditnoteline SET difference_id = (SELECT min(id) FROM credits_usagedifference);"
    + copy_of("billing_creditnoteline", credit_note_id=_other_note()),
    "credit_is_returned_once": lambda: copy_of("billing_returnedcredit", transaction_id=_other_transaction()),
    "billing_returnedcredit_transaction_id_key": lambda: copy_of(
        "billing_returnedcredit", line_id="(SELECT min(id) FROM billing_invoiceline)"
    ),
    "refund_is_at_the_provider_once": lambda: "UPDATE billing_refund SET external_id = 're_1';"
    + copy_of("billing_refund", credit_note_id="NULL"),
    "payment_is_given_back_unasked_once": lambda: ";".join([copy_of("billing_refund", credit_note_id="NULL")] * 2),
    "billing_refund_credit_note_id_key": lambda: copy_of("billing_refund"),
    "refund_is_positive": lambda: change_of("billing_refund", amount_cents=0),
    "refund_is_asked_for_until_it_ends": lambda: change_of("billing_refund", refund_at="NULL"),
    "customer_tops_up_a_pack_by_one_rule": lambda: copy_of("billing_autotopup"),
    "auto_top_up_buys_something": lambda: change_of("billing_autotopup", quantity=0),
    "auto_top_up_threshold_is_positive": lambda: change_of("billing_autotopup", threshold=0),
    "auto_top_up_price_is_positive": lambda: change_of("billing_autotopup", agreed_price_cents=0),
    "auto_top_up_limit_covers_a_purchase": lambda: change_of("billing_autotopup", quantity=2),
    "stopped_auto_top_up_says_why": lambda: change_of("billing_autotopup", stopped_at="now()"),
    "auto_top_up_buys_once_a_number": lambda: _automatic_purchase()
    + copy_of(
        "billing_invoice",
        "status = 'draft'",
        status="'void'",
        number="'x'",
        finalized_at="now()",
        voided_at="now()",
        subscription_id="NULL",
        kind="'top_up'",
        auto_top_up_number=1,
        auto_top_up_id="(SELECT max(id) FROM billing_autotopup)",
    ),
    "auto_top_up_has_one_open_purchase": lambda: _automatic_purchase()
    + copy_of(
        "billing_invoice",
        "status = 'draft'",
        subscription_id="NULL",
        kind="'top_up'",
        auto_top_up_number=2,
        auto_top_up_id="(SELECT max(id) FROM billing_autotopup)",
    ),
    "automatic_purchase_has_a_number": lambda: change_of("billing_invoice", "status = 'draft'", auto_top_up_number=1),
    "revision_is_voided_once": lambda: copy_of("billing_stripevoid"),
    "intent_takes_one_payment": lambda: "UPDATE billing_payment SET intent_id = 'pi_1';"
    + copy_of("billing_payment", "status = 'succeeded'", invoice_id=ANOTHER_INVOICE),
    "dispute_is_recorded_once": lambda: copy_of("billing_dispute"),
    "dispute_amount_is_not_negative": lambda: change_of("billing_dispute", amount_cents=-1),
    "decided_dispute_says_when": lambda: change_of("billing_dispute", status="'lost'"),
    "one_nightly_reconciliation_at_a_time": lambda: copy_of("billing_reconciliation"),
    "reconciliation_begins_before_it_ends": lambda: change_of("billing_reconciliation", since="until"),
    "object_is_seen_once": lambda: copy_of("billing_seenatstripe"),
    "difference_is_open_once": lambda: copy_of("billing_difference"),
    "difference_is_about_something": lambda: change_of("billing_difference", object_id="''", stripe_id="''"),
    "only_what_is_past_due_has_grace": lambda: change_of("plans_subscription", grace_period_ends_at="now()"),
    "only_what_was_stopped_resumes": lambda: change_of("plans_subscription", resumes_when_paid="true"),
    "dunning_config_is_one_row": lambda: copy_of("billing_dunningconfig", singleton="false"),
    "billing_dunningconfig_singleton_key": lambda: copy_of("billing_dunningconfig"),
    **{
        f"{model}_{name}": partial(change_of, f"billing_{model}", **terms)
        for model in ("dunningconfig", "dunning")
        for name, terms in (
            ("gives_a_year_of_grace_at_most", {"grace_period_days": 366}),
            ("retries_on_later_and_later_days", {"retry_schedule": "'{1,3,3}'"}),
        )
    },
    "billing_dunning_invoice_id_key": lambda: copy_of("billing_dunning"),
    "dunning_starts_with_a_decline": lambda: change_of("billing_dunning", attempts=0),
    "dunning_ends_after_its_start": lambda: change_of("billing_dunning", end_at="started_at - interval '1 second'"),
    "ended_dunning_says_how": lambda: change_of("billing_dunning", ended_at="now()"),
    "dunning_ends_with_its_invoice": lambda: change_of("billing_dunning", settled_at="now()"),
    "billing_mail_key_key": lambda: copy_of("billing_mail"),
    "mail_waits_until_it_is_sent_or_given_up": lambda: change_of("billing_mail", state="'sent'"),
}


def _brought_forward(position):
    return _line(position=position, period_id="NULL", type="'brought_forward'", carried_invoice_id="invoice_id")


def _automatic_purchase():
    return (
        change_of(
            "billing_invoice",
            "status = 'draft'",
            kind="'top_up'",
            subscription_id="NULL",
            auto_top_up_number=1,
            auto_top_up_id="(SELECT max(id) FROM billing_autotopup)",
        )
        + ";"
    )


def _free_notes():
    return "".join(f"ALTER TABLE billing_{table} DISABLE TRIGGER USER;" for table in ("creditnote", "creditnoteline"))


def _note(**changes):
    return _free_notes() + change_of("billing_creditnote", **changes)


def _other_note():
    return "(SELECT min(id) FROM billing_creditnote)"


def _other_transaction():
    return "(SELECT min(id) FROM credits_credittransaction)"


def _line(**changes):
    """A copied line; the trigger of issued invoices would speak up before the constraint."""
    return "ALTER TABLE billing_invoiceline DISABLE TRIGGER issued_line_is_frozen;" + copy_of(
        "billing_invoiceline", "type = 'fixed'", **changes
    )


@pytest.mark.parametrize("name", BREACHES)
def test_the_database_refuses_a_breach_of(name):
    with pytest.raises(IntegrityError, match=name):
        execute(BREACHES[name]())


def test_every_constraint_of_ours_is_tried():
    declared = {
        constraint.name
        for label in ("plans", "metering", "credits", "billing")
        for model in apps.get_app_config(label).get_models()
        for constraint in model._meta.constraints
    }

    assert declared - set(BREACHES) == set()


class TestNullIsNoWayRoundACheck:
    """A CHECK passes when it is NULL: `NULL >= 0` must not let a row through that lacks what it needs."""

    @pytest.mark.parametrize("usage", ["NULL", "0"])
    def test_a_settled_metered_period_says_what_was_used_and_credited(self, usage):
        statement = change_of(
            "plans_subscriptionperiod", "metric_id IS NOT NULL AND settled_at IS NULL", settled_at="now()",
            settled_usage=usage, settled_included=0,
        )  # fmt: skip

        with pytest.raises(IntegrityError, match="settled_period_says_with_what"):
            execute(statement)

    @pytest.mark.parametrize(
        ("table", "changes", "name"),
        [
            ("credits_creditdefinition", {"metric_id": "NULL"}, "definition_counts_units_or_money"),
            ("credits_creditdefinition", {"application_type": "'monetary'"}, "definition_counts_units_or_money"),
            ("credits_creditgrant", {"metric_id": "NULL"}, "grant_holds_units_or_money"),
            ("credits_creditdefinition", {"rollover_cap": 5}, "creditdefinition_rolls_over_what_renews"),
            (
                "credits_subscriptioncredit",
                {"rolls_over": "true", "expiry_days": 5},
                "subscriptioncredit_rolls_over_what_renews",
            ),
        ],
    )
    def test_credits_are_units_or_money_and_roll_over_in_one_way(self, table, changes, name):
        with pytest.raises(IntegrityError, match=name):
            execute(change_of(table, **changes))

    def test_a_fixed_component_has_an_amount(self):
        with pytest.raises(IntegrityError, match="component_has_what_its_kind_needs"):
            execute(change_of("plans_pricecomponent", "kind = 'fixed'", amount_cents="NULL"))

    @pytest.mark.parametrize(
        "terms",
        [
            {"unit_cost_cents": "NULL"},
            {"model": "'package'", "package_cost_cents": 5},
            {"model": "'package'", "package_size": 5},
            {"model": "'percentage'"},
            {"model": "'volume'"},
            {"model": "'graduated_percentage'"},
        ],
    )
    def test_a_usage_component_has_what_its_model_needs(self, terms):
        with pytest.raises(IntegrityError, match="component_has_what_its_model_needs"):
            execute(change_of("plans_pricecomponent", "kind = 'usage'", **terms))

    @pytest.mark.parametrize(
        "term",
        [
            "unit_cost_cents", "package_cost_cents", "rate_percent", "fixed_cost_cents", "included_units", "divide_by",
            "minimum_cents", "maximum_cents",
        ],
    )  # fmt: skip
    def test_no_term_of_a_component_is_negative(self, term):
        with pytest.raises(IntegrityError, match="component_has_no_negative_terms"):
            execute(change_of("plans_pricecomponent", "kind = 'usage'", **{term: -1}))


class TestWhatIsAllowed:
    def test_a_deleted_customers_external_id_and_email_are_free_again(self):
        execute("UPDATE plans_customer SET deleted_at = now()")

        assert execute(copy_of("plans_customer", invoice_prefix=OTHER, deleted_at="NULL")) == 1

    def test_the_same_key_of_two_external_ids(self):
        assert execute(copy_of("metering_usageevent", "customer_id IS NULL", external_customer_id="'other'")) == 1

    def test_a_subscription_beside_others(self):
        assert execute(copy_of("plans_subscription", beside_others="true", stable_subscription_id="'s'")) == 1

    def test_grants_of_no_subscription_however_many(self):
        statement = copy_of(
            "credits_creditgrant", subscription_id="NULL", period_id="NULL", reference_code="NULL",
            source="'subscription'",
        )  # fmt: skip

        assert execute(f"{statement};{statement}") == 1

    def test_periods_that_touch(self):
        statement = copy_of(
            "plans_subscriptionperiod", number=99, start_at="end_at", end_at="end_at + interval '1 day'"
        )

        assert execute(statement) == 1
