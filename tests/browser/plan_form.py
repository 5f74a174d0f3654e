"""The operator's form for a plan, as a person sees it: fields by their labels."""

import re

from playwright.sync_api import Locator, Page

SAY_NO = "Say no"


def field(page: Page, label: str) -> Locator:
    """Find the field with this label, with or without the mark of one that must be filled in."""
    return page.get_by_label(re.compile(rf"^\s*{re.escape(label)}\s*\*?\s*$"))


def fill_pro_plan(page: Page) -> None:
    """Type a plan for $29 a month or $290 a year: 10,000 calls are included, more cost 5 cents each."""
    field(page, "Name").fill("Pro")
    field(page, "Description").fill("For teams that build on it.")
    field(page, "Currency").fill("USD")
    field(page, "Base fee per month").fill("29.00")
    field(page, "Base fee per year").fill("290.00")
    fill_api_calls(page)
    field(page, "Shown on the pricing table").check()
    field(page, "Button text").fill("Subscribe")


def fill_api_calls(page: Page) -> None:
    """Type the usage that the plan counts."""
    field(page, "Event name").fill("api-calls")
    field(page, "Unit label").fill("call")
    field(page, "Price per unit in cents").fill("5")
    field(page, "Included units").fill("10000")
    field(page, "Renew each period").check()
    field(page, "Show on invoices").check()
    field(page, "Beyond the quota").select_option(SAY_NO)


def publish(page: Page) -> None:
    """Press the form's button."""
    page.get_by_role("button", name="Create a plan").click()
