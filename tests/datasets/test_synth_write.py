"""Synthetic data sets on disk: what is written reads back as what was made."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import shapely.geometry
import tifffile
from PIL import Image

from datasets.annotations import open_annotation
from datasets.errors import BuildError
from datasets.manifest import Manifest, file_sha256
from datasets.splits import leaking_animals
from datasets.synth_write import parse_modalities, write_synthetic
from imaging.open import open_image
from imaging.polygons import Grid

_SIZE = 96


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Return the manifest of eight sections: two markers, two modalities, several animals."""
    folder = tmp_path_factory.mktemp("synth") / "set"
    write_synthetic(folder, 8, 20, size_px=_SIZE, empty_fraction=0.2)
    return Manifest.read(folder / "manifest.csv")


def test_manifest_names_every_section_with_its_hash(written: Manifest) -> None:
    """Eight rows are valid, of both modalities and targets, and no animal is in two splits."""
    assert len(written.rows) == 8
    assert {row.modality for row in written.rows} == {"brightfield", "fluorescence"}
    assert {row.targets for row in written.rows} == {("vessel",), ("vegf_cell",)}
    assert all(row.sha256 == file_sha256(written.path(row.image)) for row in written.rows)
    assert all(row.split for row in written.rows)
    assert not leaking_animals(written.rows)


def test_images_open_with_their_pixel_size(written: Manifest) -> None:
    """PNG takes the manifest's µm per pixel; 16-bit OME-TIFF brings its own and its channels."""
    for row in written.rows:
        path = written.path(row.image)
        if row.modality == "brightfield":
            pixels = np.asarray(Image.open(path))
            assert (pixels.shape, pixels.dtype) == ((_SIZE, _SIZE, 3), np.uint8)
            continue
        with tifffile.TiffFile(path) as file:
            assert file.series[0].dtype == np.uint16
        with open_image(path, channels={"nuclei": 0, row.markers[0]: 1}) as image:
            assert (image.width_px, image.height_px) == (_SIZE, _SIZE)
            assert image.mpp_um == pytest.approx(0.5)
            assert image.mpp_source == "file"
            assert image.modality == "fluorescence"


def test_label_images_hold_the_outlines(written: Manifest) -> None:
    """The QuPath outlines cover the area that the label image does, and as many cells."""
    for row in written.rows:
        target = row.targets[0]
        labels = np.asarray(Image.open(written.path(row.annotation[target])))
        assert labels.shape == (_SIZE, _SIZE)
        name = Path(row.annotation[target]).stem
        document = json.loads((written.folder / "outlines" / f"{name}.geojson").read_text())
        shapes = [shapely.geometry.shape(f["geometry"]) for f in document["features"]]
        assert all(shape.is_valid for shape in shapes)
        area = sum(shape.area for shape in shapes)
        assert area == pytest.approx((labels > 0).sum(), rel=0.05, abs=20)
        truth = json.loads((written.folder / "truth" / f"{name}.json").read_text())
        if target == "vegf_cell":
            assert truth["positive_cell_count"] == len(shapes)
        else:
            assert truth["vessel_area_fraction"] == pytest.approx(area / _SIZE**2, rel=1e-3)


def test_outlines_read_back_as_an_annotation(written: Manifest) -> None:
    """The outlines are an annotation like any lab's: they rasterise to the label image."""
    row = next(row for row in written.rows if row.targets == ("vessel",))
    name = Path(row.annotation["vessel"]).stem
    size = (_SIZE, _SIZE)
    labels = [
        open_annotation(written.folder / path, "vessel", size).read(Grid(0, 0, _SIZE, _SIZE)).labels
        for path in (row.annotation["vessel"], f"outlines/{name}.geojson")
    ]
    differing = (labels[0] > 0) != (labels[1] > 0)
    assert differing.mean() < 0.005


def test_section_is_the_same_in_a_longer_data_set(tmp_path: Path, written: Manifest) -> None:
    """Section k depends on seed + k alone, and so do its animal and its split."""
    other = write_synthetic(tmp_path / "again", 2, 22, size_px=_SIZE, empty_fraction=0.2)
    assert [row.sha256 for row in other.rows[:1]] == [written.rows[2].sha256]
    assert other.rows[0].animal == written.rows[2].animal


def test_empty_sections_have_empty_labels(tmp_path: Path) -> None:
    """A data set without anything stained has label images of zeros."""
    manifest = write_synthetic(
        tmp_path / "none", 2, 1, size_px=64, modalities=("brightfield",), empty_fraction=1.0
    )
    for row in manifest.rows:
        assert not np.asarray(Image.open(manifest.path(row.annotation[row.targets[0]]))).any()


def test_fluorescence_shows_both_markers(tmp_path: Path) -> None:
    """CD31+VEGF annotates two targets on three channels."""
    manifest = write_synthetic(
        tmp_path / "two", 1, 1, size_px=64, markers=("CD31+VEGF",), modalities=("fluorescence",)
    )
    (row,) = manifest.rows
    assert row.targets == ("vessel", "vegf_cell")
    assert row.channels == "nuclei=0,CD31=1,VEGF=2"
    assert tifffile.imread(manifest.path(row.image)).shape == (3, 64, 64)


def test_impossible_requests_are_refused(tmp_path: Path, written: Manifest) -> None:
    """Each wrong argument is named, and nothing already written is written over."""
    for field, wrong in {
        "count": {"count": 0},
        "seed": {"seed": -1},
        "size_px": {"size_px": 4},
        "empty_fraction": {"empty_fraction": 2.0},
        "markers": {"markers": ("CD31+VEGF",)},
    }.items():
        with pytest.raises(BuildError) as caught:
            write_synthetic(tmp_path / "x", **{"count": 1, "seed": 1, **wrong})
        assert caught.value.field == field
    with pytest.raises(BuildError, match="already"):
        write_synthetic(written.folder, 1, 1)
    with pytest.raises(BuildError, match="infrared"):
        parse_modalities("infrared")


def test_processes_write_the_same_files(tmp_path: Path) -> None:
    """Sections spread over processes are those of one process, byte for byte."""
    options = {"size_px": 64, "empty_fraction": 0.0}
    write_synthetic(tmp_path / "one", 4, 20, **options)  # type: ignore[arg-type]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        write_synthetic(tmp_path / "two", 4, 20, executor=pool, **options)  # type: ignore[arg-type]
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*"))
    assert len(files) > 12
    for file in files:
        assert (tmp_path / "two" / file).read_bytes() == (tmp_path / "one" / file).read_bytes()
