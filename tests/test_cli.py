"""The command line: outputs, exit codes, one clear line for every wrong input."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
import tifffile
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from angiometry import _plain_errors, app
from tests.phantoms import random_network

RUNNER = CliRunner()


@pytest.fixture
def section(tmp_path: Path) -> Path:
    """Return a fluorescence section of 200 × 200 px with a bar of 160 × 10 px."""
    return write_section(tmp_path / "section.png")


def write_section(path: Path, thick: int = 10) -> Path:
    grey = np.random.default_rng(0).integers(40, 43, (200, 200)).astype(np.uint8)
    grey[50 : 50 + thick, 20:180] = 220
    Image.fromarray(grey).save(path)
    return path


@pytest.fixture
def angiometry(oracle_bundle: Path) -> Any:
    """Return what runs ``angiometry measure`` with the oracle network and frame as tissue."""

    def call(*words: object, mpp: float | None = 0.5) -> Result:
        size = [] if mpp is None else ["--mpp", str(mpp)]
        given = [str(word) for word in words]
        tail = ["--model", str(oracle_bundle), *size]
        if "--tissue" not in given and "--settings" not in given:
            tail += ["--tissue", "frame"]
        return RUNNER.invoke(app, ["measure", *given, *tail])

    return call


def test_one_image_writes_an_object_and_files(
    angiometry: Any, section: Path, tmp_path: Path
) -> None:
    """Every output of one image is one file, and they agree."""
    out = {
        kind: tmp_path / "out" / name
        for kind, name in {
            "json": "r.json",
            "csv": "r.csv",
            "xlsx": "r.xlsx",
            "mask": "m.png",
            "objects": "o.geojson",
            "overlay": "v.png",
        }.items()
    }
    flags = [word for kind, path in out.items() for word in (f"--{kind}", path)]
    result = angiometry(section, *flags)
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        path.name for path in out.values()
    )
    record = json.loads(out["json"].read_text("utf-8"))
    vessels = record["regions"][0]["vessels"]
    assert vessels["area_fraction"] == pytest.approx(1600 / 40000)
    with out["csv"].open(encoding="utf-8") as stream:
        table = {line["measurement"]: line["value"] for line in csv.DictReader(stream)}
    assert float(table["vessels.length_mm"]) == vessels["length_mm"]
    with Image.open(out["mask"]) as mask:
        assert np.count_nonzero(np.asarray(mask)) == 1600
    assert len(json.loads(out["objects"].read_text("utf-8"))["features"]) == 1


def test_standard_output_is_pure_json(angiometry: Any, section: Path) -> None:
    """``--json -`` prints the record and nothing else; warnings go to standard error."""
    result = angiometry(section, "--json", "-")
    assert json.loads(result.stdout)["image"]["name"] == "section.png"


def test_without_outputs_a_table_is_shown(angiometry: Any, section: Path) -> None:
    """Names, values and units are on the screen, nulls with their reason."""
    result = angiometry(section)
    assert result.exit_code == 0, result.stderr
    for word in ("vessels.area_fraction", "0.04", "mm²", "needs CD31 and VEGF"):
        assert word in result.stdout


def test_several_images_write_an_array_and_folders(angiometry: Any, tmp_path: Path) -> None:
    """A failing image is listed, the rest go on, and the exit code is 1."""
    good = [write_section(tmp_path / f"{name}.png") for name in "ab"]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    out = tmp_path / "all.json"
    result = angiometry(good[0], bad, good[1], "--json", out, "--csv", tmp_path / "tables")
    assert result.exit_code == 1
    assert [r["image"]["name"] for r in json.loads(out.read_text("utf-8"))] == ["a.png", "b.png"]
    assert sorted(p.name for p in (tmp_path / "tables").iterdir()) == ["a.csv", "b.csv"]
    assert "bad.png" in result.stderr
    assert "Traceback" not in result.output


def test_several_images_make_one_table(angiometry: Any, tmp_path: Path) -> None:
    """A row for each image, in their order; a failing one says why; what was written is told."""
    good = [
        write_section(tmp_path / f"{name}.png", thick) for name, thick in (("a", 10), ("b", 20))
    ]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    table = tmp_path / "out" / "table.csv"
    result = angiometry(good[0], bad, good[1], "--table", table, "--csv", tmp_path / "tables")
    assert result.exit_code == 1
    rows = read_rows(table)
    assert [row["image"] for row in rows] == ["a.png", "bad.png", "b.png"]
    assert [row["region"] for row in rows] == ["tissue", "", "tissue"]
    assert "bad.png" in rows[1]["error"]
    for row, mm2 in ((rows[0], 160 * 10 * 0.25e-6), (rows[2], 160 * 20 * 0.25e-6)):
        assert float(row["vessels.area_mm2"]) == pytest.approx(mm2, rel=0.01)
        assert row["modality"] == "fluorescence"
        assert "association: needs CD31 and VEGF" in row["reasons"]
    assert result.stderr.count("wrote ") == 2


def test_a_table_holds_what_was_measured_before(angiometry: Any, tmp_path: Path) -> None:
    """A resumed run writes the rows of all its images, with the very same numbers."""
    paths = [write_section(tmp_path / f"{name}.png") for name in "ab"]
    out, table = tmp_path / "all.json", tmp_path / "table.csv"
    assert angiometry(*paths[:1], "--json", out, "--table", table).exit_code == 0
    (before,) = read_rows(table)
    assert angiometry(*paths, "--json", out, "--table", table, "--resume").exit_code == 0
    after = read_rows(table)
    assert after[0] == before
    assert [row["image"] for row in after] == ["a.png", "b.png"]


@pytest.mark.parametrize("name", ["-", "table.xlsx"])
def test_a_table_is_csv(angiometry: Any, section: Path, name: str) -> None:
    """A name that promises something else is refused before anything is measured."""
    result = angiometry(section, "--table", name)
    assert result.exit_code == 2
    assert ".csv" in result.stderr


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_resume_skips_what_is_done(angiometry: Any, tmp_path: Path) -> None:
    """The second run keeps the earlier records as they are and adds the new one."""
    paths = [write_section(tmp_path / f"{name}.png") for name in "abc"]
    out = tmp_path / "all.json"
    assert angiometry(*paths[:2], "--json", out).exit_code == 0
    before = json.loads(out.read_text("utf-8"))
    result = angiometry(*paths, "--json", out, "--resume")
    after = json.loads(out.read_text("utf-8"))
    assert result.exit_code == 0
    assert after[:2] == before
    assert [record["image"]["name"] for record in after] == ["a.png", "b.png", "c.png"]
    assert "2 already measured" in result.stderr


def test_resume_measures_again_where_regions_have_changed(angiometry: Any, tmp_path: Path) -> None:
    """Records of the same outlines stand; another outline, or band, is another measurement."""
    paths = [write_section(tmp_path / f"{name}.png") for name in "ab"]
    out, drawn = tmp_path / "all.json", tmp_path / "core.geojson"

    def run(side_px: int, *words: object) -> tuple[list[dict[str, Any]], str]:
        corners = [[40 + 1 / 3, 40], [side_px, 40], [side_px, 120], [40, 120], [40 + 1 / 3, 40]]
        core = {
            "type": "Feature",
            "properties": {"name": "infarct_core"},
            "geometry": {"type": "Polygon", "coordinates": [corners]},
        }
        drawn.write_text(json.dumps({"type": "FeatureCollection", "features": [core]}))
        result = angiometry(*paths, "--regions", drawn, "--json", out, "--resume", *words)
        assert result.exit_code == 0, result.stderr
        return json.loads(out.read_text("utf-8")), result.stderr

    first, _ = run(120, "--band-um", 10)
    names = [region["name"] for region in first[0]["regions"]]
    assert names == ["tissue", "infarct_core", "peri_infarct"]
    again, said = run(120, "--band-um", 10)
    assert again == first
    assert "2 already measured" in said
    wider, said = run(120, "--band-um", 20)
    assert "already measured" not in said
    assert wider[0]["regions"][2]["area_mm2"] > first[0]["regions"][2]["area_mm2"]
    larger, said = run(160, "--band-um", 20)
    assert "already measured" not in said
    assert larger[0]["regions"][1]["area_mm2"] > wider[0]["regions"][1]["area_mm2"]


def test_resume_measures_again_where_channels_are_no_longer_named(
    angiometry: Any, tmp_path: Path
) -> None:
    """A record of named channels is not that of the file alone, nor the other way round."""
    planes = np.random.default_rng(0).integers(40, 43, (2, 200, 200)).astype(np.uint8)
    planes[1, 50:60, 20:180] = 220
    path, out = tmp_path / "fl.tif", tmp_path / "fl.json"
    tifffile.imwrite(path, planes, photometric="minisblack", metadata={"axes": "CYX"})
    done = []
    for words in (["--channels", "CD31=1"], [], [], ["--channels", "CD31=1"]):
        result = angiometry(path, *words, "--json", out, "--resume")
        assert result.exit_code == 0, result.stderr
        done.append("already measured" in result.stderr)
        channels = json.loads(out.read_text("utf-8"))["settings"]["channels"]
        assert channels == ({"CD31": 1} if words else {})
    assert done == [False, False, True, False]


def test_resume_takes_the_modality_that_the_image_shows(
    angiometry: Any, section: Path, tmp_path: Path
) -> None:
    """A modality left open stands for what is found, and for nothing where that is unclear."""
    out = tmp_path / "r.json"
    assert angiometry(section, "--modality", "fluorescence", "--json", out).exit_code == 0
    assert "1 already measured" in angiometry(section, "--json", out, "--resume").stderr
    grey = np.random.default_rng(0).integers(225, 235, (200, 200)).astype(np.uint8)
    grey[50:60, 20:180] = 100
    Image.fromarray(grey).save(section)
    assert angiometry(section, "--modality", "fluorescence", "--json", out).exit_code == 0
    result = angiometry(section, "--json", out, "--resume")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: modality: ")


def test_settings_are_not_repeated_with_another_tissue_mask(
    angiometry: Any, section: Path, tmp_path: Path
) -> None:
    """A mask whose content has changed under its name is refused, until --tissue says so."""
    mask, first, again = (tmp_path / name for name in ("tissue.png", "1.json", "2.json"))
    tissue = np.full((200, 200), 255, np.uint8)
    Image.fromarray(tissue).save(mask)
    assert angiometry(section, "--tissue", mask, "--json", first).exit_code == 0
    result = angiometry(section, "--settings", first, "--json", again, mpp=None)
    assert result.exit_code == 0, result.stderr
    again.unlink()
    tissue[:, 100:] = 0
    Image.fromarray(tissue).save(mask)
    result = angiometry(section, "--settings", first, "--json", again, mpp=None)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: tissue: {mask} is not the tissue mask")
    assert "--tissue" in result.stderr
    assert not again.exists()
    words = ["--settings", first, "--tissue", mask, "--json", again]
    assert angiometry(section, *words, mpp=None).exit_code == 0
    mask.unlink()
    result = angiometry(section, "--settings", first, mpp=None)
    assert result.stderr.startswith("error: tissue: ")


def test_settings_of_an_earlier_record_are_repeated(
    angiometry: Any, section: Path, tmp_path: Path
) -> None:
    """``--settings`` brings pixel size, threshold and tissue; flags given win over it."""
    first, again = tmp_path / "1.json", tmp_path / "2.json"
    angiometry(section, "--threshold-vessel", 0.8, "--json", first)
    result = angiometry(section, "--settings", first, "--json", again, mpp=None)
    assert result.exit_code == 0, result.stderr
    one, two = (json.loads(path.read_text("utf-8")) for path in (first, again))
    assert one["settings"] == two["settings"]
    assert one["regions"] == two["regions"]
    angiometry(section, "--settings", first, "--threshold-vessel", 0.6, "--json", again, mpp=None)
    assert json.loads(again.read_text("utf-8"))["settings"]["thresholds"] == {"vessel": 0.6}


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["--marker", "CD32"], "marker"),
        (["--modality", "sepia"], "modality"),
        (["--modality", "brightfield"], "modality"),
        (["--channels", "CD31"], "channels"),
        (["--channels", "CD31=7"], "channels"),
        (["--tissue", "no-such-mask.png"], "tissue"),
        (["--model", "no-such-model"], "model"),
        (["--threshold-vessel", "1.5"], "threshold_vessel"),
        (["--threshold-vegf-cell", "nan"], "threshold_vegf_cell"),
        (["--section-thickness-um", "-3"], "section_thickness_um"),
        (["--mpp", "0"], "mpp_um"),
        (["--mpp", "-1"], "mpp_um"),
        (["--mpp", "nan"], "mpp_um"),
        (["--workers", "0"], "workers"),
        (["--resume"], "resume"),
        (["--overlay", "o.jpg"], "overlay"),
        (["--objects", "o.txt"], "objects"),
        (["--marker", "VEGF", "--skeleton", "s.png"], "skeleton"),
        (["--settings", "no-such.json"], "settings"),
        (["--regions", "r.geojson"], "regions"),
        (["--mpp", "half"], "mpp"),
        (["--workers", "some"], "workers"),
        (["--json", "."], "json"),
        (["--csv", __file__ + "/table.csv"], "csv"),
        (["--regions", "."], "regions"),
        (["--regions", __file__], "regions"),
        (["--settings", "."], "settings"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_two(
    oracle_bundle: Path,
    section: Path,
    words: list[str],
    field: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The line names the field; there is no traceback and no result."""
    monkeypatch.chdir(section.parent)
    Path("setup.cfg").touch()
    defaults = {"--mpp": "0.5", "--model": str(oracle_bundle)}
    for flag, value in defaults.items():
        words = words if flag in words else [*words, flag, value]
    result = RUNNER.invoke(app, ["measure", str(section), *words])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert re.match(rf"error: (--)?{field}[: ]", result.stderr, re.IGNORECASE)
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["measure"], "images: missing argument 'IMAGE...'; see angiometry measure --help"),
        (
            ["measure", "--modle", "x"],
            "no such option: --modle; did you mean --modality or --model?",
        ),
        (
            ["morphometry", "a", "b"],
            "got unexpected extra argument(s) (b); see angiometry morphometry --help",
        ),
        (
            ["mesure"],
            "no such command 'mesure'. Did you mean 'measure'?; see angiometry --help",
        ),
        (["measure", "a", "--mpp"], "option '--mpp' requires an argument; see --help"),
    ],
)
def test_a_wrong_command_line_is_one_line_too(words: list[str], line: str) -> None:
    """What was typed wrongly is named with what mends it, without a box."""
    result = RUNNER.invoke(app, words, prog_name="angiometry")
    assert result.exit_code == 2
    assert result.stderr == f"error: {line}\n"


