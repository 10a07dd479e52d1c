"""What a record looks like on the screen: one table for each region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from analysis.batch import Outcome
from analysis.rows import leaves, reason_path
from analysis.units import DIMENSIONLESS, unit_of


def tell(console: Console, line: str) -> None:
    """Print a line as it is: nothing coloured, read as markup, or broken."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def show(outcomes: Sequence[Outcome], console: Console) -> None:
    """Print one table of measurements for each image."""
    for outcome in outcomes:
        if outcome.record is not None:
            print_record(outcome.record, console)


def print_record(record: Mapping[str, Any], console: Console) -> None:
    """Print every region of a record as a table of its own."""
    for tree in record["regions"]:
        console.print(table(record, tree))


def table(record: Mapping[str, Any], tree: Mapping[str, Any]) -> Table:
    """Return one region of a record with its intervals, nulls with their reason."""
    image = record["image"]
    shown = "+".join(image["markers"]) if record["model"] else "vessel mask"
    title = f"{image['name']}, {image['mpp_um']:g} µm/px, {shown}"
    if len(record["regions"]) > 1:
        title += f": {tree['name']}"
    heads = ("measurement", "value", "95 % interval", "unit")
    made = Table(*heads, title=title, title_justify="left")
    made.columns[0].no_wrap = True
    made.columns[1].justify = made.columns[2].justify = "right"
    intervals = {e["path"]: e for e in record["uncertainty"] if e["region"] == tree["name"]}
    parts = {name: tree[name] for name in ("area_mm2", "vessels", "cells", "association")}
    missing: dict[str, str] = {}
    for path, value in leaves("", parts):
        if value is None or value == "":
            # A part that is null as a whole has one line and one reason, below the table.
            part = reason_path(tree["reasons"], path) or path
            missing[part] = tree["reasons"].get(part, "")
        else:
            unit = unit_of(path)
            told = "" if unit in {DIMENSIONLESS, "count"} else unit
            made.add_row(path, _text(value), _range(intervals.get(path)), told)
    if missing:
        made.caption = "\n".join(f"{part}: {reason}" for part, reason in missing.items())
        made.caption_justify = "left"
    return made


def _text(value: float | str) -> str:
    """Return a number, or a list of numbers as `leaves` joins it, in few digits."""
    if isinstance(value, str):
        parts = value.split(", ")
        return ", ".join("-" if part == "None" else f"{float(part):.3g}" for part in parts)
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _range(interval: Mapping[str, Any] | None) -> str:
    if interval is None or interval["ci95_low"] is None:
        return ""
    return f"{interval['ci95_low']:.4g} – {interval['ci95_high']:.4g}"
