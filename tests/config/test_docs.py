"""What the documents list, beside what is there."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from django.urls import URLPattern, URLResolver

from billing.books import INVARIANTS
from billing.jobs import BOOK_SWEEPS, MAIL_SWEEPS, STRIPE_SWEEPS
from config.urls import v1_patterns
from plans.refusals import Refusal

DOCS = Path(__file__).parents[2] / "docs"
OLDER_NAMES = ("/v1/credit-definitions", "/v1/credit-grants")
METHODS = ("get", "post", "put", "patch", "delete")


def addresses(patterns: Iterable[URLPattern | URLResolver]) -> Iterator[tuple[str, set[str]]]:
    """Each address with its methods; those of a function, which says them itself, are not known here."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns)
        else:
            view = getattr(pattern.callback, "view_class", None)
            path = "/v1/" + re.sub(r"<[^>]+>", "{}", str(pattern.pattern))
            yield path, {method.upper() for method in METHODS if hasattr(view, method)}


def documented() -> list[tuple[str, str]]:
    """Path and method of each row of the table of endpoints."""
    rows = re.findall(r"^\| ([A-Z, ]+) (`/v1/.*?) \|", (DOCS / "api.md").read_text(), re.MULTILINE)
    return [
        (re.sub(r"\{[^}]+\}", "{}", path), method)
        for methods, paths in rows
        for path in re.findall(r"`([^`]+)`", paths)
        for method in methods.split(", ")
    ]


def test_the_table_of_endpoints_has_each_of_them_once():
    listed = documented()

    assert len(set(listed)) == len(listed)
    known = {path: methods for path, methods in addresses(v1_patterns) if not path.startswith(OLDER_NAMES)}
    assert {path for path, _ in listed} == known.keys()
    for path, methods in known.items():
        assert not methods or {method for other, method in listed if other == path} == methods, path


def test_the_table_of_codes_has_each_of_them():
    refusals, codes = [Refusal], set()
    while refusals:
        refusals += (refusal := refusals.pop()).__subclasses__()
        if refusal.__module__.split(".")[0] in ("plans", "metering", "credits", "entitlements", "billing", "config"):
            codes.add(refusal.code)
    table = (DOCS / "api.md").read_text().partition("## Codes of refusals")[2]

    # The first is nobody's own; the other one is said by pages for customers, which no program reads.
    assert codes - set(re.findall(r"`([a-z_]+)`", table)) == {"refused", "invoice_link_invalid"}


def test_the_books_page_has_a_row_for_each_invariant():
    rows = re.findall(r"^\| .* \| .* \| (.*) \|$", (DOCS / "books.md").read_text(), re.MULTILINE)

    assert sorted(set(rows) - {"–", "Proved by `check_books` as"}) == sorted(INVARIANTS)


def test_the_table_of_sweeps_has_each_of_them_once():
    table = (DOCS / "operator.md").read_text().partition("## What the sweeps do")[2].partition("\n## ")[0]

    rows = re.findall(r"^\| (.*?) \| ", table, re.MULTILINE)[1:]
    assert rows == [*BOOK_SWEEPS, *STRIPE_SWEEPS, "reconcile", *MAIL_SWEEPS, "prove the books"]
