"""What other programs report of a mask, by their definitions, where that is known by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from analysis.morphometry import measure_mask
from analysis.record import to_dict
from analysis.settings import MeasureSettings
from analysis.vessels import VesselSettings, finish, fold_vessels, measure_vessels
from tests import phantoms
from tests.phantoms import Bools

HALF_MICRON = VesselSettings(mpp_um=0.5)


def bar(width: int = 9) -> Bools:
    """Return a bar of 9 × 200 px in a frame of 100 × 300 px."""
    mask = np.zeros((100, 300), np.bool_)
    mask[40 : 40 + width, 50:250] = True
    return mask


def of(mask: Bools, **options: Any) -> dict[str, Any]:
    return dict(measure_vessels(mask, None, HALF_MICRON, **options).parity)


def test_angiotool_divides_by_the_convex_hull() -> None:
    """A lone bar fills its own hull: 100 % of the area, though it is 6 % of the frame."""
    found = of(bar())["angiotool"]
    assert found["vessels_percentage_area"] == pytest.approx(100)
    assert found["explant_area_mm2"] == pytest.approx(9 * 200 * 0.25e-6)
    assert of(phantoms.star([0, 120, 240], 80, 8))["angiotool"]["vessels_percentage_area"] < 50


def test_the_hull_of_a_diagonal_pair_is_counted_by_hand() -> None:
    """Two squares of 10 px, corner to corner 40 px apart: hull 50² less two triangles of 40²/2."""
    mask = np.zeros((60, 60), np.bool_)
    mask[5:15, 5:15] = mask[45:55, 45:55] = True
    assert of(mask)["angiotool"]["explant_area_mm2"] == pytest.approx((50**2 - 40**2) * 0.25e-6)


def test_reaver_counts_pixels() -> None:
    """A bar at 45° is reported 29 % shorter than it is."""
    mask = phantoms.capsule(300, 9, 45)
    outcome = measure_vessels(mask, None, HALF_MICRON)
    assert outcome.vessels.length_density_mm_per_mm2 is not None
    ratio = (
        outcome.parity["reaver"]["vessel_length_density_mm_per_mm2"]
        / outcome.vessels.length_density_mm_per_mm2
    )
    assert ratio == pytest.approx(1 / math.sqrt(2), abs=0.015)


def test_diameters_are_theirs() -> None:
    """On a bar 9 px wide the axis lies 5 px from the background: 10 px, and 2·5 + 1 = 11 px."""
    found = of(bar())
    assert found["angiotool"]["vessel_diameter_um"] == pytest.approx(5.0, abs=0.03)
    assert found["reaver"]["mean_segment_diameter_um"] == pytest.approx(5.5, abs=0.05)


def test_qvat_multiplies_length_and_diameter() -> None:
    """A bar of length 191 px on the axis, 10 px wide by its definition, over the frame."""
    assert of(bar())["qvat"]["vascular_density"] == pytest.approx(191 * 10 / 30_000, rel=0.03)


@pytest.mark.parametrize("block_px", [64, 112])
def test_blocks_and_regions_alter_nothing(block_px: int) -> None:
    """Hull, radii and segments are put together from blocks, for each region."""
    mask = phantoms.random_network(3, side=300)
    left = np.zeros_like(mask)
    left[:, :140] = True
    found = []
    for size in (block_px, 2048):
        tally = fold_vessels(mask, [left, ~left], HALF_MICRON, block_px=size)
        found.append([outcome.parity for outcome in finish(tally, HALF_MICRON, mask.shape)])
    for tiled, whole in zip(*found, strict=True):
        for program, values in whole.items():
            assert tiled[program] == pytest.approx(values, rel=0.003), program


def test_an_empty_mask_has_nulls() -> None:
    """Nothing is divided by an empty hull."""
    found = of(np.zeros((50, 60), np.bool_))
    assert found["angiotool"]["vessels_percentage_area"] is None
    assert found["angiotool"]["vessel_diameter_um"] is None
    assert found["reaver"]["mean_segment_diameter_um"] is None
    assert found["qvat"]["vascular_density"] == 0


def test_the_record_holds_it_only_where_it_was_asked_for(tmp_path: Path) -> None:
    """Parity is no measurement of ours and stands apart from the regions."""
    path = tmp_path / "mask.png"
    Image.fromarray(bar().astype(np.uint8) * 255).save(path)
    without = to_dict(measure_mask(path, 0.5))
    asked = MeasureSettings(tissue="frame", parity=True)
    record = to_dict(measure_mask(path, 0.5, settings=asked))
    assert "parity" not in without
    assert [entry["region"] for entry in record["parity"]] == ["tissue"]
    assert json.dumps(record["parity"][0]["reaver"]["branchpoint_count"]) == "0"
