"""Regions of a block as bits: nothing is lost, and memory hardly grows with their number."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from analysis.ownership import Bits, Ownership
from analysis.vessels import VesselSettings, fold_vessels
from tests.phantoms import Bools


def rectangle(top: int, bottom: int, left: int, right: int) -> Bools:
    mask = np.zeros((37, 53), np.bool_)
    mask[top:bottom, left:right] = True
    return mask


MASKS = {
    "empty": rectangle(0, 0, 0, 0),
    "full": rectangle(0, 37, 0, 53),
    "one pixel": rectangle(36, 37, 52, 53),
    "odd edges": rectangle(3, 30, 5, 46),
    "scattered": np.random.default_rng(1).random((37, 53)) < 0.1,
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize(
    "window",
    [
        (slice(None), slice(None)),
        (slice(2, 31), slice(7, 50)),
        (slice(30, 37), slice(46, 53)),
        (slice(5, 5), slice(0, 9)),
    ],
)
def test_bits_slice_like_the_mask(mask: Bools, window: tuple[slice, slice]) -> None:
    """Every window of the bits holds the pixels of the mask, at whatever byte it begins."""
    drawn = Bits.of(mask)[window]
    assert drawn.size == mask[window].size
    assert np.array_equal(drawn.reshape(-1), mask[window].reshape(-1))


def test_pixels_know_their_regions() -> None:
    """Membership of pixels is that of the stacked masks, also through a window."""
    window = slice(2, 31), slice(7, 50)
    stacked = np.stack([mask[window] for mask in MASKS.values()])
    owners = Ownership.of(MASKS.values()).crop(window)
    y, x = np.nonzero(stacked.any(axis=0))
    assert np.array_equal(owners.at(y, x), stacked[:, y, x].T)
    assert np.array_equal(np.stack(list(owners)), stacked)


def test_memory_hardly_grows_with_the_number_of_regions() -> None:
    """Forty overlapping regions take less than half as much again as two."""
    rng = np.random.default_rng(4)
    rows, columns = np.mgrid[:1024, :1024]
    mask = (rows + columns) % 40 < 10
    discs = [
        np.hypot(rows - y, columns - x) < radius
        for y, x, radius in rng.uniform((0, 0, 50), (1024, 1024, 400), (40, 3))
    ]
    assert peak(mask, discs) < 1.5 * peak(mask, discs[:2])


def peak(mask: Bools, regions: list[Bools]) -> int:
    tracemalloc.start()
    fold_vessels(mask, regions, VesselSettings(mpp_um=0.5))
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return highest
