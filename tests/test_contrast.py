"""Contrast is what it says, and the card's table is of the shipped bundle."""

from __future__ import annotations

import json

import numpy as np
import pytest

from docs import contrast
from model.bundle import find_bundle, load_bundle


def test_contrast_is_measured_against_a_ring() -> None:
    """A bar of 100 on a ground that is 40 or 60 by turns stands out by (100 − 50) / 10 = 5."""
    rows, columns = np.indices((64, 64))
    marker = np.where((rows + columns) % 2, 40.0, 60.0)
    outlined = np.zeros((64, 64), np.bool_)
    outlined[28:36] = True
    marker[outlined] = 100
    marker[26:28] = 1000  # nearer than 1.5 µm (3 px): what shines over the outline is not counted
    marker[46:] = 1000  # farther than 5 µm (10 px)
    marker[:18] = 1000
    assert contrast.contrast(marker, outlined, 0.5) == pytest.approx(5)


def test_what_has_no_surroundings_has_no_contrast() -> None:
    """Nothing outlined, or nothing that varies about it, is no number."""
    outlined = np.zeros((40, 40), np.bool_)
    noise = np.random.default_rng(0).normal(size=(40, 40))
    assert contrast.contrast(noise, outlined, 0.5) is None
    outlined[10:20] = True
    assert contrast.contrast(np.ones((40, 40)), outlined, 0.5) is None
    assert contrast.contrast(noise, np.ones((40, 40), np.bool_), 0.5) is None


def test_the_table_sorts_sections_by_contrast() -> None:
    """Limits belong to the range above them; a range without sections has a dash."""
    pairs = [[-0.5, 0.2], [0.99, 0.4], [1.0, 0.5], [7.0, 0.9]]
    (_, _, row) = contrast.table({"images": {"synthetic_fluorescence_vessel: vessel": pairs}})
    assert row == (
        "| synthetic fluorescence vessel | 0.30 (2; worst 0.20) | 0.50 (1; worst 0.50) | – "
        "| 0.90 (1; worst 0.90) |"
    )


def test_figures_are_of_the_shipped_bundle() -> None:
    """All kinds of section are there, and most of them."""
    figures = json.loads(contrast.FIGURES.read_text(encoding="utf-8"))
    assert figures["bundle_sha256"] == load_bundle(find_bundle(None)).sha256
    assert len(figures["images"]) == 4
    assert min(map(len, figures["images"].values())) > 80
