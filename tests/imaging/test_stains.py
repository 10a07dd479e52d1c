"""Optical density and stain separation against Beer and Lambert's law."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from imaging.stains import (
    StainVectors,
    compose,
    estimate_background,
    estimate_vectors,
    optical_density,
    separate,
)


def test_optical_density_of_powers_of_ten() -> None:
    """A tenth of the light is density 1, a hundredth 2, and intensity 0 counts as 1."""
    rgb = np.array([[100.0, 10.0, 1.0], [0.0, 100.0, 100.0]])
    od = optical_density(rgb, (100.0, 100.0, 100.0))
    np.testing.assert_allclose(od, [[0, 1, 2], [2, 0, 0]], atol=1e-6)


def test_optical_density_is_the_same_for_every_number_type() -> None:
    """The table for 8 bit and the formula for other numbers agree."""
    rgb = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    table = optical_density(rgb, (240.0, 230.0, 220.0))
    formula = optical_density(rgb.astype(np.float64), (240.0, 230.0, 220.0))
    np.testing.assert_allclose(table, formula, atol=1e-6)
    assert table.shape == (9, 7, 3)
    assert table.min() < 0, "brighter than the background is negative, not clipped"


def test_default_vectors_are_those_published() -> None:
    """The default is Ruifrok and Johnston's H-DAB at unit length, with their cross product."""
    vectors = StainVectors.default()
    np.testing.assert_allclose(vectors.hematoxylin, (0.650, 0.704, 0.286), atol=1e-3)
    np.testing.assert_allclose(vectors.dab, (0.268, 0.570, 0.776), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(vectors.matrix, axis=1), 1.0, atol=1e-12)
    assert abs(np.dot(vectors.residual, vectors.dab)) < 1e-12
    assert abs(np.dot(vectors.residual, vectors.hematoxylin)) < 1e-12


@settings(deadline=None, max_examples=50)
@given(arrays(np.float64, (4, 3), elements=st.floats(0.0, 0.7)))
def test_separate_undoes_compose(amounts: np.ndarray) -> None:
    """The amounts that made a colour come back, whatever the background's colour."""
    amounts[:, 2] = 0.0
    vectors, background = StainVectors.default(), (245.0, 240.0, 250.0)
    rgb = compose(amounts, vectors, background)
    if rgb.min() < 1.0:
        return  # darker than intensity 1, where optical density ends
    found = separate(optical_density(rgb, background), vectors)
    np.testing.assert_allclose(found, amounts, atol=1e-3)


def test_order_is_marker_counterstain_residual() -> None:
    """Pure DAB lands in channel 0 and pure hematoxylin in channel 1."""
    vectors = StainVectors.default()
    np.testing.assert_allclose(separate(np.array([vectors.dab]), vectors), [[1, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(
        separate(np.array([vectors.hematoxylin]), vectors), [[0, 1, 0]], atol=1e-6
    )


@pytest.mark.parametrize(
    "pair", [((1, 0, 0), (1, 0, 0.01)), ((0, 0, 0), (1, 0, 0)), ((1, 0, float("nan")), (0, 1, 0))]
)
def test_vectors_that_cannot_be_separated_are_refused(pair: tuple) -> None:
    """Parallel, zero and undefined vectors are errors."""
    with pytest.raises(ValueError, match=r"vector|plane"):
        StainVectors.from_pair(*pair)


def test_vectors_of_another_length_are_refused() -> None:
    """A vector that is not of unit length would scale every density silently."""
    good = StainVectors.default()
    with pytest.raises(ValueError, match="from_pair"):
        StainVectors((1.3, 1.4, 0.6), good.dab, good.residual)


def test_background_is_the_median_of_glass_else_255() -> None:
    """Glass gives its own colour and says so; without glass the default says so."""
    rgb = np.zeros((4, 4, 3))
    rgb[:2] = (240, 241, 242)
    glass = np.zeros((4, 4), dtype=bool)
    glass[:2] = True
    assert estimate_background(rgb, glass) == ((240.0, 241.0, 242.0), "glass")
    assert estimate_background(rgb) == ((255.0, 255.0, 255.0), "default")
    assert estimate_background(rgb, np.zeros_like(glass)) == ((255.0, 255.0, 255.0), "default")


def test_estimated_vectors_find_a_turned_dab() -> None:
    """Vectors 5–8° off the default come back within 2° from a section of both stains."""
    truth = StainVectors.from_pair((0.60, 0.75, 0.30), (0.30, 0.50, 0.82))
    random = np.random.default_rng(1)
    amounts = np.zeros((40_000, 3))
    amounts[:20_000, 0] = random.uniform(0.3, 1.0, 20_000)
    amounts[20_000:, 1] = random.uniform(0.3, 1.0, 20_000)
    found = estimate_vectors(np.rint(compose(amounts, truth)).astype(np.uint8))
    for name in ("hematoxylin", "dab"):
        cosine = np.dot(getattr(found, name), getattr(truth, name))
        assert np.degrees(np.arccos(min(1.0, cosine))) < 2.0


def test_estimate_falls_back_to_the_default() -> None:
    """Empty glass, and colours that are neither H nor DAB, give the default vectors."""
    default = StainVectors.default()
    assert estimate_vectors(np.full((50, 50, 3), 250, dtype=np.uint8)) == default
    cyan_yellow = np.tile(np.array([[20, 200, 200], [200, 200, 20]], dtype=np.uint8), (5000, 1))
    assert estimate_vectors(cyan_yellow) == default


def test_real_dab_field_leaves_little_residual(shared_data: Path) -> None:
    """On a real H-DAB section the two stains explain nearly all of the density."""
    path = shared_data / "ihc_fields" / "skimage_ihc_FHL2_colon.png"
    with Image.open(path) as image:
        rgb = np.asarray(image.convert("RGB"))
    stains = separate(optical_density(rgb), StainVectors.default())
    assert np.abs(stains[..., 2]).mean() < 0.1 * stains[..., :2].sum(axis=2).mean()
    assert np.percentile(stains[..., 0], 95) > 0.6, "the epithelium is brown"
