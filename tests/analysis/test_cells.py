"""Cells are told apart and counted as a person would, in blocks of any size."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from analysis.cell_tally import CellTally, measure_cells, tally_block
from analysis.cells import CellSettings, label_cells
from imaging.tiles import Window, grid
from model.targets import target_arrays

SETTINGS = CellSettings(mpp_um=0.5, level=128, min_cell_area_um2=25.0)
Bytes = npt.NDArray[np.uint8]


def section(discs: list[tuple[int, int, int]], height: int, width: int) -> tuple[Bytes, Bytes]:
    """Return (probability, depth) of discs (x, y, radius): depth is 255 in their middles."""
    rows, columns = np.mgrid[:height, :width]
    depth = np.zeros((height, width))
    for x, y, radius in discs:
        distance = np.hypot(columns - x, rows - y)
        depth = np.maximum(depth, np.clip(1 - distance / (radius + 1), 0, 1))
    return np.where(depth > 0, 255, 0).astype(np.uint8), np.rint(255 * depth).astype(np.uint8)


def disc_px(radius: int) -> int:
    """Return the number of pixels whose centre is closer than radius + 1."""
    rows, columns = np.mgrid[-radius - 1 : radius + 2, -radius - 1 : radius + 2]
    return int(np.count_nonzero(np.hypot(rows, columns) < radius + 1))


def scattered(seed: int, count: int = 60, size: int = 400) -> list[tuple[int, int, int]]:
    rng = np.random.default_rng(seed)
    return [
        (int(x), int(y), int(r))
        for x, y, r in zip(
            rng.integers(0, size, count),
            rng.integers(0, size, count),
            rng.integers(5, 16, count),
            strict=True,
        )
    ]


def test_separate_discs_are_counted_with_their_area() -> None:
    """Three discs far apart are three cells with the area of their pixels."""
    probability, depth = section([(30, 30, 10), (80, 30, 10), (50, 80, 12)], 120, 120)
    (outcome,) = measure_cells(probability, depth, SETTINGS)
    areas = [disc_px(10) / 4, disc_px(10) / 4, disc_px(12) / 4]
    assert outcome.cells.positive_count == 3
    assert outcome.cells.cell_area_um2.mean == pytest.approx(np.mean(areas))
    assert outcome.cells.cell_area_um2.median == pytest.approx(np.median(areas))
    assert outcome.area_mm2 == pytest.approx(120 * 120 * 0.25e-6)
    assert outcome.cells.positive_density_per_mm2 == pytest.approx(3 / outcome.area_mm2)
    assert outcome.cells.positive_area_fraction == np.count_nonzero(probability) / 120**2


@pytest.mark.parametrize("turns", range(4))
def test_touching_discs_are_two_cells_of_equal_size(turns: int) -> None:
    """Two discs that overlap by a quarter of their radius are parted in the middle."""
    probability, depth = section([(40, 40, 12), (61, 40, 12)], 80, 100)
    labels = label_cells(np.rot90(probability, turns), np.rot90(depth, turns), SETTINGS)
    areas = np.bincount(labels.ravel())[1:]
    assert len(areas) == 2
    assert abs(int(areas[0]) - int(areas[1])) <= 0.05 * areas.sum()


def test_cells_drawn_by_hand_are_found_again() -> None:
    """What the network is trained to predict of touching cells leads back to those cells."""
    rng = np.random.default_rng(2)
    rows, columns = np.mgrid[:300, :300]
    drawn = np.zeros((300, 300), np.int32)
    for number, (x, y) in enumerate(np.mgrid[30:280:26, 30:280:22].reshape(2, -1).T, start=1):
        a, b, turn = rng.uniform(8, 12), rng.uniform(11, 15), rng.uniform(0, math.pi)
        u = (columns - x) * math.cos(turn) + (rows - y) * math.sin(turn)
        v = (rows - y) * math.cos(turn) - (columns - x) * math.sin(turn)
        drawn[((u / a) ** 2 + (v / b) ** 2 <= 1) & (drawn == 0)] = number
    targets, _ = target_arrays({"vegf_cell": drawn})
    body, depth = (np.rint(255 * targets[k]).astype(np.uint8) for k in (1, 2))
    found = label_cells(body, depth, SETTINGS)
    assert found.max() == drawn.max()
    for number in range(1, drawn.max() + 1):
        inside = found[drawn == number]
        assert np.bincount(inside).max() > 0.9 * inside.size


@pytest.mark.parametrize("peak", [60, 90, 250])
def test_a_faint_cell_beside_a_strong_one_is_parted(peak: int) -> None:
    """Neighbours are two cells however much shallower one is predicted than the other."""
    _, strong = section([(40, 40, 12)], 80, 100)
    _, other = section([(61, 40, 9)], 80, 100)
    depth = np.maximum(strong, np.rint(other * (peak / 255)).astype(np.uint8))
    probability = np.where(depth > 0, 255, 0).astype(np.uint8)
    labels = label_cells(probability, depth, SETTINGS)
    assert labels.max() == 2
    assert labels[40, 40] != labels[40, 61]


@pytest.mark.parametrize(("dent", "cells"), [(6, 1), (60, 2)])
def test_a_dent_in_the_depth_is_no_border(dent: int, cells: int) -> None:
    """Two peaks that hardly stand out from the saddle between them are one cell's."""
    columns = np.arange(60) - 29.5
    row = 200 - dent * np.clip(1 - np.abs(columns) / 8, 0, 1) - 4 * np.clip(abs(columns) - 8, 0, 30)
    depth = np.rint(np.tile(row, (40, 1))).clip(0, 255).astype(np.uint8)
    labels = label_cells(np.full_like(depth, 255), depth, SETTINGS)
    assert labels.max() == cells


