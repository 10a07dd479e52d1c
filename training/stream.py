"""Feed tiles to a run: which tile is drawn, and how it is changed, follows from its number alone.

A run that is stopped and resumed, or spread over processes, therefore sees the same tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from loky import cpu_count
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Sampler

from datasets.errors import BuildError
from datasets.rows import SPLITS, Split
from datasets.tiles import TileDataset, TileItem, Transform, outlined_targets
from model.targets import VEGF_CELL
from training.augment import Augmentation
from training.errors import DataError, RecipeError
from training.kinds import is_own
from training.processes import place
from training.recipe import Recipe
from training.shares import tile_chances

_STATISTICS_TILES = 1000


class TileStream(Dataset[TileItem]):
    """An endless sequence of augmented training tiles: item n is the n-th draw of the run.

    Parameters
    ----------
    folders
        Folders of tiles.
    shares
        Source to the share of draws it gets; sources left out share the rest by their tiles.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        augmentation: Augmentation,
        shares: Mapping[str, float],
        seed: int,
        tile_px: int,
    ) -> None:
        self._augmentation = augmentation
        self._seed = seed
        parts = tiles_of_split(folders, tile_px, "train", augmentation)
        self._tiles: ConcatDataset[TileItem] = ConcatDataset(parts)
        rows = [row for part in parts for row in part.rows]
        self._with_cells = [VEGF_CELL in outlined_targets(row) for row in rows]
        source = np.array([row["source"] for row in rows])
        self._cumulative = np.cumsum(tile_chances(source, shares))

    def __getitem__(self, number: int) -> TileItem:
        chance = np.random.default_rng((self._seed, number))
        drawn = int(np.searchsorted(self._cumulative, chance.random(), side="right"))
        index = min(drawn, len(self._tiles) - 1)
        seed = int(chance.integers(2**31))
        self._augmentation.prepare(seed, may_be_specked=not self._with_cells[index])
        with torch.random.fork_rng(devices=[]):  # by which larger tiles are cropped
            torch.default_generator.manual_seed(seed)
            item: TileItem = self._tiles[index]
        return item


class EpochSampler(Sampler[int]):
    """Numbers the draws of one epoch; every epoch goes on where the last one ended.

    Lightning calls `set_epoch`, but where a run is resumed only after workers have begun to draw:
    `epoch` says then where it goes on. Each of n processes takes every n-th number, so
    that their batches together are those of one process.
    """

    def __init__(self, draws_per_epoch: int, epoch: int = 0) -> None:
        self._draws = draws_per_epoch
        self._epoch = epoch

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next, from 0."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        number, processes = place()
        start = self._epoch * self._draws
        return iter(range(start + number, start + self._draws, processes))

    def __len__(self) -> int:
        return self._draws // place()[1]


