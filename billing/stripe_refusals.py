"""What an answer says when Stripe did not do what was asked."""

from collections.abc import Iterator
from contextlib import contextmanager

from billing import gateway
from plans.refusals import Refusal


class PaymentMethodRefused(Refusal):
    """Stripe refused the payment method."""

    code = "payment_method_refused"
    status = 402


class PaymentProviderUnavailable(Refusal):
    """Stripe could not be reached; the same request may succeed later."""

    code = "payment_provider_unavailable"
    status = 503


@contextmanager
def refusals_of_stripe() -> Iterator[None]:
    """Turn what the gateway raises into refusals that an API client understands."""
    try:
        yield
    except gateway.CardDeclined as error:
        raise PaymentMethodRefused(error.message, details={"code": error.code}) from error
    except gateway.StripeRefused as error:
        raise PaymentMethodRefused(f"Stripe refused this payment method: {error}") from error
    except gateway.StripeUnavailable as error:
        raise PaymentProviderUnavailable(
            "Stripe cannot be reached right now; nothing was changed. Send the request again."
        ) from error
