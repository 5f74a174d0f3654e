from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_invoices_payments_inbox")]

    operations = [
        migrations.RunSQL(
            """
            CREATE FUNCTION billing_refuse_issued_invoice_change() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF OLD.finalized_at IS NOT NULL AND (
                    TG_OP = 'DELETE'
                    OR (NEW.public_id, NEW.customer_id, NEW.subscription_id, NEW.kind, NEW.number, NEW.currency,
                        NEW.closes_at, NEW.period_start_at, NEW.period_end_at, NEW.finalized_at,
                        NEW.subtotal_cents, NEW.tax_cents, NEW.total_cents)
                    IS DISTINCT FROM
                       (OLD.public_id, OLD.customer_id, OLD.subscription_id, OLD.kind, OLD.number, OLD.currency,
                        OLD.closes_at, OLD.period_start_at, OLD.period_end_at, OLD.finalized_at,
                        OLD.subtotal_cents, OLD.tax_cents, OLD.total_cents)
                ) THEN
                    RAISE EXCEPTION 'invoice % is issued and cannot change', OLD.number
                        USING ERRCODE = 'restrict_violation';
                END IF;
                RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
            END $$;
            CREATE TRIGGER issued_invoice_is_frozen BEFORE UPDATE OR DELETE ON billing_invoice
                FOR EACH ROW EXECUTE FUNCTION billing_refuse_issued_invoice_change();

            CREATE FUNCTION billing_refuse_issued_line_change() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF EXISTS (
                    SELECT FROM billing_invoice
                    WHERE id IN (NEW.invoice_id, OLD.invoice_id) AND finalized_at IS NOT NULL
                ) THEN
                    RAISE EXCEPTION 'lines of an issued invoice cannot change' USING ERRCODE = 'restrict_violation';
                END IF;
                RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
            END $$;
            CREATE TRIGGER issued_line_is_frozen BEFORE INSERT OR UPDATE OR DELETE ON billing_invoiceline
                FOR EACH ROW EXECUTE FUNCTION billing_refuse_issued_line_change();
            """,
            """
            DROP TRIGGER issued_line_is_frozen ON billing_invoiceline;
            DROP FUNCTION billing_refuse_issued_line_change();
            DROP TRIGGER issued_invoice_is_frozen ON billing_invoice;
            DROP FUNCTION billing_refuse_issued_invoice_change();
            """,
        )
    ]
