"""From a checkpoint to a bundle: calibrate on held-out tiles, export, judge what was exported."""

from __future__ import annotations

import dataclasses
import datetime
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch

from analysis.version import software
from datasets.build import tiles_sha256
from model.bundle import Bundle, BundleMetadata, write_bundle
from model.export import export_bundle
from model.targets import CHANNELS
from model.unet import UNet
from training.calibration import LogitTally, best_temperature, tally_logits
from training.card import write_card
from training.errors import DataError
from training.evaluate import Progress, evaluate
from training.familiarity import fit_references
from training.judging import Judged
from training.module import SegmentationModule
from training.start import inheritance
from training.stream import learnt_tiles, tiles_of_split

TILE_PX = 1024
"""Side of the part of a prediction tile that is kept: about 1 GiB of memory at base 24."""


def publish(
    module: SegmentationModule,
    folders: Sequence[Path],
    path: Path,
    *,
    progress: Progress | None = None,
) -> tuple[Bundle, float]:
    """Export `module` to `path` with calibration and scores from the validation tiles.

    The model card is written beside it.

    Returns
    -------
    The bundle, and the greatest difference of a probability between it and the checkpoint.
    """
    recipe = module.recipe
    network = module.network.float().eval()
    inherited = inheritance(recipe, module.inherited, module.animals)
    temperature = fit_temperature(
        network, folders, module.inherited.get("temperature"), tile_px=recipe.data.tile_px
    )
    own = tiles_sha256(folders) == module.training_data_sha256
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
        data_licence=inherited["licence"],
        library_versions={},
        git_revision=software().git_revision or "unknown",
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        validation_scores={},
        self_test=(),
        recipe=dataclasses.asdict(recipe)
        | {
            "trained": {
                "steps": module.trained_steps,
                "from": module.started_from or None,
                "halfway": module.halfway,
                "whole": list(module.inherited.get("whole", ())) if own else inherited["whole"],
                "sources": _sources(folders) if own else None,
                "animals": inherited["animals"],
            }
        },
        familiar=_familiar(module.inherited.get("familiar", {}), fit_references(folders)),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    # What lies at `path` stays until the new bundle has its scores.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        trial, parity = export_bundle(network, metadata, Path(folder) / path.name)
        evaluation = evaluate(Judged.of(trial), folders, progress=progress)
        scored = dataclasses.replace(trial.metadata, validation_scores=evaluation.summary)
        bundle = write_bundle(onnx.load(trial.path), scored, path)
    write_card(bundle, path.parent, evaluation, own=own)
    return bundle, parity


def check_bundle_name(path: Path) -> None:
    """Refuse a name by which a bundle would not be found again.

    Raises
    ------
    DataError
        If it does not end in ``.onnx``.
    """
    if path.suffix != ".onnx":
        raise DataError(f"{path} does not end in .onnx, as a bundle's name has to", "out")


def _familiar(before: Mapping[str, Any], learnt: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of each kind of section, with what the weights before knew of it.

    A laboratory's ten tiles alone would make strange what resembles them a little less.
    """
    added = {
        kind: reference | ({"before": before[kind]} if kind in before else {})
        for kind, reference in learnt.items()
    }
    return {**before, **added}


def _sources(folders: Sequence[Path]) -> list[str]:
    """Return where the training tiles come from."""
    return sorted({row["source"] for part in learnt_tiles(folders) for row in part.rows})


def fit_temperature(
    network: UNet,
    folders: Sequence[Path],
    before: Mapping[str, float] | None = None,
    *,
    tile_px: int | None = None,
) -> dict[str, float]:
    """Return, for each channel, the temperature that makes its probabilities honest.

    Logits are divided by the one number that minimises the cross-entropy on validation tiles (Guo
    et al. 2017, arXiv 1706.04599). A channel of which no tile shows anything keeps that of
    `before`, else 1: from background alone no temperature is the best. `tile_px` is the side that
    the network takes, of tiles cut otherwise.
    """
    tallies = {name: LogitTally() for name in CHANNELS}
    for part in tiles_of_split(folders, tile_px):
        for index in range(len(part)):
            item = part[index]
            with torch.no_grad():
                answer = network(item["image"][None])[0].numpy()
            seen = item["weight"][0].numpy() > 0
            for channel, name in enumerate(CHANNELS):
                if item["annotated"][channel]:
                    target = item["target"][channel].numpy()
                    tallies[name] += tally_logits(answer[channel][seen], target[seen])
    return {
        name: best_temperature(tally) if tally.target.any() else (before or {}).get(name, 1.0)
        for name, tally in tallies.items()
    }
