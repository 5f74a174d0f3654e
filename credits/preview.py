"""What quantities would cost at a price, by the arithmetic of invoices. No clock, no database."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from credits.burn import ZERO
from credits.rating import rate
from plans.money import exactly
from plans.pricing import OF_AMOUNTS, Charge, net_of
from plans.refusals import InvalidInput

FIXED, PER_UNIT, USAGE, CREDIT = "fixed", "per_unit", "usage", "credit"
_ONE_CREDIT = 0


@dataclass(frozen=True, slots=True)
class PreviewedComponent:
    """A component of a price. `minimum_quantity` is billed in any case, where units are billed in advance."""

    component_id: str
    kind: str
    title: str
    charge: Charge
    minimum_quantity: int = 0


@dataclass(frozen=True, slots=True)
class Quantity:
    """How much of a component: metered units, or for percentages an amount in major units and the `events` that made
    it up (None: not said)."""

    units: Decimal
    events: int | None = None


@dataclass(frozen=True, slots=True)
class PreviewLine:
    """A line of the preview; `unrounded` and `amount_cents` are minor units, for a credit 0 or negative."""

    component_id: str
    type: str
    description: str
    quantity: Decimal
    unrounded: Fraction
    amount_cents: int


def preview(
    components: Iterable[PreviewedComponent],
    *,
    quantities: Mapping[str, Quantity],
    credits: Mapping[str, Decimal],
) -> list[PreviewLine]:
    """Make the lines of a period with these `quantities` and `credits`, both by component id; what is not named is 0,
    and 1 of a fixed fee.

    A component has one line, minimum and maximum folded into it, and another one for its credit; together they come to
    what an invoice would charge. Raises InvalidInput at `quantities.X` and `credits.X` for components that the price
    does not have or that cannot take what is said of them.
    """
    by_id = {component.component_id: component for component in components}
    for path, named in (("quantities", quantities), ("credits", credits)):
        for component_id in named:
            if component_id not in by_id:
                raise InvalidInput.at(f"{path}.{component_id}", "is not a component of this price.")
    lines = []
    for component_id, component in by_id.items():
        quantity = _quantity(component, quantities.get(component_id))
        lines += _lines(component, quantity, _credit(component, credits.get(component_id)))
    return lines


def _quantity(component: PreviewedComponent, said: Quantity | None) -> Quantity:
    if said is not None and said.events is not None and component.charge.model not in OF_AMOUNTS:
        raise InvalidInput.at(
            f"quantities.{component.component_id}", "must be a number; an amount and events are for percentages."
        )
    if said is None:
        said = Quantity(Decimal(1) if component.kind == FIXED else ZERO)
    return Quantity(max(said.units, Decimal(component.minimum_quantity)), said.events)


def _credit(component: PreviewedComponent, units: Decimal | None) -> Decimal | None:
    path = f"credits.{component.component_id}"
    if units is not None and component.kind != USAGE:
        raise InvalidInput.at(path, "is not a usage component; usage credits pay for metered units.")
    if units is not None and component.charge.counts_events:
        raise InvalidInput.at(path, "charges a fee per event, which units cannot pay for.")
    return units


@exactly
def _lines(component: PreviewedComponent, quantity: Quantity, credit: Decimal | None) -> list[PreviewLine]:
    charge, used, events = component.charge, quantity.units, quantity.events or 0
    included = min(used, charge.included_metered_units)
    credited = ZERO if credit is None else min(credit, used - included)
    rated = rate(
        charge, used=used, by_grant={_ONE_CREDIT: credited}, hidden=frozenset(), included=included, events=events
    )
    gross, net = (
        net_of(charge, used=used, credited=units, included=included, events=events) for units in (ZERO, credited)
    )
    (saved,) = rated.credits
    lines = [
        PreviewLine(
            component_id=component.component_id,
            type=component.kind,
            description=component.title,
            quantity=used,
            unrounded=rated.unrounded_net + gross - net,
            amount_cents=rated.net_cents - saved.amount_cents,
        )
    ]
    if credit is not None:
        lines.append(
            PreviewLine(
                component_id=component.component_id,
                type=CREDIT,
                description=f"Credits for {component.title}",
                quantity=credited,
                unrounded=net - gross,
                amount_cents=saved.amount_cents,
            )
        )
    return lines
