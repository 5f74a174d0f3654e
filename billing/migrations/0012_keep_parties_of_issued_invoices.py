import json

from babel import Locale
from django.db import migrations

from billing.tax_areas import area_of

INVOICES_A_STATEMENT = 2_000
KEEP = """
UPDATE billing_invoice invoice SET seller = sent.seller, buyer = paid.buyer
FROM json_to_recordset(%s) AS sent(jurisdiction text, seller jsonb),
    json_to_recordset(%s) AS paid(customer_id bigint, buyer jsonb)
WHERE invoice.id = ANY (%s) AND invoice.buyer IS NULL
    AND sent.jurisdiction = invoice.tax_jurisdiction AND paid.customer_id = invoice.customer_id
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
    """Let invoices that were issued before keep seller and buyer as they were shown until now, some at a time: what is
    done stays done, and nobody has to wait for the rest."""
    issued = apps.get_model("billing", "Invoice").objects.filter(finalized_at__isnull=False, buyer__isnull=True)
    sellers, last = {}, 0
    while batch := list(
        issued.filter(pk__gt=last)
        .order_by("pk")
        .values_list("pk", "customer_id", "tax_jurisdiction")[:INVOICES_A_STATEMENT]
    ):
        for _, _, jurisdiction in batch:
            if jurisdiction not in sellers:
                sellers[jurisdiction] = seller(apps, jurisdiction)
        customers = apps.get_model("plans", "Customer").objects.filter(pk__in={customer for _, customer, _ in batch})
        sent = [{"jurisdiction": jurisdiction, "seller": lines} for jurisdiction, lines in sellers.items()]
        paid = [{"customer_id": one.pk, "buyer": buyer(one)} for one in customers]
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(KEEP, [json.dumps(sent), json.dumps(paid), [pk for pk, _, _ in batch]])
        last = batch[-1][0]


def seller(apps, jurisdiction):
    merchant = apps.get_model("plans", "Merchant").objects.get()
    registrations = apps.get_model("billing", "TaxRegistration").objects.filter(is_active=True).order_by("pk")
    area = area_of(jurisdiction)
    place = (merchant.postal_code, merchant.city, merchant.state_province)
    address = address_lines(merchant.address_line1, merchant.address_line2, place, merchant.country)
    name = merchant.legal_name or merchant.display_name or merchant.public_id
    numbers = [
        f"{one.tax_type} {one.registration_number}"
        for one in registrations
        if one.area and (area == one.area or area.startswith(f"{one.area}-"))
    ]
    return known([name, *address, tax_id(merchant.tax_id), *numbers])


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
    # Each statement by itself: a database with many invoices is written to meanwhile.
    atomic = False

    dependencies = [("billing", "0011_versions_whose_fees_were_credited")]

    operations = [
        migrations.RunPython(keep_parties, migrations.RunPython.noop),
        migrations.RunSQL(FREEZE_PARTIES, FREEZE_TAX_ONLY),
    ]
