"""Contrast is what it says, and the card's table is of the shipped bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.build import build_tiles
from docs import contrast
from model.bundle import find_bundle, load_bundle
from tests.training.drawn import MPP_UM, TILE_PX, knowing, write_images
from training.evaluate import evaluate

GROUND = np.where(np.indices((64, 64)).sum(0) % 2, 40.0, 60.0)  # mean 50, SD 10


def test_contrast_is_measured_against_a_ring() -> None:
    """A bar of 100 on a ground that is 40 or 60 by turns stands out by (100 − 50) / 10 = 5."""
    marker, outlined = GROUND.copy(), np.zeros((64, 64), np.bool_)
    outlined[28:36] = True
    marker[outlined] = 100
    marker[26:28] = 1000  # nearer than 1.5 µm (3 px): what shines over the outline is not counted
    marker[46:] = 1000  # farther than 5 µm (10 px)
    marker[:18] = 1000
    assert contrast.contrast(marker, outlined, outlined, 0.5) == pytest.approx(5)


def test_what_else_is_outlined_is_no_surroundings() -> None:
    """Of two cells beside each other, the strong one makes the weak one no weaker."""
    marker, weak = GROUND.copy(), np.zeros((64, 64), np.bool_)
    weak[28:36, 20:28] = True
    both = weak.copy()
    both[28:36, 30:38] = True
    marker[both] = 1000
    marker[weak] = 70
    assert contrast.contrast(marker, weak, both, 0.5) == pytest.approx(2, abs=0.05)


def test_what_has_no_surroundings_has_no_contrast() -> None:
    """Nothing outlined, or nothing that varies about it, is no number."""
    outlined = np.zeros((40, 40), np.bool_)
    noise = np.random.default_rng(0).normal(size=(40, 40))
    assert contrast.contrast(noise, outlined, outlined, 0.5) is None
    outlined[10:20] = True
    assert contrast.contrast(np.ones((40, 40)), outlined, outlined, 0.5) is None
    everything = np.ones((40, 40), np.bool_)
    assert contrast.contrast(noise, everything, everything, 0.5) is None


def grainy_tiles(folder: Path, target: str, source: str) -> Path:
    """Return tiles of three drawn images on whose ground every second pixel is a little darker."""
    manifest = write_images(folder / f"{source}-images", target, ["a", "b", "c"])
    for row in manifest.rows:
        with Image.open(manifest.path(row.image)) as image:
            pixels = np.asarray(image)
        grain = 6 * (np.indices(pixels.shape[:2]).sum(0) % 2).astype(np.uint8)
        Image.fromarray(pixels - grain[..., None]).save(manifest.path(row.image))
    build_tiles(manifest, folder / source, mpp_um=MPP_UM, tile_px=TILE_PX, source=source)
    return folder / source


@pytest.mark.parametrize(("level", "found"), [(0.2, 1), (2.0, 0)])
def test_sections_and_single_cells_are_sorted_by_contrast(
    tmp_path: Path, level: float, found: int
) -> None:
    """Of 2, 3 and 4 cells in a row the third is cut by a tile's border and left out."""
    folders = [
        grainy_tiles(tmp_path, "vessel", "synthetic_brightfield_vessel"),
        grainy_tiles(tmp_path, "vegf_cell", "synthetic_brightfield_cells"),
    ]
    network = knowing(level)
    figures = contrast.measure(folders, network, evaluate(network, folders))
    (vessels,), (cells,) = figures["vessels"].values(), figures["cells"].values()
    assert [dice for _, dice in vessels] == [found] * 3
    assert [hit for _, hit in cells] == [found] * (2 + 2 + 3)
    assert min(value for value, _ in vessels + cells) > 5
    assert len(contrast.table(figures)) == 2 + 2


def test_a_cell_that_is_merged_with_a_larger_one_is_not_found() -> None:
    """Of both together it has to cover over half, however far the other reaches."""
    own = np.zeros((40, 40), np.bool_)
    own[10:20, 10:20] = True
    found = np.zeros((40, 40), np.int32)
    found[10:20, 10:30] = 1
    assert not contrast._is_found(own, found, np.array([0, 200]))
    assert contrast._is_found(own, found, np.array([0, 199]))
    assert not contrast._is_found(own, 0 * found, np.array([1600]))


def test_the_table_sorts_by_contrast() -> None:
    """Limits belong to the range above them; a range without any has a dash."""
    vessels = [[-0.5, 0.2], [0.99, 0.4], [1.0, 0.5], [7.0, 0.9]]
    cells = [[0.5, 0], [3.0, 1], [3.0, 0], [3.9, 1]]
    *_, first, second = contrast.table(
        {"vessels": {"synthetic_fluorescence_vessel": vessels}, "cells": {"annotated": cells}}
    )
    assert first == (
        "| synthetic fluorescence vessel, Dice | 0.30 (2; worst 0.20) | 0.50 (1; worst 0.50) | – "
        "| 0.90 (1; worst 0.90) |"
    )
    assert second == "| annotated images of your own, found | 0 % of 1 | – | 67 % of 3 | – |"


def test_figures_are_of_the_shipped_bundle() -> None:
    """All kinds of section are there, and most of them."""
    figures = json.loads(contrast.FIGURES.read_text(encoding="utf-8"))
    assert figures["bundle_sha256"] == load_bundle(find_bundle(None)).sha256
    for kind, least in (("vessels", 80), ("cells", 1000)):
        assert len(figures[kind]) == 2
        assert min(map(len, figures[kind].values())) > least
