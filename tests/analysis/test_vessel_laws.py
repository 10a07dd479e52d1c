"""Laws that every vessel measurement keeps: turn, scale, tile, part."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from analysis.record import Vessels
from analysis.tally import VesselTally, tally_block
from analysis.vessels import VesselSettings, finish, fold_vessels, measure_vessels
from imaging.tiles import grid
from tests import phantoms
from tests.phantoms import Bools

HALF_MICRON = VesselSettings(mpp_um=0.5)
COUNTS = ("branchpoint_count", "segment_count", "endpoint_count")
SEEDS = (1, 2, 3)


def measured(
    mask: Bools, tissue: Bools | None = None, settings: VesselSettings = HALF_MICRON, **options: Any
) -> Vessels:
    return measure_vessels(mask, tissue, settings, **options).vessels


def blobs(seed: int, side: int, coarse_px: float = 5.0) -> Bools:
    """Return a random mask of winding shapes, a quarter of it set."""
    noise = ndimage.gaussian_filter(
        np.random.default_rng(seed).normal(size=(side, side)), coarse_px
    )
    return np.asarray(np.abs(noise) < np.quantile(np.abs(noise), 0.25))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("change", [np.fliplr, np.flipud, np.rot90, np.transpose])
def test_flips_and_quarter_turns_change_nothing(
    change: Callable[[Bools], Bools], seed: int
) -> None:
    """Area stays exactly, length within 1 %, branchpoints within 2 % or one."""
    mask = phantoms.random_network(seed)
    before, after = measured(mask), measured(np.ascontiguousarray(change(mask)))
    assert after.area_fraction == before.area_fraction
    assert before.length_mm is not None
    assert before.length_mm > 1.0  # over 2,000 px of skeleton
    assert after.length_mm == pytest.approx(before.length_mm, rel=0.01)
    assert after.branchpoint_count == pytest.approx(before.branchpoint_count, rel=0.02, abs=1)
    assert after.diameter_um.mean == pytest.approx(before.diameter_um.mean, rel=0.01)


@pytest.mark.parametrize("change", [np.fliplr, np.flipud, np.rot90])
def test_profiles_clear_of_the_border_are_counted_alike_however_turned(
    change: Callable[[Bools], Bools],
) -> None:
    """Without profiles at the border the number of profiles is the same in every orientation."""
    mask = phantoms.random_network(4)
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    mask &= ~np.isin(labels, rim)
    assert measured(np.ascontiguousarray(change(mask))).profile_count == (
        measured(mask).profile_count
    )


@pytest.mark.parametrize("factor", [0.5, 2.0, 3.0])
def test_a_larger_pixel_scales_every_measurement_by_its_dimension(factor: float) -> None:
    """With all sizes in µm scaled alike, each measurement scales by its own power of length."""
    mask = phantoms.random_network(1, side=256)
    scaled = VesselSettings(
        mpp_um=0.5 * factor,
        min_profile_area_um2=20.0 * factor**2,
        gap_um=2.0 * factor,
        max_vessel_radius_um=50.0 * factor,
    )
    small, large = measured(mask), measured(mask, settings=scaled)
    powers = {
        "area_mm2": 2, "area_fraction": 0, "profile_density_per_mm2": -2, "length_mm": 1,
        "length_density_mm_per_mm2": -1, "branchpoint_density_per_mm2": -2,
        "mean_segment_length_um": 1, "tortuosity_mean": 0, "profile_count": 0,
        "branchpoint_count": 0, "segment_count": 0, "endpoint_count": 0,
    }  # fmt: skip
    for name, power in powers.items():
        assert getattr(large, name) == pytest.approx(getattr(small, name) * factor**power), name
    for name in ("mean", "median", "p10", "p90"):
        assert getattr(large.diameter_um, name) == pytest.approx(
            getattr(small.diameter_um, name) * factor
        )


def test_finer_pixels_do_not_change_the_numbers() -> None:
    """Twice as many pixels at half their size: length within 2 % in the mean, widths within 4 %.

    Repeated pixels make steps of slanting outlines, which the centre-line follows a little.
    """
    ratios = []
    for seed in SEEDS:
        mask = phantoms.random_network(seed, lines=30, width=9.0)
        doubled = np.kron(mask, np.ones((2, 2), np.bool_))
        fine, coarse = measured(doubled, settings=VesselSettings(mpp_um=0.25)), measured(mask)
        assert fine.area_fraction == coarse.area_fraction
        assert fine.diameter_um.mean == pytest.approx(coarse.diameter_um.mean, rel=0.04)
        assert fine.tortuosity_mean == pytest.approx(coarse.tortuosity_mean, rel=0.03)
        assert fine.length_mm is not None
        assert coarse.length_mm is not None
        ratios.append(fine.length_mm / coarse.length_mm)
    assert np.mean(ratios) == pytest.approx(1, abs=0.02)
    assert ratios == pytest.approx(np.ones(len(SEEDS)), abs=0.03)


def assert_same(tiled: Vessels, whole: Vessels) -> None:
    """Area and counts are equal, sums of length within 0.2 %."""
    for name in ("area_mm2", "area_fraction", "profile_count", *COUNTS):
        assert getattr(tiled, name) == getattr(whole, name), name
    assert tiled.length_mm == pytest.approx(whole.length_mm, rel=0.002, abs=1e-6)
    pairs = [
        (getattr(tiled, n), getattr(whole, n))
        for n in ("mean_segment_length_um", "tortuosity_mean")
    ]
    pairs.append((tiled.diameter_um.mean, whole.diameter_um.mean))
    for one, other in pairs:
        assert (one is None) == (other is None)
        assert one is None or one == pytest.approx(other, rel=0.002)


@given(
    seed=st.integers(0, 10_000),
    height=st.integers(40, 260),
    width=st.integers(40, 260),
    block=st.integers(24, 150),
    coarse=st.floats(1.5, 7.0),
)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_blocks_of_any_size_give_the_same_numbers(
    seed: int, height: int, width: int, block: int, coarse: float
) -> None:
    """A section measured block by block has the numbers of the section measured at once."""
    mask = np.ascontiguousarray(blobs(seed, 260, coarse)[:height, :width])
    assert_same(measured(mask, block_px=block), measured(mask, block_px=1000))


@pytest.mark.parametrize("block", [16, 40, 100])
@pytest.mark.parametrize("seed", SEEDS)
def test_blocks_give_the_same_numbers_where_vessels_cross(seed: int, block: int) -> None:
    """Where a normal may run along another vessel, a block's border decides nothing."""
    mask = phantoms.random_network(seed, side=300)
    assert_same(measured(mask, block_px=block), measured(mask, block_px=1000))


