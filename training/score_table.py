"""Scores as text: cells of a table, with intervals where there is room."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from training.instances import INSTANCE_SCORE_NAMES
from training.scores import SCORE_NAMES

NOTHING = "–"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as a table shows it."""
    if value is None:
        return NOTHING
    return _signed(f"{value:.{digits}f}")


def short_number(value: float | None) -> str:
    """Return a number with three digits that count, or whole from 100 on."""
    if value is None:
        return NOTHING
    return _signed(f"{value:#.3g}") if abs(value) < 99.95 else _whole(value)


def _signed(text: str) -> str:
    """Return a number with a minus as long as a plus, and 0 without any."""
    return text.replace("-", "−") if float(text) else text.removeprefix("-")


def _whole(value: float) -> str:
    return f"{value:,.0f}".replace("-", "−")


def with_interval(entry: Mapping[str, Any] | None, key: str = "value", digits: int = 3) -> str:
    """Return a number and its 95 % interval, as ``0.900 (0.880 to 0.920)``."""
    if entry is None:
        return NOTHING
    return number(entry[key], digits) + interval(entry["ci95"], digits)


def interval(bounds: list[float] | None, digits: int = 3) -> str:
    """Return a 95 % interval in brackets, after a space; nothing for None."""
    if bounds is None:
        return ""
    return f" ({number(bounds[0], digits)} to {number(bounds[1], digits)})"


def score_cells(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return the scores of one source and target by column, without intervals."""
    scored = {name: summary[name] for name in SCORE_NAMES}
    cells = {name: number(entry and entry["mean"]) for name, entry in scored.items()}
    empty = summary["without_target"]
    false_area = f"{number(empty['mean'], 4)} ({empty['images']})" if empty else NOTHING
    found = summary["cells"] or {}
    counted = {
        name: number(found[name]["value"]) if found.get(name) else NOTHING
        for name in INSTANCE_SCORE_NAMES
    }
    worst = number(scored["dice"] and scored["dice"]["worst"])
    return {**cells, "worst": worst, "false_area": false_area, **counted}


def print_scores(scores: Mapping[str, Any], console: Console) -> None:
    """Print one table of scores: a row for each source and target, means over images."""
    table = Table()
    columns = (*SCORE_NAMES, "worst", "false_area", *INSTANCE_SCORE_NAMES)
    for column in ("source", "target", "images", *columns, "ece"):
        table.add_column(column.replace("_", " "), overflow="fold")
    for source, targets in scores["sources"].items():
        for target, summary in targets.items():
            cells = score_cells(summary)
            error = number(summary["calibration"]["calibrated"]["ece"]["value"], 4)
            shown = [cells[column] for column in columns]
            table.add_row(source, target, str(summary["images"]), *shown, error)
    console.print(table)
