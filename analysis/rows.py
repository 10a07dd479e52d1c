"""The record flattened to rows, each one measurement of one region, harmless to spreadsheets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from analysis.cautions import BY_ANOTHER_DEFINITION, NOT_A_CONCENTRATION, NOT_STOICHIOMETRIC
from analysis.record import Record, flatten, rounded
from analysis.units import unit_of

# New columns are put last, so that who reads by place still finds the others.
COLUMNS = (
    "region", "measurement", "value", "unit", "ci95_low", "ci95_high", "reason", "note",
    "threshold_low", "threshold_high", "ci95_reason", "reference", "verdict",
)  # fmt: skip
# A spreadsheet runs what begins so as a formula (CWE-1236).
_FORMULA_STARTS = ("=", "+", "-", "@")
# Line ends break rows apart, and a workbook refuses the other control characters.
_CONTROL_AS_SPACE = dict.fromkeys(range(32), " ")


@dataclass(frozen=True)
class Row:
    """One measurement of one region, as a table shows it.

    `reference` is the region that it is compared with, empty for what stands by itself; `verdict`
    that on the image's quality, empty where there is none.
    """

    region: str
    measurement: str
    value: float | int | None
    unit: str
    ci95_low: float | None
    ci95_high: float | None
    reason: str
    note: str = ""
    threshold_low: float | None = None
    threshold_high: float | None = None
    ci95_reason: str = ""
    reference: str = ""
    verdict: str = ""

    def cells(self) -> list[Any]:
        """Return the row in the order of `COLUMNS`, texts made harmless."""
        texts = harmless(self.region), harmless(self.measurement), harmless(self.unit)
        return [
            texts[0],
            texts[1],
            rounded(self.value),
            texts[2],
            rounded(self.ci95_low),
            rounded(self.ci95_high),
            harmless(self.reason),
            self.note,
            rounded(self.threshold_low),
            rounded(self.threshold_high),
            harmless(self.ci95_reason),
            harmless(self.reference),
            self.verdict,
        ]


def rows(record: Record) -> Iterator[Row]:
    """Yield every region × measurement of `record`; parts not measured are one row each.

    What other programs would report follows each region's own measurements. After all regions come
    the comparisons of two; last is the advice on the image's quality. Every value is a number.
    """
    verdict = record.quality["verdict"] if record.quality is not None else ""
    for row in _rows(record):
        yield dataclasses.replace(row, verdict=verdict)


def _rows(record: Record) -> Iterator[Row]:
    others = {entry["region"]: entry for entry in record.parity or ()}
    intervals = {(entry["region"], entry["path"]): entry for entry in record.uncertainty}
    for region in record.regions:
        seen = set()
        for path, value in flatten(region):
            seen.add(path)
            interval = intervals.get((region.name, path), {})
            yield Row(
                region=region.name,
                measurement=path,
                value=value,
                unit=unit_of(path),
                ci95_low=interval.get("ci95_low"),
                ci95_high=interval.get("ci95_high"),
                reason="" if value is not None else reason_of(region.reasons, path),
                note="" if value is None else caution_of(path),
                threshold_low=interval.get("threshold_low"),
                threshold_high=interval.get("threshold_high"),
                ci95_reason=interval.get("reason", ""),
            )
        for path in ("vessels", "cells", "association"):
            if getattr(region, path) is None and path not in seen:
                yield Row(region.name, path, None, "", None, None, reason_of(region.reasons, path))
        yield from _parity(others.get(region.name, {}))
    for entry in record.comparisons:
        yield from _comparison(entry)
    if record.quality is not None:
        yield _advice(record, record.quality)


def _parity(entry: Mapping[str, Any]) -> Iterator[Row]:
    """Yield what other programs would report of one region; `entry` is the record's, or empty."""
    for program, values in entry.items():
        if program == "region":
            continue
        for name, value in values.items():
            path = f"parity.{program}.{name}"
            reason = "there is nothing to divide by" if value is None else ""
            note = BY_ANOTHER_DEFINITION if value is not None else ""
            yield Row(entry["region"], path, value, unit_of(path), None, None, reason, note)


def _comparison(entry: Mapping[str, Any]) -> Iterator[Row]:
    """Yield one region's density over another's, and its logarithm, which means are taken of."""
    for name in ("ratio", "log_ratio"):
        value, path = entry[name], f"comparisons.{entry['path']}.{name}"
        reason = entry["reason"] if value is None else ""
        yield Row(
            region=entry["region"],
            measurement=path,
            value=value,
            unit=unit_of(path),
            ci95_low=None,
            ci95_high=None,
            reason=reason,
            reference=entry["reference"],
        )


def _advice(record: Record, quality: Mapping[str, Any]) -> Row:
    """Return the row that says what to do about the image, in its note."""
    region, advice = record.regions[0].name, harmless(" ".join(quality["reasons"]))
    reason = "no number: see the column verdict"
    return Row(region, "quality.verdict", None, "", None, None, reason, advice)


def caution_of(path: str) -> str:
    """Return what has to be said beside the measurement at `path`; mostly nothing."""
    if "optical_density" in path:
        return NOT_STOICHIOMETRIC
    return NOT_A_CONCENTRATION if path.startswith("cells.intensity") else ""


def reason_of(reasons: Mapping[str, str], path: str) -> str:
    """Return why the value at `path` is null: its own reason, or that of the part it is in."""
    return reasons.get(reason_path(reasons, path), "")


def reason_path(reasons: Mapping[str, str], path: str) -> str:
    """Return the path whose reason holds for `path`: itself or the part it is in; else empty."""
    parts = path.split(".")
    wholes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((whole for whole in wholes if whole in reasons), "")


def harmless(text: str) -> str:
    """Return `text` on one line, so that no spreadsheet runs it as a formula."""
    line = text.translate(_CONTROL_AS_SPACE)
    return f"'{line}" if line.lstrip().startswith(_FORMULA_STARTS) else line


def leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield (dotted path, cell) for every leaf; lists are written in one cell."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(f"{path}.{key}" if path else key, inner)
    elif isinstance(value, list):
        yield path, harmless(", ".join(map(str, value)))
    else:
        yield path, harmless(value) if isinstance(value, str) else value
