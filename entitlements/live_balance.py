"""A balance while units are given out of it one call after the other. No clock, no database."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from credits.burn import ZERO
from credits.positions import Position
from entitlements.decisions import Decision, SoldFeature, decide
from plans.money import exactly


@dataclass
class LiveBalance:
    """What a customer has of a feature with one metric at an instant.

    `decision` is the check's answer after all that was taken so far, exactly as if each taking had been recorded and
    the position read again.
    """

    feature: SoldFeature
    position: Position
    at: datetime
    decision: Decision = field(init=False)
    _taken: Decimal = field(init=False, default=ZERO)

    def __post_init__(self) -> None:
        self.decision = decide(self.feature, [self.position], self.at)

    @exactly
    def take(self, units: Decimal, *, past_limit: bool = True) -> bool:
        """Take units if as many remain, or if the feature may be used past its limit; tell whether they were taken.

        `past_limit=False` asks to stay within the limit even where more was sold; where less was sold, asking for more
        gives nothing.
        """
        if not (self._has(units) or self._is_unlimited or (past_limit and self.decision.overage_allowed)):
            return False
        self._taken += units
        self.decision = self._decision_after(units)
        return True

    def _has(self, units: Decimal) -> bool:
        return self.decision.remaining is not None and units <= self.decision.remaining

    @property
    def _is_unlimited(self) -> bool:
        """Pay as you go, or a switch that is on."""
        return self.feature.source is not None and not self.feature.is_capped and bool(self.feature.value)

    def _decision_after(self, units: Decimal) -> Decision:
        """The decision after the last taking: by plain arithmetic, a fraction of the cost of a burn, where that gives
        the same."""
        before = self.decision
        left = before.remaining and max(before.remaining - units, ZERO)
        if not self._is_plain or bool(left) != bool(before.remaining):
            return self._decide_again()
        credit = before.credit_info
        return replace(
            before,
            usages=tuple((metric, usage + units) for metric, usage in before.usages),
            usage=None if before.usage is None else before.usage + units,
            remaining=left,
            credit_info=credit and replace(credit, remaining=max(credit.remaining - units, ZERO)),
        )

    @property
    def _is_plain(self) -> bool:
        """Tell whether a unit more of usage is a unit less of the rest, and the limit stays. A correction below zero
        takes up the first, and outside of the allowance window nothing is shown of what was used and covered."""
        window, period = self.position.window_start(self.at), self.position.period_at(self.at)
        if window is None or (period is not None and period.start_at < window):
            return False
        return all(units >= 0 for _, units in self.position.usage)

    def _decide_again(self) -> Decision:
        taken = replace(self.position, usage=tuple(sorted([*self.position.usage, (self.at, self._taken)])))
        return decide(self.feature, [taken], self.at)
