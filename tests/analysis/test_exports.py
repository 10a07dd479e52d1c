"""Tables say what the record says, with units, and run nothing in a spreadsheet."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from analysis.exports import csv_text, write_csv, write_json
from analysis.quality import judge
from analysis.record import Cells, MeanMedian, Record, Region, Vessels, flatten, to_dict
from analysis.rows import COLUMNS, harmless, rows
from analysis.settings import MeasureSettings
from analysis.units import unit_of
from analysis.workbook import write_xlsx
from imaging.quality import PixelQuality


@pytest.fixture
def record(measure: Any, draw: Any, tmp_path: Path) -> Record:
    """Return a real record with CD31 only."""
    path = draw.fluorescence([draw.bars(120, 120)], tmp_path / "bars.png")
    found: Record = measure(path).result.record
    return found


def lines(text: str) -> list[dict[str, str]]:
    """Return the lines of a CSV text by column."""
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_one_line_for_each_measurement(record: Record) -> None:
    """The header is the documented one; every measurement and every absent part has a line."""
    text = csv_text(record)
    header = (
        "region,measurement,value,unit,ci95_low,ci95_high,reason,note,"
        "threshold_low,threshold_high,ci95_reason,reference,verdict"
    )
    assert text.splitlines()[0] == header
    found = lines(text)
    paths = [line["measurement"] for line in found]
    wanted = [path for path, _ in flatten(record.regions[0])]
    assert paths == [*wanted, "cells", "association", "quality.verdict"]
    area = next(line for line in found if line["measurement"] == "vessels.area_fraction")
    assert record.regions[0].vessels is not None
    assert float(area["value"]) == pytest.approx(record.regions[0].vessels.area_fraction)


def test_values_are_numbers_and_every_line_has_the_verdict(record: Record) -> None:
    """No word stands among the values, which would make text of all; the verdict is a column."""
    assert record.quality is not None
    for line in lines(csv_text(record)):
        assert not line["value"] or math.isfinite(float(line["value"]))
        assert line["verdict"] == record.quality["verdict"]


def test_every_intensity_carries_its_caution(record: Record) -> None:
    """Beside an optical density stands that DAB is not stoichiometric, and beside nothing else."""
    density = MeanMedian(0.31, 0.3)
    cells = Cells(optical_density=density, integrated_optical_density=8.5, positive_count=3)
    region = Region("tissue", 1.0, None, cells, None)
    noted = [row for row in rows(dataclasses.replace(record, regions=(region,))) if row.note]
    assert {row.measurement for row in noted} == {
        "cells.optical_density.mean",
        "cells.optical_density.median",
        "cells.integrated_optical_density",
    }
    assert all("not stoichiometric" in row.note for row in noted)


def test_an_empty_value_has_its_reason(record: Record) -> None:
    """Null is an empty field beside the reason, never the word None or NaN."""
    text = csv_text(record)
    assert "None" not in text
    assert "nan" not in text.lower()
    for line in lines(text):
        assert bool(line["value"]) != bool(line["reason"]), line


def test_every_measurement_has_a_unit() -> None:
    """The table of units knows every number of the record."""
    region = Region("tissue", 1.0, Vessels(), Cells(), None)
    for path, _ in flatten(region):
        assert unit_of(path), path
    assert unit_of("vessels.diameter_um.p10") == "µm"
    assert unit_of("vessels.length_density_mm_per_mm2") == "mm/mm²"
    assert unit_of("no.such") == ""


def test_intervals_stand_beside_their_value(record: Record) -> None:
    """An uncertainty of a region and path fills the interval's columns of that line only."""
    path = "vessels.area_fraction"
    interval = {"region": "tissue", "path": path, "ci95_low": 0.1, "ci95_high": 0.2}
    changed = dataclasses.replace(record, uncertainty=(interval,))
    filled = [row for row in rows(changed) if row.ci95_low is not None]
    assert [(row.measurement, row.ci95_low, row.ci95_high) for row in filled] == [(path, 0.1, 0.2)]


