from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("credits", "0001_definitions_grants_ledger")]

    operations = [
        migrations.RunSQL(
            """
            CREATE FUNCTION credits_refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE EXCEPTION 'credit transactions are append-only' USING ERRCODE = 'restrict_violation';
            END $$;
            CREATE TRIGGER ledger_is_append_only BEFORE UPDATE OR DELETE ON credits_credittransaction
                FOR EACH ROW EXECUTE FUNCTION credits_refuse_ledger_change();
            """,
            """
            DROP TRIGGER ledger_is_append_only ON credits_credittransaction;
            DROP FUNCTION credits_refuse_ledger_change();
            """,
        )
    ]
