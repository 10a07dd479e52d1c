"""The same picture twice: byte for byte, or turned, flipped, rescaled and saved again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

HASH_SIDE = 16
# Unrelated pictures differ in half of the 256 bits, give or take 8; one saved again as JPEG at
# half its size differs in under 10.
NEAR_BITS = 26


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What tells one picture from another.

    `views` is bool (8, 256): a difference hash of the picture and of its turns and flips. A
    picture without contrast has no views, because noise alone would decide them.
    """

    sha256: str
    views: npt.NDArray[np.bool_] | None


def fingerprint(sha256: str, thumbnail: npt.NDArray[Any]) -> Fingerprint:
    """Return the fingerprint of a picture from a thumbnail (H, W) or (H, W, C) of any type."""
    grey = thumbnail.astype(np.float32)
    if grey.ndim == 3:
        grey = grey.mean(axis=-1)
    if float(grey.std()) <= 1e-3 * max(1.0, float(grey.max())):
        return Fingerprint(sha256, None)
    square = cv2.resize(grey, (HASH_SIDE + 1, HASH_SIDE + 1), interpolation=cv2.INTER_AREA)
    views = [np.rot90(view, turns) for view in (square, square[:, ::-1]) for turns in range(4)]
    return Fingerprint(sha256, np.stack([_difference_hash(view) for view in views]))


def duplicates(prints: Sequence[Fingerprint | None]) -> list[tuple[int, int, bool]]:
    """Find pairs of equal pictures as (first, second, byte for byte), in their order.

    Where there is no fingerprint, because a picture could not be read, nothing is equal to it.
    """
    first_of: dict[str, int] = {}
    pairs = []
    for index, found in enumerate(prints):
        if found is not None and found.sha256 in first_of:
            pairs.append((first_of[found.sha256], index, True))
        elif found is not None:
            first_of[found.sha256] = index
    distinct = sorted(first_of.values())
    return sorted([*pairs, *_near_pairs(prints, distinct)])


def _near_pairs(
    prints: Sequence[Fingerprint | None], indices: Sequence[int]
) -> Iterator[tuple[int, int, bool]]:
    seen = [(i, found.views) for i in indices if (found := prints[i]) and found.views is not None]
    if len(seen) < 2:
        return
    # Bits as ±1: a scalar product of 256 − 2·d says that d bits differ.
    signs = np.stack([views for _, views in seen]).astype(np.float32) * 2 - 1
    bits = signs.shape[-1]
    for first, (index, _) in enumerate(seen[:-1]):
        likeness = signs[first + 1 :] @ signs[first, 0]
        differing = (bits - likeness.max(axis=1)) / 2
        for offset in np.flatnonzero(differing <= NEAR_BITS):
            yield index, seen[first + 1 + int(offset)][0], False


def _difference_hash(square: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return np.asarray(square[:-1, 1:] > square[:-1, :-1]).ravel()
