"""Feed tiles to a run: which tile is drawn, and how it is changed, follows from its number alone.

A run that is stopped and resumed, or spread over processes, therefore sees the same tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Sampler

from datasets.errors import BuildError
from datasets.rows import Split
from datasets.tiles import TileDataset, TileItem
from training.augment import Augmentation
from training.errors import DataError
from training.recipe import Recipe


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
        parts = [TileDataset(f, "train", augmentation, tile_px=tile_px) for f in folders]
        self._tiles: ConcatDataset[TileItem] = ConcatDataset(parts)
        source = np.array([row["source"] for part in parts for row in part.rows])
        self._cumulative = np.cumsum(_chances(source, shares))

    def __getitem__(self, number: int) -> TileItem:
        chance = np.random.default_rng((self._seed, number))
        index = int(np.searchsorted(self._cumulative, chance.random(), side="right"))
        self._augmentation.reseed(int(chance.integers(2**31)))
        item: TileItem = self._tiles[min(index, len(self._tiles) - 1)]
        return item


class EpochSampler(Sampler[int]):
    """Numbers the draws of one epoch; every epoch goes on where the last one ended.

    Lightning calls `set_epoch` and, with several processes, deals the numbers out among them.
    """

    def __init__(self, draws_per_epoch: int) -> None:
        self._draws = draws_per_epoch
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next, from 0."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        start = self._epoch * self._draws
        return iter(range(start, start + self._draws))

    def __len__(self) -> int:
        return self._draws


def training_loader(recipe: Recipe, folders: Sequence[Path]) -> DataLoader[TileItem]:
    """Return the loader of augmented training tiles."""
    run, data = recipe.run, recipe.data
    stream = TileStream(folders, Augmentation(recipe.augment), data.shares, run.seed, data.tile_px)
    return DataLoader(
        stream,
        batch_size=run.batch_size,
        sampler=EpochSampler(run.steps_per_epoch * run.batch_size),
        num_workers=run.loader_workers,
        persistent_workers=False,  # workers see the epoch that the sampler was told
        pin_memory=torch.cuda.is_available(),
    )


def validation_loader(recipe: Recipe, folders: Sequence[Path]) -> DataLoader[TileItem]:
    """Return the loader of validation tiles, unchanged, each once.

    Raises
    ------
    DataError
        If no folder has a validation tile.
    """
    parts = tiles_of_split(folders, recipe.data.tile_px)
    tiles: ConcatDataset[TileItem] = ConcatDataset(parts)
    return DataLoader(
        tiles, batch_size=recipe.run.batch_size, num_workers=recipe.run.loader_workers
    )


def tiles_of_split(
    folders: Sequence[Path], tile_px: int | None = None, split: Split = "val"
) -> list[TileDataset]:
    """Return the tiles of a held-out split, leaving out folders that have none."""
    parts = []
    for folder in folders:
        try:
            parts.append(TileDataset(folder, split, tile_px=tile_px))
        except BuildError as error:
            if error.field != "split":
                raise
    if not parts:
        raise DataError(
            f"no tile is in split {split!r}; mark some animals of the manifest as {split}",
            field="data",
        )
    return parts


def channel_statistics(
    folders: Sequence[Path],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each input channel over all training tiles."""
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    for folder in folders:
        tiles = TileDataset(folder, "train")
        for index in range(len(tiles)):
            pixels = tiles[index]["image"].double().flatten(1).numpy()
            count += pixels.shape[1]
            total += pixels.sum(axis=1)
            squares += (pixels**2).sum(axis=1)
    mean = total / count
    # A channel that is zero throughout (no residual in fluorescence) must not be divided by zero.
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-4))
    return tuple(round(float(v), 5) for v in mean), tuple(round(float(v), 5) for v in std)


def _chances(source: npt.NDArray[np.str_], shares: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Return each tile's chance of being drawn."""
    names, counts = np.unique(source, return_counts=True)
    rest = max(0.0, 1.0 - sum(shares.values()))
    # A source that is not at hand, such as VessMAP, leaves its share to all others.
    shares = {name: share for name, share in shares.items() if name in names}
    unnamed = sum(n for name, n in zip(names, counts, strict=True) if name not in shares)
    chance_of = {
        name: shares[name] / n if name in shares else rest / unnamed
        for name, n in zip(names, counts, strict=True)
    }
    chances = np.array([chance_of[name] for name in source], np.float64)
    if chances.sum() <= 0:
        raise DataError("data.shares leaves no tile any chance to be drawn")
    return np.asarray(chances / chances.sum())
