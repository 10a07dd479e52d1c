"""Distance to the nearest vessel: closed forms, what the frame hides, blocks, regions."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from analysis.distances import FAR_PX, DistanceSummary, DistanceTally, kaplan_meier
from analysis.record import ExtravascularDistance
from analysis.vessels import VesselSettings, finish, fold_vessels, measure_vessels
from tests.phantoms import Bools, disc

PIXEL = VesselSettings(mpp_um=1.0, min_profile_area_um2=0.0, gap_um=0.0)


def distance(
    mask: Bools, tissue: Bools | None = None, block_px: int = 2048
) -> ExtravascularDistance:
    return measure_vessels(mask, tissue, PIXEL, block_px=block_px).vessels.extravascular_distance_um


def hidden_distance(mask: Bools, hidden: Bools) -> ExtravascularDistance:
    tally = fold_vessels(mask, [~hidden], PIXEL, hidden=hidden)
    return finish(tally, PIXEL, mask.shape)[0].vessels.extravascular_distance_um


@pytest.mark.parametrize("spacing", [20, 40, 64])
@pytest.mark.parametrize("across", [False, True])
def test_between_parallel_lines_the_mean_is_a_quarter_of_the_spacing(
    spacing: int, across: bool
) -> None:
    """Mean s/4, greatest s/2, though the outermost strips have a vessel on one side only."""
    mask = np.zeros((400, 640), np.bool_)
    mask[:, spacing // 2 :: spacing] = True
    found = distance(np.ascontiguousarray(mask.T) if across else mask)
    # A line one pixel wide is no tissue: what is left between lies a little further off.
    assert found.mean == pytest.approx(spacing / 4 * spacing / (spacing - 1), rel=0.02)
    assert found.max == spacing / 2
    assert found.p50 == pytest.approx(spacing / 4, abs=1)
    assert found.p95 == pytest.approx(0.475 * spacing, abs=1)


@pytest.mark.parametrize("spacing", [32, 64])
def test_in_a_square_grid_the_mean_is_a_sixth_of_the_spacing(spacing: int) -> None:
    """Mean s/6, greatest s/2."""
    mask = np.zeros((16 * spacing, 16 * spacing), np.bool_)
    mask[spacing // 2 :: spacing] = True
    mask[:, spacing // 2 :: spacing] = True
    found = distance(mask)
    # Lines one pixel wide are no tissue, which adds about a pixel's part of the spacing.
    assert found.mean == pytest.approx(spacing / 6 * (1 + 1 / spacing), rel=0.03)
    assert found.max == spacing / 2


@pytest.mark.parametrize(("side", "sections"), [(256, 48), (512, 16), (1000, 6)])
def test_among_random_points_the_mean_does_not_depend_on_the_window(
    side: int, sections: int
) -> None:
    """Poisson points of density λ lie 1/(2√λ) from a random place, whatever the window's size."""
    rng = np.random.default_rng(side)
    density, means = 0.0008, []
    for _ in range(sections):
        mask = np.zeros((side, side), np.bool_)
        count = rng.poisson(density * side * side)
        mask[rng.integers(0, side, count), rng.integers(0, side, count)] = True
        means.append(distance(mask).mean)
    assert np.mean(means) == pytest.approx(1 / (2 * math.sqrt(density)), rel=0.02)


def test_a_vessel_outside_the_region_is_seen_from_inside() -> None:
    """A region's border hides nothing: only what was not imaged is out of sight."""
    mask = np.zeros((300, 300), np.bool_)
    mask[:, 100] = True
    region = np.zeros_like(mask)
    region[100:200, 110:131] = True
    found = distance(mask, region)
    assert found.mean == pytest.approx(20, abs=0.01)
    assert found.max == 30


def test_an_excluded_part_hides_what_lies_behind_it() -> None:
    """Distances beside an excluded vessel are censored, not taken to the next one."""
    mask = np.zeros((300, 600), np.bool_)
    mask[:, 20::40] = True
    hidden = np.zeros_like(mask)
    hidden[100:200, 200:400] = True
    found = hidden_distance(mask, hidden)
    assert found.mean == pytest.approx(10, rel=0.04)
    assert found.max == 20


