"""Lacunarity: closed forms, regions and blocks."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.lacunarity import BOXES_UM, boxes_px
from analysis.record import Lacunarity
from analysis.vessels import VesselSettings, measure_vessels
from tests.phantoms import Bools

PIXEL = VesselSettings(mpp_um=1.0)


def lacunarity(mask: Bools, tissue: Bools | None = None, block_px: int = 2048) -> Lacunarity:
    return measure_vessels(mask, tissue, PIXEL, block_px=block_px).vessels.lacunarity


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_of_independent_pixels_it_is_the_binomial_one(share: float) -> None:
    """Λ(r) = 1 + (1 − q)/(q r²) for pixels set with chance q."""
    found = lacunarity(np.random.default_rng(1).random((700, 700)) < share)
    for side, value in zip(BOXES_UM[:4], found.value, strict=False):
        assert value == pytest.approx(1 + (1 - share) / (share * side**2), rel=0.01)


def test_stripes_as_wide_as_the_box_are_counted_by_hand() -> None:
    """Stripes of 8 px every 16 px: the boxes of 8 px are enumerated along one row."""
    mask = np.zeros((160, 16 * 40), np.bool_)
    mask[:, np.arange(mask.shape[1]) % 16 < 8] = True
    side = 8
    starts = np.arange(mask.shape[1] - side + 1)
    mass = np.array([mask[0, s : s + side].sum() for s in starts]) * side
    expected = (mass.astype(float) ** 2).mean() / mass.mean() ** 2
    assert lacunarity(mask).value[2] == pytest.approx(expected, rel=1e-9)


def test_a_full_region_has_one_at_every_size() -> None:
    """Nothing varies: Λ = 1 and the slope is 0."""
    found = lacunarity(np.ones((300, 300), np.bool_))
    assert found.value == pytest.approx((1.0,) * 7)
    assert (found.mean, found.slope) == pytest.approx((1.0, 0.0))


def test_only_boxes_wholly_in_the_region_count() -> None:
    """What lies outside the region alters nothing."""
    rng = np.random.default_rng(4)
    mask = rng.random((400, 400)) < 0.3
    region = np.zeros_like(mask)
    region[50:250, 60:260] = True
    cut_out = np.ascontiguousarray(mask[50:250, 60:260])
    assert lacunarity(mask, region).value == pytest.approx(lacunarity(cut_out).value)
    assert lacunarity(mask | ~region, region) == lacunarity(mask, region)


def test_sizes_that_fit_less_than_a_hundred_times_are_null() -> None:
    """A region of 40 px has boxes of 2 to 16 px (25² places for 16), none of 64."""
    mask = np.random.default_rng(2).random((40, 40)) < 0.3
    found = lacunarity(mask)
    assert [value is None for value in found.value] == [False] * 4 + [True] * 3
    assert found.slope is not None
    assert found.slope < 0


@pytest.mark.parametrize("block_px", [64, 150])
def test_blocks_give_the_lacunarity_of_the_whole(block_px: int) -> None:
    """Boxes that reach beyond their block are seen whole."""
    mask = np.random.default_rng(3).random((420, 390)) < 0.2
    tiled, whole = lacunarity(mask, block_px=block_px), lacunarity(mask)
    assert tiled.value == pytest.approx(whole.value, rel=1e-12)


def test_boxes_are_whole_pixels_of_sizes_that_can_be_seen() -> None:
    """At 0.5 µm 4 to 256 px; what rounds to no pixel, or is too wide for a block, is left out."""
    assert boxes_px(0.5) == (4, 8, 16, 32, 64, 128, 256)
    assert boxes_px(5.0)[:2] == (0, 1)
    assert boxes_px(3.0)[:3] == (0, 1, 3)  # 2 and 4 µm are one pixel both: one size, not two
    assert boxes_px(0.1)[-1] == 0


def test_without_vessels_it_is_null_with_a_reason() -> None:
    """0/0 is no lacunarity."""
    outcome = measure_vessels(np.zeros((200, 200), np.bool_), None, PIXEL)
    assert outcome.vessels.lacunarity.mean is None
    assert "no vessel" in outcome.reasons["vessels.lacunarity"]
