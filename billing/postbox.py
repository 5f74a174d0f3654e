"""The way to the mail server."""

import smtplib
from email.utils import formataddr, parseaddr
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMultiAlternatives

from billing.letters import Letter


class MailServerUnavailable(Exception):
    """The mail server cannot be reached, or takes nothing now."""


class MailRefused(Exception):
    """The mail server did not take this mail; `is_final` where it never will."""

    def __init__(self, message: str, *, is_final: bool) -> None:
        super().__init__(message)
        self.is_final = is_final


def post(letter: Letter) -> None:
    """Hand a letter to the mail server. Raises MailServerUnavailable and MailRefused."""
    try:
        _message(letter).send()
    except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError) as error:
        raise MailRefused(_reason(error), is_final=_is_final(error)) from error
    except (smtplib.SMTPException, OSError) as error:
        raise MailServerUnavailable(f"{type(error).__name__}: {error}") from error


def _message(letter: Letter) -> EmailMultiAlternatives:
    _, address = parseaddr(settings.DEFAULT_FROM_EMAIL)
    host = urlsplit(settings.PUBLIC_URL).hostname or "localhost"
    message = EmailMultiAlternatives(
        subject=letter.subject,
        body=letter.text,
        # Without a name of the business, the whole of what the operator has set.
        from_email=formataddr((letter.sender_name, address)) if letter.sender_name else settings.DEFAULT_FROM_EMAIL,
        to=[letter.address],
        reply_to=[letter.reply_to] if letter.reply_to else None,
        headers={"Message-ID": f"<{letter.message_name}@{host}>", "Auto-Submitted": "auto-generated"},
    )
    message.attach_alternative(letter.html, "text/html")
    return message


def _is_final(error: smtplib.SMTPException) -> bool:
    return all(500 <= code < 600 for code, _ in _answers(error))


def _reason(error: smtplib.SMTPException) -> str:
    return "; ".join(f"{code} {text.decode(errors='replace')}" for code, text in _answers(error))


def _answers(error: smtplib.SMTPException) -> list[tuple[int, bytes]]:
    """What the server said, with its numbers: of 500 and more it means for good."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return list(error.recipients.values())
    assert isinstance(error, smtplib.SMTPDataError)
    text = error.smtp_error
    return [(error.smtp_code, text if isinstance(text, bytes) else str(text).encode())]
