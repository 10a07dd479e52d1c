"""The record as files: JSON, tidy CSV and a workbook, all from one flattening."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.styles import Font

from analysis.cautions import BY_ANOTHER_DEFINITION, NOT_A_CONCENTRATION, NOT_STOICHIOMETRIC
from analysis.record import Record, flatten, rounded, to_dict, to_json
from analysis.units import unit_of

# New columns are put last, so that who reads by place still finds the others.
COLUMNS = (
    "region", "measurement", "value", "unit", "ci95_low", "ci95_high", "reason", "note",
    "threshold_low", "threshold_high", "ci95_reason",
)  # fmt: skip
# A spreadsheet runs what begins so as a formula (CWE-1236).
_FORMULA_STARTS = ("=", "+", "-", "@")
# A sheet holds 2²⁰ rows; what is beyond stands in objects.csv.
_MOST_ROWS = 1_048_575
# A cell holds so many characters; openpyxl cuts off the rest without a word.
_MOST_CHARACTERS = 32_767
_SHORTENED = " … (shortened: the JSON record holds the whole)"
# Line ends break rows apart, and a workbook refuses the other control characters.
_CONTROL_AS_SPACE = dict.fromkeys(range(32), " ")


@dataclass(frozen=True)
class Row:
    """One measurement of one region, as a table shows it."""

    region: str
    measurement: str
    value: float | int | str | None
    unit: str
    ci95_low: float | None
    ci95_high: float | None
    reason: str
    note: str = ""
    threshold_low: float | None = None
    threshold_high: float | None = None
    ci95_reason: str = ""

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
        ]


def rows(record: Record) -> Iterator[Row]:
    """Yield every region × measurement of `record`; parts not measured are one row each.

    What other programs would report follows each region's own measurements. The verdict on the
    image's quality comes last, with the advice as its note.
    """
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
    if record.quality is not None:
        yield _verdict(record, record.quality)


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


def _verdict(record: Record, quality: Mapping[str, Any]) -> Row:
    advice = harmless(" ".join(quality["reasons"]))
    region = record.regions[0].name
    return Row(region, "quality.verdict", quality["verdict"], "", None, None, "", advice)


def _checks(quality: Mapping[str, Any]) -> Iterator[list[Any]]:
    """Yield each check of the image's quality as a row of the workbook."""
    for name, check in quality.items():
        if isinstance(check, Mapping):
            state = {True: "pass", False: "fail", None: check.get("reason", "")}[check["pass"]]
            limit = check["limit"]
            shown = " to ".join(map(str, limit)) if isinstance(limit, list) else limit
            yield [name, check["value"], check["unit"], shown, harmless(state)]


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


def csv_text(record: Record) -> str:
    """Return the record's measurements as tidy CSV with a header."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows(record):
        writer.writerow(["" if cell is None else cell for cell in row.cells()])
    return stream.getvalue()


def write_csv(record: Record, path: Path) -> None:
    """Write the record's measurements as tidy CSV, UTF-8."""
    write_whole(path, csv_text(record).encode())


def write_json(record: Record, path: Path) -> None:
    """Write the whole record as JSON."""
    write_whole(path, (to_json(record) + "\n").encode())


def write_xlsx(
    record: Record,
    path: Path,
    object_columns: Sequence[str] = (),
    objects: Iterable[Sequence[Any]] = (),
) -> None:
    """Write a workbook: sheets ``summary``, ``regions`` and ``settings``.

    ``comparisons`` is added where regions were compared, ``objects`` where its columns are given.
    """
    book = openpyxl.Workbook()
    _fill(book.active, "summary", ("item", "value"), _summary(record))
    _fill(book.create_sheet(), "regions", COLUMNS, (row.cells() for row in rows(record)))
    if record.comparisons:
        names = tuple(record.comparisons[0])
        lines = ([_cell(entry[name]) for name in names] for entry in record.comparisons)
        _fill(book.create_sheet(), "comparisons", names, lines)
    if record.quality is not None:
        heads = ("check", "value", "unit", "limit", "result")
        _fill(book.create_sheet(), "quality", heads, _checks(record.quality))
    if object_columns:
        kept = itertools.islice(objects, _MOST_ROWS)
        _fill(book.create_sheet(), "objects", object_columns, (map(_cell, row) for row in kept))
    chosen = _settings(to_dict(record)["settings"])
    _fill(book.create_sheet(), "settings", ("setting", "value"), chosen)
    stream = io.BytesIO()
    book.save(stream)
    write_whole(path, stream.getvalue())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)


def _cell(value: Any) -> Any:
    return harmless(value) if isinstance(value, str) else value


def _fitting(value: Any) -> Any:
    """Return what a cell can hold: a text that is too long ends in a mark that says so."""
    if isinstance(value, str) and len(value) > _MOST_CHARACTERS:
        return value[: _MOST_CHARACTERS - len(_SHORTENED)] + _SHORTENED
    return value


def _fill(sheet: Any, title: str, header: Sequence[str], lines: Any) -> None:
    sheet.title = title
    sheet.append(list(header))
    for line in lines:
        sheet.append([_fitting(value) for value in line])
    for cell in sheet[1]:
        cell.font = Font(bold=True)
    sheet.freeze_panes = "A2"
    for column in sheet.columns:
        longest = max(len(str(cell.value)) for cell in column if cell.value is not None)
        sheet.column_dimensions[column[0].column_letter].width = min(longest + 2, 60)


def _summary(record: Record) -> Iterator[tuple[str, Any]]:
    tree = to_dict(record)
    for part in ("analysis_id", "created_at"):
        yield part, tree[part]
    for part in ("software", "image", "model"):
        if tree[part] is not None:
            yield from leaves(part, tree[part])
    yield from leaves("timings_s", tree["timings_s"])
    for warning in record.warnings:
        yield "warning", harmless(warning)


def _settings(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield every setting as a row; each region is its GeoJSON feature in a row of its own."""
    for name, value in settings.items():
        if name == "regions" and value is not None:
            for number, feature in enumerate(value.get("features", [value])):
                yield f"regions.{number}", harmless(json.dumps(feature, ensure_ascii=False))
        else:
            yield from leaves(name, value)


def leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield (dotted path, cell) for every leaf; lists are written in one cell."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(f"{path}.{key}" if path else key, inner)
    elif isinstance(value, list):
        yield path, harmless(", ".join(map(str, value)))
    else:
        yield path, harmless(value) if isinstance(value, str) else value
