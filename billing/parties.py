"""Who sends a bill and who pays it, as lines on a letter. No clock; nothing is stored here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from babel import Locale

from billing.models import TaxRegistration
from billing.tax_areas import area_of
from plans.models import Customer, Merchant


@dataclass(frozen=True, slots=True)
class Seller:
    """Who sends bills, with the places where he is registered for tax."""

    merchant: Merchant
    registrations: Sequence[TaxRegistration] = ()


def seller_lines(seller: Seller, *, tax_jurisdiction: str) -> list[str]:
    """Write who sends a bill that is taxed in a jurisdiction, with the tax numbers that are for it; what is not known
    is left out. The e-mail address is no part of it: it is linked."""
    merchant = seller.merchant
    address = _address_lines(
        merchant.address_line1,
        merchant.address_line2,
        (merchant.postal_code, merchant.city, merchant.state_province),
        merchant.country,
    )
    name = merchant.legal_name or merchant.display_name or str(merchant)
    return _known([name, *address, _tax_id(merchant.tax_id), *_tax_numbers(seller, area_of(tax_jurisdiction))])


def buyer_lines(customer: Customer) -> list[str]:
    """Write who pays; what is not known is left out."""
    address = _address_lines(
        customer.billing_address_line1,
        customer.billing_address_line2,
        (customer.billing_postal_code, customer.billing_city, customer.billing_state_province),
        customer.billing_country,
    )
    return _known([customer.business_name, customer.name, *address, customer.email, _tax_id(customer.tax_id)])


def _tax_numbers(seller: Seller, area: str) -> list[str]:
    """The numbers for a country, and if they are a state's, for that state."""
    registered = [
        one for one in seller.registrations if one.area and (area == one.area or area.startswith(f"{one.area}-"))
    ]
    return [f"{one.tax_type} {one.registration_number}" for one in registered]


def _tax_id(number: str) -> str:
    return f"Tax ID {number}" if number else ""


def _address_lines(line1: str, line2: str, place: tuple[str, str, str], country: str) -> list[str]:
    """An address; `place` is postal code, city and state, and the country a code."""
    postal_code, city, state = place
    town = " ".join(part for part in (postal_code, city) if part)
    return [
        line1,
        line2,
        ", ".join(part for part in (town, state) if part),
        Locale("en").territories.get(country, country),
    ]


def _known(lines: Iterable[str]) -> list[str]:
    """Leave out what is empty, and what was said already."""
    return list(dict.fromkeys(line for line in lines if line))
