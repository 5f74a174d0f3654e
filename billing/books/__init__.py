"""The books: each invariant as one statement that returns the rows which break it, with a readable sentence.

`check_books` runs them all. They are set-based, read only, and one statement each, so a writer that commits meanwhile
cannot make a row look broken that is not. Each stands with its subject, and is entered in INVARIANTS.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from billing.books.credit_notes import (
    credit_note_numbers_have_no_gaps,
    credit_notes_equal_their_lines,
    credit_notes_fit_their_invoices,
    credited_money_went_back,
    refunds_fit_their_payments,
)
from billing.books.credits import grants_equal_their_transactions, transactions_belong_to_their_grants_customer
from billing.books.dunning import (
    dunned_customers_are_told,
    dunned_invoices_are_owed,
    dunning_counts_declined_charges,
    past_due_subscriptions_are_dunned,
)
from billing.books.invoices import (
    invoice_numbers_have_no_gaps,
    invoices_equal_their_lines,
    one_invoice_per_close,
    only_issued_invoices_have_lines,
)
from billing.books.late_usage import found_units_cost_their_price, found_usage_is_billed_once
from billing.books.money import burned_money_is_on_an_invoice, kept_money_is_granted, money_is_spread_over_lines
from billing.books.months import months_are_settled_in_order, settled_months_burned_what_they_credited
from billing.books.payments import (
    automatic_purchases_follow_their_rule,
    bought_packs_are_granted_when_paid,
    charged_back_payments_go_back_once,
    checkouts_come_to_their_end,
    paid_invoices_have_their_payment,
)
from billing.books.periods import (
    closed_periods_are_settled,
    live_items_have_a_period_ahead,
    periods_are_settled_in_order,
    periods_follow_each_other,
)
from billing.books.settled import (
    charged_units_cost_their_price,
    settled_nets_equal_their_lines,
    settled_periods_burned_what_they_credited,
    settled_usage_is_included_credited_or_charged,
)
from billing.books.statements import Outcome
from billing.books.tax import tax_is_that_of_its_lines
from billing.books.units import added_units_are_billed_once, added_units_follow_each_other
from billing.books.usage import usage_days_equal_their_events
from billing.books.voids import (
    carried_balances_are_taken_along_once,
    replacements_repeat_what_is_void,
    voided_money_went_back,
)

Invariant = Callable[[datetime], Outcome]


@dataclass(frozen=True, slots=True)
class Finding:
    """What the check of one invariant gave: how many rows were looked at, and a sentence per row that breaks it."""

    invariant: str
    rows_checked: int
    offenders: list[str]


INVARIANTS: Mapping[str, Invariant] = {
    "a day of usage is the sum of its events": usage_days_equal_their_events,
    "a grant is the sum of its transactions": grants_equal_their_transactions,
    "a transaction moves a grant of its own customer": transactions_belong_to_their_grants_customer,
    "a settled period burned what it credited": settled_periods_burned_what_they_credited,
    "settled usage is included, credited or charged": settled_usage_is_included_credited_or_charged,
    "charged units cost their price": charged_units_cost_their_price,
    "a settled period came to the sum of its lines": settled_nets_equal_their_lines,
    "units found later cost their price": found_units_cost_their_price,
    "usage found later is billed once": found_usage_is_billed_once,
    "a closed period is settled with its invoice": closed_periods_are_settled,
    "periods are settled in order": periods_are_settled_in_order,
    "a settled month burned what it credited": settled_months_burned_what_they_credited,
    "months are settled in order": months_are_settled_in_order,
    "units that were added are billed once": added_units_are_billed_once,
    "units that were added follow each other": added_units_follow_each_other,
    "an invoice is the sum of its lines": invoices_equal_their_lines,
    "tax is that of its lines": tax_is_that_of_its_lines,
    "only issued invoices have lines": only_issued_invoices_have_lines,
    "a close has one invoice": one_invoice_per_close,
    "periods of an item follow each other": periods_follow_each_other,
    "a live item has a period ahead": live_items_have_a_period_ahead,
    "invoice numbers have no gaps": invoice_numbers_have_no_gaps,
    "a paid invoice has its payment": paid_invoices_have_their_payment,
    "burned money is on an invoice": burned_money_is_on_an_invoice,
    "what credits of money pay is spread over lines": money_is_spread_over_lines,
    "what an invoice keeps is granted": kept_money_is_granted,
    "a bought pack is granted when it is paid": bought_packs_are_granted_when_paid,
    "an automatic purchase follows its top-up": automatic_purchases_follow_their_rule,
    "a checkout comes to its end": checkouts_come_to_their_end,
    "a credit note is the sum of its lines": credit_notes_equal_their_lines,
    "credit notes do not exceed their invoice": credit_notes_fit_their_invoices,
    "credit note numbers have no gaps": credit_note_numbers_have_no_gaps,
    "what a credit note takes back went somewhere": credited_money_went_back,
    "no payment is given back more than once": refunds_fit_their_payments,
    "what was charged back is not refunded too": charged_back_payments_go_back_once,
    "what a void invoice took is returned": voided_money_went_back,
    "a replacement repeats what is void": replacements_repeat_what_is_void,
    "a carried balance is on one later invoice": carried_balances_are_taken_along_once,
    "a subscription is past due while it is dunned": past_due_subscriptions_are_dunned,
    "dunning ends with its invoice": dunned_invoices_are_owed,
    "dunning counts declined charges": dunning_counts_declined_charges,
    "who is dunned was told": dunned_customers_are_told,
}


def check_books(*, at: datetime) -> list[Finding]:
    """Check every invariant as of `at` and return what each check gave, in the order of the registry."""
    findings = []
    for name, invariant in INVARIANTS.items():
        outcome = invariant(at)
        findings.append(Finding(name, outcome.rows_checked, outcome.offenders))
    return findings
