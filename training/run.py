"""One training run: tiles, Lightning, checkpoints, logs."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    TQDMProgressBar,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from datasets.build import tiles_sha256
from model.files import is_no_room, storage_error
from training.averaging import AverageFrom
from training.checkpoints import MovableCheckpoint, WholeFiles
from training.checks import check_tiles
from training.errors import DataError, TrainingError
from training.kinds import animal_mark
from training.module import MONITORED, SegmentationModule, Start, continued_module, new_module
from training.precision import best_precision, followed
from training.processes import OneMachine, ShareNormalisation, together
from training.recipe import Recipe
from training.shares import source_weights
from training.start import load_checkpoint
from training.stream import (
    channel_statistics,
    own_animals,
    share_of_batch,
    tiles_of_split,
    training_loader,
    validation_loader,
)

LAST = "last.ckpt"
BEST = "best.ckpt"
_NOISE = (
    r".*could not find the monitored key",  # when a resumed run ends its last epoch
    r"Early stopping conditioned on metric",  # the same
    "Checkpoint directory .* exists and is not empty",  # `train` has checked that already
    ".*does not have many workers",  # the recipe says how many
    ".*treespec, LeafSpec",  # torch about itself, through Lightning
    r"Found \d+ module\(s\) in eval mode",  # normalisations that a restored bundle keeps
    r"It is recommended to use `self.log\(.*sync_dist",  # what is logged has been added up already
    "Detected call of `lr_scheduler.step",  # of the averaged copy, which has no optimiser
)


def train(
    recipe: Recipe,
    folders: Sequence[Path],
    out_dir: Path,
    *,
    start: Start | None = None,
    resume: bool = False,
    devices: int = 1,
    stop_after_epochs: int | None = None,
) -> Path:
    """Train as `recipe` says and return the best checkpoint.

    Losses and weights are those of one process, to rounding, whatever `devices` is.

    Parameters
    ----------
    folders
        Folders of tiles, see `training.sources.prepare_tiles`.
    out_dir
        Where checkpoints (`last.ckpt`, `best.ckpt`) and logs (CSV and TensorBoard) go.
    start
        Weights to start from instead of random ones, see `training.start.read_start`.
    resume
        Go on from `last.ckpt`. Without it, a folder that holds a run is refused.
    devices
        Graphics cards, or where there are none processes, that share each batch.
    stop_after_epochs
        End before the recipe does, as if stopped there; `resume` then goes on.

    Raises
    ------
    TrainingError
        If `check_folder` refuses, or the tiles cannot be trained on.
    StorageError
        If there is no room for a checkpoint; the last one is whole then.
    """
    check_folder(out_dir, resume=resume)
    job = _Job(followed(recipe), tuple(folders), out_dir, start, resume, devices, stop_after_epochs)
    if devices == 1:
        _fit(job)
    else:
        together(_fit, job, devices)
    return out_dir / BEST


@dataclasses.dataclass(frozen=True)
class _Job:
    recipe: Recipe
    folders: tuple[Path, ...]
    out_dir: Path
    start: Start | None
    resume: bool
    devices: int
    stop_after_epochs: int | None


def _fit(job: _Job, meeting: Path | None = None) -> None:
    """Train, alone or as one of several processes that meet at `meeting`."""
    # Determinism stays; filling every fresh tensor with NaN, which it brings, halves the speed.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    lightning.seed_everything(job.recipe.run.seed, workers=True, verbose=False)
    module, done = _module(job)
    loaders = (
        training_loader(job.recipe, job.folders, job.devices, done),
        validation_loader(job.recipe, job.folders, job.devices),
    )
    check_tiles(job.folders)
    trained, judged = (tiles_of_split(job.folders, split=split) for split in ("train", "val"))
    module.judge_by(source_weights(trained, judged, job.recipe.data.shares))
    last = str(job.out_dir / LAST) if job.resume else None
    with _only_what_matters(), _room_needed(job.out_dir):
        trainer = _trainer(job, meeting)
        trainer.fit(module, *loaders, ckpt_path=last, weights_only=True)


def check_folder(out_dir: Path, *, resume: bool = False) -> None:
    """Refuse a folder that already holds a run, or to resume where none is.

    Raises
    ------
    TrainingError
        If so.
    """
    held = (out_dir / LAST).exists()
    if held and not resume:
        raise TrainingError(f"{out_dir} already holds a run; give --resume or another --out", "out")
    if resume and not held:
        raise TrainingError(f"{out_dir} holds no {LAST} to resume from; leave --resume out", "out")


def check_run(
    recipe: Recipe,
    out_dir: Path,
    *,
    start: Start | None = None,
    resume: bool = False,
    devices: int = 1,
) -> None:
    """Refuse what is wrong with a run whatever its tiles are: they may take long to make.

    Raises
    ------
    TrainingError
        If `check_folder` refuses, the devices cannot share a batch, the checkpoint to resume from
        is damaged, or the recipe is not that of the run, or asks for another network than the
        weights that it is to start from.
    """
    share_of_batch(recipe, devices)
    check_folder(out_dir, resume=resume)
    if resume:
        continued_module(followed(recipe), load_checkpoint(out_dir / LAST), "")
    elif start:
        new_module(recipe, (), (), "", start)


def _module(job: _Job) -> tuple[SegmentationModule, int]:
    """Return what is to be trained, and the steps that it was trained for."""
    tiles = tiles_sha256(job.folders)
    if job.resume:  # a damaged file is named before anything starts
        saved = load_checkpoint(job.out_dir / LAST)
        _check_same_tiles(saved, tiles, job.out_dir / LAST)
        return continued_module(job.recipe, saved, tiles), saved.trained_steps
    drawn = own_animals(job.folders)
    marks = [animal_mark(animal) for animal, split in drawn.items() if split == "train"]
    if job.start:  # keeps the statistics of the tiles that it was trained on
        return new_module(job.recipe, (), (), tiles, job.start, marks), 0
    return new_module(job.recipe, *channel_statistics(job.folders), tiles, animals=marks), 0


def _check_same_tiles(saved: SegmentationModule, tiles: str, checkpoint: Path) -> None:
    """Refuse to go on with other tiles: their scores would be compared with those of the first."""
    if saved.training_data_sha256 != tiles:
        raise DataError(
            "these are not the tiles that the run to be resumed was trained and judged on: give "
            f"it the same data, or start a new run with --from {checkpoint}",
            "data",
        )


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


@contextmanager
def _room_needed(out_dir: Path) -> Iterator[None]:
    """Name `out_dir` where a log finds no room; a checkpoint names itself."""
    try:
        yield
    except OSError as error:
        if not is_no_room(error):
            raise
        raise storage_error(out_dir, error) from error


def _trainer(job: _Job, meeting: Path | None) -> lightning.Trainer:
    run, out_dir = job.recipe.run, job.out_dir
    callbacks: list[Callback] = [
        MovableCheckpoint(
            out_dir,
            filename=Path(BEST).stem,
            monitor=MONITORED,
            mode="max",
            enable_version_counter=False,
        ),
        # One of its own: Lightning's `save_last` writes only where the best one is written.
        MovableCheckpoint(out_dir, filename=Path(LAST).stem, enable_version_counter=False),
        EarlyStopping(
            MONITORED,
            mode="max",
            patience=run.patience_epochs,
            check_on_train_epoch_end=False,
            strict=False,  # a resumed run first ends its last epoch, whose scores are not at hand
        ),
        AverageFrom(run.ema_decay, run.ema_from_step),
        LearningRateMonitor("step"),
        TQDMProgressBar(refresh_rate=1),
    ]
    return lightning.Trainer(
        accelerator="auto",
        devices=job.devices,
        strategy="auto" if meeting is None else OneMachine(meeting),
        plugins=[WholeFiles(), *([] if meeting is None else [ShareNormalisation()])],
        use_distributed_sampler=False,  # the loaders share the tiles themselves
        precision=best_precision() if run.precision == "auto" else run.precision,
        # Counted in epochs: given steps, Lightning takes a resumed run one epoch too far.
        max_epochs=job.stop_after_epochs or run.epochs,
        callbacks=callbacks,
        logger=[CSVLogger(out_dir, name="logs"), TensorBoardLogger(out_dir, name="tensorboard")],
        log_every_n_steps=min(10, run.epoch_steps),
        num_sanity_val_steps=0,
        default_root_dir=out_dir,
        gradient_clip_val=1.0,
        deterministic="warn" if torch.cuda.is_available() else True,
        enable_model_summary=False,
    )
