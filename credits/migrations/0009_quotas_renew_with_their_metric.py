from django.db import migrations, models

# What was sold so far keeps its clock: of copies without a component, those whose metric is counted by another item
# than the one with the shortest clock.
KEEP = """
UPDATE credits_subscriptioncredit credit SET renews_by_shortest_clock = TRUE
FROM credits_creditdefinition definition, plans_subscriptionitem counting
WHERE credit.renew_on_billing AND definition.id = credit.definition_id
    AND counting.subscription_id = credit.subscription_id AND counting.metric_id = definition.metric_id
    AND NOT EXISTS (
        SELECT FROM plans_subscriptionitem item
        JOIN plans_pricecomponent component ON component.id = item.component_id
        WHERE item.subscription_id = credit.subscription_id
            AND component.component_id = definition.price_component_id)
    AND counting.id <> (
        SELECT item.id FROM plans_subscriptionitem item
        LEFT JOIN plans_pricecomponent component ON component.id = item.component_id
        WHERE item.subscription_id = credit.subscription_id
        ORDER BY component.recurrence_count IS NOT NULL OR COALESCE(component.recurrence_until, '') <> '',
            item.interval * CASE item.frequency
                WHEN 'DAILY' THEN 1 WHEN 'WEEKLY' THEN 7 WHEN 'MONTHLY' THEN 30 ELSE 360 END,
            item.metric_id IS DISTINCT FROM definition.metric_id, item.id
        LIMIT 1)
"""


class Migration(migrations.Migration):
    dependencies = [
        ("credits", "0008_withdrawn_grants_go_whole"),
        ("plans", "0007_units_that_are_owed"),
    ]

    operations = [
        migrations.AddField(
            model_name="subscriptioncredit",
            name="renews_by_shortest_clock",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.RunSQL(KEEP, migrations.RunSQL.noop),
    ]