def test_help_says_what_masks_and_tissue_may_be() -> None:
    """Any one value beside 0 is a mask, and the frame is the tissue unless a mask is given."""
    shown = RUNNER.invoke(app, ["morphometry", "--help"], env={"COLUMNS": "200"}).stdout
    assert "0 and any one other value" in shown
    assert "frame (the default)" in shown


def test_help_stays_help() -> None:
    """A verb alone that has verbs of its own shows them, and --help succeeds."""
    bare = RUNNER.invoke(app, ["data"])
    assert bare.exit_code == 2
    assert "synth" in bare.output
    assert "error:" not in bare.output
    assert RUNNER.invoke(app, ["measure", "--help"]).exit_code == 0


def test_an_image_without_pixel_size_says_how_to_give_it(angiometry: Any, section: Path) -> None:
    """The mend stands in the message."""
    result = angiometry(section, mpp=None)
    assert result.exit_code == 2
    assert "--mpp" in result.stderr


def test_morphometry_measures_a_mask(tmp_path: Path) -> None:
    """The mask is measured as it is, without a model, on its own grid."""
    mask = np.zeros((100, 200), np.uint8)
    mask[40:48, 20:180] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    out = tmp_path / "out" / "record.json"
    words = ["morphometry", str(tmp_path / "mask.png"), "--mpp", "1", "--json", str(out)]
    result = RUNNER.invoke(app, words)
    assert result.exit_code == 0, result.stderr
    record = json.loads(out.read_text("utf-8"))
    assert record["model"] is None
    assert record["image"]["mpp_um"] == 1
    region = record["regions"][0]
    assert region["area_mm2"] == pytest.approx(0.02)
    assert region["vessels"]["area_fraction"] == pytest.approx(0.064)
    assert region["vessels"]["profile_count"] == 1
    assert region["cells"] is None


