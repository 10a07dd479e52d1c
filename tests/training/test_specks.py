"""Promises about strewing bright specks over a fluorescence tile."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from tests.training.small import OFF
from training.augment import Augmentation
from training.specks import specked
from training.stream import TileStream


def glow(level: int = 200, side: int = 128) -> np.ndarray:
    """Return a marker that is the same everywhere, nuclei in the left half, no residual."""
    image = np.zeros((side, side, 3), np.uint8)
    image[..., 0] = level
    image[:, : side // 2, 1] = 90
    return image


def test_what_was_bright_becomes_faint_beside_specks() -> None:
    """An even marker keeps a quarter to four fifths of its light; some spots are brighter."""
    left, peaks = [], []
    for seed in range(60):
        marker = specked(glow(), np.random.default_rng(seed))[..., 0].astype(float)
        left.append(np.median(marker) / 200)
        peaks.append(marker.max() / np.median(marker))
    assert 0.24 < min(left) < 0.4
    assert 0.65 < max(left) < 0.81
    assert np.mean(np.array(peaks) > 1.3) > 0.9


def test_specks_are_round_and_small() -> None:
    """On a dark tile nine of ten bright spots are at most 20 px (10 µm) long, few much longer."""
    lengths: list[int] = []
    for seed in range(20):
        marker = specked(glow(0, 256), np.random.default_rng(seed))[..., 0]
        spots, count = ndimage.label(marker > 40)
        assert count > 0
        lengths += [max(y.stop - y.start, x.stop - x.start) for y, x in ndimage.find_objects(spots)]
    assert np.quantile(lengths, 0.9) <= 20
    assert np.mean(np.array(lengths) > 50) < 0.01


def test_only_the_marker_is_changed() -> None:
    """Nuclei and residual stay, and so does the tile that was given."""
    image = glow()
    before = image.copy()
    changed = specked(image, np.random.default_rng(1))
    assert np.array_equal(changed[..., 1:], image[..., 1:])
    assert np.array_equal(image, before)


@pytest.mark.parametrize("residual", [0, 3])
def test_brightfield_has_none(residual: int) -> None:
    """With a chance of 1 every fluorescence tile gets specks, and none of H-DAB does."""
    image = glow()
    image[..., 2] = residual
    augmentation = Augmentation(dataclasses.replace(OFF, specks=1.0))
    for seed in range(5):
        augmentation.prepare(seed)
        changed = augmentation(image=image, masks=[])["image"]
        assert np.array_equal(changed, image) == (residual > 0)


def test_its_chance_is_what_the_recipe_says() -> None:
    """With a chance of a third about that share of tiles gets specks."""
    augmentation = Augmentation(dataclasses.replace(OFF, specks=1 / 3))
    changed = 0
    for seed in range(200):
        augmentation.prepare(seed)
        changed += not np.array_equal(augmentation(image=glow(), masks=[])["image"], glow())
    assert abs(changed / 200 - 1 / 3) < 0.1


def test_tiles_with_cells_have_none(tile_folders: list[Path], tmp_path: Path):
    """Bright round things may be cells: where those are outlined no speck is strewn.

    The same tiles get specks once they are told to be of vessels.
    """
    cells = next(folder for folder in tile_folders if "fluorescence_cells" in folder.name)
    vessels = shutil.copytree(cells, tmp_path / "vessels")
    (vessels / "vegf_cell").rename(vessels / "vessel")
    table = vessels / "tiles.csv"
    table.write_text(table.read_text().replace("vegf_cell", "vessel"))
    specked_always = dataclasses.replace(OFF, specks=1.0)
    for folder, unchanged in ((cells, True), (vessels, False)):
        before, after = (
            TileStream([folder], Augmentation(config), {}, seed=1, tile_px=64)
            for config in (OFF, specked_always)
        )
        for number in range(4):
            assert torch.equal(before[number]["image"], after[number]["image"]) == unchanged
