"""What the settings make of the environment."""

import json
import os
import subprocess
import sys

import pytest

from billing.models import Invoice
from billing.signed_links import InvoiceLinkInvalid, invoice_page_path, read_invoice_token

ASK = """
import json, sys
from config import settings
print(json.dumps([getattr(settings, name) for name in sys.argv[1:]]))
"""


def settings_with(names, **environment):
    """Read settings in a process of its own, since they are read once."""
    answer = subprocess.run(
        [sys.executable, "-c", ASK, *names],
        env=os.environ | {"SECRET_KEY": "x"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(answer.stdout)


@pytest.mark.parametrize(
    ("public_url", "origins", "header"),
    [
        ("https://billing.example.com/", ["https://billing.example.com"], ["HTTP_X_FORWARDED_PROTO", "https"]),
        (
            "https://billing.example.com:8443/pay",
            ["https://billing.example.com:8443"],
            ["HTTP_X_FORWARDED_PROTO", "https"],
        ),
        ("http://127.0.0.1:8000", ["http://127.0.0.1:8000"], None),
    ],
)
def test_forms_of_the_public_address_are_taken_behind_a_proxy(public_url, origins, header):
    found = settings_with(["CSRF_TRUSTED_ORIGINS", "SECURE_PROXY_SSL_HEADER"], PUBLIC_URL=public_url)

    assert found == [origins, header]


def test_former_secret_keys_are_read_from_the_environment():
    assert settings_with(["SECRET_KEY_FALLBACKS"], SECRET_KEY_FALLBACKS="old,older") == [["old", "older"]]
    assert settings_with(["SECRET_KEY_FALLBACKS"]) == [[]]


def test_an_address_that_a_former_key_signed_opens_until_that_key_is_taken_out(settings):
    settings.SECRET_KEY = "old"
    token = invoice_page_path(Invoice(public_id="inv_1")).removeprefix("/invoices/")

    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["old"]
    assert read_invoice_token(token) == "inv_1"

    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(InvoiceLinkInvalid):
        read_invoice_token(token)
