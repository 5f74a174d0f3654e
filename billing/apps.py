from django.apps import AppConfig
from django.core.checks.registry import registry


class BillingConfig(AppConfig):
    name = "billing"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from djstripe.checks import check_webhook_event_callback_accepts_api_key

        # It warns that the callback setting is deprecated in favour of signals. With signals dj-stripe would fetch from
        # Stripe inside its transaction before we hear of the event; with the callback it only checks the signature.
        registry.registered_checks.discard(check_webhook_event_callback_accepts_api_key)
