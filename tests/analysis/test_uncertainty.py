"""Intervals of densities: by hand, on sections, and where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.quadrats import QuadratGrid, QuadratSums, count_pixels
from analysis.uncertainty import block_count, blocks, intervals, jackknife, neighbours
from analysis.vessels import VesselSettings, measure_vessels
from imaging.tiles import grid
from tests import phantoms


def test_four_blocks_by_hand() -> None:
    """Leave-one-out ratios of equal blocks with 1, 2, 3, 4 counted."""
    logs = np.log(np.array([9, 8, 7, 6]) / 3)
    deviation = math.sqrt(3 / 4 * ((logs - logs.mean()) ** 2).sum())
    factors = jackknife(np.array([1.0, 2, 3, 4]), np.ones(4))
    assert factors is not None
    reach = stats.t.ppf(0.975, 3) * deviation
    assert factors == pytest.approx((math.exp(-reach), math.exp(reach)))


def test_what_neighbours_share_widens_the_interval_by_hand() -> None:
    """Four blocks in a row: their variance and twice the covariance of each pair that touches."""
    above, row = np.array([1.0, 2, 5, 6]), np.array([[0, 1], [1, 2], [2, 3]])
    logs = np.log(14 - above)
    off = logs - logs.mean()
    own = (off**2).sum()
    pairs = off[0] * off[1] + off[1] * off[2] + off[2] * off[3]
    # Of four deviations from a mean, each of the six pairs has −own/12 where nothing is shared.
    variance = 3 / 4 * (own + 2 * (pairs + 3 * own / 12))
    factors = jackknife(above, np.ones(4), row)
    assert factors is not None
    assert math.log(factors[1]) == pytest.approx(stats.t.ppf(0.975, 3) * math.sqrt(variance))


def test_unlike_neighbours_do_not_narrow_the_interval() -> None:
    """Blocks that alternate share nothing, which is no proof that they are many."""
    above, row = np.array([1.0, 6, 1, 6]), np.array([[0, 1], [1, 2], [2, 3]])
    assert jackknife(above, np.ones(4), row) == jackknife(above, np.ones(4))


def test_neighbours_share_an_edge() -> None:
    """Blocks 0 and 2 meet in a corner only, and nothing is next to 3."""
    number = np.array([[0, 0, 1, -1, 3], [0, 0, 1, -1, 3], [1, 1, 2, -1, 3]])
    row, column = np.nonzero(number >= 0)
    pairs = neighbours(row, column, number[row, column])
    assert pairs.tolist() == [[0, 1], [1, 2]]


def test_equal_blocks_have_no_spread() -> None:
    """The interval shrinks to the value where every block is alike, whatever its area."""
    assert jackknife(np.array([2.0, 4, 6]), np.array([1.0, 2, 3])) == pytest.approx((1, 1))


@pytest.mark.parametrize(
    ("area_mm2", "count"), [(0.2, 0), (0.24, 6), (1.0, 6), (1.6, 6), (1.75, 7), (25.0, 100)]
)
def test_blocks_are_a_quarter_of_a_square_millimetre_or_six(area_mm2: float, count: int) -> None:
    """At least six, never under 0.04 mm²."""
    assert block_count(area_mm2) == count


@pytest.mark.parametrize("count", [6, 7, 16, 40])
def test_blocks_are_equal_compact_and_cover_everything(count: int) -> None:
    """Areas within a quadrat or two of each other, and no quadrat left over."""
    row, column = (v.reshape(-1) for v in np.mgrid[:30, :21])
    weight = np.full(row.size, 100)
    block = blocks(row, column, weight, count)
    area = np.bincount(block, weight, minlength=count)
    assert np.ptp(area) <= 200
    for number in range(count):
        held = block == number
        extent = (np.ptp(row[held]) + 1) * (np.ptp(column[held]) + 1)
        assert extent <= 2.6 * held.sum()


def test_totals_are_the_sums_over_quadrats() -> None:
    """What the interval is made from adds up to the value, whatever block it was counted in."""
    mask = np.random.default_rng(2).random((130, 170)) < 0.3
    quadrats = QuadratGrid(40, 5)
    whole, *parts = (
        count_pixels(quadrats, [mask[tile.core.slices()]], tile.core)
        for side in (170, 48)
        for tile in grid(170, 130, side, 0)
    )
    merged = sum(parts[1:], parts[0])
    assert whole.total[0] == mask.sum() == merged.total[0]
    assert np.array_equal(whole.value, merged.value)
    assert whole.at(np.array([0, 4, 99]), 0).tolist() == [
        mask[:40, :40].sum(),
        whole.value[4, 0],
        0,
    ]


def test_a_section_gets_intervals_about_its_densities() -> None:
    """Every density of a section of 1 mm² lies within its own interval."""
    settings = VesselSettings(mpp_um=1.0)
    outcome = measure_vessels(phantoms.random_network(1, side=1024, lines=90), None, settings)
    assert [interval.path.removeprefix("vessels.") for interval in outcome.intervals] == [
        "area_fraction", "profile_density_per_mm2", "length_density_mm_per_mm2",
        "branchpoint_density_per_mm2",
    ]  # fmt: skip
    for interval in outcome.intervals:
        value = getattr(outcome.vessels, interval.path.removeprefix("vessels."))
        assert interval.low is not None
        assert interval.high is not None
        assert 0 < interval.low < value < interval.high < 4 * value


def test_blocks_of_measuring_alter_no_interval() -> None:
    """The quadrats begin at the image's first pixel, not at the block's."""
    mask = phantoms.random_network(2, side=700)
    settings = VesselSettings(mpp_um=1.0)
    tiled, whole = (measure_vessels(mask, None, settings, block_px=b) for b in (96, 2048))
    for one, other in zip(tiled.intervals, whole.intervals, strict=True):
        assert (one.low, one.high) == pytest.approx((other.low, other.high), rel=1e-3)


def test_small_or_empty_sections_say_why_they_have_none() -> None:
    """Under six blocks, nothing counted, and all in one block each have their reason."""
    settings = VesselSettings(mpp_um=1.0)
    one = np.zeros((600, 600), np.bool_)
    one[50:80, 50:80] = True
    nearly = one.copy()
    nearly[500, 500] = True  # a speck elsewhere would leave an interval over many powers of ten
    cases = [
        (np.ones((300, 300), np.bool_), "6 blocks"),
        (np.zeros((600, 600), np.bool_), "nothing was counted"),
        (one, "one block"),
        (nearly, "one block"),
    ]
    for mask, word in cases:
        first = measure_vessels(mask, None, settings).intervals[0]
        assert (first.low, first.high) == (None, None)
        assert word in first.reason


def test_a_fraction_has_no_interval_beyond_one() -> None:
    """Five blocks full and one empty: the upper end stays at 1."""
    mask = np.ones((1200, 1250), np.bool_)
    mask[:, :300] = False
    found = measure_vessels(mask, None, VesselSettings(mpp_um=1.0)).intervals
    fraction = next(one for one in found if one.path == "vessels.area_fraction")
    assert fraction.low is not None
    assert fraction.low < 0.76
    assert fraction.high == 1.0


def test_a_region_without_tissue_has_no_interval() -> None:
    """Nothing to cut into blocks."""
    none = QuadratSums(np.empty(0, np.int64), np.empty((0, 1), np.int64))
    found = intervals({"a": None}, {"a": none}, none, 0, QuadratGrid(10, 1), 1.0)
    assert found[0].low is None
