"""Vessels of known shape get the length, width and counts that geometry says."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from scipy.special import ellipe

from analysis.assembly import MeasuredArea, region_of
from analysis.record import Vessels, flatten
from analysis.rows import reason_of
from analysis.vessels import VesselOutcome, VesselSettings, measure_vessels
from tests import phantoms
from tests.phantoms import Bools

SETTINGS = VesselSettings(mpp_um=1.0, min_profile_area_um2=0.0, gap_um=0.0)
SPINE_PX = 240.0
NARROW_PX = (3.0, 4.0, 5.0)
WIDTHS_PX = (6.0, 7.0, 8.0, 10.0, 13.0, 16.0, 20.0)
# Widths between the others, drawn at angles between theirs.
ODD_PX, ODD_ANGLES = (5.0, 7.0, 10.0, 16.0), (10.0, 26.6, 33.0, 63.4, 80.0)
ANGLES = (0.0, 7.5, 15.0, 22.5, 30.0, 37.5, 45.0, 52.5, 60.0, 67.5, 75.0, 82.5, 90.0)


def measured(mask: Bools) -> Vessels:
    """Measure a mask with pixels of 1 µm: lengths in µm are lengths in pixels."""
    return measure_vessels(mask, None, SETTINGS).vessels


def length_px(vessels: Vessels) -> float:
    assert vessels.length_mm is not None
    return 1000.0 * vessels.length_mm


@cache
def capsules(width_px: float) -> list[list[Vessels]]:
    """Return what is measured of capsules: a row for each angle, eight sub-pixel offsets in it."""
    return [
        [
            measured(phantoms.capsule(SPINE_PX, width_px, angle, offset))
            for offset in phantoms.offsets()
        ]
        for angle in (ODD_ANGLES if width_px in ODD_PX else ANGLES)
    ]


@pytest.mark.parametrize("width_px", (*NARROW_PX, *WIDTHS_PX))
def test_a_capsule_is_as_long_as_its_spine(width_px: float) -> None:
    """Length is unbiased within 1 % over angles and offsets, and never off by 2.5 % + 2 px."""
    lengths = np.array([[length_px(one) for one in row] for row in capsules(width_px)])
    assert lengths.mean() == pytest.approx(SPINE_PX, rel=0.01)
    assert np.abs(lengths - SPINE_PX).max() <= 0.025 * SPINE_PX + 2


@pytest.mark.parametrize("width_px", WIDTHS_PX)
def test_a_capsule_is_as_wide_as_drawn(width_px: float) -> None:
    """Diameter is unbiased within 2 % over angles, within 5 % or half a pixel at any."""
    by_angle = np.array([np.mean([v.diameter_um.mean for v in row]) for row in capsules(width_px)])
    assert by_angle.mean() == pytest.approx(width_px, rel=0.02)
    assert np.abs(by_angle - width_px).max() <= max(0.05 * width_px, 0.5)


@pytest.mark.parametrize("width_px", (*NARROW_PX, *WIDTHS_PX))
def test_a_capsule_is_one_segment_with_two_ends(width_px: float) -> None:
    """No capsule has a branchpoint, at any angle and offset."""
    for one in (one for row in capsules(width_px) for one in row):
        counts = (one.profile_count, one.segment_count, one.endpoint_count, one.branchpoint_count)
        assert counts == (1, 1, 2, 0)


@pytest.mark.parametrize("width_px", [3.0, 5.0, 8.0])
def test_a_diagonal_bar_keeps_its_length_at_every_offset(width_px: float) -> None:
    """Thinning does not erase bars at 45°, wherever they fall on the grid."""
    for y in np.arange(0, 1, 0.125):
        for x in np.arange(0, 1, 0.25):
            bar = phantoms.capsule(120.0, width_px, 45.0, (float(x), float(y)))
            assert length_px(measured(bar)) == pytest.approx(120.0, abs=0.025 * 120 + 2)


@pytest.mark.parametrize("width_px", [7, 11])
def test_a_flat_bar_is_as_long_as_its_medial_axis(width_px: int) -> None:
    """The medial axis of a flat bar ends half a width before each end."""
    mask = np.zeros((60, 260), np.bool_)
    mask[20 : 20 + width_px, 20:220] = True
    vessels = measured(mask)
    assert length_px(vessels) == pytest.approx(200 - width_px, rel=0.025)
    assert vessels.diameter_um.mean == pytest.approx(width_px, rel=0.02)
    assert vessels.area_fraction == 200 * width_px / mask.size


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.27, 0.81)])
@pytest.mark.parametrize("radius_px", [3.0, 6.0, 10.0, 12.0, 30.0])
def test_discs_are_counted_and_have_no_length(
    radius_px: float, offset: tuple[float, float]
) -> None:
    """Round profiles are all counted, with their exact area; they are no vessels seen along."""
    mask = np.zeros((320, 320), np.bool_)
    for x, y in np.mgrid[40:320:80, 40:320:80].reshape(2, -1).T:
        mask |= phantoms.disc(radius_px, mask.shape, x + offset[0], y + offset[1])
    vessels = measured(mask)
    assert vessels.profile_count == 16
    assert vessels.area_mm2 == pytest.approx(np.count_nonzero(mask) * 1e-6)
    assert length_px(vessels) == 0
    assert (vessels.segment_count, vessels.endpoint_count, vessels.branchpoint_count) == (0, 0, 0)


@pytest.mark.parametrize("amplitude_px", [15.0, 30.0, 60.0])
@pytest.mark.parametrize("turn", [0.0, 30.0, 45.0])
def test_a_sine_is_as_long_as_its_elliptic_integral(amplitude_px: float, turn: float) -> None:
    """Two waves of 150 px: path and path over chord, whatever their direction."""
    wave_px, waves = 150.0, 2
    x = np.linspace(0, waves * wave_px, 400)
    y = amplitude_px * np.sin(2 * np.pi * x / wave_px)
    slope = 2 * np.pi * amplitude_px / wave_px
    expected = (
        waves * wave_px * (2 / np.pi) * math.hypot(1, slope) * ellipe(slope**2 / (1 + slope**2))
    )
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    path = np.stack([c * x - s * y, s * x + c * y], axis=1)
    path += 30 - path.min(axis=0)
    width, height = np.ceil(path.max(axis=0) + 30).astype(int)
    vessels = measured(phantoms.polyline([tuple(p) for p in path], 8.0, (height, width)))
    assert length_px(vessels) == pytest.approx(expected, rel=0.015)
    assert vessels.tortuosity_mean == pytest.approx(expected / (waves * wave_px), rel=0.025)


@pytest.mark.parametrize("between", [45.0, 60.0, 90.0, 120.0])
@pytest.mark.parametrize("turn", [0.0, 17.0, 45.0])
def test_a_fork_has_one_branchpoint_three_segments_three_ends(between: float, turn: float) -> None:
    """Two arms that part from a stem at 45° or more meet it in one branchpoint."""
    arms = [turn, turn + between, turn + 180 + between / 2]
    vessels = measured(phantoms.star(arms, 70.0, 7.0))
    counts = (vessels.branchpoint_count, vessels.segment_count, vessels.endpoint_count)
    assert counts == (1, 3, 3)


@pytest.mark.parametrize("meet", [45.0, 60.0, 75.0, 90.0])
@pytest.mark.parametrize("turn", [0.0, 12.0, 30.0, 45.0, 71.0])
@pytest.mark.parametrize("width_px", [3.0, 4.0, 6.0, 11.0])
def test_every_crossing_counts_once(meet: float, turn: float, width_px: float) -> None:
    """Four tubes that cross three others from 45° on have twelve branchpoints, however turned."""
    grid = phantoms.crossing_grid(
        4, 3, spacing_px=45.0, width_px=width_px, degrees=turn, meet_degrees=meet
    )
    vessels = measured(grid)
    # 4 · 2 + 3 · 3 segments lie between crossings, and 14 lead from the outer ones to ends.
    counts = (vessels.branchpoint_count, vessels.segment_count, vessels.endpoint_count)
    assert counts == (12, 17 + 14, 14)


@pytest.mark.parametrize("widths_px", [(5.0, 8.0), (8.0, 13.0), (6.0, 20.0)])
@pytest.mark.parametrize("meet", [60.0, 90.0])
@pytest.mark.parametrize("turn", [0.0, 10.0, 26.6, 45.0, 71.0])
def test_tubes_of_unequal_width_cross_once(
    widths_px: tuple[float, float], meet: float, turn: float
) -> None:
    """A thin tube across a wide one is one branchpoint with four arms."""
    vessels = measured(phantoms.crossing(widths_px, 80.0, turn, meet))
    counts = (vessels.branchpoint_count, vessels.segment_count, vessels.endpoint_count)
    assert counts == (1, 4, 4)


@pytest.mark.parametrize("degrees", [0.0, 30.0, 45.0])
@pytest.mark.parametrize(
    ("half_px", "least", "most"),
    [((40, 10), 66, 75), ((40, 20), 40, 60), ((30, 15), 29, 45), ((20, 16), 0, 14.4)],
)
def test_an_ellipse_keeps_part_of_its_medial_axis(
    half_px: tuple[float, float], least: float, most: float, degrees: float
) -> None:
    """The known loss stays what the documents say: never more than the axis, nor far less."""
    assert least <= length_px(measured(phantoms.ellipse(half_px, degrees))) <= most


def test_a_ring_is_one_loop_without_a_branchpoint() -> None:
    """A ring's centre-line is as long as the circle through its middle."""
    vessels = measured(phantoms.annulus(44.0, 32.0, 121))
    counts = (vessels.segment_count, vessels.branchpoint_count, vessels.endpoint_count)
    assert counts == (1, 0, 0)
    assert length_px(vessels) == pytest.approx(2 * math.pi * 38, rel=0.025)
    assert vessels.tortuosity_mean is None


