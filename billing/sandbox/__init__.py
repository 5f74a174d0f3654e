"""Candela's own stateful stand-in for the part of Stripe that Candela uses. It is not Stripe and moves no money.

`Sandbox` is the whole of it. `http_client.SandboxClient` puts it behind the stripe library without a socket,
`server.serve` behind HTTP on this machine. It knows no Django and needs no database but its own file.

Where it differs from Stripe on purpose: one account, one API version, cards only; nothing happens by itself (no
`auto_advance`, no retries of failed payments); no fees, taxes, discounts, refunds or credit notes; events are kept for
good; a parameter that is valid at Stripe but not imitated is refused by name. What it decides where Stripe's
documentation leaves a choice: an invoice whose total is negative or below the minimum charge is paid at finalize and
the amount moves to the customer's balance; a draft must be finalized before it is paid; an invoice without lines
cannot be finalized; a card that needs authentication leaves an invoice's payment intent waiting for its holder.
"""

from billing.sandbox.clock import Clock
from billing.sandbox.faults import FaultKind
from billing.sandbox.sandbox import Sandbox

__all__ = ["Clock", "FaultKind", "Sandbox"]
