"""Mails in words: plain and HTML, in the customer's language where it is translated."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.template.loader import render_to_string
from django.utils import timezone, translation

from billing.exchange import MailToSend
from billing.invoice_page import card_text
from billing.models import Invoice, PaymentMethod
from billing.signed_links import absolute, invoice_page_path
from plans.models import Merchant
from plans.services.merchant import find_merchant
from plans.services.time_zone import billing_zone
from plans.words import money_text


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail as it goes out. `sender_name` stands before our own address, answers go to `reply_to`; both may be
    empty."""

    address: str
    message_name: str
    sender_name: str
    reply_to: str
    subject: str
    text: str
    html: str


def compose(mail: MailToSend) -> Letter:
    """Put a mail into words by the templates of its kind."""
    merchant, zone = find_merchant(), billing_zone()
    words = _words_of(mail, merchant, zone)
    with translation.override(_language(mail.language)), timezone.override(zone):
        return Letter(
            address=mail.address,
            message_name=mail.message_name,
            sender_name=_name_of(merchant),
            reply_to=merchant.support_email or merchant.billing_email,
            # A subject is one line, whatever a name in it holds.
            subject=" ".join(render_to_string(f"mail/{mail.kind}.subject.txt", words).split()),
            text=render_to_string(f"mail/{mail.kind}.txt", words).strip() + "\n",
            html=render_to_string(f"mail/{mail.kind}.html", words),
        )


def _words_of(mail: MailToSend, merchant: Merchant, zone: ZoneInfo) -> dict[str, Any]:
    """What templates say: the facts, with instants as such, and who writes to whom, about which invoice."""
    words = {name: _read(name, value) for name, value in mail.facts.items()}
    invoice = Invoice.objects.get(public_id=mail.invoice) if mail.invoice else None
    return words | {
        "merchant": merchant,
        "seller": _name_of(merchant),
        "customer_name": mail.customer_name,
        "zone": str(zone),
        "amount": money_text(words["amount_cents"], words["currency"]) if "amount_cents" in words else "",
        "card": _card(words),
        "invoice_address": absolute(invoice_page_path(invoice)) if invoice is not None else "",
    }


def _name_of(merchant: Merchant) -> str:
    """The name of the business on one line, as a header needs it; empty where it has none."""
    return " ".join((merchant.display_name or merchant.legal_name).split())


def _read(name: str, value: Any) -> Any:
    return datetime.fromisoformat(value) if name.endswith("_at") and value is not None else value


def _card(words: Mapping[str, Any]) -> str:
    brand, last_four = words.get("card_brand", ""), words.get("card_last_four", "")
    return card_text(PaymentMethod(card_brand=brand, card_last_four=last_four)) if brand or last_four else ""


def _language(wished: str) -> str:
    """The customer's language, if there is one of that name; else that of the installation."""
    try:
        return translation.get_supported_language_variant(wished)
    except LookupError:
        return translation.get_language() or "en"