def test_a_semicircle_is_half_pi_as_long_as_its_chord() -> None:
    """Tortuosity of a semicircle is π/2; a straight tube's is 1."""
    turn = np.linspace(0, math.pi, 60)
    arc = [(110 + 80 * math.cos(t), 110 + 80 * math.sin(t)) for t in turn]
    assert measured(phantoms.polyline(arc, 8.0, (220, 220))).tortuosity_mean == pytest.approx(
        math.pi / 2, rel=0.02
    )
    straight = measured(phantoms.capsule(150.0, 8.0, 20.0))
    assert straight.tortuosity_mean == pytest.approx(1.0, abs=0.02)


def test_a_vessel_that_leaves_the_frame_keeps_its_length() -> None:
    """Up to the border a vessel counts in full, and where the frame cuts it is no end."""
    mask = np.zeros((80, 200), np.bool_)
    mask[36:45] = True
    vessels = measured(mask)
    assert length_px(vessels) == pytest.approx(0.98 * 199, abs=1.0)
    assert (vessels.segment_count, vessels.endpoint_count) == (1, 0)


@pytest.mark.parametrize("degrees", [10, 15, 20, 25, 30, 45])
@pytest.mark.parametrize("width", [4, 7, 12])
def test_a_vessel_that_leaves_at_a_grazing_angle_has_no_end_there(width: int, degrees: int) -> None:
    """At each border alike the frame makes neither an end nor a branchpoint of a straight tube."""
    y, x = np.indices((300, 300), np.float64)
    turn = np.radians(degrees)
    mask = np.abs(x * np.cos(turn) + (y - 200.25) * np.sin(turn)) <= width / 2
    for seen in (mask, mask[:, ::-1], mask.T, mask.T[::-1]):
        vessels = measured(np.ascontiguousarray(seen))
        counts = vessels.segment_count, vessels.endpoint_count, vessels.branchpoint_count
        assert counts == (1, 0, 0)


