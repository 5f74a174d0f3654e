"""The sandbox's first page: the clock, the faults, what banks may decide, and what is in it."""

from html import escape

from billing.sandbox.amounts import readable
from billing.sandbox.faults import Fault, FaultKind
from billing.sandbox.objects import disputes, refunds
from billing.sandbox.pages import PAGE
from billing.sandbox.sandbox import Sandbox
from billing.sandbox.store import JsonObject, Query, Store
from billing.sandbox.tables import Cell, Figure, Markup, moment, table
from billing.sandbox.webhooks import Sending, sendings

ACTIONS = "/_sandbox/page/"
SHOWN = 25
STEPS = {"3600": "1 hour", "86400": "1 day", "604800": "1 week", "2678400": "31 days"}
LABELS = {
    FaultKind.DECLINED: "402: the card is declined",
    FaultKind.INSUFFICIENT_FUNDS: "402: insufficient funds",
    FaultKind.EXPIRED_CARD: "402: the card has expired",
    FaultKind.AUTHENTICATION_REQUIRED: "402: authentication required",
    FaultKind.CONFLICT: "409: somebody else has it",
    FaultKind.TOO_MANY_REQUESTS: "429: too many requests",
    FaultKind.SERVER_ERROR: "500: Stripe fails",
    FaultKind.SERVER_ERROR_KEPT: "500: also when asked again",
    FaultKind.SERVER_ERROR_AFTER_COMMIT: "500: but done",
    FaultKind.TIMEOUT: "No answer, nothing done",
    FaultKind.TIMEOUT_AFTER_COMMIT: "No answer, but done",
    FaultKind.WEBHOOK_DUPLICATE: "Sent twice",
    FaultKind.WEBHOOK_REORDERED: "Sent after a later one",
    FaultKind.WEBHOOK_LOST: "Never sent",
    FaultKind.WEBHOOK_LATE: "Sent two days later",
    FaultKind.WEBHOOK_STALE: "Replayed an hour later",
    FaultKind.WEBHOOK_FORGED: "Forged",
    FaultKind.WEBHOOK_UNKNOWN: "About something unknown",
}


def overview(sandbox: Sandbox) -> str:
    """Return the page."""
    parts = ["<h1>Sandbox</h1>", _clock(sandbox), _faults(sandbox), _banks(sandbox.store), *_contents(sandbox.store)]
    return PAGE.format(title="Candela sandbox (not Stripe)", body="", content="\n".join(parts))


def _form(action: str, fields: str) -> str:
    return f'<form method="post" action="{ACTIONS}{action}">{fields}</form>'


def _buttons(name: str, labels: dict[str, str]) -> str:
    made = (f'<button name="{name}" value="{escape(value)}">{escape(text)}</button>' for value, text in labels.items())
    return f'<div class="buttons">{"".join(made)}</div>'


def _field(name: str, text: str, *, kind: str = "text", value: str = "", more: str = "") -> str:
    given = f'name="{name}" type="{kind}" value="{escape(value, quote=True)}"'
    width = ' class="short"' if kind == "number" else ""
    return f"<label{width}>{escape(text)}<input {given} {more}></label>"


def _clock(sandbox: Sandbox) -> str:
    frozen = sandbox.clock.frozen_at is not None
    state = "It stands still." if frozen else "It shows real time."
    set_to = _field("now", "Stop it at (UTC)", kind="datetime-local", more='step="1" required')
    forward = _buttons("seconds", {seconds: f"+ {text}" for seconds, text in STEPS.items()})
    real = '<div class="buttons"><button>Let real time run</button></div>' if frozen else ""
    return (
        f"<h2>Clock</h2><p>The clock shows <strong>{moment(sandbox.clock.now())}</strong>. {state}"
        " A step forward stops it there. Webhooks are always sent in real time.</p>"
        + _form("step", forward)
        + _form("clock", f'<div class="fields">{set_to}<button>Stop it there</button></div>')
        + (_form("real-time", real) if real else "")
    )


def _faults(sandbox: Sandbox) -> str:
    pending = sandbox.faults.pending()
    rows: list[list[Cell]] = [[LABELS[fault.kind], _befalls(fault), fault.times] for fault in pending]
    times = _field("times", "How often", kind="number", value="1", more='min="1" max="1000" required')
    requests = _field("path", "Requests whose path begins with", value="/v1/", more="required")
    webhooks = _field("event_type", "Webhooks whose type begins with (empty: any)")
    clear = _form("clear", '<div class="buttons"><button>Cancel all faults</button></div>') if pending else ""
    return (
        "<h2>Faults</h2><p>A button lets the next requests, or webhooks, go wrong in its way.</p>"
        + _form("faults", f'<div class="fields">{requests}{times}</div>' + _fault_buttons(of_webhooks=False))
        + _form("faults", f'<div class="fields">{webhooks}{times}</div>' + _fault_buttons(of_webhooks=True))
        + table("Faults to come", ("Fault", "Befalls", "Times"), rows)
        + clear
    )


