"""Tiles arrive as tensors of one size, targets made after the transform."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from datasets.build import build_tiles
from datasets.errors import BuildError
from datasets.manifest import Manifest
from datasets.rows import Row
from datasets.tiles import TileDataset
from model.targets import CHANNELS, centre_distance

HEIGHT, WIDTH = 24, 40


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two 40 × 24 tiles in 64 px: vessels to train, cells to validate on."""
    folder = tmp_path_factory.mktemp("tiles")
    vessel = np.zeros((HEIGHT, WIDTH), np.uint8)
    vessel[8:16] = 255
    cells = np.zeros((HEIGHT, WIDTH), np.uint8)
    cells[4:13, 5:14], cells[4:13, 14:23] = 1, 2
    for name, mask in (("vessel", vessel), ("cells", cells)):
        grey = 230 - 120 * (mask > 0).astype(np.uint8)
        rgb = np.stack([grey, grey - 20, grey - 40], axis=-1)
        Image.fromarray(rgb).save(folder / f"{name}.png")
        Image.fromarray(mask).save(folder / f"{name}_labels.png")
    row = Row(
        image="vessel.png",
        animal="m1",
        modality="brightfield",
        mpp_um=0.5,
        annotation={"vessel": "vessel_labels.png"},
        targets=("vessel",),
        split="train",
    )
    other = dataclasses.replace(
        row,
        image="cells.png",
        animal="m2",
        markers=("VEGF",),
        annotation={"vegf_cell": "cells_labels.png"},
        targets=("vegf_cell",),
        split="val",
    )
    build_tiles(Manifest(folder, (row, other)), folder / "out", tile_px=64)
    return folder / "out"


def test_item_has_the_shapes_and_types_that_a_loader_stacks(tiles: Path) -> None:
    """Items of all tiles have one size and stack into batches."""
    batch = next(iter(DataLoader(TileDataset(tiles, "train"), batch_size=1)))
    assert batch["image"].shape == (1, 3, 64, 64)
    assert batch["target"].shape == (1, len(CHANNELS), 64, 64)
    assert batch["weight"].shape == (1, 1, 64, 64)
    assert batch["annotated"].tolist() == [[True, False, False]]
    assert {batch[key].dtype for key in ("image", "target", "weight")} == {torch.float32}
    assert 0 <= batch["image"].min() <= batch["image"].max() <= 1


def test_only_annotated_targets_are_marked(tiles: Path) -> None:
    """A tile of cells trains body and centre of cells, and says nothing of vessels."""
    item = TileDataset(tiles, "val")[0]
    assert item["annotated"].tolist() == [False, True, True]
    assert not item["target"][0].any()


def test_padding_mirrors_the_tile_and_has_no_weight(tiles: Path) -> None:
    """A small tile lies in the middle; around it are its mirror images, with weight 0."""
    item = TileDataset(tiles, "train")[0]
    top, left = (64 - HEIGHT) // 2, (64 - WIDTH) // 2
    inside = (slice(top, top + HEIGHT), slice(left, left + WIDTH))
    weight = item["weight"][0]
    assert weight[inside].all()
    assert weight.sum() == HEIGHT * WIDTH
    assert torch.equal(item["image"][:, top - 1], item["image"][:, top])
    assert item["target"][0][inside].sum() == 8 * WIDTH


def test_larger_tiles_are_cropped_in_the_middle(tiles: Path) -> None:
    """Without a transform a crop is the middle of the tile, always the same."""
    whole = TileDataset(tiles, "train")[0]
    small = TileDataset(tiles, "train", tile_px=16)[0]
    assert small["image"].shape == (3, 16, 16)
    assert torch.equal(small["image"], whole["image"][:, 24:40, 24:40])
    assert small["weight"].all()


def flip(*, image: Any, masks: list[Any]) -> dict[str, Any]:
    return {"image": image[:, ::-1], "masks": [mask[:, ::-1] for mask in masks]}


def test_transform_moves_image_and_targets_alike(tiles: Path) -> None:
    """A flip flips channels, targets and weight, and depth inside cells is made after it."""
    plain, flipped = TileDataset(tiles, "val")[0], TileDataset(tiles, "val", flip)[0]
    for key in ("image", "target", "weight"):
        assert torch.equal(flipped[key], plain[key].flip(-1))  # type: ignore[literal-required]


def test_centre_channel_follows_the_labels_after_the_transform(tiles: Path) -> None:
    """Cells that a transform shrinks get the depth of what they became, 1 at each centre."""

    def shrink(*, image: Any, masks: list[Any]) -> dict[str, Any]:
        return {"image": image[::2, ::2], "masks": [mask[::2, ::2] for mask in masks]}

    item = TileDataset(tiles, "val", shrink, tile_px=32)[0]
    assert item["image"].shape == (3, 32, 32)
    cells = item["target"][1] > 0
    assert item["target"][2][cells].max() == 1
    assert not item["target"][2][~cells].any()


def test_touching_cells_keep_two_centres(tiles: Path) -> None:
    """Two squares of 9 px side by side have two peaks of depth, 9 px apart."""
    item = TileDataset(tiles, "val")[0]
    labels = np.zeros((HEIGHT, WIDTH), int)
    labels[4:13, 5:14], labels[4:13, 14:23] = 1, 2
    top, left = (64 - HEIGHT) // 2, (64 - WIDTH) // 2
    depth = item["target"][2][top : top + HEIGHT, left : left + WIDTH].numpy()
    peaks = np.argwhere(depth == 1)
    assert peaks.tolist() == [[8, 9], [8, 18]]
    # Mirrored padding joins no cell here, so that the depth is that of the labels alone.
    assert np.allclose(depth, centre_distance(labels))


def test_random_crops_repeat_with_the_seed(tiles: Path) -> None:
    """With a transform, crops are drawn from torch's generator, so that seeds repeat them."""
    dataset = TileDataset(tiles, "train", flip, tile_px=16)
    torch.manual_seed(3)
    first = [dataset[0]["image"] for _ in range(4)]
    torch.manual_seed(3)
    again = [dataset[0]["image"] for _ in range(4)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not torch.equal(first[0], other) for other in first[1:])


def test_missing_tiles_are_said_clearly(tiles: Path, tmp_path: Path) -> None:
    """A folder without tiles, a split without tiles and an unknown split are errors."""
    with pytest.raises(BuildError, match="data build"):
        TileDataset(tmp_path, "train")
    with pytest.raises(BuildError, match="no tile of split 'test'"):
        TileDataset(tiles, "test")
    with pytest.raises(BuildError, match="one of train, val, test"):
        TileDataset(tiles, "all")  # type: ignore[arg-type]
