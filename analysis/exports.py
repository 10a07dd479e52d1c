"""The record as JSON and as tidy CSV; every file appears whole or not at all."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from analysis.record import Record, to_json
from analysis.rows import COLUMNS, rows
from model.files import write_whole


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
