"""Thinning on packed words is Guo and Hall's algorithm, pixel for pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from analysis.skeleton import skeletonise, without_pinholes
from analysis.thinning import clear, coordinates, fill, pack, thin, thin_words, unpack
from tests.phantoms import Bools, capsule, random_network

EIGHT = np.ones((3, 3))


def guo_hall(mask: Bools) -> Bools:
    """Return the skeleton by the two conditions as published, one pixel at a time."""
    image = np.pad(mask, 1).astype(int)
    idle, second = 0, 0
    while idle < 2:
        gone = []
        for y, x in zip(*np.nonzero(image), strict=True):
            p2, p3, p4 = image[y - 1, x], image[y - 1, x + 1], image[y, x + 1]
            p5, p6, p7 = image[y + 1, x + 1], image[y + 1, x], image[y + 1, x - 1]
            p8, p9 = image[y, x - 1], image[y - 1, x - 1]
            transitions = sum(
                (not a) and (b or c)
                for a, b, c in ((p2, p3, p4), (p4, p5, p6), (p6, p7, p8), (p8, p9, p2))
            )
            one = (p9 | p2) + (p3 | p4) + (p5 | p6) + (p7 | p8)
            other = (p2 | p3) + (p4 | p5) + (p6 | p7) + (p8 | p9)
            side = (p6 | p7 | (not p9)) & p8 if not second else (p2 | p3 | (not p5)) & p4
            if transitions == 1 and 2 <= min(one, other) <= 3 and not side:
                gone.append((y, x))
        for y, x in gone:
            image[y, x] = 0
        idle = 0 if gone else idle + 1
        second ^= 1
    return image[1:-1, 1:-1].astype(np.bool_)


@given(seed=st.integers(0, 10_000), height=st.integers(1, 40), width=st.integers(1, 140))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_packed_thinning_is_the_published_algorithm(seed: int, height: int, width: int) -> None:
    """Sixty-four pixels at a time give what one pixel at a time gives, at any width."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(height, width)), rng.uniform(0, 2.5))
    mask = noise > np.quantile(noise, rng.uniform(0.2, 0.8))
    np.testing.assert_array_equal(thin(mask), guo_hall(mask))


@pytest.mark.parametrize("width", [1, 63, 64, 65, 200])
def test_packing_loses_nothing(width: int) -> None:
    """A mask of any width comes back from its words, and pixels can be set and unset there."""
    mask = np.random.default_rng(width).random((30, width)) < 0.4
    words = pack(mask)
    np.testing.assert_array_equal(unpack(words, width), mask)
    y, x = coordinates(words)
    np.testing.assert_array_equal(np.stack([y, x]), np.nonzero(mask))
    clear(words, y, x)
    assert not unpack(words, width).any()
    fill(words, y, x)
    np.testing.assert_array_equal(unpack(words, width), mask)


def test_thinning_keeps_every_object_and_hole() -> None:
    """The skeleton has as many parts and holes as the mask."""
    mask = np.pad(random_network(3, side=256), 1)  # all that is no hole is then one background
    line = thin(mask)
    assert ndimage.label(line, EIGHT)[1] == ndimage.label(mask, EIGHT)[1]
    assert ndimage.label(~line)[1] == ndimage.label(~mask)[1]
    assert not (line & ~mask).any()


def test_kept_pixels_are_never_removed() -> None:
    """Pixels that are to stay do, and what is around them is thinned to them."""
    mask = capsule(60.0, 12.0, 30.0)
    kept = np.zeros_like(mask)
    kept[30:40, 30:40] = mask[30:40, 30:40]
    line = unpack(thin_words(pack(mask), pack(kept)), mask.shape[1])
    assert line[kept].all()


def test_pinholes_are_closed_and_lumens_are_not() -> None:
    """Holes of up to twelve pixels close; larger ones, and gaps open to the outside, stay."""
    mask = np.zeros((40, 80), np.bool_)
    mask[5:35, 5:75] = True
    mask[10, 10] = False
    mask[12:15, 20:24] = False  # 12 px
    mask[12:16, 40:44] = False  # 16 px
    mask[5, 60] = False  # a notch
    closed = without_pinholes(mask)
    assert closed[10, 10]
    assert closed[12:15, 20:24].all()
    assert not closed[12:16, 40:44].any()
    assert not closed[5, 60]


@pytest.mark.parametrize("degrees", [0.0, 20.0, 45.0, 70.0, 90.0])
@pytest.mark.parametrize("enlarged", [1, 2])
def test_ends_lie_in_the_middle_of_the_caps(degrees: float, enlarged: int) -> None:
    """The skeleton of a capsule ends where its spine does, also on a mask enlarged twofold."""
    spine, width = 100.0, 14.0
    mask = capsule(spine, width, degrees)
    mask = np.kron(mask, np.ones((enlarged, enlarged), np.bool_))
    y, x = np.nonzero(skeletonise(mask))
    extent = float(np.hypot(np.ptp(y), np.ptp(x)))
    assert extent == pytest.approx(enlarged * spine, abs=2.5 * enlarged)
