from tests.credits.conftest import in_billing_zone  # noqa: F401 a fixture