def test_tables_tell_of_every_interval_what_the_record_tells(
    record: Record, tmp_path: Path
) -> None:
    """Densities at neighbouring thresholds, and why there is no interval, are columns of both."""
    assert record.uncertainty
    write_xlsx(record, tmp_path / "book.xlsx")
    names = ("ci95_low", "ci95_high", "threshold_low", "threshold_high")
    sheet = openpyxl.load_workbook(tmp_path / "book.xlsx")["regions"].values
    heads = next(sheet)
    cells = [dict(zip(heads, row, strict=True)) for row in sheet]
    for found in (lines(csv_text(record)), cells):
        by_path = {(line["region"], line["measurement"]): line for line in found}
        for entry in to_dict(record)["uncertainty"]:
            line = by_path.pop((entry["region"], entry["path"]))
            told = [float(line[n]) if line[n] not in ("", None) else None for n in names]
            assert told == [entry[name] for name in names]
            assert (line["ci95_reason"] or "") == entry["reason"]
        for line in by_path.values():
            assert not any(line[name] for name in (*names, "ci95_reason"))
    assert "6 blocks" in cells[1]["ci95_reason"]
    assert cells[1]["threshold_low"] is not None


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_texts_are_no_formulas(record: Record, text: str, tmp_path: Path) -> None:
    """A region named like a formula is text in CSV and workbook."""
    assert harmless(text) == "'" + text.replace("\t", " ").replace("\r", " ")
    assert harmless("core") == "core"
    region = dataclasses.replace(record.regions[0], name=text)
    changed = dataclasses.replace(record, regions=(region,), warnings=(text,))
    assert all(line["region"].startswith("'") for line in lines(csv_text(changed)))
    write_xlsx(changed, tmp_path / "book.xlsx")
    for sheet in openpyxl.load_workbook(tmp_path / "book.xlsx"):
        assert all(cell.data_type != "f" for row in sheet for cell in row)


def test_numbers_stay_numbers(record: Record) -> None:
    """A negative number is not taken for a formula."""
    assert record.regions[0].vessels is not None
    vessels = dataclasses.replace(record.regions[0].vessels, tortuosity_mean=-1.5)
    region = dataclasses.replace(record.regions[0], vessels=vessels)
    text = csv_text(dataclasses.replace(record, regions=(region,)))
    assert "vessels.tortuosity_mean,-1.5,1," in text