def test_morphometry_in_several_processes_gives_the_same_numbers(tmp_path: Path) -> None:
    """``--workers`` spreads the blocks of a large mask."""
    Image.fromarray(np.tile(random_network(3), (5, 5)).view(np.uint8) * 255).save(
        tmp_path / "mask.png"
    )
    found = []
    for workers in ("1", "2"):
        words = ["morphometry", str(tmp_path / "mask.png"), "--mpp", "1", "--json", "-"]
        result = RUNNER.invoke(app, [*words, "--workers", workers])
        assert result.exit_code == 0, result.stderr
        found.append(json.loads(result.stdout)["regions"])
    assert found[0] == found[1]


@pytest.mark.parametrize("values", [(0, 1), (0, 255)])
@pytest.mark.parametrize("mode", ["L", "1", "tiff", "1-bit tiff"])
def test_masks_may_be_written_in_several_ways(
    tmp_path: Path, values: tuple[int, int], mode: str
) -> None:
    """0 and 1, 0 and 255, one bit, PNG and TIFF are the same mask."""
    mask = np.zeros((60, 60), np.uint8)
    mask[20:40, 20:40] = values[1]
    path = tmp_path / ("mask.tif" if "tiff" in mode else "mask.png")
    if "tiff" in mode:
        tifffile.imwrite(path, mask if mode == "tiff" else mask > 0, photometric="minisblack")
    else:
        Image.fromarray(mask if mode == "L" else mask > 0).save(path)
    result = RUNNER.invoke(app, ["morphometry", str(path), "--mpp", "1", "--json", "-"])
    assert result.exit_code == 0, result.stderr
    vessels = json.loads(result.stdout)["regions"][0]["vessels"]
    assert vessels["area_fraction"] == pytest.approx(400 / 3600)


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["grey.png"], "mask"),
        (["colour.png"], "mask"),
        (["mask.png", "--tissue", "small.png"], "tissue"),
        (["mask.png", "--tissue", "grey.png"], "tissue"),
        (["mask.png", "--regions", "r.geojson"], "regions"),
        (["mask.png", "--regions", "a.geojson"], "regions"),
        (["mask.png", "--json", "."], "json"),
        (["mask.png", "--json", "grey.png/r.json"], "json"),
        (["mask.png", "--csv", "table.txt"], "csv"),
        (["mask.png", "--csv", "-"], "csv"),
        (["mask.png", "--xlsx", "mask.png"], "xlsx"),
        (["mask.png", "--workers", "0"], "workers"),
        (["none.png"], "mask"),
        (["text.png"], "mask"),
        (["mask.png", "--tissue", "text.png"], "tissue"),
    ],
)
def test_morphometry_refuses_what_is_no_mask(
    tmp_path: Path, words: list[str], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grey values, colours, other sizes, no regions and no place to write are one line each."""
    monkeypatch.chdir(tmp_path)
    Path("a.geojson").write_text('{"a": 1}')
    Path("text.png").write_text("text")
    ramp = np.arange(3600, dtype=np.uint16).reshape(60, 60) % 256
    Image.fromarray(ramp.astype(np.uint8)).save("grey.png")
    colour = np.zeros((60, 60, 3), np.uint8)
    colour[:30, :, 0] = 255
    colour[30:, :, 1] = 255
    Image.fromarray(colour).save("colour.png")
    Image.fromarray(np.zeros((60, 60), np.uint8)).save("mask.png")
    Image.fromarray(np.full((30, 60), 255, np.uint8)).save("small.png")
    result = RUNNER.invoke(app, ["morphometry", *words, "--mpp", "1"])
    assert result.exit_code == 2
    assert re.match(rf"error: (--)?{field}[: ]", result.stderr, re.IGNORECASE)
    assert len(result.stderr.strip().splitlines()) == 1


def test_morphometry_writes_the_tables_of_measure(tmp_path: Path) -> None:
    """CSV and workbook hold the record's numbers, beside JSON or without it."""
    mask = np.zeros((60, 60), np.uint8)
    mask[20:40, 20:40] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    table, book = tmp_path / "out" / "table.csv", tmp_path / "book.xlsx"
    words = [str(tmp_path / "mask.png"), "--mpp", "1", "--csv", str(table), "--xlsx", str(book)]
    result = RUNNER.invoke(app, ["morphometry", *words])
    assert (result.exit_code, result.stdout) == (0, ""), result.stderr
    assert f"wrote {table}" in result.stderr
    lines = csv.DictReader(table.read_text("utf-8").splitlines())
    found = {row["measurement"]: row["value"] for row in lines}
    assert float(found["vessels.area_fraction"]) == pytest.approx(400 / 3600, rel=1e-3)
    assert "regions" in openpyxl.load_workbook(book).sheetnames
    record = json.loads(RUNNER.invoke(app, ["morphometry", *words, "--json", "-"]).stdout)
    assert record["regions"][0]["vessels"]["profile_count"] == int(found["vessels.profile_count"])


def test_a_mask_that_stores_white_as_zero_is_refused(tmp_path: Path) -> None:
    """ImageJ's inverting lookup table leaves open which of the two values is vessel."""
    mask = np.zeros((60, 60), np.uint8)
    mask[20:40, 20:40] = 255
    tifffile.imwrite(tmp_path / "mask.tif", mask, photometric="miniswhite")
    result = RUNNER.invoke(app, ["morphometry", str(tmp_path / "mask.tif"), "--mpp", "1"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: mask: mask.tif stores white as 0")


def test_every_region_is_shown(tmp_path: Path) -> None:
    """Without --json, regions are tables of their own."""
    Image.fromarray(np.zeros((60, 60), np.uint8)).save(tmp_path / "mask.png")
    corners = [[10, 10], [30, 10], [30, 30], [10, 30], [10, 10]]
    left = {
        "type": "Feature",
        "properties": {"name": "left"},
        "geometry": {"type": "Polygon", "coordinates": [corners]},
    }
    (tmp_path / "r.geojson").write_text(json.dumps(left))
    words = [str(tmp_path / "mask.png"), "--mpp", "1", "--regions", str(tmp_path / "r.geojson")]
    result = RUNNER.invoke(app, ["morphometry", *words])
    assert result.exit_code == 0, result.stderr
    assert "vessel mask: tissue" in result.stdout
    assert "vessel mask: left" in result.stdout


def test_settings_may_be_the_services_answer(
    angiometry: Any, section: Path, tmp_path: Path
) -> None:
    """What curl saved wraps the record, and repeats it as well."""
    first, again = tmp_path / "1.json", tmp_path / "2.json"
    angiometry(section, "--threshold-vessel", 0.8, "--json", first)
    record = json.loads(first.read_text("utf-8"))
    first.write_text(json.dumps({"id": "x", "state": "succeeded", "record": record}))
    result = angiometry(section, "--settings", first, "--json", again, mpp=None)
    assert result.exit_code == 0, result.stderr
    assert json.loads(again.read_text("utf-8"))["settings"] == record["settings"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"tissue": 5}, "tissue"),
        ({"tissue_sha256": 5}, "tissue"),
        ({"mpp_um": "abc"}, "mpp_um"),
        ({"channels": 5}, "channels"),
    ],
)
def test_settings_of_the_wrong_kind_are_refused(
    angiometry: Any, section: Path, tmp_path: Path, change: dict[str, Any], field: str
) -> None:
    """A record edited by hand names the setting that is wrong."""
    first = tmp_path / "1.json"
    angiometry(section, "--json", first)
    record = json.loads(first.read_text("utf-8"))
    record["settings"] |= change
    first.write_text(json.dumps(record))
    result = angiometry(section, "--settings", first, mpp=None)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {field}")


