"""The frame of the sandbox's own pages, the stand-in for a bank's authentication page, and the card form's script."""

from html import escape
from pathlib import Path

from billing.sandbox.amounts import readable
from billing.sandbox.store import JsonObject

POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
HTML = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Content-Type": "text/html; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
}
# The bank leads back to the page that the customer came from: browsers hold redirects to form-action too.
BANK_HTML = {**HTML, "Content-Security-Policy": f"{POLICY} http: https:"}
STATIC = Path(__file__).with_name("static")
SCRIPTS = ("card_entry.js", "card_form.js", "stripe.js")

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="stylesheet" href="/sandbox.css">
</head>
<body{body}>
<header>
<p class="banner" role="note">This is Candela's sandbox. It is not Stripe, and no money moves here.</p>
</header>
<main>
{content}
</main>
</body>
</html>
"""
NARROW = ' class="narrow"'


def authentication_page(intent: JsonObject) -> str:
    """Return the page on which a cardholder approves or refuses a payment or a saved card."""
    secret = escape(intent["client_secret"], quote=True)
    content = (
        f"<h1>{escape(_question(intent))}</h1>"
        '<p class="soft">This page stands in for the page of the cardholder\'s bank (3-D Secure). Approve to go on as'
        " the cardholder would, or refuse to see what happens then.</p>"
        f'<form class="bank" method="post"><input type="hidden" name="client_secret" value="{secret}">'
        '<div class="buttons"><button class="first" name="answer" value="approve">Approve</button>'
        '<button name="answer" value="refuse">Refuse</button></div></form>'
    )
    return PAGE.format(title="Confirm (Candela sandbox, not Stripe)", body=NARROW, content=content)


def _question(intent: JsonObject) -> str:
    if intent["object"] == "setup_intent":
        return "Save your card for later payments?"
    amount = readable(intent["amount"], intent["currency"])
    return f"Hold {amount} on your card?" if intent["capture_method"] == "manual" else f"Pay {amount}?"


def answered_page(status: str) -> str:
    """Return the page for an intent that waits for no answer and has no way back."""
    content = (
        "<h1>There is nothing to confirm</h1>"
        f"<p>The status is {escape(status.replace('_', ' '))}. You can close this page.</p>"
    )
    return PAGE.format(title="Nothing to confirm (Candela sandbox, not Stripe)", body=NARROW, content=content)


def style_sheet() -> str:
    """Return the style of these pages."""
    return (STATIC / "sandbox.css").read_text(encoding="utf-8")


def card_form_script() -> str:
    """Return the stand-in for Stripe.js, which draws the card form in a page of Candela's: its parts as one script."""
    parts = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n\n{parts}}})();\n'