def test_pinholes_between_vessels_make_no_loops() -> None:
    """A hole of a pixel, as pixelation leaves where vessels part, has no branchpoints about it."""
    mask = np.zeros((40, 160), np.bool_)
    mask[14:25, 10:150] = True
    whole = measured(mask)
    mask[19, 80] = False
    pierced = measured(mask)
    assert pierced.branchpoint_count == 0
    assert pierced.length_mm == whole.length_mm
    assert pierced.area_mm2 == pytest.approx(whole.area_mm2 - 1e-6)  # the area is the mask's own


def test_a_short_spur_is_pruned_and_a_long_branch_stays() -> None:
    """A bump shorter than the vessel is wide is no branch; one three times as long is."""
    mask = np.zeros((80, 200), np.bool_)
    mask[50:60, 10:190] = True
    bump, branch = mask.copy(), mask.copy()
    bump[46:50, 98:102] = True
    branch[15:50, 96:104] = True
    assert measured(bump).branchpoint_count == 0
    assert measured(branch).branchpoint_count == 1


def test_fragments_of_one_vessel_are_one_profile() -> None:
    """Pieces closer than `gap_um` count as one profile; further ones as two; specks as none."""
    mask = np.zeros((40, 120), np.bool_)
    mask[15:25, 10:50] = True
    mask[15:25, 53:100] = True  # three pixels apart: 1.5 µm
    mask[2:5, 2:5] = True  # 9 px: 2.25 µm²
    near = measure_vessels(mask, None, VesselSettings(mpp_um=0.5, gap_um=2.0)).vessels
    apart = measure_vessels(mask, None, VesselSettings(mpp_um=0.5, gap_um=1.0)).vessels
    assert (near.profile_count, apart.profile_count) == (1, 2)