class ShareSampler(Sampler[int]):
    """Numbers this process's share of `count` tiles, each tile once over all processes."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __iter__(self) -> Iterator[int]:
        number, processes = place()
        return iter(range(number, self._count, processes))

    def __len__(self) -> int:
        return len(range(place()[0], self._count, place()[1]))


def share_of_batch(recipe: Recipe, processes: int) -> int:
    """Return how many tiles of a batch each process takes.

    Raises
    ------
    RecipeError
        If a batch cannot be shared evenly.
    """
    size = recipe.run.batch_size
    if size % processes:
        raise RecipeError(
            f"run.batch_size is {size}; make it a multiple of the {processes} devices"
        )
    return size // processes


def training_loader(
    recipe: Recipe, folders: Sequence[Path], processes: int = 1, trained_steps: int = 0
) -> DataLoader[TileItem]:
    """Return the loader of augmented training tiles, a batch of which `processes` share.

    It goes on after `trained_steps`, which end an epoch.

    Raises
    ------
    RecipeError
        If a batch cannot be shared evenly.
    """
    run, data = recipe.run, recipe.data
    batch_size = share_of_batch(recipe, processes)
    stream = TileStream(folders, Augmentation(recipe.augment), data.shares, run.seed, data.tile_px)
    return DataLoader(
        stream,
        batch_size=batch_size,
        sampler=EpochSampler(run.epoch_steps * run.batch_size, trained_steps // run.epoch_steps),
        num_workers=workers(run.loader_workers, processes),
        persistent_workers=False,  # workers see the epoch that the sampler was told
        pin_memory=torch.cuda.is_available(),
    )


def validation_loader(
    recipe: Recipe, folders: Sequence[Path], processes: int = 1
) -> DataLoader[TileItem]:
    """Return the loader of validation tiles, unchanged, each once over all processes.

    Raises
    ------
    DataError
        If no folder has a validation tile, or there are fewer than processes.
    """
    parts = tiles_of_split(folders, recipe.data.tile_px)
    tiles: ConcatDataset[TileItem] = ConcatDataset(parts)
    if len(tiles) < processes:
        raise DataError(
            f"{len(tiles)} validation tiles cannot be shared by {processes} devices; use fewer",
            field="devices",
        )
    return DataLoader(
        tiles,
        batch_size=share_of_batch(recipe, processes),
        sampler=ShareSampler(len(tiles)),
        num_workers=workers(recipe.run.loader_workers, processes),
    )


def workers(asked: int, processes: int = 1) -> int:
    """Return how many workers load tiles for each process of a run, `asked` by the recipe.

    For -1 one, and where a graphics card learns as many as leave a core to each process: a card
    takes a batch in the time in which one worker changes a tile or two.
    """
    if asked >= 0:
        return asked
    if not torch.cuda.is_available():
        return 1
    cores: int = cpu_count()
    return max(1, cores // processes - 1)


def tiles_of_split(
    folders: Sequence[Path],
    tile_px: int | None = None,
    split: Split = "val",
    transform: Transform | None = None,
) -> list[TileDataset]:
    """Return the tiles of a split, leaving out folders that have none.

    Raises
    ------
    DataError
        If no folder has any.
    """
    parts = _tiles(folders, split, tile_px, transform)
    if not parts:
        raise no_tiles(split)
    return parts


def no_tiles(split: Split) -> DataError:
    """Return the error that nothing is in a split."""
    return DataError(
        f"no tile is in split {split!r}; mark some animals of the manifest as {split}", field="data"
    )


def learnt_tiles(folders: Sequence[Path]) -> list[TileDataset]:
    """Return the training tiles; none of folders that only validate."""
    return _tiles(folders, "train")


def own_animals(folders: Sequence[Path]) -> dict[str, Split]:
    """Return the animals of the laboratory's own tiles, each with its split."""
    return {
        row["animal"]: split
        for split in SPLITS
        for part in _tiles(folders, split)
        for row in part.rows
        if is_own(row["source"])
    }


def sources_without_tiles(folders: Sequence[Path], shares: Mapping[str, float]) -> list[str]:
    """Return the sources to which `shares` gives draws though no training tile is theirs."""
    there = {row["source"] for part in learnt_tiles(folders) for row in part.rows}
    return [name for name, share in shares.items() if share and name not in there]


def _tiles(
    folders: Sequence[Path],
    split: Split,
    tile_px: int | None = None,
    transform: Transform | None = None,
) -> list[TileDataset]:
    parts = []
    for folder in folders:
        try:
            parts.append(TileDataset(folder, split, transform, tile_px=tile_px))
        except BuildError as error:
            if error.field != "split":
                raise
    return parts


def channel_statistics(
    folders: Sequence[Path],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each input channel over the training tiles.

    Of many tiles only every n-th counts, a thousand or more in all.
    """
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    parts = tiles_of_split(folders, split="train")
    places = [(tiles, index) for tiles in parts for index in range(len(tiles))]
    for tiles, index in places[:: max(1, len(places) // _STATISTICS_TILES)]:
        pixels = tiles.raw(index).image.reshape(-1, 3) / 255
        count += len(pixels)
        total += pixels.sum(axis=0)
        squares += (pixels**2).sum(axis=0)
    mean = total / count
    # A channel that is zero throughout (no residual in fluorescence) must not be divided by zero.
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-4))
    return tuple(round(float(v), 5) for v in mean), tuple(round(float(v), 5) for v in std)
