"""Sizes that decide what is counted, and earlier settings, on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from angiometry import app

RUNNER = CliRunner()
SIZES = ("min_profile_area_um2", "gap_um", "max_vessel_radius_um", "min_cell_area_um2")


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


@pytest.fixture
def places() -> np.ndarray[Any, Any]:
    """Return two bars of 60 × 10 px (150 µm² at 0.5 µm/px) with 6 px (3 µm) between them."""
    drawn = np.zeros((200, 200), np.bool_)
    drawn[50:60, 20:80] = drawn[50:60, 86:146] = True
    return drawn


@pytest.fixture
def section(places: np.ndarray[Any, Any], tmp_path: Path) -> Path:
    """Return the bars as a fluorescence section."""
    grey = np.random.default_rng(0).integers(40, 43, places.shape).astype(np.uint8)
    grey[places] = 220
    Image.fromarray(grey).save(tmp_path / "section.png")
    return tmp_path / "section.png"


@pytest.fixture
def mask(places: np.ndarray[Any, Any], tmp_path: Path) -> Path:
    """Return the bars as a mask."""
    Image.fromarray(places.view(np.uint8) * 255).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def measure(oracle: Path, section: Path, *words: object) -> Result:
    given = [str(word) for word in words]
    frame = [] if "--settings" in given else ["--mpp", "0.5", "--tissue", "frame"]
    return RUNNER.invoke(app, ["measure", str(section), "--model", str(oracle), *frame, *given])


def morphometry(mask: Path, *words: object) -> Result:
    given = [str(word) for word in words]
    size = [] if "--settings" in given else ["--mpp", "0.5"]
    return RUNNER.invoke(app, ["morphometry", str(mask), *size, *given])


def told(result: Result) -> dict[str, Any]:
    """Return the record on standard output."""
    assert result.exit_code == 0, result.stderr
    record: dict[str, Any] = json.loads(result.stdout)
    return record


@pytest.mark.parametrize(
    ("words", "path", "without", "found"),
    [
        (["--min-profile-area-um2", 149], "profile_count", 2, 2),
        (["--min-profile-area-um2", 151], "profile_count", 2, 0),
        (["--gap-um", 2.9], "profile_count", 2, 2),
        (["--gap-um", 3.1], "profile_count", 2, 1),
        (["--max-vessel-radius-um", 2], "length_mm", pytest.approx(0.05, rel=0.1), 0),
    ],
)
def test_sizes_decide_what_is_counted(
    oracle_bundle: Path,
    section: Path,
    mask: Path,
    words: list[Any],
    path: str,
    without: Any,
    found: Any,
) -> None:
    """The verbs' flags change the same numbers alike, and stand in the record's settings."""
    for run in (lambda *w: measure(oracle_bundle, section, *w), lambda *w: morphometry(mask, *w)):
        before, after = (told(run("--json", "-", *more)) for more in ([], words))
        assert before["regions"][0]["vessels"][path] == without
        assert after["regions"][0]["vessels"][path] == found
        assert after["settings"][words[0][2:].replace("-", "_")] == words[1]


def test_the_smallest_cell_can_be_chosen(oracle_bundle: Path, section: Path) -> None:
    """A cell of 150 µm² is none where the smallest has 151."""
    for least, count in ((149, 2), (151, 0)):
        words = ["--marker", "VEGF", "--min-cell-area-um2", least, "--json", "-"]
        record = told(measure(oracle_bundle, section, *words))
        assert record["regions"][0]["cells"]["positive_count"] == count
        assert record["settings"]["min_cell_area_um2"] == least


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("value", ["-1", "nan", "inf", "-inf", "1e9"])
def test_sizes_that_no_section_has_are_refused(
    oracle_bundle: Path, section: Path, mask: Path, name: str, value: str
) -> None:
    """One line names the setting, what it was and what it may be."""
    runs = [measure(oracle_bundle, section, flag(name), value)]
    if "cell" not in name:
        runs.append(morphometry(mask, flag(name), value))
    for result in runs:
        assert result.exit_code == 2
        assert result.stderr.startswith(f"error: {name} is {float(value)}; give ")
        assert len(result.stderr.strip().splitlines()) == 1


def test_sizes_are_repeated_and_resumed(oracle_bundle: Path, section: Path, tmp_path: Path) -> None:
    """``--settings`` brings them, flags win over it, and ``--resume`` knows another size."""
    first, out = tmp_path / "1.json", tmp_path / "2.json"
    sizes = [word for name in SIZES for word in (flag(name), 3)]
    assert measure(oracle_bundle, section, *sizes, "--json", first).exit_code == 0
    one = json.loads(first.read_text("utf-8"))
    assert [one["settings"][name] for name in SIZES] == [3, 3, 3, 3]
    again = told(measure(oracle_bundle, section, "--settings", first, "--json", "-"))
    assert (again["settings"], again["regions"]) == (one["settings"], one["regions"])
    other = told(measure(oracle_bundle, section, "--settings", first, "--gap-um", 1, "--json", "-"))
    assert [other["settings"][name] for name in SIZES] == [3, 1, 3, 3]
    done = []
    for gap in (2.5, 2.5, 3.5):
        result = measure(oracle_bundle, section, "--gap-um", gap, "--json", out, "--resume")
        assert result.exit_code == 0, result.stderr
        done.append("already measured" in result.stderr)
    assert done == [False, True, False]
    assert json.loads(out.read_text("utf-8"))["settings"]["gap_um"] == 3.5


def test_morphometry_repeats_an_earlier_record(mask: Path, tmp_path: Path) -> None:
    """``--settings`` brings pixel size, thickness, tissue, regions and sizes; flags win over it."""
    tissue = np.zeros((200, 200), np.uint8)
    tissue[:, :100] = 255
    Image.fromarray(tissue).save(tmp_path / "tissue.png")
    corners = [[0, 0], [60, 0], [60, 200], [0, 200], [0, 0]]
    left = {
        "type": "Feature",
        "properties": {"name": "left"},
        "geometry": {"type": "Polygon", "coordinates": [corners]},
    }
    (tmp_path / "r.geojson").write_text(json.dumps(left))
    words = ["--tissue", tmp_path / "tissue.png", "--regions", tmp_path / "r.geojson", "--parity"]
    words += ["--section-thickness-um", 30, "--gap-um", 4, "--band-um", 80]
    first = tmp_path / "1.json"
    assert morphometry(mask, *words, "--json", first).exit_code == 0
    one = json.loads(first.read_text("utf-8"))
    assert one["image"]["section_thickness_um"] == 30
    again = told(morphometry(mask, "--settings", first, "--json", "-"))
    for part in ("settings", "regions", "parity", "comparisons"):
        assert again[part] == one[part]
    assert again["image"]["section_thickness_um"] == 30
    changed = ["--section-thickness-um", 12, "--gap-um", 1, "--tissue", "frame", "--mpp", 1]
    other = told(morphometry(mask, "--settings", first, *changed, "--json", "-"))
    assert other["image"]["section_thickness_um"] == 12
    assert other["image"]["mpp_um"] == 1
    assert other["settings"] == one["settings"] | {
        "gap_um": 1,
        "tissue": "frame",
        "tissue_sha256": None,
        "mpp_um": 1,
    }


def test_morphometry_refuses_settings_that_are_not_its_own(
    oracle_bundle: Path, section: Path, mask: Path, tmp_path: Path
) -> None:
    """Neither the record of an image, nor another tissue mask, nor an unknown setting."""
    first, tissue = tmp_path / "1.json", tmp_path / "tissue.png"
    assert measure(oracle_bundle, section, "--json", first).exit_code == 0
    result = morphometry(mask, "--settings", first)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: settings: {first} is the record of an image")
    Image.fromarray(np.full((200, 200), 255, np.uint8)).save(tissue)
    assert morphometry(mask, "--tissue", tissue, "--json", first).exit_code == 0
    Image.fromarray(np.full((200, 200), 1, np.uint8)).save(tissue)
    result = morphometry(mask, "--settings", first)
    assert result.stderr.startswith(f"error: tissue: {tissue} is not the tissue mask")
    first.write_text('{"gap": 2}')
    assert morphometry(mask, "--settings", first).stderr.startswith("error: settings: gap is no")
    assert morphometry(mask, "--tissue", "auto").stderr.startswith("error: tissue: a mask shows")
    thickness = morphometry(mask, "--section-thickness-um", "nan")
    assert thickness.stderr.startswith("error: section_thickness_um is nan; ")


def test_measure_refuses_the_settings_of_a_mask(
    oracle_bundle: Path, section: Path, mask: Path, tmp_path: Path
) -> None:
    """The record of a vessel mask holds no model and no threshold: one line says whose it is."""
    first = tmp_path / "1.json"
    assert morphometry(mask, "--json", first).exit_code == 0
    result = measure(oracle_bundle, section, "--settings", first)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: settings: {first} is the record of a vessel mask")
    assert len(result.stderr.strip().splitlines()) == 1
