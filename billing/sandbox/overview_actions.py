"""What the buttons of the sandbox's first page do."""

from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from urllib.parse import parse_qsl

from billing.sandbox.errors import Refusal
from billing.sandbox.messages import Request, Response
from billing.sandbox.overview import ACTIONS
from billing.sandbox.pages import HTML, NARROW, PAGE
from billing.sandbox.sandbox import Sandbox

Given = dict[str, str]


def press(sandbox: Sandbox, request: Request) -> Response:
    """Do what the button asks for and lead back to the page; say what is wrong on a page of its own (400).

    Raises Refusal (403) for a form of another site, and (404) for a button that is not on the page.
    """
    # A browser names the site of the form; only a page of the sandbox's own may move its clock.
    if request.header("Origin") != f"http://{request.header('Host')}":
        raise Refusal("The sandbox's buttons work on its own page only.", status=403)
    act = BUTTONS.get(request.path.removeprefix(ACTIONS)) if request.method == "POST" else None
    if act is None:
        raise Refusal(f"There is no {request.method} {request.path} in the sandbox.", status=404)
    try:
        act(sandbox, dict(parse_qsl(request.body)))
    except KeyError as missing:
        return _mistake(f"The form lacks its field {missing}.")
    except (ValueError, OverflowError, Refusal) as mistake:
        return _mistake(str(mistake))
    return Response(303, "", {"Location": "/"})


def _mistake(text: str) -> Response:
    content = f'<h1>That did not work</h1><p>{escape(text)}</p><p><a href="/">Back to the sandbox</a></p>'
    return Response(400, PAGE.format(title="Candela sandbox (not Stripe)", body=NARROW, content=content), HTML)


def _step(sandbox: Sandbox, given: Given) -> None:
    seconds = int(given["seconds"])
    if seconds < 1:
        raise ValueError("The clock only goes forward.")
    sandbox.set_clock(sandbox.clock.now() + seconds)


def _set_clock(sandbox: Sandbox, given: Given) -> None:
    sandbox.set_clock(datetime.fromisoformat(given["now"]).replace(tzinfo=UTC))


def _real_time(sandbox: Sandbox, given: Given) -> None:
    sandbox.set_clock(None)


def _order_fault(sandbox: Sandbox, given: Given) -> None:
    where = {name: given[name] for name in ("path", "event_type") if name in given}
    sandbox.faults.add(given["fault"], times=int(given["times"]), **where)


def _clear_faults(sandbox: Sandbox, given: Given) -> None:
    sandbox.faults.clear()


def _settle_refunds(sandbox: Sandbox, given: Given) -> None:
    sandbox.settle_refunds()


def _close_dispute(sandbox: Sandbox, given: Given) -> None:
    sandbox.close_dispute(given["dispute"], won=given["won"] == "true")


BUTTONS: dict[str, Callable[[Sandbox, Given], None]] = {
    "clear": _clear_faults,
    "clock": _set_clock,
    "disputes": _close_dispute,
    "faults": _order_fault,
    "real-time": _real_time,
    "refunds": _settle_refunds,
    "step": _step,
}
