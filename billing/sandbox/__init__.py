"""Candela's own stateful stand-in for the part of Stripe that Candela uses. It is not Stripe and moves no money.

`Sandbox` is the whole of it. `http_client.SandboxClient` puts it behind the stripe library without a socket,
`server.serve` behind HTTP on this machine. It knows no Django and needs no database but its own file. Its server also
has `/stripe.js`, a stand-in for the browser's half of Stripe.

Where it differs from Stripe on purpose: one account, one API version, cards only; nothing happens by itself (no
`auto_advance`, no retries of failed payments, no end of a hold; banks finish refunds and decide disputes when they are
told to); no fees, taxes, discounts, PDF files, products, prices, subscriptions or checkout sessions; events are kept
for good; a parameter that is valid at Stripe but not imitated is refused by name.

What it decides where Stripe's documentation leaves a choice: an invoice whose total is negative or below the minimum
charge is paid at finalize and the amount moves to the customer's balance; a draft must be finalized before it is paid;
an invoice without lines cannot be finalized; a card that needs authentication leaves an invoice's payment intent
waiting for its holder; a payment intent is attached to one invoice and once, and what it brings beyond the amount
remaining moves to the customer's balance; the part of a hold that is not captured counts as refunded on its charge; a
disputed charge cannot be refunded; a refund that fails counts as not refunded on its charge, and its credit note
stays; a credit note says either an amount, which is one line, or its lines; `refund_amount` goes back by one charge
that has so much left; a credit note is voided only while its invoice is open and only when it took off what was not
paid yet; a deleted customer takes its drafts, waiting items and cards along and leaves its invoices.
"""

from billing.sandbox.clock import Clock
from billing.sandbox.faults import FaultKind
from billing.sandbox.sandbox import Sandbox

__all__ = ["Clock", "FaultKind", "Sandbox"]