@pytest.mark.parametrize(("width", "saddle", "cells"), [(15, 7, 1), (20, 5, 1), (40, 20, 2)])
def test_a_dent_never_makes_a_cell_vanish(width: int, saddle: int, cells: int) -> None:
    """A piece of 12 px by less than 9 is too small for a cell, and stays with its neighbour."""
    row = np.minimum(60 + 30 * np.abs(np.arange(width) - saddle), 250)
    depth = np.tile(row, (12, 1)).astype(np.uint8)
    labels = label_cells(np.full_like(depth, 255), depth, SETTINGS)
    assert labels.max() == cells
    assert (labels > 0).all()


def test_a_faint_or_flat_cell_is_one_cell() -> None:
    """A part of the mask without any predicted depth still counts once."""
    probability, _ = section([(30, 30, 10)], 60, 60)
    assert label_cells(probability, np.zeros_like(probability), SETTINGS).max() == 1
    assert label_cells(probability, np.full_like(probability, 80), SETTINGS).max() == 1


def test_small_specks_are_no_cells_but_area() -> None:
    """An object under the smallest area is not counted; its pixels stay positive."""
    probability, depth = section([(30, 30, 10), (60, 60, 3)], 90, 90)
    cells = measure_cells(probability, depth, SETTINGS)[0].cells
    assert disc_px(3) / 4 < 25 < disc_px(10) / 4
    assert cells.positive_count == 1
    assert cells.positive_area_fraction == (disc_px(10) + disc_px(3)) / 90**2


def test_frame_leaves_out_bottom_and_right_only() -> None:
    """A cell on the top or left border counts, one on the bottom or right border does not."""
    corners = [(0, 40, 10), (40, 0, 10), (99, 40, 10), (40, 99, 10)]
    probability, depth = section(corners, 100, 100)
    assert measure_cells(probability, depth, SETTINGS)[0].cells.positive_count == 2


def test_a_cell_belongs_where_its_last_pixel_lies() -> None:
    """A cell across the border of the tissue counts if its last pixel in reading order is in."""
    probability, depth = section([(50, 50, 10)], 100, 100)
    lower, upper = np.zeros((100, 100), np.bool_), np.zeros((100, 100), np.bool_)
    lower[55:], upper[:55] = True, True
    counts = [
        measure_cells(probability, depth, SETTINGS, regions=[part])[0].cells.positive_count
        for part in (lower, upper)
    ]
    assert counts == [1, 0]


@pytest.mark.parametrize("block_px", [64, 100, 256])
@pytest.mark.parametrize("seed", [0, 1])
def test_blocks_change_nothing(seed: int, block_px: int) -> None:
    """Count, areas, and intensities of crowded cells are the same whatever the block."""
    probability, depth = section(scattered(seed), 400, 400)
    tissue = np.random.default_rng(seed).random((400, 400)) < 0.8
    stain = np.random.default_rng(9).random((400, 400)).astype(np.float32)

    def measured(block: int) -> CellTally:
        parts = [
            tally_block(
                probability,
                depth,
                tile.core,
                SETTINGS,
                regions=[tissue],
                intensity=lambda window: stain[window.slices()],
            )
            for tile in grid(400, 400, block, 0)
        ]
        np.random.default_rng(block).shuffle(parts)  # type: ignore[arg-type]
        return sum(parts[1:], parts[0])

    whole, parts = measured(400), measured(block_px)
    assert len(whole.areas_px) > 20
    for tally in (whole, parts):
        assert len(tally.places.key) == len(tally.areas_px) == len(tally.centroids)
    order, other = np.argsort(whole.places.key), np.argsort(parts.places.key)
    assert np.array_equal(whole.places.key[order], parts.places.key[other])
    assert np.array_equal(whole.areas_px[order], parts.areas_px[other])
    assert np.allclose(whole.centroids[order], parts.centroids[other])
    assert parts.intensities == whole.intensities
    for name in ("positive_px", "tissue_px"):
        assert np.array_equal(getattr(parts, name).value, getattr(whole, name).value), name
    assert parts.intensity_sums == pytest.approx(whole.intensity_sums, rel=1e-12)
    assert parts.clusters_cut == 0


