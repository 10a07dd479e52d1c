"""Promises about the averaged weights: what they are before their average begins, and after."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import lightning
import torch

from training.averaging import AverageFrom
from training.recipe import Recipe
from training.run import LAST, train
from training.start import load_checkpoint


class OneWeight(lightning.LightningModule):
    """A module of one weight and one statistic, both the number of the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.register_buffer("statistic", torch.zeros(()))

    def step(self, number: int) -> None:
        for value in (self.weight, self.statistic):
            value.data.fill_(number)


def test_the_average_is_the_weights_until_it_begins() -> None:
    """Steps 1, 2, 3 are copied, then half of the average and half of the weights are taken."""
    module, average = OneWeight(), AverageFrom(decay=0.5, first_step=2)
    average.setup(cast(lightning.Trainer, None), module, "fit")
    found = []
    for number in range(1, 6):
        module.step(number)
        trainer = cast(lightning.Trainer, SimpleNamespace(global_step=number))
        average.on_train_batch_end(trainer, module, None, None, number - 1)
        values = [float(value) for value in average._average_model.module.state_dict().values()]
        assert values[0] == values[1]
        found.append(values[0])
    assert found == [1, 2, 3, 3.5, 4.25]


def test_before_the_average_begins_the_trained_weights_are_kept(
    small_recipe: Recipe, tile_folders: list[Path], tmp_path: Path
) -> None:
    """Stopped before it begins, a checkpoint holds the last weights; resumed, nothing differs."""
    late = dataclasses.replace(small_recipe.run, ema_from_step=6)
    recipe = dataclasses.replace(small_recipe, run=late)
    train(recipe, tile_folders, tmp_path / "whole")
    train(recipe, tile_folders, tmp_path / "halved", stop_after_epochs=1)
    kept = torch.load(tmp_path / "halved" / LAST, weights_only=True)
    last = kept["current_model_state"]
    assert all(torch.equal(value, last[name]) for name, value in kept["state_dict"].items())
    train(recipe, tile_folders, tmp_path / "halved", resume=True)
    whole = load_checkpoint(tmp_path / "whole" / LAST).state_dict()
    resumed = load_checkpoint(tmp_path / "halved" / LAST).state_dict()
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
