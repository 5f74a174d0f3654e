"""The checkout's form, as a person sees it."""

import re

from playwright.sync_api import Page, expect

GOOD = "4242 4242 4242 4242"
DECLINED = "4000 0000 0000 0002"
WITHOUT_FUNDS = "4000 0000 0000 9995"
WITH_BANK = "4000 0025 0000 3155"


def fill_buyer(page: Page, *, name: str = "Acme Ltd", email: str = "billing@acme.example") -> None:
    """Type who subscribes."""
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("E-mail").fill(email)


def fill_card(page: Page, number: str = GOOD) -> None:
    """Type a card; what was typed before is replaced."""
    page.get_by_label("Card number").fill(number)
    page.get_by_label(re.compile("Expiry date")).fill("12 / 34")
    page.get_by_label(re.compile("Security code")).fill("123")


def subscribe(page: Page) -> None:
    """Press the form's button."""
    page.get_by_role("button", name=re.compile("^Subscribe")).click()


def expect_welcome(page: Page, plan: str = "Pro") -> None:
    """Wait for the page that says that it is done."""
    expect(page.get_by_role("heading", name=f"Welcome to {plan}")).to_be_visible()
