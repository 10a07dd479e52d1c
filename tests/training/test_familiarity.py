"""Promises about knowing strange images by what was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datasets.synth import make_section
from datasets.synth_brightfield import render_brightfield
from datasets.synth_params import SectionParams
from imaging.markers import brightfield_scaling, marker_channels
from model.familiarity import describe, distance
from training.familiarity import fit_reference, fit_references, spoil


def _blocks(seeds: range) -> list[np.ndarray]:
    blocks = []
    for seed in seeds:
        params = SectionParams.draw(np.random.default_rng(seed), size_px=512)
        pixels = render_brightfield(make_section(seed, params))
        channels = marker_channels(pixels, brightfield_scaling("CD31"))
        blocks += [channels[:, y : y + 256, x : x + 256] for y in (0, 256) for x in (0, 256)]
    return blocks


@pytest.mark.slow
def test_spoiled_sections_are_told_from_good_ones():
    """Of sections never seen, spoiled ones lie farther than good ones: AUROC at least 0.95."""
    chance = np.random.default_rng(3)
    known, unseen = _blocks(range(60)), _blocks(range(500, 530))
    reference = fit_reference(
        np.array([describe(block) for block in known]),
        np.array([describe(spoil(block, "brightfield", chance)) for block in known]),
    )
    good = np.array([distance(describe(block)[None], reference) for block in unseen])
    spoiled = np.array(
        [distance(describe(spoil(b, "brightfield", chance))[None], reference) for b in unseen]
    )
    assert (spoiled[:, None] > good[None]).mean() >= 0.95
    assert np.mean(good <= 1) >= 0.9


def test_a_reference_comes_from_training_tiles_by_kind(tile_folders: list[Path]):
    """Each kind of image among the tiles has a reference, the same each time."""
    references = fit_references(tile_folders)
    assert set(references) == {"brightfield/CD31", "fluorescence/VEGF"}
    assert references == fit_references(tile_folders)


@pytest.mark.parametrize("modality", ["brightfield", "fluorescence"])
def test_spoiling_stays_in_range(modality: str):
    """Whatever is done to a tile, its channels stay numbers from 0 to 1."""
    chance = np.random.default_rng(5)
    tile = chance.random((3, 256, 256), dtype=np.float32)
    for _ in range(30):
        changed = spoil(tile, modality, chance)
        assert changed.dtype == np.float32
        assert changed.min() >= 0 and changed.max() <= 1
