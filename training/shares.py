"""How much each source of tiles counts: in the draws of training, and in the score that decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from datasets.tiles import TileDataset
from training.errors import DataError

_LEAST_REST = 1e-6  # less is what rounding leaves of 1


def tile_chances(
    source: npt.NDArray[np.str_], shares: Mapping[str, float]
) -> npt.NDArray[np.float64]:
    """Return each tile's chance of being drawn, from its source and the recipe's shares.

    Sources left out of `shares` share the rest by their tiles.

    Raises
    ------
    DataError
        If no tile has any, or those of a source that `shares` does not name have none.
    """
    names, counts = np.unique(source, return_counts=True)
    rest = 1.0 - sum(shares.values())
    left_out = [str(name) for name in names if name not in shares]
    if left_out and rest < _LEAST_REST:
        raise DataError(
            f"data.shares gives all draws to other sources, so that {' and '.join(left_out)} would "
            "never be learnt from; name it there too: 0 leaves it out"
        )
    # A source that is not at hand, such as VessMAP, leaves its share to all others.
    shares = {name: share for name, share in shares.items() if name in names}
    unnamed = sum(n for name, n in zip(names, counts, strict=True) if name not in shares)
    chance_of = {
        name: shares[name] / n if name in shares else rest / unnamed
        for name, n in zip(names, counts, strict=True)
    }
    chances = np.array([chance_of[name] for name in source], np.float64)
    if chances.sum() <= 0:
        raise DataError(
            "data.shares leaves no tile any chance to be drawn; give one of "
            f"{', '.join(map(str, names))} a share above 0",
            "data.shares",
        )
    return np.asarray(chances / chances.sum())


def source_weights(
    trained: Sequence[TileDataset], judged: Sequence[TileDataset], shares: Mapping[str, float]
) -> dict[str, float]:
    """Return each source's part of the training draws; 0 for one that only judges."""
    drawn, known = _sources(trained), set(_sources(judged).tolist())
    chances = tile_chances(drawn, shares)
    return {
        name: float(chances[drawn == name].sum()) for name in sorted(known | set(drawn.tolist()))
    }


def _sources(parts: Sequence[TileDataset]) -> npt.NDArray[np.str_]:
    return np.array([row["source"] for part in parts for row in part.rows])
