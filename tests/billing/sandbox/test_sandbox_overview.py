"""The sandbox's first page: what it shows, and what its buttons do."""

import json
from urllib.parse import urlencode

import pytest
import stripe

from billing.sandbox import FaultKind

from .conftest import call, draft_of

JANUARY = 1_896_091_200  # 2030-01-31T12:00:00Z


@pytest.fixture
def press(server):
    """Return a function that presses a button of the page as a browser does, and returns status and text."""

    def send(button, *, headers=None, **fields):
        form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": server.url, **(headers or {})}
        status, answered, text = call(server, "POST", f"/_sandbox/page/{button}", urlencode(fields), form)
        assert status != 303 or answered["Location"] == "/"
        return status, text

    return send


def page(server):
    return call(server, "GET", "/")[2]


def pay_with(remote, token, amount=15_400):
    customer = remote.v1.customers.create({"name": "Ada"})
    card = remote.v1.payment_methods.attach(token, {"customer": customer.id})
    draft = draft_of(remote, customer, amount)
    remote.v1.invoices.finalize_invoice(draft.id)
    return remote.v1.invoices.pay(draft.id, {"payment_method": card.id})


def test_allows_no_script_and_nothing_from_elsewhere(server):
    _, headers, text = call(server, "GET", "/")
    style = call(server, "GET", "/sandbox.css")

    assert headers["Content-Security-Policy"] == (
        "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    )
    assert "<script" not in text
    assert " style=" not in text
    assert (style[0], style[1]["Content-Type"]) == (200, "text/css; charset=utf-8")


def test_shows_what_is_there(server, remote):
    remote.v1.webhook_endpoints.create({"url": "http://127.0.0.1:9/", "enabled_events": ["customer.created"]})
    invoice = pay_with(remote, "pm_card_visa")
    note = remote.v1.credit_notes.create({"invoice": invoice.id, "amount": 400, "refund_amount": 400})

    text = page(server)

    assert "This is Candela's sandbox. It is not Stripe" in text
    for shown in (invoice.id, note.id, note.refunds[0].refund, "$154.00", "$4.00", "http://127.0.0.1:9/"):
        assert shown in text
    assert note.pdf == f"{server.url}/#{note.id}"
    assert f'id="{note.id}"' in text


def test_steps_the_clock_forward_stops_it_and_lets_it_run(server, press):
    assert press("clock", now="2030-01-31T12:00:00")[0] == 303
    assert "2030-01-31 12:00:00 UTC" in page(server)

    assert press("step", seconds="86400")[0] == 303
    assert server.sandbox.clock.now() == JANUARY + 86_400

    assert press("real-time")[0] == 303
    assert server.sandbox.clock.frozen_at is None


@pytest.mark.parametrize(
    ("button", "fields", "message"),
    [
        ("step", {"seconds": "-1"}, "only goes forward"),
        ("step", {"seconds": "9999999999999"}, "years 1970 to 9998"),
        ("step", {}, "lacks its field"),
        ("clock", {"now": "noon"}, "Invalid isoformat string"),
        ("faults", {"fault": "teapot", "times": "1"}, "teapot"),
        ("faults", {"fault": "500", "times": "0"}, "at least once"),
        ("faults", {"fault": "500", "times": "many"}, "many"),
        ("disputes", {"dispute": "du_nobody", "won": "true"}, "No such dispute"),
    ],
)
def test_says_what_was_wrong_with_a_form(server, press, button, fields, message):
    status, text = press(button, **fields)

    assert status == 400
    assert message in text
    assert server.sandbox.state()["faults"] == []
    assert server.sandbox.clock.frozen_at is None


@pytest.mark.parametrize("kind", FaultKind)
def test_has_a_button_for_every_fault(server, press, kind):
    assert f'name="fault" value="{kind.value}"' in page(server)

    assert press("faults", fault=kind.value, times="2", path="/v1/invoices", event_type="invoice.")[0] == 303

    assert server.sandbox.state()["faults"] == [{"fault": kind.value, "times": 2}]


def test_an_ordered_fault_befalls_and_can_be_cancelled(server, remote, press):
    press("faults", fault="500", times="1", path="/v1/customers")
    assert "500: Stripe fails" in page(server)
    with pytest.raises(stripe.APIError):
        remote.v1.customers.list()

    press("faults", fault="500", times="5", path="/v1/")
    press("clear")
    assert remote.v1.customers.list().data == []


def test_the_banks_finish_refunds_and_decide_disputes(server, remote, press):
    refunded, disputed = pay_with(remote, "pm_card_refundFail"), pay_with(remote, "pm_card_createDispute")
    remote.v1.credit_notes.create({"invoice": refunded.id, "amount": 400, "refund_amount": 400})
    dispute = remote.v1.disputes.list().data[0]
    assert "Let the banks finish these refunds" in page(server)
    assert f'name="dispute" value="{dispute.id}"' in page(server)

    assert press("refunds")[0] == press("disputes", dispute=dispute.id, won="true")[0] == 303

    assert remote.v1.refunds.list().data[0].status == "failed"
    assert remote.v1.disputes.retrieve(dispute.id).status == "won"
    assert "Let the banks finish" not in page(server)
    assert disputed.status == "paid"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", ""])
def test_no_other_site_can_press_a_button(server, press, origin):
    assert press("step", seconds="86400", headers={"Origin": origin})[0] == 403
    assert server.sandbox.clock.frozen_at is None


def test_an_unknown_button_is_not_found(server, press):
    assert press("explode")[0] == 404
    assert call(server, "GET", "/_sandbox/page/step", headers={"Origin": server.url})[0] == 404


def test_banks_can_be_asked_by_program_too(server, remote):
    pay_with(remote, "pm_card_createDispute")
    dispute = remote.v1.disputes.list().data[0].id
    as_json = {"Content-Type": "application/json"}

    decided = call(server, "POST", "/_sandbox/disputes", json.dumps({"dispute": dispute, "won": False}), as_json)
    settled = call(server, "POST", "/_sandbox/refunds", "{}", as_json)

    assert (decided[0], json.loads(decided[2])["status"]) == (200, "lost")
    assert (settled[0], json.loads(settled[2])) == (200, {"refunds": []})
