"""The tables of docs/model-choices.md, each known by how its first line begins."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

PAGE = Path(__file__).with_name("model-choices.md")


def read_table(head: str) -> str:
    """Return the one table whose first line begins with `head`."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    (begins,) = (number for number, line in enumerate(lines) if line.startswith(head))
    return "\n".join(takewhile(lambda line: line.startswith("|"), lines[begins:]))


def put_table(head: str, table: str) -> None:
    """Put `table` in the place of the one whose first line begins with `head`."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page.replace(read_table(head), table), encoding="utf-8")
