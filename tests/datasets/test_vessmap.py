"""VessMAP is read in every layout that it is met in."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from datasets.build import build_tiles
from datasets.errors import LayoutError
from datasets.manifest import Manifest
from datasets.vessmap import vessmap_manifest

NUMBERS = [str(number) for number in range(100, 120)]


def make(root: Path, labels: str) -> Path:
    (root / "images").mkdir(parents=True)
    (root / labels).mkdir(parents=True)
    for number in NUMBERS:
        pixels = np.full((8, 8), int(number), np.uint8)
        tifffile.imwrite(root / "images" / f"{number}.tiff", pixels)
        Image.fromarray(pixels // 255).save(root / labels / f"{number}.png")
    return root


@pytest.mark.parametrize("labels", ["labels", "annotator1/labels", "labels/annotator1"])
def test_folders_are_read_in_each_layout(tmp_path: Path, labels: str) -> None:
    """Images find their labels beside them or under the annotator's name."""
    manifest = vessmap_manifest(make(tmp_path / "VessMAP", labels))
    assert [row.section for row in manifest.rows] == NUMBERS
    assert all(manifest.path(row.annotation["vessel"]).is_file() for row in manifest.rows)
    assert vessmap_manifest(tmp_path).rows == manifest.rows


def test_archive_is_unpacked_beside_itself(tmp_path: Path) -> None:
    """The zip archive is read as its folder is."""
    root = make(tmp_path / "source" / "VessMAP", "annotator1/labels")
    archive = tmp_path / "VessMAP.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        for path in sorted(root.rglob("*")):
            bundle.write(path, path.relative_to(root.parent))
    manifest = vessmap_manifest(archive)
    assert len(manifest.rows) == 20
    assert vessmap_manifest(archive).rows == manifest.rows
    assert manifest.folder.is_relative_to(tmp_path)


def test_validation_part_is_a_fifth_and_fixed(tmp_path: Path) -> None:
    """A fifth validates; the same seed holds out the same crops, another seed others."""
    root = make(tmp_path / "VessMAP", "labels")

    def held_out(seed: int) -> set[str]:
        rows = vessmap_manifest(root, seed=seed).rows
        return {row.section for row in rows if row.split == "val"}

    assert len(held_out(0)) == 4
    assert held_out(0) == held_out(0) != held_out(1)


def test_manifest_reads_back_from_csv(tmp_path: Path) -> None:
    """The manifest written as CSV passes its own validation, hashes included."""
    manifest = vessmap_manifest(make(tmp_path / "VessMAP", "annotator1/labels"))
    assert Manifest.read(manifest.write(tmp_path / "VessMAP" / "m.csv")).rows == manifest.rows


def test_its_tiles_say_whose_they_are(tmp_path: Path) -> None:
    """Cut without a recipe, crops are VessMAP's all the same, and no images of one's own."""
    manifest = vessmap_manifest(make(tmp_path / "VessMAP", "labels"))
    build_tiles(manifest, tmp_path / "tiles", tile_px=16)
    with (tmp_path / "tiles" / "tiles.csv").open() as stream:
        assert {row["source"] for row in csv.DictReader(stream)} == {"vessmap"}


def test_what_is_not_vessmap_is_refused(tmp_path: Path) -> None:
    """A folder without images, without labels, or with a label missing says so."""
    with pytest.raises(LayoutError, match="no folder images"):
        vessmap_manifest(tmp_path)
    root = make(tmp_path / "VessMAP", "labels")
    (root / "labels" / "107.png").unlink()
    with pytest.raises(LayoutError, match="lacks labels of 107"):
        vessmap_manifest(root)
    (root / "labels").rename(root / "masks")
    with pytest.raises(LayoutError, match=r"neither labels/ nor annotator1/labels/.*a \.csv file"):
        vessmap_manifest(root)


def test_development_copy_has_15_of_75_to_validate(shared_data: Path) -> None:
    """The 75 crops on hand give 60 to train on and 15 that training never sees."""
    rows = vessmap_manifest(shared_data / "vessmap").rows
    assert [sum(row.split == split for row in rows) for split in ("train", "val")] == [60, 15]
    assert len({row.animal for row in rows}) == 75
    first = sorted(row.section for row in rows if row.split == "val")[:3]
    assert first == ["12335", "12960", "13128"]