def test_other_programs_numbers_are_in_the_tables(measure: Any, draw: Any, tmp_path: Path) -> None:
    """Parity is rows like all others: units, a note, and a reason where it is null."""
    path = draw.fluorescence([draw.bars(120, 120)], tmp_path / "bars.png")
    settings = MeasureSettings(tissue="frame", parity=True)
    record = measure(path, settings).result.record
    entry = to_dict(record)["parity"][0]
    wanted = {
        f"parity.{program}.{name}": value
        for program in ("angiotool", "reaver", "qvat")
        for name, value in entry[program].items()
    }
    found = {line["measurement"]: line for line in lines(csv_text(record))}
    assert {path: float(found[path]["value"]) for path in wanted} == pytest.approx(wanted)
    assert all(found[path]["unit"] and found[path]["note"] for path in wanted)
    write_xlsx(record, tmp_path / "book.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "book.xlsx")["regions"]
    assert wanted.keys() <= {row[1] for row in sheet.values}
    qvat = {"region": "tissue", "qvat": {"vascular_density": None}}
    row = next(
        row
        for row in rows(dataclasses.replace(record, parity=(qvat,)))
        if row.measurement == "parity.qvat.vascular_density"
    )
    assert (row.value, row.reason, row.note) == (None, "there is nothing to divide by", "")


def test_comparisons_are_rows_of_their_own(record: Record, tmp_path: Path) -> None:
    """Each has its region and, in the last column, its reference; a null has its reason."""
    path = "vessels.area_fraction"
    pair = {"region": "core", "reference": "=mirror", "path": path}
    known = pair | {"ratio": 0.5, "log_ratio": -0.25, "reason": ""}
    unknown = pair | {"path": "x", "ratio": None, "log_ratio": None, "reason": "too few"}
    changed = dataclasses.replace(record, comparisons=(known, unknown))
    text = csv_text(changed)
    found = [line for line in lines(text) if line["reference"]]
    assert [line["measurement"] for line in found] == [
        f"comparisons.{path}.ratio",
        f"comparisons.{path}.log_ratio",
        "comparisons.x.ratio",
        "comparisons.x.log_ratio",
    ]
    assert {(line["region"], line["reference"], line["unit"]) for line in found} == {
        ("core", "'=mirror", "1")
    }
    assert [(line["value"], line["reason"]) for line in found] == [
        ("0.5", ""),
        ("-0.25", ""),
        ("", "too few"),
        ("", "too few"),
    ]
    # Who reads the table by its measurements alone finds what was there before, as it was.
    others = [line for line in text.splitlines() if not line.startswith("core,comparisons.")]
    assert others == csv_text(record).splitlines()
    write_xlsx(changed, tmp_path / "book.xlsx")
    book = openpyxl.load_workbook(tmp_path / "book.xlsx")
    shown = [row for row in book["regions"].values if str(row[1]).startswith("comparisons.")]
    assert [(row[0], row[2], row[-2]) for row in shown[:2]] == [
        ("core", 0.5, "'=mirror"),
        ("core", -0.25, "'=mirror"),
    ]
    assert len(list(book["comparisons"].values)) == 3


def test_workbook_has_a_sheet_for_each_part(record: Record, tmp_path: Path) -> None:
    """Summary, regions and settings; the regions sheet holds the table's rows."""
    write_xlsx(record, tmp_path / "book.xlsx")
    book = openpyxl.load_workbook(tmp_path / "book.xlsx")
    assert book.sheetnames == ["summary", "regions", "quality", "settings"]
    values = list(book["regions"].values)
    assert values[0] == COLUMNS
    assert [row[1] for row in values[1:]] == [row.measurement for row in rows(record)]
    settings = dict(list(book["settings"].values)[1:])
    assert settings["gap_um"] == 2.0
    assert settings["thresholds.vessel"] == 0.5
    summary = dict(list(book["summary"].values)[1:])
    assert record.model is not None
    assert summary["model.sha256"] == record.model.sha256


def test_workbook_shows_each_number_of_a_check_with_its_limit(
    record: Record, tmp_path: Path
) -> None:
    """Light that is uneven, but not dark, fails at its unevenness; the verdict stands on top."""
    even = PixelQuality("brightfield", 0.5, 0.9, background_od=0.106, unevenness=0.15)
    pixels = dataclasses.replace(even, reasons={"vignetting": "too small"})
    quality = judge(pixels, image_mpp_um=0.5, model_mpp_um=0.5)
    write_xlsx(dataclasses.replace(record, quality=quality), tmp_path / "book.xlsx")
    shown = {row[0]: row[1:] for row in openpyxl.load_workbook(tmp_path / "book.xlsx")["quality"]}
    found = {name.value: tuple(cell.value for cell in cells) for name, cells in shown.items()}
    assert found["background_od"] == (0.106, "OD", 0.25, "pass")
    assert found["background_od.unevenness"] == (0.15, "OD", 0.1, "fail")
    assert found["background_od.vignetting"] == (None, "1", 0.2, "too small")
    assert found["pixel_size_adequate.image_mpp_um"] == (0.5, "µm", None, None)
    assert found["verdict"] == ("caution", None, None, " ".join(quality["reasons"]))
    assert "0.15 OD" in found["verdict"][-1]


def square(name: str, corners: int = 4) -> dict[str, Any]:
    """Return an outline as a record keeps it."""
    ring = [[10.5, number] for number in range(corners)]
    return {
        "type": "Feature",
        "properties": {"name": name, "classification": {"name": None}},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


def test_workbook_tells_each_region_as_json(record: Record, tmp_path: Path) -> None:
    """Every outline of the settings has a row that reads back as it was; a long one is marked."""
    features = [square("=core, left"), square("größe"), square("many", 5000)]
    drawn = {"type": "FeatureCollection", "features": features}
    changed = dataclasses.replace(record, settings=dict(record.settings) | {"regions": drawn})
    write_xlsx(changed, tmp_path / "book.xlsx")
    told = dict(list(openpyxl.load_workbook(tmp_path / "book.xlsx")["settings"].values)[1:])
    regions = {name: text for name, text in told.items() if name.startswith("regions")}
    assert list(regions) == ["regions.0", "regions.1", "regions.2"]
    assert [json.loads(regions[f"regions.{n}"]) for n in (0, 1)] == features[:2]
    assert len(regions["regions.2"]) == 32_767
    assert regions["regions.2"].startswith('{"type": "Feature"')
    assert regions["regions.2"].endswith("(shortened: the JSON record holds the whole)")


def test_a_text_that_just_fits_a_cell_is_whole(record: Record, tmp_path: Path) -> None:
    """32,767 characters stand as they are; one more is marked as shortened."""
    texts = ("x" * 32_767, "x" * 32_768)
    write_xlsx(dataclasses.replace(record, warnings=texts), tmp_path / "book.xlsx")
    rows_ = openpyxl.load_workbook(tmp_path / "book.xlsx")["summary"].values
    whole, cut = (value for item, value in rows_ if item == "warning")
    assert whole == texts[0]
    assert len(cut) == 32_767
    assert "shortened" in cut


def test_json_is_the_record(record: Record, tmp_path: Path) -> None:
    """What was written reads back as the record."""
    write_json(record, tmp_path / "record.json")
    assert json.loads((tmp_path / "record.json").read_text(encoding="utf-8")) == to_dict(record)


@pytest.mark.parametrize("write", [write_csv, write_json, write_xlsx])
def test_files_appear_whole(
    record: Record, write: Callable[[Record, Path], None], tmp_path: Path
) -> None:
    """No partial file stays behind."""
    folder = tmp_path / "out"
    folder.mkdir()
    write(record, folder / "file")
    assert [path.name for path in folder.iterdir()] == ["file"]
