"""The sandbox's own pages: what is in it, and the stand-in for a bank's authentication page."""

from datetime import UTC, datetime
from html import escape

from billing.sandbox.sandbox import Sandbox
from billing.sandbox.store import JsonObject, Query

SHOWN = 50

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 70rem; padding: 1rem; color: #1d1d1f; }}
.banner {{ background: #7a3e00; color: #fff; padding: .75rem 1rem; border-radius: .5rem; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid #ddd; white-space: nowrap; }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
button {{ font: inherit; padding: .5rem 1rem; margin-right: .5rem; }}
</style>
</head>
<body>
<p class="banner" role="note">This is Candela's sandbox. It is not Stripe, and no money moves here.</p>
<main>
{content}
</main>
</body>
</html>
"""


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
            _table("Invoices", ("Id", "Number", "Customer", "Status", "Total (minor units)", "Created"), invoices),
            _table("Recent events", ("Id", "Type", "Object", "Webhooks pending", "Created"), events),
        ]
    )
    return PAGE.format(title="Candela sandbox (not Stripe)", content=content)


def authentication_page(intent: JsonObject) -> str:
    """Return the page on which a cardholder approves or refuses a payment or a saved card."""
    secret = escape(intent["client_secret"], quote=True)
    what = f"a payment of {intent['amount']} {intent['currency']} (minor units)" if "amount" in intent else "your card"
    content = (
        f"<h1>Confirm {escape(what)}</h1>"
        "<p>This page stands for the page of the cardholder's bank.</p>"
        f'<form method="post"><input type="hidden" name="client_secret" value="{secret}">'
        '<button name="answer" value="approve">Approve</button>'
        '<button name="answer" value="refuse">Refuse</button></form>'
    )
    return PAGE.format(title="Confirm (Candela sandbox)", content=content)


def answered_page(status: str) -> str:
    """Return the page after the cardholder's answer, for an intent without a way back."""
    content = f"<h1>Done</h1><p>The status is now {escape(status)}. You can close this page.</p>"
    return PAGE.format(title="Done (Candela sandbox)", content=content)


def _customer_row(customer: JsonObject) -> list[str | int]:
    return [customer["id"], customer["name"] or "", customer["email"] or "", _moment(customer["created"])]


def _invoice_row(invoice: JsonObject) -> list[str | int]:
    total = invoice["total"]
    number = invoice["number"] or ""
    return [invoice["id"], number, invoice["customer"], invoice["status"], total, _moment(invoice["created"])]


def _event_row(event: JsonObject) -> list[str | int]:
    subject = event["data"]["object"].get("id", "")
    return [event["id"], event["type"], subject, event["pending_webhooks"], _moment(event["created"])]


def _moment(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _table(title: str, heads: tuple[str, ...], rows: list[list[str | int]]) -> str:
    if not rows:
        return f"<h2>{escape(title)}</h2><p>None yet.</p>"
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    region = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}">{table}</div>'
    return f"<h2>{escape(title)}</h2>{region}"


def _cell(value: str | int) -> str:
    if isinstance(value, int):
        return f'<td class="number">{value}</td>'
    return f"<td>{escape(value)}</td>"
