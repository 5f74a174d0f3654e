"""docs/sandbox.md, beside what is there."""

import re
from pathlib import Path

from billing.sandbox import FaultKind
from billing.sandbox.control import ACTIONS, PREFIX
from billing.sandbox.objects.cards import BY_NUMBER, BY_TOKEN

TEXT = (Path(__file__).parents[3] / "docs" / "sandbox.md").read_text()


def test_lists_every_fault():
    listed = re.findall(r"^\| `(\w+)` \| ", TEXT, re.MULTILINE)

    assert listed == [kind.value for kind in FaultKind]


def test_lists_every_control():
    listed = re.findall(rf"^\| ([A-Z]+) `{PREFIX}(\w+)` \|", TEXT, re.MULTILINE)

    assert set(listed) == ACTIONS.keys()


def test_names_cards_by_their_numbers_and_tokens():
    listed = re.findall(r"^\| ([\d ]{19}) \| `(\w+)` \|", TEXT, re.MULTILINE)

    assert len(listed) == 10
    for number, token in listed:
        assert BY_TOKEN[token] is BY_NUMBER[number.replace(" ", "")], number