@pytest.mark.parametrize("seed", SEEDS)
def test_blocks_change_nothing_where_several_regions_are_measured(seed: int) -> None:
    """Every region of a partition has the same numbers in blocks as at once."""
    mask = phantoms.random_network(seed, side=300)
    regions = list(phantoms.partitions(mask.shape, seed))
    tallies = [fold_vessels(mask, regions, HALF_MICRON, block_px=b) for b in (70, 1000)]
    tiled, whole = (finish(tally, HALF_MICRON, mask.shape) for tally in tallies)
    for part, all_ in zip(tiled, whole, strict=True):
        assert_same(part.vessels, all_.vessels)


def test_tallies_merge_in_any_order() -> None:
    """Blocks may be measured anywhere and come back in any order."""
    mask = phantoms.random_network(6, side=256)
    tiles = list(grid(256, 256, 80, HALF_MICRON.halo_px))
    parts = [tally_block(mask[t.outer.slices()], None, t, mask.shape, HALF_MICRON) for t in tiles]
    np.random.default_rng(0).shuffle(parts)  # type: ignore[arg-type]
    pairs = [VesselTally.merge(parts[:3]), VesselTally.merge(parts[3:])]
    merged = finish(VesselTally.merge(pairs), HALF_MICRON, mask.shape)[0]
    assert_same(merged.vessels, measured(mask))