def test_a_cluster_wider_than_any_window_is_reported() -> None:
    """Where everything is positive the count is approximate, and a warning says so."""
    full = np.full((900, 1800), 255, np.uint8)
    (outcome,) = measure_cells(full, full, SETTINGS, block_px=64 * 14)
    assert any("approximate" in warning for warning in outcome.warnings)


def test_optical_density_of_half_the_light_is_log_two() -> None:
    """Cells that let half of the light through have OD 0.30103; sums are OD × area."""
    probability, depth = section([(30, 30, 10)], 60, 60)

    def half(window: Window) -> npt.NDArray[np.float32]:
        return np.full((window.height, window.width), math.log10(2), np.float32)

    cells = measure_cells(probability, depth, SETTINGS, intensity=half)[0].cells
    assert cells.optical_density is not None
    assert cells.optical_density.mean == pytest.approx(0.30103, abs=1e-6)
    assert cells.optical_density.median == pytest.approx(0.30103, abs=2.5e-4)
    assert cells.average_optical_density == pytest.approx(0.30103, abs=1e-6)
    assert cells.integrated_optical_density == pytest.approx(0.30103 * disc_px(10) / 4, rel=1e-5)
    assert cells.intensity is None


def test_specks_add_area_but_no_stain() -> None:
    """What is too small for a cell tells nothing of the cells' optical density."""
    probability, depth = section([(30, 30, 10)], 60, 60)
    probability[5:8, 5:8] = 255

    def darker(window: Window) -> npt.NDArray[np.float32]:
        stain = np.full((window.height, window.width), 0.2, np.float32)
        stain[:10, :10] = 0.9
        return stain

    (outcome,) = measure_cells(probability, depth, SETTINGS, intensity=darker)
    assert outcome.cells.positive_area_fraction == pytest.approx((disc_px(10) + 9) / 3600)
    assert outcome.cells.optical_density.mean == pytest.approx(0.2, abs=1e-6)
    probability[20:40, 20:40] = 0
    probability[:] = np.where(probability == 255, probability, 0)
    probability[10:] = 0
    (alone,) = measure_cells(probability, depth, SETTINGS, intensity=darker)
    assert alone.cells.positive_count == 0
    assert alone.cells.optical_density.mean is None
    assert "cells.optical_density" in alone.reasons


@pytest.mark.parametrize("block_px", [40, 1024])
def test_the_average_density_is_the_integrated_one_over_the_positive_area(block_px: int) -> None:
    """Specks widen the area but add no stain, so the average lies below the mean over cells."""
    probability, depth = section([(30, 30, 10)], 60, 60)
    probability[5:8, 5:8] = 255
    left = np.zeros((60, 60), np.bool_)
    left[:, :30] = True
    outcomes = measure_cells(
        probability,
        depth,
        SETTINGS,
        regions=[left, ~left],
        intensity=lambda w: np.full((w.height, w.width), 0.25, np.float32),
        block_px=block_px,
    )
    for outcome, specks_px in zip(outcomes, (9, 0), strict=True):
        cells = outcome.cells
        positive_um2 = cells.positive_area_fraction * outcome.area_mm2 * 1e6
        assert cells.integrated_optical_density == pytest.approx(
            0.25 * (positive_um2 - specks_px / 4)
        )
        assert cells.average_optical_density == pytest.approx(
            cells.integrated_optical_density / positive_um2
        )
        assert cells.optical_density.mean == 0.25
        assert (cells.average_optical_density < 0.25) == (specks_px > 0)


