"""Tables of the sandbox's own pages."""

from datetime import UTC, datetime
from html import escape


class Figure(str):
    """A number with its unit, set among numbers."""


class Markup(str):
    """HTML of our own, which is shown as it is."""


Cell = str | int
"""What a table shows: text, a number (an int or a Figure), which stands at the right, or Markup."""


def moment(second: int) -> str:
    """Return a moment as people read it, such as `2030-01-31 12:00:00 UTC`."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def table(title: str, heads: tuple[str, ...], rows: list[list[Cell]]) -> str:
    """Return a heading with a table below it that scrolls by itself, or with the word that there is nothing."""
    if not rows:
        return f"<h2>{escape(title)}</h2><p>None yet.</p>"
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    whole = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    region = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}">{whole}</div>'
    return f"<h2>{escape(title)}</h2>{region}"


def _cell(value: Cell) -> str:
    if isinstance(value, Markup):
        return f"<td>{value}</td>"
    if isinstance(value, int | Figure):
        return f'<td class="number">{escape(str(value))}</td>'
    return f"<td>{escape(value)}</td>"
