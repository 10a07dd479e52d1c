"""The Lightning module: one training step, one validation step, one optimiser.

Letters: N batch, K target channels, C input channels, H, W pixels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import lightning
import torch
from torch import Tensor

from model.unet import UNet, UNetConfig, start_from_imagenet
from training.errors import RecipeError
from training.losses import SegmentationLoss, alone
from training.processes import Total, total
from training.recipe import Recipe, recipe_from_dict
from training.tile_dice import DECIDES, TileDice

MONITORED = f"val/{DECIDES}"
_RESUMED = "the run that is to be resumed"
# What may change while a run goes on: where and how long it computes, not what it learns.
_FREE = ("precision", "loader_workers", "patience_epochs")


@dataclasses.dataclass(frozen=True)
class Start:
    """Weights to start from; `folded` if their normalisations were folded away by an export.

    `inherited` is what whoever goes on from them has to say: the `licence` of what they learnt
    from, the sources that they learnt `whole`, nothing held out, and the marks of `animals` that
    they learnt from (`training.kinds.animal_mark`); of a bundle also what stays true of targets
    that are not learnt anew, `temperature` and what is `familiar`.
    """

    name: str
    network: UNet
    folded: bool
    inherited: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class SegmentationModule(lightning.LightningModule):
    """A U-Net with its recipe; a checkpoint of it holds all that `angiometry export` needs.

    Parameters
    ----------
    recipe
        The whole recipe as nested dictionaries.
    network
        `UNetConfig` as a dictionary, channel statistics of the training tiles included.
    training_data_sha256
        Hash of the tiles that were trained on.
    started_from
        What the weights were before: the name, version and hash of a bundle, or a checkpoint.
    frozen_normalisation
        Keep the statistics of batch normalisations as they are, as a restored bundle needs.
    inherited
        What is to be said of the weights that it started from: see `Start`.
    animals
        Marks of the laboratory's own animals that this run learns from.
    """

    def __init__(
        self,
        recipe: dict[str, Any],
        network: dict[str, Any],
        training_data_sha256: str,
        started_from: str = "",
        frozen_normalisation: bool = False,
        inherited: Mapping[str, Any] | None = None,
        animals: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.recipe: Recipe = recipe_from_dict(recipe)
        self.training_data_sha256 = training_data_sha256
        self.started_from = started_from
        self.frozen_normalisation = frozen_normalisation
        self.inherited = dict(inherited or {})
        self.animals = tuple(animals)
        self.trained_steps = 0
        self.halfway = False  # whether the weights are the mean with those started from
        config: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in network.items()
        }
        # channels_last lets the convolutions of AVX-512 and tensor cores work without reordering.
        self.network = UNet(UNetConfig(**config)).to(memory_format=torch.channels_last)
        self.loss = SegmentationLoss(self.recipe.loss)
        self.scores = TileDice({})
        self.train()  # Lightning leaves the mode as it finds it

    def judge_by(self, weights: Mapping[str, float]) -> None:
        """Let each source of validation tiles count so much in the score that decides."""
        self.scores = TileDice(weights)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note how far the run had come."""
        self.trained_steps = int(checkpoint["global_step"])

    def train(self, mode: bool = True) -> SegmentationModule:
        """Switch to training, or back; frozen normalisations stay as they are."""
        super().train(mode)
        if mode and self.frozen_normalisation:
            for layer in self.network.modules():
                if isinstance(layer, torch.nn.BatchNorm2d):
                    layer.eval()
        return self

    def forward(self, channels: Tensor) -> Tensor:
        """Return logits (N, K, H, W) of marker channels (N, C, H, W)."""
        logits: Tensor = self.network(channels.contiguous(memory_format=torch.channels_last))
        return logits

    def training_step(self, batch: dict[str, Any], _: int) -> Tensor:
        """Return the loss of one batch."""
        terms = self._losses(self(batch["image"]).float(), batch, total)
        for name, value in terms.items():
            self.log(f"train/{name}", value, prog_bar=name == "loss", on_step=True)
        return terms["loss"]

    def validation_step(self, batch: dict[str, Any], _: int) -> None:
        """Score one batch."""
        logits = self(batch["image"]).float()
        size = len(logits)
        # Processes may validate unequally many batches: each for itself.
        loss = self._losses(logits, batch, alone)["loss"]
        self.log("val/loss", loss, batch_size=size, sync_dist=True)
        seen = _weight(batch) > 0
        self.scores.update(logits > 0, batch["target"] > 0.5, seen, batch["source"])

    def on_validation_epoch_end(self) -> None:
        """Log the Dice that decides, and that of each target and source that was seen."""
        for name, value in self.scores.compute().items():
            # Drawn sections would fill the whole line.
            self.log(f"val/{name}", value, prog_bar="synthetic" not in name)
        self.scores.reset()

    def configure_optimizers(self) -> Any:
        """Return AdamW with a one-cycle schedule over the whole run (Smith & Topin 2018)."""
        run = self.recipe.run
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=run.learning_rate, weight_decay=run.weight_decay
        )
        steps = run.epochs * run.epoch_steps
        warmup = run.warmup_fraction * steps
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            run.learning_rate,
            total_steps=steps,
            # A rise of exactly one step would be divided by its length of zero.
            pct_start=(1 - 1e-6) / steps if math.isclose(warmup, 1.0) else run.warmup_fraction,
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _losses(self, logits: Tensor, batch: dict[str, Any], add: Total) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = self.loss(logits, batch["target"], _weight(batch), add)
        return terms