def test_specks_alone_have_an_area_without_stain() -> None:
    """Integrated and average density are 0 there; null only where nothing at all is positive."""
    probability, dark = np.zeros((60, 60), np.uint8), np.ones((60, 60), np.float32)
    averages = []
    for height in (0, 3):
        probability[5 : 5 + height, 5:8] = 255
        (outcome,) = measure_cells(
            probability, probability, SETTINGS, intensity=lambda w: dark[w.slices()]
        )
        assert outcome.cells.integrated_optical_density == 0
        averages.append(outcome.cells.average_optical_density)
        assert ("cells.average_optical_density" in outcome.reasons) == (averages[-1] is None)
    assert averages == [None, 0.0]


def test_fluorescence_has_intensity_and_no_optical_density() -> None:
    """Optical densities are null, with a reason, where light is emitted and not absorbed."""
    probability, depth = section([(30, 30, 10)], 60, 60)
    (outcome,) = measure_cells(
        probability,
        depth,
        SETTINGS,
        intensity=lambda w: np.full((w.height, w.width), 42.0, np.float32),
        modality="fluorescence",
    )
    assert outcome.cells.intensity is not None
    assert outcome.cells.intensity.median == 42.0
    assert outcome.cells.optical_density is None
    assert outcome.cells.integrated_optical_density is None
    assert set(outcome.reasons) == {
        "cells.optical_density",
        "cells.integrated_optical_density",
        "cells.average_optical_density",
    }


def test_intensities_carry_their_caution() -> None:
    """Whoever reads an optical density is told that DAB is not stoichiometric."""
    probability, depth = section([(30, 30, 10)], 60, 60)
    (outcome,) = measure_cells(
        probability, depth, SETTINGS, intensity=lambda w: np.ones((w.height, w.width), np.float32)
    )
    assert any("stoichiometric" in warning for warning in outcome.warnings)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (40, 40)])
def test_nothing_found_is_zero_or_null(shape: tuple[int, int]) -> None:
    """No cell: counts and fractions are 0, means are null with a reason."""
    empty = np.zeros(shape, np.uint8)
    (outcome,) = measure_cells(
        empty, empty, SETTINGS, intensity=lambda w: np.ones((w.height, w.width), np.float32)
    )
    assert outcome.cells.positive_count == 0
    assert outcome.cells.positive_density_per_mm2 == 0
    assert outcome.cells.positive_area_fraction == 0
    assert outcome.cells.cell_area_um2.mean is None
    assert "cells.cell_area_um2" in outcome.reasons
    assert "cells.optical_density" in outcome.reasons


def test_no_tissue_is_null() -> None:
    """Without any tissue a density is null with a reason, not a division by zero."""
    probability, depth = section([(30, 30, 10)], 60, 60)
    none = np.zeros((60, 60), np.bool_)
    (outcome,) = measure_cells(probability, depth, SETTINGS, regions=[none])
    assert outcome.area_mm2 == 0
    assert outcome.cells.positive_density_per_mm2 is None
    assert outcome.cells.positive_area_fraction is None
    assert "cells.positive_density_per_mm2" in outcome.reasons


def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two() -> None:
    """Areas of 100 and 200 µm²: median and mean are 150."""
    one, two = 400, 800
    row = np.zeros((40, 100), np.uint8)
    row[10:30, 5 : 5 + one // 20] = 255
    row[10:30, 40 : 40 + two // 20] = 255
    (outcome,) = measure_cells(row, np.zeros_like(row), SETTINGS)
    assert outcome.cells.cell_area_um2.median == 150.0
    assert outcome.cells.cell_area_um2.mean == 150.0
    assert outcome.centroids == pytest.approx(np.array([[19.5, 14.5], [19.5, 59.5]]))


def test_regions_share_the_cells_between_them() -> None:
    """Counts, areas and sums of a partition add up; an overlapping region counts its own."""
    probability, depth = section(scattered(3), 400, 400)
    left = np.zeros((400, 400), np.bool_)
    left[:, :170] = True
    parts = measure_cells(probability, depth, SETTINGS, regions=[left, ~left, left | ~left])
    counts = [part.cells.positive_count or 0 for part in parts]
    assert counts[0] + counts[1] == counts[2] > 20
    assert parts[2].cells == measure_cells(probability, depth, SETTINGS)[0].cells
    assert [len(part.centroids) for part in parts] == counts


def test_a_section_gets_intervals_about_its_densities() -> None:
    """Density and area fraction lie within their own intervals."""
    settings = CellSettings(mpp_um=1.0, level=128)
    probability, depth = section(scattered(5, 160, 800), 800, 800)
    (outcome,) = measure_cells(probability, depth, settings)
    assert len(outcome.intervals) == 2
    for interval in outcome.intervals:
        value = getattr(outcome.cells, interval.path.removeprefix("cells."))
        assert interval.low is not None
        assert interval.high is not None
        assert interval.low < value < interval.high
