"""What somebody who is about to subscribe will pay first."""

from dataclasses import dataclass
from decimal import Decimal

from billing.services.buyers import Buyer
from billing.services.tax import AppliedTax, TaxPayer, payer_of, read_tax_terms
from billing.stripe_amounts import is_chargeable, rounding_cents
from billing.tax import Taxable, taxes_of
from plans.models import ComponentKind, Price, PriceComponent
from plans.money import round_cents
from plans.pricing import bounded, price_of


@dataclass(frozen=True, slots=True)
class FirstBill:
    """What the first invoice of a subscription comes to, in minor units: what is paid in advance once, with the fewest
    seats. `tax` says at which rate, and whether `net_cents` is less than the prices because they include it;
    `rounding_cents` bring it to a step in which its currency is charged."""

    net_cents: int
    tax_cents: int
    rounding_cents: int
    tax: AppliedTax

    @property
    def total_cents(self) -> int:
        """What it comes to with tax, rounded."""
        return self.net_cents + self.tax_cents + self.rounding_cents


def first_bill(price: Price, tax: AppliedTax) -> FirstBill:
    """Compute what the first invoice of a subscription at this price comes to for a buyer whose tax is this."""
    fees = [
        first_cents(component, price.currency)
        for component in price.components.all()
        if component.kind != ComponentKind.USAGE
    ]
    tax_cents = sum(taxes_of([Taxable(cents, tax.rate) for cents in fees], included=tax.is_included))
    net_cents = sum(fees) - (tax_cents if tax.is_included else 0)
    return FirstBill(
        net_cents=net_cents,
        tax_cents=tax_cents,
        rounding_cents=rounding_cents(net_cents + tax_cents, price.currency),
        tax=tax,
    )


def tax_of_buyer(buyer: Buyer | None) -> AppliedTax:
    """The tax of somebody who is about to subscribe: that of the customer, or of what was typed so far."""
    terms = read_tax_terms()
    if buyer is None:
        return terms.applied_to(TaxPayer())
    if buyer.customer is not None:
        return terms.applied_to(payer_of(buyer.customer))
    typed = {name: buyer.profile.get(f"billing_{name}") or "" for name in ("country", "state_province")}
    return terms.applied_to(TaxPayer(country=typed["country"], state=typed["state_province"]))


def first_cents(component: PriceComponent, currency: str) -> int:
    """What a component in advance costs in one interval, with the fewest units where it is paid by the unit."""
    charge = component.charge(currency)
    quantity = max(component.minimum_quantity, 1) if component.kind == ComponentKind.PER_UNIT else 1
    return round_cents(bounded(charge, price_of(charge, Decimal(quantity))))


def due_today_cents(price: Price, bill: FirstBill) -> int:
    """What a card is charged at the checkout: the first invoice, or nothing where it is too little to charge."""
    return bill.total_cents if is_chargeable(bill.total_cents, price.currency) else 0


def needs_card(price: Price) -> bool:
    """Tell whether a subscription at this price can ever cost anything."""
    return any(component.charge(price.currency).can_charge for component in price.components.all())
