from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("credits", "0005_calendar_months")]

    operations = [
        migrations.RunSQL(
            """
            CREATE OR REPLACE FUNCTION credits_refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                -- A grant that has not begun may be withdrawn, with what it was granted, adjusted and revoked until then.
                IF TG_OP = 'DELETE' AND EXISTS (
                    SELECT FROM credits_creditgrant WHERE id = OLD.grant_id AND starts_at >= OLD.occurred_at
                ) AND NOT EXISTS (
                    SELECT FROM credits_credittransaction
                    WHERE grant_id = OLD.grant_id AND kind NOT IN ('granted', 'adjusted', 'revoked')
                ) THEN
                    RETURN OLD;
                END IF;
                RAISE EXCEPTION 'credit transactions are append-only' USING ERRCODE = 'restrict_violation';
            END $$;
            """,
            """
            CREATE OR REPLACE FUNCTION credits_refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE EXCEPTION 'credit transactions are append-only' USING ERRCODE = 'restrict_violation';
            END $$;
            """,
        )
    ]
