import json

from babel import Locale
from django.db import migrations, models

from billing.tax_areas import area_of

CUSTOMERS_A_STATEMENT = 1_000
KEEP_BUYERS = """
UPDATE billing_invoice SET buyer = given.buyer
FROM json_to_recordset(%s) AS given(customer_id bigint, buyer jsonb)
WHERE billing_invoice.customer_id = given.customer_id AND billing_invoice.finalized_at IS NOT NULL
"""

# Who sends an issued invoice and who pays it never changes, like its totals.
FREEZE_PARTIES = """
CREATE OR REPLACE FUNCTION billing_refuse_issued_invoice_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.finalized_at IS NOT NULL AND (
        TG_OP = 'DELETE'
        OR (NEW.public_id, NEW.customer_id, NEW.subscription_id, NEW.kind, NEW.number, NEW.currency,
            NEW.closes_at, NEW.period_start_at, NEW.period_end_at, NEW.finalized_at,
            NEW.subtotal_cents, NEW.tax_cents, NEW.total_cents, NEW.prices_include_tax, NEW.tax_rate,
            NEW.tax_rate_definition_id, NEW.tax_name, NEW.tax_jurisdiction, NEW.tax_method, NEW.tax_reason_code,
            NEW.tax_exemption_reason, NEW.seller, NEW.buyer)
        IS DISTINCT FROM
           (OLD.public_id, OLD.customer_id, OLD.subscription_id, OLD.kind, OLD.number, OLD.currency,
            OLD.closes_at, OLD.period_start_at, OLD.period_end_at, OLD.finalized_at,
            OLD.subtotal_cents, OLD.tax_cents, OLD.total_cents, OLD.prices_include_tax, OLD.tax_rate,
            OLD.tax_rate_definition_id, OLD.tax_name, OLD.tax_jurisdiction, OLD.tax_method, OLD.tax_reason_code,
            OLD.tax_exemption_reason, OLD.seller, OLD.buyer)
    ) THEN
        RAISE EXCEPTION 'invoice % is issued and cannot change', OLD.number
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$;
"""

FREEZE_TAX_ONLY = """
CREATE OR REPLACE FUNCTION billing_refuse_issued_invoice_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.finalized_at IS NOT NULL AND (
        TG_OP = 'DELETE'
        OR (NEW.public_id, NEW.customer_id, NEW.subscription_id, NEW.kind, NEW.number, NEW.currency,
            NEW.closes_at, NEW.period_start_at, NEW.period_end_at, NEW.finalized_at,
            NEW.subtotal_cents, NEW.tax_cents, NEW.total_cents, NEW.prices_include_tax, NEW.tax_rate,
            NEW.tax_rate_definition_id, NEW.tax_name, NEW.tax_jurisdiction, NEW.tax_method, NEW.tax_reason_code,
            NEW.tax_exemption_reason)
        IS DISTINCT FROM
           (OLD.public_id, OLD.customer_id, OLD.subscription_id, OLD.kind, OLD.number, OLD.currency,
            OLD.closes_at, OLD.period_start_at, OLD.period_end_at, OLD.finalized_at,
            OLD.subtotal_cents, OLD.tax_cents, OLD.total_cents, OLD.prices_include_tax, OLD.tax_rate,
            OLD.tax_rate_definition_id, OLD.tax_name, OLD.tax_jurisdiction, OLD.tax_method, OLD.tax_reason_code,
            OLD.tax_exemption_reason)
    ) THEN
        RAISE EXCEPTION 'invoice % is issued and cannot change', OLD.number
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$;
"""


def keep_parties(apps, schema_editor):
    """Let invoices that were issued before keep seller and buyer as they were shown until now."""
    invoices = apps.get_model("billing", "Invoice").objects.filter(finalized_at__isnull=False)
    if invoices.exists():
        keep_sellers(apps, invoices)
        keep_buyers(apps, invoices, schema_editor)


def keep_sellers(apps, invoices):
    merchant = apps.get_model("plans", "Merchant").objects.get()
    registered = apps.get_model("billing", "TaxRegistration").objects.filter(is_active=True).order_by("pk")
    registrations = list(registered)
    place = (merchant.postal_code, merchant.city, merchant.state_province)
    address = address_lines(merchant.address_line1, merchant.address_line2, place, merchant.country)
    name = merchant.legal_name or merchant.display_name or merchant.public_id
    for jurisdiction in invoices.order_by().values_list("tax_jurisdiction", flat=True).distinct():
        area = area_of(jurisdiction)
        numbers = [
            f"{one.tax_type} {one.registration_number}"
            for one in registrations
            if one.area and (area == one.area or area.startswith(f"{one.area}-"))
        ]
        lines = known([name, *address, tax_id(merchant.tax_id), *numbers])
        invoices.filter(tax_jurisdiction=jurisdiction).update(seller=lines)


def keep_buyers(apps, invoices, schema_editor):
    customers = apps.get_model("plans", "Customer").objects.filter(pk__in=invoices.values("customer")).order_by("pk")
    last = 0
    while batch := list(customers.filter(pk__gt=last)[:CUSTOMERS_A_STATEMENT]):
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(KEEP_BUYERS, [json.dumps([{"customer_id": one.pk, "buyer": buyer(one)} for one in batch])])
        last = batch[-1].pk


def buyer(customer):
    place = (customer.billing_postal_code, customer.billing_city, customer.billing_state_province)
    address = address_lines(
        customer.billing_address_line1, customer.billing_address_line2, place, customer.billing_country
    )
    return known([customer.business_name, customer.name, *address, customer.email, tax_id(customer.tax_id)])


def address_lines(line1, line2, place, country):
    postal_code, city, state = place
    town = " ".join(part for part in (postal_code, city) if part)
    return [
        line1,
        line2,
        ", ".join(part for part in (town, state) if part),
        Locale("en").territories.get(country, country),
    ]


def tax_id(number):
    return f"Tax ID {number}" if number else ""


def known(lines):
    return list(dict.fromkeys(line for line in lines if line))


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0008_credit_notes_and_manual_invoices"),
        ("plans", "0006_enrollment_and_seats"),
    ]

    operations = [
        migrations.AddField("invoice", "seller", models.JSONField(null=True, blank=True)),
        migrations.AddField("invoice", "buyer", models.JSONField(null=True, blank=True)),
        migrations.RunPython(keep_parties, migrations.RunPython.noop),
        migrations.RunSQL(FREEZE_PARTIES, FREEZE_TAX_ONLY),
    ]
