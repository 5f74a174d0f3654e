"""What monetary credits pay of a bill. No clock, no database.

Ruling: a grant applies if it is active on any day of the bill's arrears period or at its closing instant. The burn
order is that of usage credits. A grant pays for the positive lines of its scope, after usage credits, minimum and
maximum; what it pays is spread over them in proportion to what is still open, by largest remainder.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from credits.burn import BurnableGrant


@dataclass(frozen=True, slots=True)
class Coverage:
    """What lines a grant pays for: those that agree in all that it names. None names nothing."""

    subscription: int | None = None
    plan: int | None = None
    price: int | None = None
    component_id: str | None = None

    def includes(self, other: "Coverage") -> bool:
        """Tell whether a line described by `other` is among them."""
        return all(
            mine is None or mine == theirs
            for mine, theirs in (
                (self.subscription, other.subscription),
                (self.plan, other.plan),
                (self.price, other.price),
                (self.component_id, other.component_id),
            )
        )


@dataclass(frozen=True, slots=True)
class MoneyGrant:
    """A monetary grant, its units minor units, and what lines it pays for."""

    burnable: BurnableGrant
    coverage: Coverage = Coverage()


@dataclass(frozen=True, slots=True)
class OpenLine:
    """A positive line with what of it is to be paid, in minor units, and where it comes from."""

    key: int
    open_cents: int
    origin: Coverage = Coverage()


@dataclass(frozen=True, slots=True)
class Bill:
    """What an invoice asks for before monetary credits. `due_cents` is the sum of all its lines, negative ones too:
    no more than that is taken. `arrears_from` is when the period that it bills in arrears began, None without one."""

    closes_at: datetime
    arrears_from: datetime | None
    due_cents: int
    lines: Sequence[OpenLine]


@dataclass(frozen=True, slots=True)
class MoneyBurn:
    """The outcome, in minor units: what each grant pays, in burn order, and how much of each line is paid."""

    by_grant: Mapping[int, int]
    by_line: Mapping[int, int]


def burn_money(bill: Bill, grants: Iterable[MoneyGrant]) -> MoneyBurn:
    """Let grants pay what a bill asks for, as far as they reach."""
    open_cents = {line.key: line.open_cents for line in bill.lines}
    due_cents = bill.due_cents
    by_grant: dict[int, int] = {}
    for grant in sorted(grants, key=lambda grant: grant.burnable.order):
        if not applies(grant.burnable, bill):
            continue
        covered = {line.key: open_cents[line.key] for line in bill.lines if grant.coverage.includes(line.origin)}
        cents = min(int(grant.burnable.remaining), sum(covered.values()), due_cents)
        if cents <= 0:
            continue
        for key, share in spread(cents, covered).items():
            open_cents[key] -= share
        by_grant[grant.burnable.key] = cents
        due_cents -= cents
    paid = {line.key: line.open_cents - open_cents[line.key] for line in bill.lines}
    return MoneyBurn(by_grant=by_grant, by_line={key: cents for key, cents in paid.items() if cents})


def applies(grant: BurnableGrant, bill: Bill) -> bool:
    """Tell whether a grant may pay for a bill: it is active in the arrears period or at the closing instant."""
    ends_after = bill.closes_at if bill.arrears_from is None else bill.arrears_from
    return grant.starts_at <= bill.closes_at and (grant.ends_at is None or grant.ends_at > ends_after)


def spread(cents: int, over: Mapping[int, int]) -> dict[int, int]:
    """Divide `cents` in proportion to the amounts `over` which it goes, none of them exceeded.

    Each part is rounded down; the cents that are left go to the largest remainders, the first line at equal ones.
    `cents` is at most the sum of the amounts.
    """
    total = sum(over.values())
    if not total:
        return {}
    parts = {key: divmod(cents * amount, total) for key, amount in over.items()}
    shares = {key: whole for key, (whole, _) in parts.items()}
    by_remainder = sorted(parts, key=lambda key: -parts[key][1])
    for key in by_remainder[: cents - sum(shares.values())]:
        shares[key] += 1
    return shares
