"""The skeleton's picture shows each segment in the colour of its kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from analysis.skeleton_picture import (
    BRANCHPOINT,
    KINDS,
    draw_skeleton,
    trace_skeleton,
    write_skeleton,
)
from analysis.vessels import VesselSettings, measure_vessels
from tests import phantoms
from tests.phantoms import Bools

HALF_MICRON = VesselSettings(mpp_um=0.5)


def kinds(mask: Bools, block_px: int = 2048) -> set[str]:
    skeleton = trace_skeleton(mask, HALF_MICRON, block_px)
    return {KINDS[number][0] for number in np.unique(skeleton.kind)}


def test_each_kind_is_told_by_its_shape() -> None:
    """A bar, a Y, a ring, and a ladder's rungs."""
    bar = np.zeros((60, 200), np.bool_)
    bar[26:34, 20:180] = True
    ladder = np.zeros((200, 260), np.bool_)
    ladder[50:58, 10:250] = ladder[140:148, 10:250] = True
    ladder[50:148, 80:88] = ladder[50:148, 170:178] = True
    assert kinds(bar) == {"end to end"}
    assert kinds(phantoms.star([0, 120, 240], 60, 8)) == {"end to branch"}
    assert kinds(phantoms.annulus(40, 30, 120)) == {"loop"}
    assert kinds(ladder) == {"end to branch", "branch to branch"}


@pytest.mark.parametrize("block_px", [64, 112])
def test_blocks_alter_no_kind(block_px: int) -> None:
    """Segments are joined across blocks before their kind is told."""
    mask = phantoms.random_network(4, side=300)
    tiled, whole = (trace_skeleton(mask, HALF_MICRON, size) for size in (block_px, 2048))
    pixels = [
        sorted(zip(s.y.tolist(), s.x.tolist(), s.kind.tolist(), strict=True))
        for s in (tiled, whole)
    ]
    assert len(set(pixels[0]) ^ set(pixels[1])) <= 0.002 * len(pixels[1])


def test_branchpoints_are_those_counted() -> None:
    """As many dots as the record counts."""
    mask = phantoms.random_network(2, side=400)
    skeleton = trace_skeleton(mask, HALF_MICRON)
    counted = measure_vessels(mask, None, HALF_MICRON).vessels.branchpoint_count
    assert len(skeleton.branch_y) == counted


def test_a_picture_shows_colours_and_dots() -> None:
    """Enlarged twice, the arms of a Y and its middle."""
    mask = phantoms.star([0, 120, 240], 60, 8)
    picture = np.full((2 * mask.shape[0], 2 * mask.shape[1], 3), 255, np.uint8)
    draw_skeleton(picture, trace_skeleton(mask, HALF_MICRON), 2.0)
    colours = dict((*KINDS, BRANCHPOINT))
    for name in ("end to branch", "branchpoint"):
        assert (picture == np.array(colours[name])).all(axis=-1).sum() > 20, name


@pytest.mark.parametrize(("side", "thick"), [(200, 1), (800, 2), (2000, 5)])
def test_lines_are_seen_whatever_the_size_of_the_picture(side: int, thick: int) -> None:
    """A skeleton of one pixel is a line of a 400th of the picture's longer side."""
    mask = np.zeros((side, side), np.bool_)
    mask[side // 2 - 4 : side // 2 + 4, 20 : side - 20] = True
    picture = np.full((side, side, 3), 255, np.uint8)
    draw_skeleton(picture, trace_skeleton(mask, HALF_MICRON), 1.0)
    assert (picture[:, side // 2] != 255).any(axis=-1).sum() == thick


def test_the_file_is_a_picture_of_the_section(measure: Any, draw: Any, tmp_path: Path) -> None:
    """Section above, legend below."""
    measured = measure(draw.fluorescence([draw.bars(300, 400)], tmp_path / "bars.png"))
    write_skeleton(measured.result, measured.image, tmp_path / "skeleton.png")
    with Image.open(tmp_path / "skeleton.png") as picture:
        assert picture.width == 800
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24) or []}
    assert KINDS[0][1] in colours
