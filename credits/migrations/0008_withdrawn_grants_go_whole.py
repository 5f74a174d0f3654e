from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("credits", "0007_credits_per_seat")]

    operations = [
        migrations.RunSQL(
            """
            CREATE FUNCTION credits_refuse_grant_without_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                -- Whoever withdraws a grant takes it away with its rows, not some of these.
                IF EXISTS (SELECT FROM credits_creditgrant WHERE id = OLD.grant_id) THEN
                    RAISE EXCEPTION 'credit transactions are append-only: they go with their grant or stay'
                        USING ERRCODE = 'restrict_violation';
                END IF;
                RETURN NULL;
            END $$;
            CREATE CONSTRAINT TRIGGER ledger_rows_go_with_their_grant AFTER DELETE ON credits_credittransaction
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION credits_refuse_grant_without_ledger();
            """,
            """
            DROP TRIGGER ledger_rows_go_with_their_grant ON credits_credittransaction;
            DROP FUNCTION credits_refuse_grant_without_ledger();
            """,
        )
    ]