def test_processes_give_the_numbers_of_one_process() -> None:
    """The same fold runs in a pool of processes."""
    mask = phantoms.random_network(5, side=256)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        spread = measured(mask, block_px=100, executor=pool)
    assert spread == measured(mask, block_px=100)


@pytest.mark.parametrize("seed", SEEDS)
def test_parts_of_the_tissue_add_up_to_the_whole(seed: int) -> None:
    """Area and counts of a partition's regions add up exactly, lengths within 0.5 %."""
    mask = phantoms.random_network(seed)
    whole = measured(mask)
    parts = [measured(mask, region) for region in phantoms.partitions(mask.shape, seed)]
    for name in ("profile_count", "branchpoint_count", "segment_count"):
        assert sum(getattr(part, name) for part in parts) == getattr(whole, name), name
    assert sum(part.area_mm2 or 0 for part in parts) == pytest.approx(whole.area_mm2, rel=1e-12)
    assert sum(part.length_mm or 0 for part in parts) == pytest.approx(whole.length_mm, rel=0.005)


@pytest.mark.parametrize("block", [32, 64, 2048])
def test_area_that_the_counting_frame_leaves_out_is_warned_of(block: int) -> None:
    """Of 1600 px counted and 2400 px on the right border that is 60 %; of equal areas nothing.

    Whatever the blocks, in the region that holds the profile's last pixel, and in no other.
    """
    mask = np.zeros((160, 160), np.bool_)
    mask[10:50, 10:50] = True
    mask[100:140, 100:160] = True
    upper = np.zeros_like(mask)
    upper[:80] = True
    tally = fold_vessels(mask, [mask | True, upper, ~upper], HALF_MICRON, block_px=block)
    shares = [
        [text.split(" ")[0] for text in outcome.warnings if "bottom or right border" in text]
        for outcome in finish(tally, HALF_MICRON, (160, 160))
    ]
    assert shares == [["60%"], [], ["100%"]]
    mask[100:140, 100:120] = False
    assert measure_vessels(mask, None, HALF_MICRON, block_px=block).warnings == ()


def test_the_counting_frame_is_unbiased_over_shifts() -> None:
    """Frames that tile the plane count every profile exactly once between them.

    Discs on a torus: each frame position sees some discs cut by its border; with the frame's rule
    the mean over all shifts is the true number of discs per frame.
    """
    side, step = 96, 12
    rng = np.random.default_rng(3)
    torus = np.zeros((2 * side, 2 * side), np.bool_)
    places = [(40 * i + 20, 40 * j + 20) for i in range(4) for j in range(4)]
    for x, y in places:
        torus |= phantoms.disc(float(rng.uniform(4, 9)), torus.shape, x, y)
    settings_ = dataclasses.replace(HALF_MICRON, min_profile_area_um2=0.0, gap_um=0.0)
    counts = []
    for shift_y in range(0, 2 * side, step):
        for shift_x in range(0, 2 * side, step):
            frame = np.roll(torus, (-shift_y, -shift_x), (0, 1))[:side, :side]
            counts.append(measured(np.ascontiguousarray(frame), settings=settings_).profile_count)
    assert np.mean(counts) == pytest.approx(len(places) / 4, rel=0.03)


def test_half_of_a_step_across_a_regions_border_counts() -> None:
    """A vessel that crosses a border belongs to both sides by length, and nothing is lost."""
    mask = np.zeros((60, 201), np.bool_)
    mask[26:34, 20:181] = True
    left = np.zeros_like(mask)
    left[:, :100] = True
    whole, one, other = measured(mask), measured(mask, left), measured(mask, ~left)
    assert one.length_mm is not None
    assert other.length_mm is not None
    assert one.length_mm + other.length_mm == pytest.approx(whole.length_mm, rel=1e-9)
    assert one.length_mm == pytest.approx(other.length_mm, rel=0.03)
    assert (one.endpoint_count, other.endpoint_count) == (1, 1)
