"""One training run: tiles, Lightning, checkpoints, logs."""

from __future__ import annotations

import hashlib
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

import lightning
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
    TQDMProgressBar,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from datasets.build import manifest_hash
from model.bundle import find_bundle, load_bundle
from model.restore import restore_network
from training.errors import CheckpointError, TrainingError
from training.module import MONITORED, SegmentationModule, Start, continued_module, new_module
from training.recipe import Recipe
from training.stream import channel_statistics, training_loader, validation_loader

LAST = "last.ckpt"
BEST = "best.ckpt"
_NOISE = (
    r".*could not find the monitored key",  # when a resumed run ends its last epoch
    r"Early stopping conditioned on metric",  # the same
    "Checkpoint directory .* exists and is not empty",  # `train` has checked that already
    ".*does not have many workers",  # the recipe says how many
    ".*treespec, LeafSpec",  # torch about itself, through Lightning
    r"Found \d+ module\(s\) in eval mode",  # normalisations that a restored bundle keeps
    "Detected call of `lr_scheduler.step",  # of the averaged copy, which has no optimiser
)


def train(
    recipe: Recipe,
    folders: Sequence[Path],
    out_dir: Path,
    *,
    start: Start | None = None,
    resume: bool = False,
    stop_after_epochs: int | None = None,
) -> Path:
    """Train as `recipe` says and return the best checkpoint.

    Parameters
    ----------
    folders
        Folders of tiles, see `training.sources.prepare_tiles`.
    out_dir
        Where checkpoints (`last.ckpt`, `best.ckpt`) and logs (CSV and TensorBoard) go.
    start
        Weights to start from instead of random ones, see `read_start`.
    resume
        Go on from `last.ckpt`. Without it, a folder that holds a run is refused.
    stop_after_epochs
        End before the recipe does, as if stopped there; `resume` then goes on.

    Raises
    ------
    TrainingError
        If `out_dir` already holds a run and `resume` is not set, or the other way round.
    """
    last = out_dir / LAST
    if last.exists() and not resume:
        raise TrainingError(f"{out_dir} already holds a run; give --resume or another --out", "out")
    if resume and not last.exists():
        raise TrainingError(f"{out_dir} holds no {LAST} to resume from; leave --resume out", "out")
    # Determinism stays; filling every fresh tensor with NaN, which it brings, halves the speed.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    lightning.seed_everything(recipe.run.seed, workers=True, verbose=False)
    tiles = tiles_sha256(folders)
    if resume:  # a damaged file is named before anything starts
        module = continued_module(recipe, load_checkpoint(last), tiles)
    elif start:  # keeps the statistics of the tiles that it was trained on
        module = new_module(recipe, (), (), tiles, start)
    else:
        module = new_module(recipe, *channel_statistics(folders), tiles)
    with _only_what_matters():
        _trainer(recipe, out_dir, stop_after_epochs).fit(
            module,
            training_loader(recipe, folders),
            validation_loader(recipe, folders),
            ckpt_path=str(last) if resume else None,
            weights_only=True,
        )
    return out_dir / BEST


def read_start(name: str) -> Start:
    """Return the weights of a bundle, named or given by its file, or of a checkpoint (`.ckpt`).

    Raises
    ------
    CheckpointError, BundleError
        If there is no such thing, or it is damaged, or a bundle of other targets.
    """
    if name.endswith(".ckpt"):
        module = load_checkpoint(Path(name))
        return Start(f"checkpoint {Path(name).name}", module.network, module.frozen_normalisation)
    bundle = load_bundle(find_bundle(name))
    label = f"{bundle.metadata.name} {bundle.metadata.version}, SHA-256 {bundle.sha256}"
    return Start(label, restore_network(bundle), folded=True)


def load_checkpoint(path: Path) -> SegmentationModule:
    """Return the module that a checkpoint holds, on the processor.

    Raises
    ------
    CheckpointError
        If the file cannot be read, is damaged, or holds something else.
    """
    if not path.is_file():
        raise CheckpointError(f"the checkpoint {path} cannot be read: no such file", "checkpoint")
    try:
        return SegmentationModule.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    # torch and pickle raise many types of their own for a damaged file.
    except (
        RuntimeError,
        KeyError,
        ValueError,
        EOFError,
        TypeError,
        AttributeError,
        UnpicklingError,
        OSError,
    ) as error:
        raise CheckpointError(
            f"{path.name} is damaged or no checkpoint of a training run; use an earlier one",
            "checkpoint",
        ) from error


def tiles_sha256(folders: Sequence[Path]) -> str:
    """Return one hash over all the tiles that are trained and validated on."""
    hashes = sorted(manifest_hash(folder) for folder in folders)
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


@contextmanager
def _only_what_matters() -> Iterator[None]:
    """Silence what Lightning and torch say on every run and nobody can act upon."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    with warnings.catch_warnings():
        for message in _NOISE:
            warnings.filterwarnings("ignore", message)
        logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            logger.setLevel(level)


def _trainer(recipe: Recipe, out_dir: Path, stop_after_epochs: int | None) -> lightning.Trainer:
    run = recipe.run
    callbacks: list[Callback] = [
        ModelCheckpoint(
            out_dir,
            filename=Path(BEST).stem,
            monitor=MONITORED,
            mode="max",
            save_last=True,
            enable_version_counter=False,
        ),
        EarlyStopping(
            MONITORED,
            mode="max",
            patience=run.patience_epochs,
            check_on_train_epoch_end=False,
            strict=False,  # a resumed run first ends its last epoch, whose scores are not at hand
        ),
        EMAWeightAveraging(decay=run.ema_decay, update_starting_at_step=run.ema_from_step),
        LearningRateMonitor("step"),
        TQDMProgressBar(refresh_rate=1),
    ]
    return lightning.Trainer(
        accelerator="auto",
        precision=run.precision,
        max_steps=run.steps,
        max_epochs=stop_after_epochs or math.ceil(run.steps / run.steps_per_epoch),
        callbacks=callbacks,
        logger=[CSVLogger(out_dir, name="logs"), TensorBoardLogger(out_dir, name="tensorboard")],
        log_every_n_steps=min(10, run.steps_per_epoch),
        num_sanity_val_steps=0,
        default_root_dir=out_dir,
        gradient_clip_val=1.0,
        deterministic="warn" if torch.cuda.is_available() else True,
        enable_model_summary=False,
    )
