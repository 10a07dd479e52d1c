"""The page's long tables: every animal and every image of one source and target, cells as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from model.targets import VEGF_CELL, VESSEL
from training.densities import DENSITIES
from training.score_table import NOTHING, number, short_number, with_interval
from training.wording import percent, percents

# Name of a score to its column.
_SCORES = {
    VESSEL: {"dice": "Dice", "cl_dice": "centre-line Dice"},
    VEGF_CELL: {"dice": "Dice", "f1": "F1", "aji": "AJI", "count_error": "count error"},
}


def animal_table(
    target: str, animals: Sequence[Mapping[str, Any]], by_animal: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the scores of each animal's images together, and their means with 95 % intervals.

    An animal that has none of the target has no scores, which the means leave out, too.
    """
    shown = _SCORES[target]
    return {
        "columns": list(shown.values()),
        "rows": [
            {
                "animal": row["animal"],
                "images": row["images"],
                "scores": [_score(row, name) for name in shown],
            }
            for row in animals
        ],
        "means": [_mean(by_animal[name], name) for name in shown],
    }


def image_table(target: str, images: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return each image's Dice and its densities, annotated and predicted."""
    densities = DENSITIES[target]
    return {
        "columns": [f"{d.title} ({d.unit})" if d.unit else d.title for d in densities],
        "rows": [
            {
                "image": row["image"],
                "animal": row["animal"],
                "dice": _score(row, "dice"),
                "densities": [
                    short_number(row["densities"][density.name][side])
                    for density in densities
                    for side in ("annotated", "predicted")
                ],
            }
            for row in images
        ],
    }


def _score(row: Mapping[str, Any], name: str) -> str:
    value = row[name] if row["annotated_area_fraction"] else None
    if value is None or name != "count_error":
        return number(value)
    return percent(value)


def _mean(entry: Mapping[str, Any] | None, name: str) -> str:
    if entry is None:
        return NOTHING
    if name == "count_error":
        return percent(entry["mean"]) + percents(entry["ci95"])
    return with_interval(entry, "mean")