def _weight(batch: dict[str, Any]) -> Tensor:
    """Return 1 where a pixel of a channel was annotated, else 0, float (N, K, H, W)."""
    weight: Tensor = batch["annotated"][:, :, None, None] * batch["weight"]
    return weight


def new_module(
    recipe: Recipe,
    channel_mean: tuple[float, ...],
    channel_std: tuple[float, ...],
    training_data_sha256: str,
    start: Start | None = None,
    animals: Sequence[str] = (),
) -> SegmentationModule:
    """Return a module for `recipe`: untrained, normalising by the training tiles' statistics.

    One that starts from given weights keeps the statistics that these were trained with. `animals`
    are marks of the laboratory's own that it will learn from.

    Raises
    ------
    RecipeError
        If the recipe asks for another network than it is to start from.
    """
    if start is not None:
        _check_same_shape(recipe, start.network.config, start.name)
        channel_mean, channel_std = (
            start.network.config.channel_mean,
            start.network.config.channel_std,
        )
    network = UNetConfig(
        **dataclasses.asdict(recipe.network), channel_mean=channel_mean, channel_std=channel_std
    )
    module = SegmentationModule(
        dataclasses.asdict(recipe),
        dataclasses.asdict(network),
        training_data_sha256,
        "" if start is None else start.name,
        start is not None and start.folded,
        {} if start is None else dict(start.inherited),
        list(animals),
    )
    if start is None:
        start_from_imagenet(module.network)
    else:
        module.network.load_state_dict(start.network.state_dict())
    return module


def continued_module(
    recipe: Recipe, saved: SegmentationModule, training_data_sha256: str
) -> SegmentationModule:
    """Return a module for a checkpoint's weights: as `saved`, but learning as `recipe` says now.

    Raises
    ------
    RecipeError
        If the recipe asks for another network, or to learn otherwise than the run began: scores
        of one run are compared, and its bundle records one recipe.
    """
    _check_same_shape(recipe, saved.network.config, _RESUMED)
    for table in ("run", "loss", "augment"):
        asked, given = (dataclasses.asdict(getattr(r, table)) for r in (recipe, saved.recipe))
        pairs = {key: (asked[key], given[key]) for key in asked if key not in _FREE}
        _refuse(table, pairs, _RESUMED)
    shares = dict(recipe.data.shares), dict(saved.recipe.data.shares)
    _refuse("data", {"shares": shares}, _RESUMED)
    return SegmentationModule(
        dataclasses.asdict(recipe),
        dataclasses.asdict(saved.network.config),
        training_data_sha256,
        saved.started_from,
        saved.frozen_normalisation,
        saved.inherited,
        list(saved.animals),
    )


def _check_same_shape(recipe: Recipe, given: UNetConfig, owner: str) -> None:
    """Refuse weights that do not fit the recipe's network, or this version's channels."""
    asked = UNetConfig(**dataclasses.asdict(recipe.network))
    keys = (*dataclasses.asdict(recipe.network), "in_channels", "out_channels")
    _refuse("network", {key: (getattr(asked, key), getattr(given, key)) for key in keys}, owner)


def _refuse(table: str, pairs: Mapping[str, tuple[Any, Any]], owner: str) -> None:
    """Refuse pairs of what the recipe asks for and what `owner` has, where the two differ."""
    differing = [
        f"{table}.{key} is {asked}, but {given} in {owner}"
        for key, (asked, given) in pairs.items()
        if asked != given
    ]
    if differing:
        raise RecipeError(f"{'; '.join(differing)}: write that into the recipe, or train anew")