def test_a_mask_wider_than_any_vessel_has_area_but_no_length() -> None:
    """What is wider than `max_vessel_radius_um` on both sides adds no length, and is warned of."""
    mask = np.zeros((300, 300), np.bool_)
    mask[50:250, 50:250] = True
    outcome = measure_vessels(mask, None, SETTINGS)
    assert outcome.vessels.area_fraction == pytest.approx(200**2 / 300**2)
    assert outcome.vessels.length_mm == 0
    assert any("wider than 100 µm" in warning for warning in outcome.warnings)


def _nothing_is_nan(outcome: VesselOutcome) -> None:
    """Every value of the record is a finite number, or None with a reason."""
    region = region_of(MeasuredArea("region", outcome))
    for path, value in flatten(region):
        assert reason_of(region.reasons, path) if value is None else math.isfinite(value), path


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (64, 64), (130, 257)])
@pytest.mark.parametrize("kind", ["empty", "full", "one pixel"])
def test_odd_masks_give_zero_or_null_with_a_reason(shape: tuple[int, int], kind: str) -> None:
    """Empty, full and nearly empty masks of any size are measured, never NaN."""
    mask = np.full(shape, kind == "full")
    mask[shape[0] // 2, shape[1] // 2] |= kind == "one pixel"
    outcome = measure_vessels(mask, None, SETTINGS)
    _nothing_is_nan(outcome)
    assert outcome.vessels.area_fraction == pytest.approx(np.count_nonzero(mask) / mask.size)


@pytest.mark.parametrize("mpp_um", [0.3, 0.5, 1.0, 3.0])
def test_small_random_masks_give_numbers_or_reasons(mpp_um: float) -> None:
    """No pixel size and no sparse mask leads to a value that is neither."""
    rng = np.random.default_rng(7)
    settings = VesselSettings(mpp_um=mpp_um)
    for _ in range(60):
        shape = tuple(int(n) for n in rng.integers(1, 70, 2))
        _nothing_is_nan(
            measure_vessels(rng.random(shape) < rng.choice([0.01, 0.3]), None, settings)
        )


def test_a_region_without_tissue_has_null_densities() -> None:
    """Where everything is excluded no density exists, and the record says why."""
    mask = np.ones((50, 50), np.bool_)
    outcome = measure_vessels(mask, np.zeros_like(mask), SETTINGS)
    _nothing_is_nan(outcome)
    assert outcome.area_mm2 == 0
    assert outcome.vessels.area_fraction is None
    assert outcome.vessels.profile_density_per_mm2 is None
    assert outcome.reasons["vessels.area_fraction"] == "the region holds no tissue"
