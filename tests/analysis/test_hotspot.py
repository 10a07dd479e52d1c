"""The hotspot: the densest circular field of 0.74 mm²."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.hotspot import FIELD_MM2
from analysis.vessels import VesselOutcome, VesselSettings, measure_vessels
from tests.phantoms import Bools

# 4 µm pixels: a field is 121 px in radius.
COARSE = VesselSettings(mpp_um=4.0, min_profile_area_um2=0.0, gap_um=0.0)


def section(side: int, spacing: int) -> Bools:
    mask = np.zeros((side, side), np.bool_)
    mask[::spacing, ::spacing] = True
    return mask


def measured(mask: Bools, tissue: Bools | None = None, block_px: int = 2048) -> VesselOutcome:
    return measure_vessels(mask, tissue, COARSE, block_px=block_px)


def test_a_cluster_of_known_size_is_found() -> None:
    """200 profiles within one field's radius, few elsewhere: at least those are in the hotspot."""
    rng = np.random.default_rng(1)
    mask = section(900, 30)
    background = (900 / 30) ** 2 / (900**2)
    chosen = rng.choice(40 * 40, 200, replace=False)
    mask[300 + chosen // 40 * 2, 500 + chosen % 40 * 2] = True
    found = measured(mask).vessels
    expected = 200 / FIELD_MM2 + background / (0.004**2)
    assert found.hotspot_profile_density_per_mm2 == pytest.approx(expected, rel=0.12)
    assert found.mean_field_profile_density_per_mm2 is not None
    assert found.mean_field_profile_density_per_mm2 < expected / 2


def test_even_profiles_have_no_hotspot() -> None:
    """On a regular lattice hottest, mean and overall density nearly coincide."""
    found = measured(section(900, 18)).vessels
    assert found.hotspot_profile_density_per_mm2 == pytest.approx(
        found.profile_density_per_mm2, rel=0.1
    )
    assert found.mean_field_profile_density_per_mm2 == pytest.approx(
        found.profile_density_per_mm2, rel=0.03
    )


def test_fields_do_not_reach_out_of_the_region() -> None:
    """A cluster outside the region is no hotspot of it, not even in part."""
    mask = section(900, 30)
    mask[:, 600:] = section(900, 4)[:, 600:]
    region = np.zeros_like(mask)
    region[:, :590] = True
    found = measured(mask, region).vessels
    assert found.hotspot_profile_density_per_mm2 is not None
    assert found.hotspot_profile_density_per_mm2 < 90


def test_blocks_alter_no_hotspot() -> None:
    """Profiles and region are put together from blocks."""
    mask = np.random.default_rng(5).random((700, 640)) < 0.002
    region = np.ones_like(mask)
    region[:60] = False
    tiled, whole = (measured(mask, region, block_px=size).vessels for size in (96, 2048))
    assert tiled.hotspot_profile_density_per_mm2 == whole.hotspot_profile_density_per_mm2
    assert tiled.mean_field_profile_density_per_mm2 == whole.mean_field_profile_density_per_mm2


def test_a_small_or_a_narrow_region_has_a_reason() -> None:
    """Under three fields, or where no field fits, there is none."""
    small = measured(section(300, 30))
    narrow = np.zeros((900, 900), np.bool_)
    narrow[100:300] = True
    strip = measured(section(900, 30), narrow)
    for outcome, word in ((small, "smaller than 3 fields"), (strip, "no circular field")):
        assert outcome.vessels.hotspot_profile_density_per_mm2 is None
        assert word in outcome.reasons["vessels.hotspot_profile_density_per_mm2"]
