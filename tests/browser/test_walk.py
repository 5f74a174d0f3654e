"""The whole walk through the doors that people see: plan, pricing page, checkout, events, invoice."""

import json
import re
from datetime import timedelta
from urllib.request import Request, urlopen

from django.core.management import call_command
from django.utils import timezone
from playwright.sync_api import expect

from billing.models import Invoice
from plans.models import Customer
from tests.browser.checkout_form import DECLINED, expect_welcome, fill_buyer, fill_card, subscribe
from tests.browser.plan_form import fill_pro_plan, publish


def send_events(site, *, customer, event_name, values):
    """Send usage as a customer's backend does."""
    events = [
        {"eventName": event_name, "customerId": customer, "eventValue": value, "idempotencyKey": f"call-{number}"}
        for number, value in enumerate(values)
    ]
    for event in events:
        request = Request(
            f"{site.url}/v1/events",
            json.dumps(event).encode(),
            {"Authorization": f"Bearer {site.access.secret_key}", "Content-Type": "application/json"},
        )
        with urlopen(request) as answer:
            assert answer.status == 202


def test_from_the_form_of_a_plan_to_the_invoice_of_its_customer(site, open_as_operator, open_page, complaints, capsys):
    # The operator makes the plan.
    admin = open_as_operator("/admin/plans/plan/add/")
    fill_pro_plan(admin)
    publish(admin)
    expect(admin.get_by_text("The plan Pro is published.")).to_be_visible()

    # A customer finds it, and subscribes with the second card that is tried.
    page = open_page("/pricing")
    page.get_by_role("link", name=re.compile("Subscribe")).click()
    fill_buyer(page)
    fill_card(page, DECLINED)
    subscribe(page)
    expect(page.get_by_role("alert")).to_contain_text("Your card was declined.")
    complaints.expect("402 (Payment Required)")
    fill_card(page)
    subscribe(page)
    expect_welcome(page)
    customer = Customer.objects.get()
    expect(page.get_by_text(customer.public_id).first).to_be_visible()

    # His software uses 12,500 calls: 10,000 are included, 2,500 at 5 cents make $125.
    send_events(site, customer=customer.public_id, event_name="api-calls", values=[10_000, 2_000, 500])
    month_later = timezone.now() + timedelta(days=32)
    call_command("bill", "--at", month_later.isoformat())
    assert "$154.00  paid" in capsys.readouterr().out

    # 12,500 × 5 = 62,500, less 10,000 × 5 = 50,000, and the next month's fee of 2,900: 15,400 cents.
    invoice = Invoice.objects.latest("closes_at")
    assert sorted(invoice.lines.values_list("amount_cents", flat=True)) == [-50_000, 2_900, 62_500]
    assert (invoice.total_cents, invoice.status) == (15_400, "paid")

    # Both see the same bill.
    admin.goto(f"/admin/billing/invoice/{invoice.pk}/change/")
    for amount in ("$625.00", "−$500.00", "$29.00", "$154.00"):
        expect(admin.get_by_text(amount).first).to_be_visible()
    admin.get_by_role("link", name="Customer's page").click()
    expect(admin.get_by_role("heading", name=f"Invoice {invoice.number}")).to_be_visible()
    for amount in ("$625.00", "−$500.00", "$29.00", "$154.00"):
        expect(admin.get_by_text(amount).first).to_be_visible()
    expect(admin.get_by_text("12,500 API calls used. 10,000 were included, 2,500 cost $125.00.")).to_be_visible()

    call_command("check_books")
