"""Promises about the score that decides which weights are kept: whose tiles count how much."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from model.targets import CHANNELS, VEGF_CELL, VESSEL
from tests.training.small import last_scores
from training.errors import DataError
from training.recipe import Recipe
from training.run import train
from training.shares import source_weights, tile_chances
from training.stream import tiles_of_split
from training.tile_dice import TileDice

WEIGHTS = {"annotated": 0.6, "drawn": 0.4}
HALF, WHOLE, NONE = 4, 8, 0


def judge(
    metric: TileDice, source: str, hit_px: Sequence[int], target: str = VESSEL, true_px: int = WHOLE
) -> None:
    """Add a tile for each of `hit_px`: so many of 8 predicted pixels lie on the true ones."""
    masks = torch.zeros(3, len(hit_px), len(CHANNELS), 4, 16, dtype=torch.bool)
    predicted, true, annotated = masks
    channel = CHANNELS.index(target)
    for tile, hit in enumerate(hit_px):
        true[tile, channel, 0, :true_px] = True
        predicted[tile, channel, 0, 8 - hit : 16 - hit] = True
    annotated[:, channel] = True
    metric.update(predicted, true, annotated, [source] * len(hit_px))


def test_ten_tiles_of_a_laboratory_are_not_outvoted() -> None:
    """One own tile at Dice 1/2 weighs its share, 0.6, against nine drawn ones at Dice 1."""
    metric = TileDice(WEIGHTS)
    judge(metric, "annotated", [HALF])
    judge(metric, "drawn", [WHOLE] * 9)
    scores = metric.compute()
    assert scores["dice"] == pytest.approx(0.6 * 1 / 2 + 0.4 * 1)
    assert scores["dice_annotated"] == pytest.approx(1 / 2)
    assert scores["dice_drawn"] == pytest.approx(1)
    assert scores["dice_vessel"] == pytest.approx(9.5 / 10)
    assert set(scores) == {"dice", "dice_annotated", "dice_drawn", "dice_vessel"}


def test_targets_of_a_source_count_alike() -> None:
    """A source's Dice is the mean of its targets', however many tiles each has."""
    metric = TileDice(WEIGHTS)
    judge(metric, "annotated", [WHOLE] * 3)
    judge(metric, "annotated", [NONE], VEGF_CELL)
    scores = metric.compute()
    assert scores["dice_annotated"] == scores["dice"] == pytest.approx(1 / 2)
    assert (scores["dice_vessel"], scores["dice_vegf_cell"]) == (1, 0)


def test_a_source_without_tiles_drops_out() -> None:
    """What has no tile that holds a target leaves its weight to the others; empty tiles do too."""
    metric = TileDice(WEIGHTS | {"absent": 0.5})
    judge(metric, "drawn", [HALF])
    judge(metric, "annotated", [NONE], true_px=0)
    assert metric.compute()["dice"] == pytest.approx(1 / 2)
    assert "dice_annotated" not in metric.compute()


def test_sources_without_any_weight_count_alike() -> None:
    """Where only sources that are never drawn validate, each counts as much as the other."""
    metric = TileDice({"annotated": 0.0, "drawn": 0.0, "absent": 1.0})
    judge(metric, "annotated", [HALF])
    judge(metric, "drawn", [WHOLE] * 3)
    assert metric.compute()["dice"] == pytest.approx(3 / 4)


def test_nothing_to_judge_is_nought() -> None:
    """Without a tile that holds a target there is a score still, the worst."""
    metric = TileDice(WEIGHTS)
    judge(metric, "drawn", [NONE], true_px=0)
    assert metric.compute() == {"dice": 0}


def test_pixels_that_nobody_annotated_do_not_count() -> None:
    """What was predicted or drawn beyond the annotated area changes nothing."""
    metric = TileDice({"annotated": 1.0})
    masks = torch.zeros(3, 1, len(CHANNELS), 4, 16, dtype=torch.bool)
    predicted, true, annotated = masks
    annotated[:, 0, :2], true[:, 0, 0], predicted[:, 0, 0] = True, True, True
    predicted[:, 0, 2], true[:, 0, 3] = True, True
    metric.update(predicted, true, annotated, ["annotated"])
    assert metric.compute()["dice"] == 1


def write_tiles(folder: Path, source: str, train: int, val: int) -> Path:
    """Write the table of a folder of tiles, all that weights are read from."""
    folder.mkdir()
    (folder / "tiles.json").write_text('{"mpp_um": 0.5, "tile_px": 16, "manifest_hash": ""}')
    with (folder / "tiles.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["tile", "source", "split"])
        writer.writerows([["", source, "train"]] * train + [["", source, "val"]] * val)
    return folder


@pytest.mark.parametrize(
    ("shares", "weights"),
    [
        ({}, {"annotated": 0.25, "drawn": 0.75}),
        ({"annotated": 0.6, "drawn": 0.4}, {"annotated": 0.6, "drawn": 0.4}),
        ({"annotated": 0.6}, {"annotated": 0.6, "drawn": 0.4}),
        ({"annotated": 0.3, "drawn": 0.2, "absent": 0.5}, {"annotated": 0.6, "drawn": 0.4}),
        ({"annotated": 0.0, "drawn": 1.0}, {"annotated": 0.0, "drawn": 1.0}),
    ],
)
def test_a_source_weighs_what_training_draws_of_it(
    tmp_path: Path, shares: dict[str, float], weights: dict[str, float]
) -> None:
    """By the recipe's shares; without them by training tiles, whatever the number that judges."""
    folders = [
        write_tiles(tmp_path / "own", "annotated", train=10, val=1),
        write_tiles(tmp_path / "drawn", "drawn", train=30, val=50),
    ]
    parts = (tiles_of_split(folders, split="train"), tiles_of_split(folders))
    assert source_weights(*parts, shares) == pytest.approx(weights)


