"""From a checkpoint to a bundle: calibrate on held-out tiles, export, score what was exported."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from analysis.version import software
from model.bundle import Bundle, BundleMetadata, write_bundle
from model.export import export_bundle
from model.predictor import Predictor
from model.targets import CHANNELS
from model.unet import UNet
from training.evaluate import Progress, evaluate
from training.familiarity import fit_references
from training.module import SegmentationModule
from training.stream import tiles_of_split

TILE_PX = 1024
"""Side of the part of a prediction tile that is kept: about 1 GiB of memory at base 24."""

_PIXELS_PER_TILE = 4096  # enough: one number is fitted to a million logits


def publish(
    module: SegmentationModule,
    folders: Sequence[Path],
    path: Path,
    *,
    progress: Progress | None = None,
) -> tuple[Bundle, float]:
    """Export `module` to `path` with calibration and scores from the validation tiles.

    Returns
    -------
    The bundle, and the greatest difference of a probability between it and the checkpoint.
    """
    recipe = module.recipe
    network = module.network.float().eval()
    temperature = fit_temperature(network, folders)
    metadata = BundleMetadata(
        name=recipe.name,
        version=recipe.version,
        description=recipe.description,
        targets=CHANNELS,
        mpp_um=recipe.data.mpp_um,
        depth=recipe.network.depth,
        tile_px=TILE_PX,
        halo_px=0,
        channel_mean=network.config.channel_mean,
        channel_std=network.config.channel_std,
        thresholds=dataclasses.asdict(recipe.thresholds),
        temperature=temperature,
        training_data_sha256=module.training_data_sha256,
        data_licence=recipe.data.licence,
        library_versions={},
        git_revision=software().git_revision or "unknown",
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        validation_scores={},
        self_test=(),
        recipe=dataclasses.asdict(recipe) | {"trained": _trained(module)},
        familiar=fit_references(folders),
    )
    bundle, parity = export_bundle(network, metadata, path)
    scores = evaluate(Predictor(bundle).predict, folders, metadata.thresholds, progress=progress)
    del scores["images"]  # a summary travels with the bundle; the rows are `evaluate`'s to write
    scored = dataclasses.replace(bundle.metadata, validation_scores=scores)
    return write_bundle(onnx.load(path), scored, path), parity


def _trained(module: SegmentationModule) -> dict[str, Any]:
    """Return what the recipe does not say: how far the run came, and what it started from."""
    return {"steps": module.trained_steps, "from": module.started_from or None}


def fit_temperature(network: UNet, folders: Sequence[Path]) -> dict[str, float]:
    """Return, for each channel, the temperature that makes its probabilities honest.

    Logits are divided by the one number that minimises the cross-entropy on validation tiles (Guo
    et al. 2017, arXiv 1706.04599). A channel that nobody annotated keeps 1.
    """
    logits: dict[str, list[Tensor]] = {name: [] for name in CHANNELS}
    targets: dict[str, list[Tensor]] = {name: [] for name in CHANNELS}
    chance = np.random.default_rng(0)
    for part in tiles_of_split(folders):
        for index in range(len(part)):
            item = part[index]
            with torch.no_grad():
                answer = network(item["image"][None])[0].flatten(1)
            seen = np.flatnonzero(item["weight"].flatten().numpy() > 0)
            picked = torch.from_numpy(chance.permutation(seen)[:_PIXELS_PER_TILE])
            for channel, name in enumerate(CHANNELS):
                if item["annotated"][channel]:
                    logits[name].append(answer[channel, picked])
                    targets[name].append(item["target"][channel].flatten()[picked])
    return {
        name: _best_temperature(torch.cat(logits[name]), torch.cat(targets[name]))
        if logits[name]
        else 1.0
        for name in CHANNELS
    }


def _best_temperature(logits: Tensor, target: Tensor) -> float:
    def cross_entropy(log_temperature: float) -> float:
        scaled = logits / float(np.exp(log_temperature))
        return float(torch.nn.functional.binary_cross_entropy_with_logits(scaled, target))

    best = minimize_scalar(cross_entropy, bounds=(np.log(0.1), np.log(10.0)), method="bounded")
    return round(float(np.exp(best.x)), 4)
