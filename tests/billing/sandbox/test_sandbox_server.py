"""The sandbox over a real socket."""

import json
import queue
import signal
import subprocess
import sys
import threading
from http.client import RemoteDisconnected
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlencode, urlsplit

import pytest
import stripe

from billing.sandbox import Sandbox
from billing.sandbox.server import SandboxServer

from .conftest import SECRET_KEY, call

JSON = {"Content-Type": "application/json"}


def test_answers_the_library_at_its_api_base(server, monkeypatch):
    monkeypatch.setattr(stripe, "api_base", server.url)
    monkeypatch.setattr(stripe, "api_key", SECRET_KEY)
    monkeypatch.setattr(stripe, "default_http_client", None)

    customer = stripe.Customer.create(name="Zoë")

    assert stripe.Customer.retrieve(customer.id).name == "Zoë"
    with pytest.raises(stripe.InvalidRequestError):
        stripe.Customer.retrieve("cus_nobody")


def test_a_payment_over_the_socket(remote):
    customer = remote.v1.customers.create({})
    card = remote.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    draft = remote.v1.invoices.create({"customer": customer.id})
    remote.v1.invoice_items.create({"customer": customer.id, "invoice": draft.id, "amount": 500})
    remote.v1.invoices.finalize_invoice(draft.id)

    assert remote.v1.invoices.pay(draft.id, {"payment_method": card.id}).status == "paid"


def test_closes_the_socket_without_an_answer_on_a_time_out(server, remote):
    call(server, "POST", "/_sandbox/faults", json.dumps({"fault": "timeout_after_commit"}), JSON)

    with pytest.raises(stripe.APIConnectionError):
        remote.v1.customers.create({"name": "Ada"})

    assert [one.name for one in remote.v1.customers.list()] == ["Ada"]


