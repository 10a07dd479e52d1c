"""What the README and the examples promise comes true on a running service."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy import ndimage

from analysis.pipeline import measure_section
from analysis.record import to_dict
from analysis.settings import MeasureSettings
from datasets.synth import make_section
from datasets.synth_brightfield import render_brightfield
from datasets.synth_fluorescence import render_fluorescence
from datasets.synth_params import SectionParams
from imaging.open import open_image
from model.bundle import find_bundle, load_bundle
from model.predictor import Predictor
from tests.live_server import ROOT, Server, Start

SECTION = ROOT / "examples" / "section.png"
# Processors round differently: a few pixels at the threshold may fall to either side.
SLACK = 0.02
Bytes = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def shipped(start_server: Start) -> Iterator[Server]:
    """Return a server with the bundle that ships."""
    with start_server(model=find_bundle(None)) as running:
        yield running


@pytest.fixture(scope="module")
def envelope(shipped: Server) -> dict[str, Any]:
    """Return the answer to the README's curl."""
    with shipped.client() as client:
        form = {"marker": "CD31", "mpp_um": "0.5"}
        files = {"image": ("section.png", SECTION.read_bytes())}
        answer: dict[str, Any] = client.post("/v1/analyses", data=form, files=files).json()
    return answer


@pytest.fixture(scope="module")
def refresh() -> ModuleType:
    """Return the script that puts real answers into the documents."""
    spec = importlib.util.spec_from_file_location("refresh", ROOT / "docs" / "refresh.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def numbers(tree: Any, path: str = "") -> dict[str, float]:
    """Return every number of a tree by its path."""
    if isinstance(tree, dict):
        items = ((f"{path}.{key}", value) for key, value in tree.items())
    elif isinstance(tree, list):
        items = ((f"{path}.{index}", value) for index, value in enumerate(tree))
    else:
        plain = isinstance(tree, (int, float)) and not isinstance(tree, bool)
        return {path: float(tree)} if plain else {}
    return {name: number for key, value in items for name, number in numbers(value, key).items()}


def test_the_readme_shows_the_answer_that_is_given(
    refresh: ModuleType, envelope: dict[str, Any]
) -> None:
    """The JSON in the README is what its curl answers; `python docs/refresh.py` mends it."""
    text = refresh.BLOCK.search((ROOT / "README.md").read_text(encoding="utf-8"))
    written, given = json.loads(text.group()), refresh.shown(envelope)
    assert written["record"]["model"] == given["record"]["model"]
    assert numbers(written) == pytest.approx(numbers(given), rel=SLACK, abs=1)
    lengths = [
        tree["record"]["regions"][0]["vessels"]["length_density_mm_per_mm2"]
        for tree in (written, given)
    ]
    assert lengths[0] == pytest.approx(lengths[1], rel=SLACK)


def test_openapi_shows_the_answer_that_is_given(shipped: Server, envelope: dict[str, Any]) -> None:
    """The example of an answer has the members and numbers of a real one."""
    with shipped.client() as client:
        document = client.get("/openapi.json").json()
    answer = document["paths"]["/v1/analyses"]["post"]["responses"]["200"]
    example = answer["content"]["application/json"]["examples"]["section"]["value"]
    assert example["record"]["model"]["sha256"] == envelope["record"]["model"]["sha256"]
    assert example.keys() == envelope.keys()
    assert example["record"].keys() == envelope["record"].keys()
    regions = [numbers(tree["record"]["regions"]) for tree in (example, envelope)]
    assert regions[0] == pytest.approx(regions[1], rel=0.1, abs=1)


def test_the_shell_example_prints_the_table(shipped: Server) -> None:
    """`examples/upload.sh IMAGE CD31 0.5` prints the measurements as CSV, and fails aloud."""
    command = ["sh", str(ROOT / "examples" / "upload.sh"), str(SECTION), "CD31"]
    environment = os.environ | {"SERVICE_URL": shipped.url}
    done = subprocess.run(
        [*command, "0.5"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = {row["measurement"]: row for row in csv.DictReader(io.StringIO(done.stdout))}
    assert float(rows["vessels.length_density_mm_per_mm2"]["value"]) > 5
    assert rows["vessels.length_density_mm_per_mm2"]["unit"] == "mm/mm²"
    failed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "pixel size" in failed.stderr


def test_the_python_example_writes_a_table(shipped: Server, tmp_path: Path) -> None:
    """`examples/upload.py` writes a row for each image and names the one that failed."""
    bad = tmp_path / "notes.png"
    bad.write_text("no image")
    table = tmp_path / "densities.csv"
    words = [str(SECTION), str(bad), "--marker", "CD31", "--mpp", "0.5", "--csv", str(table)]
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "upload.py"), *words, "--url", shipped.url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "notes.png" in done.stderr
    (row,) = csv.DictReader(io.StringIO(table.read_text(encoding="utf-8")))
    assert row["image"] == "section.png"
    assert float(row["vessel length mm per mm2"]) > 5


def test_service_command_line_and_library_give_the_same_numbers(
    envelope: dict[str, Any], tmp_path: Path
) -> None:
    """One image has one record, whichever way it is measured."""
    out = tmp_path / "record.json"
    words = ["measure", str(SECTION), "--marker", "CD31", "--mpp", "0.5", "--json", str(out)]
    subprocess.run([sys.executable, "-m", "angiometry", *words], cwd=ROOT, check=True)
    with open_image(SECTION, 0.5) as image:
        predictor = Predictor(load_bundle(find_bundle(None)), threads=1)
        library = measure_section(image, predictor, MeasureSettings(), workdir=tmp_path)
    records = [envelope["record"], json.loads(out.read_text()), to_dict(library.record)]
    for name in ("regions", "settings", "image", "model", "warnings"):
        assert records[0][name] == records[1][name] == records[2][name], name


def clouds(seed: int, scale_px: float, spread: float) -> Bytes:
    """Return a glow clouded over `scale_px` under a camera's noise, with no vessel in it."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal((512, 512)), scale_px)
    noisy = 40 + spread * field / field.std() + 3 * rng.standard_normal((512, 512))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def area_fraction(pixels: npt.NDArray[Any], folder: Path) -> float:
    """Return the vessel area fraction that the shipped model finds on one image."""
    path = folder / "section.png"
    Image.fromarray(pixels).save(path)
    with open_image(path, 0.5) as image:
        predictor = Predictor(load_bundle(find_bundle(None)), threads=1)
        found = measure_section(image, predictor, MeasureSettings(), workdir=folder)
    vessels = found.record.regions[0].vessels
    assert vessels is not None
    assert vessels.area_fraction is not None
    return vessels.area_fraction


def without_vessels(kind: str, seed: int) -> npt.NDArray[Any]:
    """Return a picture of 512 × 512 px in which there is no vessel."""
    if kind == "noise":
        return np.clip(np.random.default_rng(seed).normal(60, 12, (512, 512)), 0, 255).astype("u1")
    empty = make_section(seed, SectionParams(size_px=512).without_vessels())
    if kind == "brightfield":
        return render_brightfield(empty)
    return render_fluorescence(empty)[..., 1].astype(np.uint16)


@pytest.mark.parametrize("kind", ["noise", "autofluorescence", "brightfield"])
def test_the_shipped_model_finds_no_vessels_where_none_are(kind: str, tmp_path: Path) -> None:
    """Noise, glow, and stained tissue without tubes: under 0.005 in the mean of six sections."""
    seeds = range(9_000_001, 9_000_007)
    found = [area_fraction(without_vessels(kind, seed), tmp_path) for seed in seeds]
    assert np.mean(found) < 0.005


@pytest.mark.parametrize(("scale_px", "spread"), [(3, 8), (10, 8), (10, 4), (30, 12)])
def test_mottled_glow_is_not_outlined(scale_px: float, spread: float, tmp_path: Path) -> None:
    """Over four drawn fields without vessels the area fraction stays under 0.005 in the mean."""
    found = [area_fraction(clouds(seed, scale_px, spread), tmp_path) for seed in range(4)]
    assert np.mean(found) < 0.005
