"""Candela's own stateful stand-in for the part of Stripe that Candela uses. It is not Stripe and moves no money.

`Sandbox` is the whole of it. `http_client.SandboxClient` puts it behind the stripe library without a socket,
`server.serve` behind HTTP on this machine. It knows no Django and needs no database but its own file. Its server also
has `/stripe.js`, a stand-in for the browser's half of Stripe.

Where it differs from Stripe on purpose: one account, one API version, cards only; nothing happens by itself (no
`auto_advance`, no retries of failed payments, no end of a hold); no fees, taxes, discounts, refunds or credit notes;
events are kept for good; a parameter that is valid at Stripe but not imitated is refused by name. What it decides
where Stripe's documentation leaves a choice: an invoice whose total is negative or below the minimum charge is paid
at finalize and the amount moves to the customer's balance; a draft must be finalized before it is paid; an invoice
without lines cannot be finalized; a card that needs authentication leaves an invoice's payment intent waiting for its
holder; a payment intent is attached to one invoice and once, and what it brings beyond the amount remaining moves to
the customer's balance; the part of a hold that is not captured counts as refunded on its charge.
"""

from billing.sandbox.clock import Clock
from billing.sandbox.faults import FaultKind
from billing.sandbox.sandbox import Sandbox

__all__ = ["Clock", "FaultKind", "Sandbox"]
