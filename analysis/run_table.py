"""All images of a run in one table: a row for each region, a column for each measurement.

Statistics programs and spreadsheets take sections so; the tidy table of each image has intervals
and notes besides.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from analysis.batch import Outcome
from analysis.rows import harmless, leaves
from imaging.names import readable

_FIRST = ("image", "region")
_LAST = (
    "quality", "warnings", "reasons", "mpp_um", "modality", "model", "model_sha256",
    "image_sha256", "analysis_id", "error",
)  # fmt: skip
_PARTS = ("area_mm2", "vessels", "cells", "association")


def run_table_text(outcomes: Sequence[Outcome]) -> str:
    """Return the table as CSV with a header, in the order of `outcomes`.

    Measurements are named by their path in the record, units included; lists, such as lacunarity by
    box, are left out. An empty cell is a number that could not be had: `reasons` says why. An image
    that failed has one row with its `error`.
    """
    rows = [row for outcome in outcomes for row in _rows(outcome)]
    measured = dict.fromkeys(name for row in rows for name in row if name not in _FIRST + _LAST)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, (*_FIRST, *measured, *_LAST), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _rows(outcome: Outcome) -> Iterator[dict[str, Any]]:
    """Yield the rows of one image as column: cell; columns that are left out are empty."""
    name, record = harmless(readable(outcome.source.name)), outcome.record
    if record is None:
        yield {"image": name, "error": harmless(outcome.error)}
        return
    image, model, quality = record["image"], record["model"], record["quality"]
    common = {
        "quality": quality["verdict"] if quality else "",
        "warnings": harmless("; ".join(record["warnings"])),
        "mpp_um": image["mpp_um"],
        "modality": image["modality"],
        "model": f"{model['name']} {model['version']}",
        "model_sha256": model["sha256"],
        "image_sha256": image["sha256"],
        "analysis_id": record["analysis_id"],
    }
    for region in record["regions"]:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in region["reasons"].items())
        numbers = {
            path: value
            for path, value in leaves("", {part: region[part] for part in _PARTS})
            if not isinstance(value, str) and (value is not None or path not in _PARTS)
        }
        own = {"image": name, "region": harmless(region["name"]), "reasons": harmless(reasons)}
        yield own | numbers | common
