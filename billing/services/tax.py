"""Which tax applies to whom, by the seller's terms as they are now."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from billing.models import TaxMethod, TaxNexus, TaxRate, TaxSettings
from billing.tax_areas import US, place_of, us_state
from plans.models import Customer

EXEMPT = "customer_exempt"
NO_NEXUS = "no_nexus"
STATE_MISSING = "us_state_missing"
_NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class TaxPayer:
    """What of a buyer decides his tax. `definition` is the public id of the rate that he was given."""

    country: str = ""
    state: str = ""
    is_exempt: bool = False
    exemption_reason: str = ""
    definition: str | None = None


@dataclass(frozen=True, slots=True)
class AppliedTax:
    """The rate that applies to a buyer, a share of the net amount, and why. Without any terms of the seller's the
    method is empty: nobody decided anything.

    `is_included` tells that the seller's prices are gross.
    """

    rate: Decimal = _NOTHING
    is_included: bool = False
    method: str = ""
    jurisdiction: str = ""
    name: str = ""
    definition: TaxRate | None = None
    reason_code: str = ""
    exemption_reason: str = ""


@dataclass(frozen=True, slots=True)
class TaxTerms:
    """The seller's terms, read once for many buyers. `by_id` and `by_area` hold active rate definitions, and
    `nexus_states` where sales tax is charged in the US."""

    settings: TaxSettings
    by_id: Mapping[str, TaxRate] = field(default_factory=dict)
    by_area: Mapping[str, TaxRate] = field(default_factory=dict)
    nexus_states: Collection[str] = ()

    def applied_to(self, payer: TaxPayer) -> AppliedTax:
        """Choose the rate of a buyer: none for the exempt; else the definition that he was given; else, in the US only
        where the seller has nexus, that of his state, of his country, or the default rate."""
        if payer.is_exempt:
            return self._none(EXEMPT, method=TaxMethod.EXEMPT, exemption_reason=payer.exemption_reason)
        given = self.by_id.get(payer.definition or "")
        if given is not None:
            return self._by_definition(given)
        place = place_of(payer.country, payer.state)
        if place.partition("-")[0] == US and self._is_set_up():
            state = us_state(payer.state)
            if not state:
                return self._none(STATE_MISSING, jurisdiction=US)
            if state not in self.nexus_states:
                return self._none(NO_NEXUS, jurisdiction=place)
        fitting = self.by_area.get(place) or self.by_area.get(place.partition("-")[0])
        return self._by_definition(fitting) if fitting is not None else self._default(place)

    def _is_set_up(self) -> bool:
        return bool(self.settings.default_tax_rate is not None or self.by_id)

    def _by_definition(self, rate: TaxRate) -> AppliedTax:
        return AppliedTax(
            rate=rate.rate,
            is_included=self.settings.prices_include_tax,
            method=TaxMethod.MANUAL,
            jurisdiction=rate.jurisdiction,
            name=rate.name,
            definition=rate,
        )

    def _default(self, place: str) -> AppliedTax:
        rate = self.settings.default_tax_rate
        if rate is None:
            return AppliedTax(is_included=self.settings.prices_include_tax)
        return AppliedTax(
            rate=rate, is_included=self.settings.prices_include_tax, method=TaxMethod.MANUAL, jurisdiction=place
        )

    def _none(
        self, code: str, *, method: str = TaxMethod.MANUAL, jurisdiction: str = "", exemption_reason: str = ""
    ) -> AppliedTax:
        return AppliedTax(
            is_included=self.settings.prices_include_tax,
            method=method,
            jurisdiction=jurisdiction,
            reason_code=code,
            exemption_reason=exemption_reason,
        )


def read_tax_terms() -> TaxTerms:
    """Read the seller's tax terms."""
    rates = list(TaxRate.objects.filter(is_active=True))
    return TaxTerms(
        settings=TaxSettings.objects.first() or TaxSettings(),
        by_id={rate.public_id: rate for rate in rates},
        by_area={rate.area: rate for rate in rates if rate.applies_to_area},
        nexus_states=set(TaxNexus.objects.filter(has_nexus=True).values_list("state", flat=True)),
    )


# In the order of TaxPayer.
_OF_PAYER = (
    "billing_country", "billing_state_province", "tax_exempt", "tax_exemption_reason", "tax_rate_definition_id",
)  # fmt: skip


def payer_of(customer: Customer) -> TaxPayer:
    """What of a customer decides the tax."""
    return TaxPayer(*(getattr(customer, name) for name in _OF_PAYER))


def tax_of_customers(customers: Collection[int]) -> dict[int, AppliedTax]:
    """The tax that applies to each of these customers, by their keys."""
    terms = read_tax_terms()
    rows = Customer.objects.filter(pk__in=customers).values_list("pk", *_OF_PAYER)
    return {customer: terms.applied_to(TaxPayer(*payer)) for customer, *payer in rows}


def tax_of_customer(customer: Customer) -> AppliedTax:
    """The tax that applies to a customer."""
    return read_tax_terms().applied_to(payer_of(customer))
