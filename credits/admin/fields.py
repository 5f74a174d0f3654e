"""Fields of forms about credits: customers by what people know of them, prices and components by what they charge, and
amounts of units or of money."""

from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.db.models import Q

from plans.admin.price_texts import component_text, fees_text
from plans.admin.terms import TermsForm
from plans.models import Customer
from plans.money import currency_exponent, major_units, minor_units, plain_number


class CustomerField(forms.CharField):
    """A customer, by e-mail or by one of its ids."""

    def __init__(self) -> None:
        super().__init__(
            max_length=255, help_text="E-mail, id (cus_…) or your own id of the customer.", label="Customer"
        )

    def clean(self, value: Any) -> Customer:
        """The one customer that is meant."""
        text = super().clean(value)
        found = Customer.objects.live().filter(Q(public_id=text) | Q(external_customer_id=text) | Q(email__iexact=text))
        customers = list(found.order_by("pk")[:3])
        if not customers:
            raise forms.ValidationError("There is no customer with this e-mail or id.")
        if len(customers) > 1:
            raise forms.ValidationError("Several customers have this e-mail. Write the id of the one that you mean.")
        return customers[0]


class PriceField(forms.ModelChoiceField):
    """A choice of prices, called by their plans and fees."""

    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.plan}: {fees_text(obj)}"


class ComponentField(forms.ModelChoiceField):
    """A choice of components, called by their plans and what they charge."""

    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.price.plan}, {fees_text(obj.price)}: {component_text(obj, obj.price.currency)}"


class DefinitionField(forms.ModelChoiceField):
    """A choice of definitions; those of plans say of which."""

    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.name} ({obj.plan})" if obj.plan is not None else obj.name


class AmountField(forms.DecimalField):
    """Units, or money in whole units of its currency, typed as text; with `is_signed` also below 0."""

    widget = forms.TextInput

    def __init__(self, *, is_signed: bool = False, **kwargs: Any) -> None:
        self.is_signed = is_signed
        super().__init__(
            max_digits=24,
            decimal_places=6,
            error_messages={"invalid": "Write a number with digits and a point only, such as 250.00."},
            **kwargs,
        )
        # Keyboards of phones that offer digits alone have no minus.
        self.widget.attrs |= {"autocomplete": "off"} | ({} if is_signed else {"inputmode": "decimal"})

    def validate(self, value: Any) -> None:
        """An amount that is granted or sold is more than 0."""
        super().validate(value)
        if value is not None and value <= 0 and not self.is_signed:
            raise forms.ValidationError("Write a number above 0.")


class AmountsForm(TermsForm):
    """A form whose `amounts` are units or, in a currency, money as people write it; services count its minor units."""

    amounts: ClassVar[list[str]] = []

    def currency_of_amounts(self, cleaned: dict[str, Any]) -> str:
        """The currency of the amounts; empty for units."""
        return self.initial.get("currency", "")

    def clean(self) -> dict[str, Any]:
        """Turn money into minor units, which must be whole."""
        cleaned = super().clean() or self.cleaned_data
        currency = self.currency_of_amounts(cleaned)
        for name in self.amounts if currency else ():
            in_minor_units(self, name, currency)
        return cleaned


def in_minor_units(form: forms.Form, name: str, currency: str) -> None:
    """Turn one field that was entered in whole units into minor units, or say at it why that cannot be."""
    amount = form.cleaned_data.get(name)
    if amount is None:
        return
    cents = minor_units(amount, currency)
    if cents != cents.to_integral_value():
        form.add_error(name, f"{currency} has {currency_exponent(currency) or 'no'} decimals.")
    else:
        form.cleaned_data[name] = cents


def entered(amount: Decimal | int | None, currency: str) -> str:
    """An amount as a form shows it: units, or money in whole units with all decimals of its currency."""
    if amount is None:
        return ""
    if not currency:
        return plain_number(Decimal(amount))
    return f"{major_units(amount, currency):.{currency_exponent(currency)}f}"