def test_a_vessel_that_was_struck_out_is_no_vessel() -> None:
    """Outlined exactly, it only hides what it covers: distances run to the other vessels."""
    mask = np.zeros((300, 400), np.bool_)
    mask[:, [50, 150, 250, 350]] = True
    wrong = np.zeros_like(mask)
    wrong[140:160, 90:110] = True
    without = distance(mask)
    struck = hidden_distance(mask | wrong, wrong)
    assert struck.mean == pytest.approx(without.mean, rel=0.01)
    assert distance(mask | wrong).mean < 0.98 * without.mean


@pytest.mark.parametrize("block_px", [64, 160])
def test_blocks_give_the_distances_of_the_whole(block_px: int) -> None:
    """Also beyond the reach of one block, where distances run between cells."""
    mask = np.zeros((900, 1000), np.bool_)
    for x, y in ((80, 100), (700, 760), (300, 820)):
        mask |= disc(9, mask.shape, x, y)
    assert distance(mask, block_px=block_px) == distance(mask)


def test_far_distances_are_right_within_five_percent() -> None:
    """A single vessel in the middle of a wide frame: mean and maximum by direct measurement."""
    side = 1501
    mask = np.zeros((side, side), np.bool_)
    mask[side // 2, side // 2] = True
    y, x = np.mgrid[:side, :side] - side // 2
    true = np.hypot(y, x)
    reached = true <= side // 2 - np.maximum(abs(y), abs(x)) + 1
    found = distance(mask)
    assert found.max is not None
    assert found.max > FAR_PX
    assert found.max == pytest.approx(true[reached].max(), rel=0.05)


def test_the_estimator_is_the_textbooks() -> None:
    """Six observations by hand: 1, 2+, 3, 3, 4+, 5 (+ censored)."""
    events, censored = np.zeros(6), np.zeros(6)
    events[[1, 3, 5]] = 1, 2, 1
    censored[[2, 4]] = 1
    expected = [1, 5 / 6, 5 / 6, 5 / 12, 5 / 12, 0]
    assert kaplan_meier(events, censored) == pytest.approx(expected)


def test_a_mean_is_given_only_where_nearly_all_distances_are_seen() -> None:
    """Where more than 5 % lies further off than is seen, mean and p95 are null, with a reason."""
    mask = np.zeros((2000, 2000), np.bool_)
    mask[:10, :10] = True
    outcome = measure_vessels(mask, None, VesselSettings(0.5))
    found = outcome.vessels.extravascular_distance_um
    assert (found.mean, found.p50, found.p95) == (None, None, None)
    assert found.max is not None
    assert {path for path in outcome.reasons if "distance" in path} == {
        f"vessels.extravascular_distance_um.{name}" for name in ("mean", "p50", "p95")
    }


@pytest.mark.parametrize(("unseen", "known"), [(5, True), (6, False)])
def test_the_share_left_out_of_sight_decides_on_the_mean(unseen: int, known: bool) -> None:
    """Of 100 pixels 2 px from a vessel, 5 that are lost at 3 px leave a mean, 6 do not."""
    counts = np.zeros((2, 1, 2 * FAR_PX + 1), np.int64)
    counts[0, 0, 4], counts[1, 0, 6] = 100 - unseen, unseen
    nothing = DistanceTally.nothing(1)
    tally = dataclasses.replace(nothing, events=counts[0], censored=counts[1])
    found, reason = DistanceSummary(tally, (80, 80), 1.0).of(0)
    assert (found.mean is not None, found.p95 is not None, reason == "") == (known,) * 3
    assert found.p50 == 2.0
    if known:
        assert found.mean == pytest.approx((95 * 2 + 5 * 3) / 100)


def test_without_vessels_or_without_tissue_there_is_a_reason() -> None:
    """Null with its reason, never NaN."""
    empty, full = np.zeros((80, 90), np.bool_), np.ones((80, 90), np.bool_)
    for mask, word in ((empty, "no vessel"), (full, "outside vessels")):
        outcome = measure_vessels(mask, None, PIXEL)
        assert outcome.vessels.extravascular_distance_um == ExtravascularDistance()
        assert word in outcome.reasons["vessels.extravascular_distance_um"]