def test_an_empty_mask_is_zero(tmp_path: Path) -> None:
    """No vessel: zeros, and nulls with reasons."""
    Image.fromarray(np.zeros((50, 50), np.uint8)).save(tmp_path / "empty.png")
    words = ["morphometry", str(tmp_path / "empty.png"), "--mpp", "1", "--json", "-"]
    region = json.loads(RUNNER.invoke(app, words).stdout)["regions"][0]
    assert region["vessels"]["area_fraction"] == 0
    assert region["vessels"]["diameter_um"]["median"] is None
    assert region["reasons"]["vessels.diameter_um"]


def test_doctor_looks_at_everything() -> None:
    """Version, libraries, model and disk are listed; the exit code says whether all is well."""
    result = RUNNER.invoke(app, ["doctor"])
    for word in ("angiometry", "onnxruntime", "openslide", "model", "disk"):
        assert word in result.stdout
    assert result.exit_code == (1 if "broken" in result.stdout else 0)


def test_the_installed_command_runs_without_torch(section: Path, oracle_bundle: Path) -> None:
    """In a process of its own: pure JSON, quiet, and no training library imported."""
    code = (
        "import sys, angiometry\n"
        "try:\n    angiometry.main()\n"
        "finally:\n    assert not {'torch', 'lightning', 'albumentations'} & set(sys.modules)\n"
    )
    words = [str(section), "--mpp", "0.5", "--model", str(oracle_bundle), "--json", "-"]
    done = subprocess.run(
        [sys.executable, "-c", code, "measure", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["software"]["version"]
    assert "Traceback" not in done.stderr


def test_a_lost_process_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A process that is killed while it shares the work ends the verb with a mend, untraced."""
    with (
        pytest.raises(typer.Exit) as ended,
        _plain_errors(),
        ProcessPoolExecutor(1, get_context("spawn")) as executor,
    ):
        executor.submit(os._exit, 9).result()
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err == (
        "error: a process that shared the work was ended from outside, often for want of memory; "
        "run again, with fewer --workers\n"
    )


def test_a_full_disk_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is written, the line says what there was no room for, and the mend."""
    full = OSError(errno.ENOSPC, "No space left on device", "out/tiles/a.png")
    with pytest.raises(typer.Exit), _plain_errors():
        raise full
    assert capsys.readouterr().err == (
        "error: there is no room for out/tiles/a.png (No space left on device); "
        "make room and run again\n"
    )