def test_a_source_that_only_judges_weighs_nothing(tmp_path: Path) -> None:
    """Weights follow what is drawn for training; of no tiles there is no draw."""
    own = write_tiles(tmp_path / "own", "annotated", train=0, val=5)
    drawn = write_tiles(tmp_path / "drawn", "drawn", train=5, val=5)
    parts = (tiles_of_split([drawn], split="train"), tiles_of_split([own, drawn]))
    weights = source_weights(*parts, {"annotated": 0.6})
    assert weights == pytest.approx({"annotated": 0.0, "drawn": 1.0})


def test_shares_that_leave_nothing_to_draw_are_refused() -> None:
    """Shares that give every source at hand nothing are one clear error."""
    with pytest.raises(DataError, match="leaves no tile any chance"):
        tile_chances(np.array(["drawn"]), {"drawn": 0.0, "annotated": 1.0})


def test_a_source_is_not_left_out_unsaid() -> None:
    """Shares of ten tenths that leave nothing for a source at hand are an error that names it."""
    tenths = {f"source {number}": 0.1 for number in range(10)}
    with pytest.raises(DataError, match="vessmap would never be learnt from"):
        tile_chances(np.array(["source 1", "vessmap"]), tenths)
    chances = tile_chances(np.array(["source 1", "vessmap"]), {**tenths, "vessmap": 0.0})
    assert chances.tolist() == [1, 0]


def test_a_run_logs_each_source_and_what_decides(
    small_recipe: Recipe, tile_folders: list[Path], tmp_path: Path
) -> None:
    """Columns of the log hold the Dice of each source and target, and their weighed mean."""
    train(small_recipe, tile_folders, tmp_path, stop_after_epochs=1)
    scores = last_scores(tmp_path)
    sources = ("synthetic_brightfield_vessel", "synthetic_fluorescence_cells")
    weights = source_weights(
        tiles_of_split(tile_folders, split="train"), tiles_of_split(tile_folders), {}
    )
    assert set(weights) == set(sources)
    expected = sum(weights[source] * scores[f"val/dice_{source}"] for source in sources)
    assert scores["val/dice"] == pytest.approx(expected, abs=1e-5)
    assert {"val/dice_vessel", "val/dice_vegf_cell"} <= set(scores)
