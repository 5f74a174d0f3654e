"""The sandbox's own pages: what is in it, and the stand-in for a bank's authentication page."""

from datetime import UTC, datetime
from html import escape
from pathlib import Path

from billing.sandbox.amounts import readable
from billing.sandbox.sandbox import Sandbox
from billing.sandbox.store import JsonObject, Query

SHOWN = 50
HTML = {
    "Content-Type": "text/html; charset=utf-8",
    # A form's answer may lead back to any page: browsers hold redirects to form-action too.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none';"
    " form-action 'self' http: https:",
}
STATIC = Path(__file__).with_name("static")
SCRIPTS = ("card_entry.js", "card_form.js", "stripe.js")

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{
  --ground: #fff; --ink: #1d1d1f; --soft: #5a5a62; --line: #85858f; --accent: #3451c7; --on-accent: #fff;
  --note: #7a3e00; --on-note: #fff;
}}
@media (prefers-color-scheme: dark) {{
  :root {{
    --ground: #161618; --ink: #f2f2f4; --soft: #b0b0b8; --line: #7c7c86; --accent: #9db2ff; --on-accent: #10131f;
    --note: #ffc98a; --on-note: #2b1600;
  }}
}}
* {{ box-sizing: border-box; }}
body {{
  background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; margin: 0 auto;
  max-width: 76rem; padding: 16px;
}}
body.narrow {{ max-width: 32rem; }}
h1 {{ font-size: 24px; line-height: 1.25; margin: 32px 0 8px; overflow-wrap: anywhere; }}
h2 {{ font-size: 16px; margin: 32px 0 8px; }}
p {{ margin: 8px 0; }}
.soft {{ color: var(--soft); }}
.banner {{ background: var(--note); border-radius: 8px; color: var(--on-note); margin: 0; padding: 12px 16px; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 14px; width: 100%; }}
th, td {{ border-bottom: 1px solid var(--line); padding: 8px 16px 8px 0; text-align: left; white-space: nowrap; }}
td.number {{ font-variant-numeric: tabular-nums; text-align: right; }}
form {{ display: flex; flex-wrap: wrap; gap: 12px; margin: 24px 0; }}
button {{
  background: var(--ground); border: 1px solid var(--line); border-radius: 8px; color: var(--ink); cursor: pointer;
  flex: 1 1 10rem; font: inherit; font-weight: 600; min-height: 44px; padding: 8px 16px;
}}
button.first {{ background: var(--accent); border-color: var(--accent); color: var(--on-accent); }}
:focus-visible {{ outline: 3px solid var(--accent); outline-offset: 2px; }}
</style>
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


class Figure(str):
    """A number with its unit, set among numbers."""


Cell = str | int
"""What a table shows: text, or a number (an int or a Figure), which stands at the right."""


def overview(sandbox: Sandbox) -> str:
    """Return the page that lists the latest customers, invoices and events."""
    store = sandbox.store
    customers = [_customer_row(row) for row in store.select(Query("customer"), limit=SHOWN)]
    invoices = [_invoice_row(row) for row in store.select(Query("invoice"), limit=SHOWN)]
    events = [_event_row(row) for row in store.select(Query("event"), limit=SHOWN)]
    content = "\n".join(
        [
            "<h1>Sandbox</h1>",
            f"<p>The clock shows {_moment(sandbox.clock.now())}.</p>",
            _table("Customers", ("Id", "Name", "E-mail", "Created"), customers),
            _table("Invoices", ("Id", "Number", "Customer", "Status", "Total", "Created"), invoices),
            _table("Recent events", ("Id", "Type", "Object", "Webhooks pending", "Created"), events),
        ]
    )
    return PAGE.format(title="Candela sandbox (not Stripe)", body="", content=content)


def authentication_page(intent: JsonObject) -> str:
    """Return the page on which a cardholder approves or refuses a payment or a saved card."""
    secret = escape(intent["client_secret"], quote=True)
    content = (
        f"<h1>{escape(_question(intent))}</h1>"
        '<p class="soft">This page stands in for the page of the cardholder\'s bank (3-D Secure). Approve to go on as'
        " the cardholder would, or refuse to see what happens then.</p>"
        f'<form method="post"><input type="hidden" name="client_secret" value="{secret}">'
        '<button class="first" name="answer" value="approve">Approve</button>'
        '<button name="answer" value="refuse">Refuse</button></form>'
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


def card_form_script() -> str:
    """Return the stand-in for Stripe.js, which draws the card form in a page of Candela's: its parts as one script."""
    parts = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n\n{parts}}})();\n'


def _customer_row(customer: JsonObject) -> list[Cell]:
    return [customer["id"], customer["name"] or "", customer["email"] or "", _moment(customer["created"])]


def _invoice_row(invoice: JsonObject) -> list[Cell]:
    total = Figure(readable(invoice["total"], invoice["currency"]))
    number = invoice["number"] or ""
    return [invoice["id"], number, invoice["customer"], invoice["status"], total, _moment(invoice["created"])]


def _event_row(event: JsonObject) -> list[Cell]:
    subject = event["data"]["object"].get("id", "")
    return [event["id"], event["type"], subject, event["pending_webhooks"], _moment(event["created"])]


def _moment(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _table(title: str, heads: tuple[str, ...], rows: list[list[Cell]]) -> str:
    if not rows:
        return f"<h2>{escape(title)}</h2><p>None yet.</p>"
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    region = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}">{table}</div>'
    return f"<h2>{escape(title)}</h2>{region}"


def _cell(value: Cell) -> str:
    if isinstance(value, int | Figure):
        return f'<td class="number">{escape(str(value))}</td>'
    return f"<td>{escape(value)}</td>"