def _fault_buttons(*, of_webhooks: bool) -> str:
    return _buttons("fault", {kind.value: text for kind, text in LABELS.items() if kind.is_webhook is of_webhooks})


def _befalls(fault: Fault) -> str:
    if fault.kind.is_webhook:
        return f"webhooks {fault.event_type}…" if fault.event_type else "any webhook"
    return f"{fault.method or 'any'} {fault.path}…"


def _banks(store: Store) -> str:
    """Return what waits for a bank's decision; nothing when nothing does."""
    waiting = [row for row in store.select(Query("refund")) if refunds.waits(store, row)]
    settle = '<div class="buttons"><button>Let the banks finish these refunds</button></div>'
    shown = table("Refunds that end later", ("Id", "Charge", "Status", "Amount"), [_refund_row(row) for row in waiting])
    parts = [shown + _form("refunds", settle)] if waiting else []
    open_ones = [row for row in store.select(Query("dispute")) if row["status"] in disputes.OPEN]
    if open_ones:
        heads = ("The bank decides", "Amount", "Reason", "Status", "Id", "Charge")
        parts.append(table("Open disputes", heads, [_dispute_row(row) for row in open_ones]))
    return "".join(parts)


def _refund_row(refund: JsonObject) -> list[Cell]:
    return [refund["id"], refund["charge"], refund["status"], _amount(refund, "amount")]


def _dispute_row(dispute: JsonObject) -> list[Cell]:
    name = f'<input type="hidden" name="dispute" value="{escape(dispute["id"], quote=True)}">'
    decide = Markup(_form("disputes", name + _buttons("won", {"true": "Won", "false": "Lost"})))
    facts = [dispute[name] for name in ("reason", "status", "id", "charge")]
    return [decide, _amount(dispute, "amount"), *facts]


def _contents(store: Store) -> list[str]:
    customers = [_customer_row(row) for row in store.select(Query("customer"), limit=SHOWN)]
    invoices = [_invoice_row(row) for row in store.select(Query("invoice"), limit=SHOWN)]
    notes = [_credit_note_row(row) for row in store.select(Query("credit_note"), limit=SHOWN)]
    given_back = [_refund_row(row) for row in store.select(Query("refund"), limit=SHOWN)]
    sent = [_sending_row(row) for row in sendings(store, limit=SHOWN)]
    events = [_event_row(row) for row in store.select(Query("event"), limit=SHOWN)]
    return [
        table("Customers", ("Id", "Name", "E-mail", "Created"), customers),
        table("Invoices", ("Id", "Number", "Customer", "Status", "Total", "To pay", "Created"), invoices),
        table("Credit notes", ("Id", "Number", "Invoice", "Status", "Total", "Created"), notes),
        table("Refunds", ("Id", "Charge", "Status", "Amount"), given_back),
        table("Webhooks", ("Event", "Type", "To", "State", "Attempts", "Last answer"), sent),
        table("Events", ("Id", "Type", "Object", "Webhooks pending", "Created"), events),
    ]


def _amount(body: JsonObject, name: str) -> Figure:
    return Figure(readable(body[name], body["currency"]))


def _customer_row(customer: JsonObject) -> list[Cell]:
    return [customer["id"], customer["name"] or "", customer["email"] or "", moment(customer["created"])]


def _invoice_row(invoice: JsonObject) -> list[Cell]:
    facts = [invoice["id"], invoice["number"] or "", invoice["customer"], invoice["status"]]
    return [*facts, _amount(invoice, "total"), _amount(invoice, "amount_remaining"), moment(invoice["created"])]


def _credit_note_row(note: JsonObject) -> list[Cell]:
    name = Markup(f'<span id="{escape(note["id"], quote=True)}">{escape(note["id"])}</span>')
    facts = [note["number"], note["invoice"], note["status"]]
    return [name, *facts, _amount(note, "total"), moment(note["created"])]


def _sending_row(sending: Sending) -> list[Cell]:
    return [
        sending.event_id,
        sending.event_type,
        sending.url,
        sending.state,
        sending.attempts,
        sending.last_answer,
    ]


def _event_row(event: JsonObject) -> list[Cell]:
    subject = event["data"]["object"].get("id", "")
    return [event["id"], event["type"], subject, event["pending_webhooks"], moment(event["created"])]