def test_delivers_webhooks_from_a_thread_of_its_own(remote):
    arrived = queue.Queue()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            arrived.put((self.rfile.read(int(self.headers["Content-Length"])), self.headers["Stripe-Signature"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    receiver = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{receiver.server_port}/"
    endpoint = remote.v1.webhook_endpoints.create({"url": url, "enabled_events": ["customer.created"]})
    customer = remote.v1.customers.create({})

    body, signature = arrived.get(timeout=10)
    receiver.shutdown()
    receiver.server_close()

    event = stripe.Webhook.construct_event(body, signature, endpoint.secret)
    assert event.data.object["id"] == customer.id


def test_its_page_says_that_it_is_not_stripe_and_lists_what_is_there(server, remote):
    remote.v1.customers.create({"name": "<b>Ada</b>"})

    status, headers, text = call(server, "GET", "/")

    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "It is not Stripe" in text
    assert "&lt;b&gt;Ada&lt;/b&gt;" in text
    assert "customer.created" in text


def test_is_healthy_and_counts_its_state(server, remote):
    remote.v1.customers.create({})

    assert call(server, "GET", "/_sandbox/health")[0] == 200
    assert json.loads(call(server, "GET", "/_sandbox/state")[2])["objects"]["customer"] == 1


def test_sets_the_clock_and_lets_it_run_again(server, remote):
    order = json.dumps({"now": "2030-01-31T12:00:00+00:00"})

    status, _, text = call(server, "POST", "/_sandbox/clock", order, JSON)
    assert (status, json.loads(text)) == (200, {"now": "2030-01-31T12:00:00+00:00", "frozen": True})
    assert remote.v1.customers.create({}).created == 1_896_091_200

    assert json.loads(call(server, "POST", "/_sandbox/clock", '{"now": null}', JSON)[2])["frozen"] is False
    assert call(server, "POST", "/_sandbox/clock", '{"now": "noon"}', JSON)[0] == 400


@pytest.mark.parametrize("order", ["[]", "{", "{}", '{"fault": "teapot"}', '{"fault": "500", "colour": "red"}'])
def test_refuses_control_requests_that_make_no_sense(server, order):
    assert call(server, "POST", "/_sandbox/faults", order, JSON)[0] == 400


def test_takes_control_requests_as_json_only(server):
    assert call(server, "POST", "/_sandbox/clock", '{"now": null}', {"Content-Type": "text/plain"})[0] == 415


def test_answers_to_this_machines_names_only(server):
    assert call(server, "GET", "/", headers={"Host": "evil.example"})[0] == 403


def test_serves_this_machine_only():
    with pytest.raises(ValueError, match=r"127\.0\.0\.1 only"):
        SandboxServer(Sandbox(), host="0.0.0.0")


def test_lets_a_local_page_make_browser_calls_with_a_publishable_key(server):
    card = {"type": "card", "card[number]": "4242424242424242", "card[exp_month]": "1", "card[exp_year]": "2040"}
    headers = {"Origin": "http://127.0.0.1:8000", "Content-Type": "application/x-www-form-urlencoded"}
    body = urlencode(card)

    asked = call(server, "OPTIONS", "/v1/payment_methods", headers={**headers, "Access-Control-Request-Method": "POST"})
    made = call(server, "POST", "/v1/payment_methods", body, {**headers, "Authorization": "Bearer pk_test_x"})

    assert (asked[0], made[0]) == (204, 200)
    assert asked[1]["Access-Control-Allow-Origin"] == made[1]["Access-Control-Allow-Origin"] == headers["Origin"]


@pytest.mark.parametrize(
    ("origin", "key", "path"),
    [
        ("http://127.0.0.1:8000", SECRET_KEY, "/v1/customers"),
        ("https://evil.example", "pk_test_x", "/v1/payment_methods"),
    ],
)
def test_lets_no_page_use_a_secret_key_and_no_foreign_page_call_at_all(server, origin, key, path):
    answered = call(server, "GET", path, headers={"Origin": origin, "Authorization": f"Bearer {key}"})

    assert "Access-Control-Allow-Origin" not in answered[1]


@pytest.mark.parametrize(("answer", "status"), [("approve", "succeeded"), ("refuse", "requires_payment_method")])
def test_the_cardholder_answers_on_a_page_and_is_led_back(server, remote, answer, status):
    intent = remote.v1.payment_intents.create(
        {
            "amount": 900,
            "currency": "usd",
            "confirm": True,
            "payment_method": "pm_card_authenticationRequired",
            "return_url": "http://127.0.0.1/done?order=1",
        }
    )
    page = urlsplit(intent.next_action.redirect_to_url.url)
    assert "Approve" in call(server, "GET", f"{page.path}?{page.query}")[2]

    form = urlencode({"client_secret": intent.client_secret, "answer": answer})
    code, headers, _ = call(server, "POST", page.path, form, {"Content-Type": "application/x-www-form-urlencoded"})

    assert code == 303
    assert headers["Location"].startswith(f"http://127.0.0.1/done?order=1&payment_intent={intent.id}&")
    assert remote.v1.payment_intents.retrieve(intent.id).status == status


def test_shows_the_cardholders_page_to_nobody_without_the_secret(server, remote):
    intent = remote.v1.payment_intents.create({"amount": 900, "currency": "usd"})

    assert call(server, "GET", f"/_sandbox/authenticate/{intent.id}")[0] == 404


def test_stops_cleanly_on_sigterm_and_keeps_its_state(tmp_path):
    command = [sys.executable, "-m", "billing.sandbox", "--port", "0", "--state", str(tmp_path / "state.sqlite3")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    announced = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, _ = process.communicate(timeout=15)

    assert "not Stripe" in announced
    assert process.returncode == 0
    assert (tmp_path / "state.sqlite3").exists()


def test_a_dropped_connection_is_no_empty_answer(server):
    server.sandbox.faults.add("timeout")

    with pytest.raises(RemoteDisconnected):
        call(server, "GET", "/v1/customers", headers={"Authorization": f"Bearer {SECRET_KEY}"})


def test_refuses_a_body_that_is_too_large(server):
    headers = {"Content-Length": "9999999", "Authorization": f"Bearer {SECRET_KEY}"}

    assert call(server, "POST", "/v1/customers", headers=headers)[0] == 413
