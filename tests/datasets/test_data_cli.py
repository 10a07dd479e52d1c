"""`angiometry data build` and `data check` do what their library functions do, and exit rightly."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from angiometry import app
from datasets.build import manifest_hash
from datasets.manifest import Manifest
from datasets.rows import Row
from datasets.splits import assign_splits


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Return a manifest of two sections, outlined in GeoJSON with a class of the lab's own."""
    rows = []
    for number, split in enumerate(("train", "val")):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 255, (6, 6)).astype(np.uint8)
        grey = np.asarray(Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC))
        Image.fromarray(np.stack([grey, grey // 2, grey // 3], -1)).save(tmp_path / f"{number}.png")
        ring = [[4, 20], [60, 20], [60, 32], [4, 32], [4, 20]]
        feature = {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"classification": {"name": "Microvessel"}},
        }
        (tmp_path / f"{number}.geojson").write_text(json.dumps([feature]))
        rows.append(
            Row(
                image=f"{number}.png",
                animal=f"m{number}",
                modality="brightfield",
                mpp_um=0.5,
                annotation={"vessel": f"{number}.geojson"},
                targets=("vessel",),
                split=split,  # type: ignore[arg-type]
            )
        )
    return Manifest(tmp_path, tuple(rows)).write(tmp_path / "manifest.csv")


def test_build_writes_tiles_and_says_their_hash(manifest: Path, tmp_path: Path) -> None:
    """The verb cuts tiles with the classes given and prints count and hash."""
    out = tmp_path / "tiles"
    result = run(
        "build", manifest, "--out", out, "--tile-px", 32, "--classes", "Microvessel=vessel"
    )
    assert result.exit_code == 0, result.output
    assert "8 tiles (4 train, 4 val, 0 test)" in result.output
    assert manifest_hash(out) in result.output


def test_unmapped_class_is_one_line_and_exit_code_2(manifest: Path, tmp_path: Path) -> None:
    """Without the mapping the class is named, nothing is written, and the exit code is 2."""
    result = run("build", manifest, "--out", tmp_path / "tiles")
    assert result.exit_code == 2
    assert "Microvessel" in result.output
    assert "NAME=TARGET" in result.output
    assert not (tmp_path / "tiles").exists()


@pytest.mark.parametrize(
    "arguments", [("--classes", "Microvessel"), ("--mpp", "0"), ("--tile-px", "4")]
)
def test_bad_options_are_exit_code_2(
    manifest: Path, tmp_path: Path, arguments: tuple[str, str]
) -> None:
    """An option that makes no sense is refused before anything is cut."""
    result = run("build", manifest, "--out", tmp_path / "tiles", *arguments)
    assert result.exit_code == 2
    assert "error:" in result.output


def test_check_writes_report_and_contact_sheet(manifest: Path, tmp_path: Path) -> None:
    """A usable manifest is exit code 0, with report and picture written."""
    result = run(
        "check",
        manifest,
        "--classes",
        "Microvessel=vessel",
        "--json",
        tmp_path / "new" / "report.json",
        "--contact-sheet",
        tmp_path / "pictures" / "sheet.png",
    )
    assert result.exit_code == 0, result.output
    assert "2 images of 2 animals: 0 errors" in result.output
    assert json.loads((tmp_path / "new" / "report.json").read_text())["errors"] == 0
    with Image.open(tmp_path / "pictures" / "sheet.png") as sheet:
        assert sheet.format == "PNG"


def test_check_writes_down_who_learns_and_who_judges(manifest: Path, tmp_path: Path) -> None:
    """The copy has the splits that tiles would have; with errors there is none."""
    given = Manifest.read(manifest)
    rows = tuple(dataclasses.replace(row, split=None) for row in given.rows)
    Manifest(tmp_path, rows).write(manifest)
    copy = tmp_path / "new" / "splits.csv"
    wrong = run("check", manifest, "--with-splits", copy)
    assert wrong.exit_code == 1
    assert "splits.csv is not written: mend the errors first" in wrong.stderr
    assert not copy.exists()
    classes = ("--classes", "Microvessel=vessel")
    result = run("check", manifest, *classes, "--with-splits", copy)
    assert result.exit_code == 0, result.output
    written = Manifest.read(copy)
    assert written.rows == assign_splits(Manifest.read(manifest)).moved(copy.parent).rows
    assert {row.split for row in written.rows} == {"train", "val"}
    assert f"{copy}: the manifest with every split" in result.output
    assert "Write it down" not in result.output
    again = run("check", copy, *classes)
    assert "left open" not in again.output


@pytest.mark.parametrize("flag", ["--json", "--contact-sheet", "--with-splits"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "is a folder; give a file name"),
        ("manifest.csv", "is read by this command"),
        ("0.png", "is read by this command"),
        ("0.geojson", "is read by this command"),
        ("pipe", "is no ordinary file"),
        ("0.png/new.csv", "is no folder that you may write to"),
    ],
)
def test_check_refuses_outputs_that_cannot_be(
    manifest: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flag: str,
    name: str,
    message: str,
) -> None:
    """A folder, an input, a device or an impossible place is refused before images are examined."""
    monkeypatch.setattr("datasets.check.check_manifest", None)
    os.mkfifo(tmp_path / "pipe")
    result = run("check", manifest, flag, tmp_path / name)
    assert result.exit_code == 2
    assert f"error: {flag} {tmp_path / name}" in result.output
    assert message in result.output


def test_check_with_errors_is_exit_code_1(manifest: Path) -> None:
    """Classes without a target are errors of the images, so the exit code is 1."""
    result = run("check", manifest)
    assert result.exit_code == 1
    assert "2 errors" in result.output


def test_unreadable_manifest_is_exit_code_2(tmp_path: Path) -> None:
    """No manifest, or a wrong one, is exit code 2 with what to do."""
    assert run("check", tmp_path / "none.csv").exit_code == 2
    (tmp_path / "wrong.csv").write_text("image,animal\n")
    result = run("check", tmp_path / "wrong.csv")
    assert result.exit_code == 2
    assert "'sha256' is missing" in result.output


def test_vessmap_is_taken_as_it_lies(shared_data: Path, tmp_path: Path) -> None:
    """A folder instead of a manifest is read as VessMAP."""
    result = run("build", shared_data / "vessmap", "--out", tmp_path / "tiles")
    assert result.exit_code == 0, result.output
    assert "75 tiles (60 train, 15 val, 0 test)" in result.output


@pytest.mark.parametrize("flag", ["--contact-sheet", "--with-splits"])
def test_check_refuses_names_of_other_kinds_of_file(
    manifest: Path, tmp_path: Path, flag: str
) -> None:
    """A picture is a .png, a manifest a .csv."""
    result = run("check", manifest, flag, tmp_path / "new.doc")
    assert result.exit_code == 2
    assert (
        f"error: {flag} {tmp_path / 'new.doc'} would be no .doc file; end it with " in result.output
    )


def test_check_tells_all_errors_though_no_image_can_be_shown(
    manifest: Path, tmp_path: Path
) -> None:
    """Without an image to show there is no sheet; findings and report are told as ever."""
    sheet, report = tmp_path / "sheet.png", tmp_path / "report.json"
    result = run("check", manifest, "--contact-sheet", sheet, "--json", report)
    assert result.exit_code == 1
    assert "2 errors" in result.output
    assert f"wrote {report}" in result.stderr
    assert f"{sheet} is not written: no image could be shown" in result.stderr
    assert not sheet.exists()
