"""The record as a workbook: a sheet for each of its parts."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.styles import Font

from analysis.record import Record, to_dict
from analysis.rows import COLUMNS, harmless, leaves, rows
from model.files import write_whole

# A sheet holds 2²⁰ rows; what is beyond stands in objects.csv.
_MOST_ROWS = 1_048_575
# A cell holds so many characters; openpyxl cuts off the rest without a word.
_MOST_CHARACTERS = 32_767
_SHORTENED = " … (shortened: the JSON record holds the whole)"

_OF_THE_VALUE = ("value", "limit", "unit", "pass", "reason")
_RESULTS = {True: "pass", False: "fail", None: ""}


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


def _checks(quality: Mapping[str, Any]) -> Iterator[list[Any]]:
    """Yield the verdict, then each number of each check against its own limit."""
    advice = harmless(" ".join(quality["reasons"]))
    yield ["verdict", quality["verdict"], None, None, advice]
    for name, check in quality.items():
        if isinstance(check, Mapping):
            further = [
                key
                for key in check
                if key not in _OF_THE_VALUE and not key.endswith(("_limit", "_unit", "_reason"))
            ]
            # The check fails with any of its numbers, its value only beyond its own limit.
            known = check["value"] is not None and any(f"{key}_limit" in check for key in further)
            passed = check["value"] <= check["limit"] if known else check["pass"]
            result = _RESULTS[passed] or check.get("reason", "")
            limit = check["limit"]
            yield [name, check["value"], check["unit"], _limit(limit), harmless(result)]
            for key in further:
                yield _further(f"{name}.{key}", key, check)


def _further(name: str, key: str, check: Mapping[str, Any]) -> list[Any]:
    """Return the row of a number that stands in a check beside its value."""
    value, limit = check[key], check.get(f"{key}_limit")
    passed = None if value is None or limit is None else bool(value <= limit)
    unit = check.get(f"{key}_unit", "µm" if key.endswith("_um") else "1")
    result = _RESULTS[passed] or check.get(f"{key}_reason", "")
    return [name, value, unit, limit, harmless(result)]


def _limit(limit: Any) -> Any:
    return " to ".join(map(str, limit)) if isinstance(limit, list) else limit


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
