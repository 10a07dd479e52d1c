"""Promises about how strange a section is said to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from analysis.familiarity import NO_REFERENCE, TOO_SMALL, unfamiliarity
from imaging.markers import fit_scaling
from imaging.open import open_image
from imaging.tissue import find_tissue
from model.bundle import BundleMetadata, find_bundle, load_bundle

SECTION = Path(__file__).resolve().parents[2] / "examples" / "section.png"


def _judged(path: Path, metadata: BundleMetadata) -> tuple[float | None, str]:
    with open_image(path, 0.5) as image:
        tissue = find_tissue(image, "auto")
        scalings = {"CD31": fit_scaling(image, "CD31", tissue)}
        return unfamiliarity(image, tissue, scalings, metadata)


@pytest.fixture(scope="module")
def shipped() -> BundleMetadata:
    """Return what the shipped bundle says of itself."""
    return load_bundle(find_bundle()).metadata


def test_a_section_like_those_trained_on_is_known(shipped: BundleMetadata):
    """The example section lies within the shipped bundle's limit."""
    score, _ = _judged(SECTION, shipped)
    assert score is not None
    assert 0 < score <= 1


@pytest.mark.parametrize("spoiled", ["defocused", "shrunken", "eosin", "glass"])
def test_what_is_no_such_section_is_strange(spoiled: str, shipped: BundleMetadata, tmp_path: Path):
    """Defocused, at the wrong pixel size, of another stain, or empty: beyond the limit."""
    with Image.open(SECTION) as opened:
        image = opened.convert("RGB")
    if spoiled == "defocused":
        image = image.filter(ImageFilter.GaussianBlur(6))
    elif spoiled == "shrunken":
        small = np.asarray(image.resize([side // 4 for side in image.size], Image.Resampling.BOX))
        image = Image.fromarray(np.tile(small, (4, 4, 1)))
    elif spoiled == "eosin":
        light = np.asarray(image) * 10 ** (-0.5 * np.array([0.07, 0.99, 0.11]))
        image = Image.fromarray(light.astype(np.uint8))
    else:
        noise = np.random.default_rng(1).normal(240, 1.5, (*image.size[::-1], 3))
        image = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
    image.save(tmp_path / "spoiled.png")
    score, _ = _judged(tmp_path / "spoiled.png", shipped)
    assert score is not None
    assert score > 1


def test_what_is_not_known_has_a_reason(
    shipped: BundleMetadata, oracle_bundle: Path, tmp_path: Path
):
    """A bundle without a reference, and a field that is too small, give no score but a reason."""
    assert _judged(SECTION, load_bundle(oracle_bundle).metadata) == (None, NO_REFERENCE)
    with Image.open(SECTION) as section:
        section.crop((0, 0, 100, 100)).save(tmp_path / "small.png")
    assert _judged(tmp_path / "small.png", shipped) == (None, TOO_SMALL)
