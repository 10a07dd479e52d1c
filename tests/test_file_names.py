"""Files may be named in any bytes; what is written is UTF-8 all the same."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from PIL import Image

from analysis.batch import output_names
from imaging.names import readable

SHOWN = "caf\ufffd.png"


@pytest.fixture
def latin(tmp_path: Path) -> Path:
    """Return a section whose name is "café.png" in Latin-1, which is no UTF-8."""
    path = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.png"))
    grey = np.random.default_rng(0).integers(40, 43, (200, 200)).astype(np.uint8)
    grey[50:60, 20:180] = 220
    try:
        with path.open("wb") as stream:
            Image.fromarray(grey).save(stream, format="PNG")
    except OSError:
        pytest.skip("this file system holds names of UTF-8 only")
    return path


def run(verb: str, *words: object) -> subprocess.CompletedProcess[bytes]:
    """Run the command line as a shell would, with the bytes of its words."""
    given = [os.fsencode(str(word)) for word in words]
    command = [sys.executable, "-m", "angiometry", verb, *given]
    return subprocess.run(command, capture_output=True, check=False, timeout=300)


@pytest.mark.parametrize("text", ["a", "é 脳", ""])
def test_text_stays_as_it_is(text: str) -> None:
    """Only halves of surrogate pairs are replaced."""
    assert readable(text) == text
    assert readable(os.fsdecode(b"caf\xe9\xff.png")) == "caf\ufffd\ufffd.png"


def test_measure_writes_utf_8_whatever_the_image_is_called(
    latin: Path, oracle_bundle: Path, tmp_path: Path
) -> None:
    """No output fails; the record holds the name with a sign for what can't be read."""
    out = {kind: tmp_path / f"out.{kind}" for kind in ("json", "csv", "xlsx", "geojson", "png")}
    flags = {"json": "json", "csv": "csv", "xlsx": "xlsx", "geojson": "objects", "png": "overlay"}
    words = [word for kind, flag in flags.items() for word in (f"--{flag}", out[kind])]
    done = run("measure", latin, "--mpp", 0.5, "--model", oracle_bundle, "--tissue", latin, *words)
    # A grey image is no mask; the message names it, and nothing breaks.
    assert done.returncode == 2
    assert b"not binary" in done.stderr
    done = run("measure", latin, "--mpp", 0.5, "--model", oracle_bundle, *words)
    assert done.returncode == 0, done.stderr
    record = json.loads(out["json"].read_bytes().decode("utf-8"))
    assert record["image"]["name"] == SHOWN
    rows = list(csv.DictReader(io.StringIO(out["csv"].read_bytes().decode("utf-8"))))
    assert rows
    assert openpyxl.load_workbook(out["xlsx"]).sheetnames
    again = run("measure", latin, "--mpp", 0.5, "--model", oracle_bundle, "--resume", *words)
    assert b"1 already measured" in again.stderr


def test_several_images_and_the_table_on_the_screen(
    latin: Path, oracle_bundle: Path, tmp_path: Path
) -> None:
    """One of several, or shown without outputs: measured like any other."""
    other = tmp_path / "b.png"
    other.write_bytes(latin.read_bytes())
    out = tmp_path / "all.json"
    done = run("measure", latin, other, "--mpp", 0.5, "--model", oracle_bundle, "--json", out)
    assert done.returncode == 0, done.stderr
    names = [record["image"]["name"] for record in json.loads(out.read_text("utf-8"))]
    assert names == [SHOWN, "b.png"]
    shown = run("measure", latin, "--mpp", 0.5, "--model", oracle_bundle)
    assert shown.returncode == 0, shown.stderr
    assert "vessels.area_fraction" in shown.stdout.decode("utf-8")
    assert len(output_names([latin, other])) == 2


def test_a_tissue_mask_of_such_a_name_is_recorded(latin: Path, tmp_path: Path) -> None:
    """Morphometry's record names image and tissue mask readably."""
    mask = np.zeros((60, 60), np.uint8)
    mask[20:40, 20:40] = 255
    with latin.open("wb") as stream:
        Image.fromarray(mask).save(stream, format="PNG")
    out = tmp_path / "record.json"
    done = run("morphometry", latin, "--mpp", 1, "--tissue", latin, "--json", out)
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_bytes().decode("utf-8"))
    assert record["image"]["name"] == SHOWN
    assert record["settings"]["tissue"].endswith(SHOWN)
