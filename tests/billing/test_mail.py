"""Mails: queued once, sent at least once, tried again with pauses, and given up with a reason."""

import socketserver
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command

from billing.bill import bill
from billing.jobs import send_mails
from billing.letters import compose
from billing.models import Mail
from billing.services.mail import (
    MailHasNoAddress,
    claim_mail,
    mail_to_send,
    queue_mail,
    record_mail_sent,
    send_again,
)
from plans.models import Customer, Merchant
from tests.factories import CustomerFactory

AT = datetime(2026, 5, 1, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
FACTS = {
    "number": "ADA-001", "currency": "USD", "amount_cents": 2_900, "plan": "Team", "end_action": "pause_subscription",
    "reason": "Your card was declined.", "card_brand": "visa", "card_last_four": "0341", "next_retry_at": AT + DAY,
    "end_at": AT + 7 * DAY,
}  # fmt: skip

pytestmark = pytest.mark.django_db


@pytest.fixture
def customer():
    Merchant.objects.update(display_name="Lumière & Co", support_email="help@shop.example")
    return CustomerFactory(name="Ada <Lovelace> & Sons", email="ada@customer.example")


def queue(customer, key="k", kind="charge_failed", at=AT):
    queue_mail(key=key, kind=kind, customer=customer, facts=FACTS, at=at)
    return Mail.objects.get(key=key)


def letter(mail):
    return compose(mail_to_send(mail))


class MailServer(socketserver.ThreadingTCPServer):
    """A mail server that answers to RCPT what it is told, and keeps what it was sent."""

    allow_reuse_address = True

    def __init__(self, answer: str) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.answer = answer
        self.received: list[str] = []


class Conversation(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self.say("220 ready")
        for line in iter(self.rfile.readline, b""):
            word = line[:4].upper()
            if word == b"QUIT":
                self.say("221 bye")
                return
            if word == b"RCPT":
                self.say(self.server.answer)
            elif word == b"DATA":
                self.say("354 go on")
                self.server.received.append(b"".join(iter(self.rfile.readline, b".\r\n")).decode())
                self.say("250 taken")
            else:
                self.say("250 fine")

    def say(self, words: str) -> None:
        self.wfile.write(f"{words}\r\n".encode())


@pytest.fixture
def mail_server(settings, request) -> Iterator[MailServer]:
    with MailServer(getattr(request, "param", "250 fine")) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.server_address
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def closed_port(settings):
    """Where nobody listens."""
    with MailServer("") as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.server_address


def test_a_queued_mail_is_sent_once(customer, mailoutbox):
    queue(customer)

    assert [send_mails(AT).done, send_mails(AT + DAY).done] == [1, 0]

    mail = Mail.objects.get()
    assert (mail.state, mail.sent_at, mail.send_at, mail.attempts) == ("sent", AT, None, 1)
    assert len(mailoutbox) == 1


def test_the_same_key_queues_nothing_more(customer):
    queue(customer)

    queue(customer, at=AT + DAY)

    assert Mail.objects.get().created_at == AT


def test_it_goes_out_with_both_texts_a_stable_id_and_an_address_for_answers(customer, mailoutbox, settings):
    settings.PUBLIC_URL = "https://billing.shop.example"
    mail = queue(customer)

    send_mails(AT)

    (sent,) = mailoutbox
    assert sent.extra_headers["Message-ID"] == f"<{mail.public_id}@billing.shop.example>"
    assert sent.extra_headers["Auto-Submitted"] == "auto-generated"
    assert (sent.to, sent.reply_to) == (["ada@customer.example"], ["help@shop.example"])
    assert sent.message()["From"] == "=?utf-8?q?Lumi=C3=A8re_=26_Co?= <billing@localhost>"
    assert [kind for _, kind in sent.alternatives] == ["text/html"]


def test_without_a_name_of_the_business_the_sender_is_as_it_was_set(customer, mailoutbox, settings):
    Merchant.objects.update(display_name="", legal_name="")
    settings.DEFAULT_FROM_EMAIL = "Shop <billing@shop.example>"
    mail = queue(customer)

    send_mails(AT)

    assert mailoutbox[0].from_email == "Shop <billing@shop.example>"
    assert "mer_" not in letter(mail).text


def test_the_plain_text_holds_names_as_they_are_and_the_html_escapes_them(customer):
    words = letter(queue(customer))

    assert words.text.startswith("Hello Ada <Lovelace> & Sons,\n\nWe could not charge Visa")
    assert "Ada &lt;Lovelace&gt; &amp; Sons" in words.html
    assert "<Lovelace>" not in words.html


def test_the_plain_text_reads_as_a_letter(customer):
    assert letter(queue(customer)).text.replace("\u00a0", " ") == (
        "Hello Ada <Lovelace> & Sons,\n\n"
        "We could not charge Visa •••• 0341 for $29.00 of invoice ADA-001. The bank said: Your card was declined.\n\n"
        "We try again on 2 May 2026. You need not do anything if the card works by then.\n\n"
        "To pay with another card, enter it where you manage your subscription, or answer this mail. It is charged at "
        "once.\n\n"
        "Your plan Team goes on until 8 May 2026. If the invoice is not paid by then, your subscription is paused "
        "until it is.\n\n"
        "Lumière & Co\nhelp@shop.example\n"
    )


def test_a_line_break_in_a_name_does_not_break_the_subject(customer, mailoutbox):
    facts = FACTS | {"number": "A\nBcc: x@y.example", "outcome": "not_paid"}
    queue_mail(key="k", kind="dunning_ended", customer=customer, facts=facts, at=AT)

    assert send_mails(AT).done == 1
    assert mailoutbox[0].subject == "Invoice A Bcc: x@y.example is not paid"


@pytest.mark.parametrize("language", ["de", "pt-BR", "zz", ""])
def test_whatever_language_a_customer_wishes_is_answered(customer, language):
    Customer.objects.update(preferred_language=language)
    customer.refresh_from_db()

    assert letter(queue(customer)).subject


def test_a_mail_server_gets_it(customer, mail_server):
    queue(customer)

    assert send_mails(AT).done == 1
    assert "Message-ID: <mail_" in mail_server.received[0]


def test_a_mail_server_that_cannot_be_reached_is_tried_again_with_growing_pauses(customer, closed_port):
    queue(customer)
    queue(customer, key="other", at=AT + MINUTE)
    at, pauses = AT + MINUTE, []

    for _ in range(10):
        # It stops at the first one.
        assert send_mails(at).failed == 1
        mail = Mail.objects.get(key="k")
        pauses.append((mail.send_at - at) / MINUTE if mail.send_at else None)
        Mail.objects.filter(key="other").update(send_at=AT + 100 * DAY)
        at = mail.send_at

    assert pauses == [1, 5, 30, 120, 720, 720, 720, 720, 720, None]
    assert (mail.state, mail.attempts) == ("failed", 10)
    assert "ConnectionRefusedError" in mail.error


@pytest.mark.parametrize(
    ("mail_server", "state", "next_at"),
    [("550 no such user", "failed", None), ("451 try later", "queued", AT + MINUTE)],
    indirect=["mail_server"],
)
def test_a_refusal_for_good_is_kept_and_another_one_tried_again(customer, mail_server, state, next_at):
    queue(customer)
    queue(customer, key="other")

    assert send_mails(AT).failed == 2

    mail = Mail.objects.get(key="k")
    assert (mail.state, mail.send_at) == (state, next_at)
    assert mail.error == mail_server.answer
    assert mail_server.received == []


def test_a_mail_that_cannot_be_written_holds_up_no_other(customer, mailoutbox):
    Mail.objects.create(key="odd", kind="nobody", customer=customer, address="a@b.example", send_at=AT, created_at=AT)
    queue(customer)

    swept = send_mails(AT)

    assert (swept.done, swept.failed, len(mailoutbox)) == (1, 1, 1)
    assert "TemplateDoesNotExist" in Mail.objects.get(key="odd").error


def test_one_that_is_being_sent_is_left_alone_until_the_lease_is_over(customer):
    queue(customer)

    assert claim_mail(at=AT, now=AT) is not None
    assert claim_mail(at=AT + 9 * MINUTE, now=AT) is None
    again = claim_mail(at=AT + 10 * MINUTE, now=AT)
    assert again is not None
    assert again.message_name == Mail.objects.get().public_id


def test_an_operator_has_it_sent_again_to_the_address_of_now(customer, mailoutbox):
    mail = queue(customer)
    send_mails(AT)
    Customer.objects.update(email="new@customer.example")

    send_again(mail=mail, at=AT + DAY)
    send_mails(AT + DAY)

    assert [sent.to for sent in mailoutbox] == [["ada@customer.example"], ["new@customer.example"]]
    assert mailoutbox[1].extra_headers["Message-ID"].startswith(f"<{mail.public_id}.1@")


def test_what_was_skipped_is_sent_once_there_is_an_address(customer, mailoutbox):
    Customer.objects.update(email="")
    customer.refresh_from_db()
    mail = queue(customer)
    assert (mail.state, send_mails(AT).done) == ("skipped", 0)

    with pytest.raises(MailHasNoAddress, match="Enter one, then send the mail again"):
        send_again(mail=mail, at=AT)
    Customer.objects.update(email="new@customer.example")
    send_again(mail=mail, at=AT)

    assert send_mails(AT).done == 1
    assert mailoutbox[0].to == ["new@customer.example"]


def test_noting_an_old_answer_changes_nothing(customer):
    mail = queue(customer)
    send_mails(AT)

    record_mail_sent(mail=mail.public_id, at=AT + DAY)

    assert Mail.objects.get().sent_at == AT


def test_without_a_mail_server_mails_are_files_of_the_data_folder(customer, settings, tmp_path):
    assert django_settings.EMAIL_FILE_PATH == django_settings.CANDELA_DATA / "mail"
    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    settings.EMAIL_FILE_PATH = tmp_path / "mail"
    queue(customer)

    send_mails(AT)

    (file,) = (tmp_path / "mail").iterdir()
    assert "Subject: Your payment of $29.00 did not go through" in file.read_text()


@pytest.mark.usefixtures("stripe_sandbox")
def test_a_run_asks_a_mail_server_that_cannot_be_reached_once(customer, closed_port):
    for key in "abc":
        queue(customer, key=key)
    queue(customer, key="later", at=AT + DAY)

    run = bill(until=AT + 2 * DAY, now=AT)

    assert "ConnectionRefusedError" in run.mail_unavailable
    assert (run.swept["mail"].failed, run.unavailable) == (1, "")
    assert sorted(Mail.objects.values_list("attempts", flat=True)) == [0, 0, 0, 1]


@pytest.mark.usefixtures("stripe_sandbox")
def test_the_command_says_that_mails_wait(customer, closed_port, capsys):
    queue(customer)

    call_command("bill", "--at", AT.isoformat())

    assert "The mail server cannot be reached, so mails wait: ConnectionRefusedError" in capsys.readouterr().out


def test_one_that_a_sender_holds_is_not_hastened(customer, mailoutbox):
    mail = queue(customer)
    claim_mail(at=AT, now=AT)

    send_again(mail=mail, at=AT + MINUTE)

    assert send_mails(AT + MINUTE).done == 0
    assert Mail.objects.get().send_at == AT + 10 * MINUTE
    # Whoever held it has died.
    send_again(mail=mail, at=AT + 10 * MINUTE)
    assert send_mails(AT + 10 * MINUTE).done == 1


def test_one_that_waits_after_a_failure_is_hastened_and_held_at_the_next_attempt(customer, closed_port):
    mail = queue(customer)
    send_mails(AT)

    assert send_again(mail=mail, at=AT).send_at == AT
    send_mails(AT)
    claim_mail(at=AT + MINUTE, now=AT + MINUTE)

    assert send_again(mail=mail, at=AT + 2 * MINUTE).send_at == AT + 11 * MINUTE
