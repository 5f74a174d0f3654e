"""The stand-in for the page of a cardholder's bank: it asks, takes the answer, and leads the browser back."""

from contextlib import suppress
from urllib.parse import parse_qs, urlencode

from billing.sandbox import control
from billing.sandbox.errors import Refusal, missing_object
from billing.sandbox.messages import Request, Response
from billing.sandbox.pages import BANK_HTML, answered_page, authentication_page
from billing.sandbox.sandbox import Sandbox
from billing.sandbox.store import JsonObject

PREFIX = f"{control.PREFIX}authenticate/"
APPROVED = ("succeeded", "requires_capture")


def answer(sandbox: Sandbox, request: Request) -> Response:
    """Show the page, or take the cardholder's answer. Raises Refusal (404) without the intent's secret.

    Whoever comes again, as with a double click or the browser's way back, changes nothing and is led back too.
    """
    form = parse_qs(request.body if request.method == "POST" else request.query)
    intent_id = request.path.removeprefix(PREFIX)
    intent = _intent_with_secret(sandbox, intent_id, form.get("client_secret", [""])[0])
    if intent["status"] != "requires_action":
        return _lead_back(sandbox, intent)
    if request.method != "POST":
        return Response(200, authentication_page(intent), BANK_HTML)
    with suppress(Refusal):  # the other half of a double click was faster
        sandbox.authenticate(intent_id, approve=form.get("answer") == ["approve"])
    return _lead_back(sandbox, sandbox.store.find(intent_id) or intent)


def _lead_back(sandbox: Sandbox, intent: JsonObject) -> Response:
    way_back = sandbox.store.hidden(intent["id"]).get("return_url")
    if not way_back:
        return Response(200, answered_page(intent["status"]), BANK_HTML)
    kind, outcome = intent["object"], "succeeded" if intent["status"] in APPROVED else "failed"
    query = urlencode(
        {kind: intent["id"], f"{kind}_client_secret": intent["client_secret"], "redirect_status": outcome}
    )
    address, mark, fragment = way_back.partition("#")
    return Response(303, "", {"Location": f"{address}{'&' if '?' in address else '?'}{query}{mark}{fragment}"})


def _intent_with_secret(sandbox: Sandbox, intent_id: str, secret: str) -> JsonObject:
    intent = sandbox.store.find(intent_id)
    if intent is None or not secret or intent.get("client_secret") != secret:
        raise missing_object("intent", intent_id, param="intent", in_path=True)
    return intent
