"""Promises about showing a tile in other stains."""

from __future__ import annotations

import dataclasses

import numpy as np

from imaging.markers import brightfield_scaling, marker_channels
from imaging.stains import StainVectors, compose
from tests.training.small import OFF
from training.augment import Augmentation
from training.restain import is_brightfield, restained

FAST_RED = (0.214, 0.851, 0.478)


def stains() -> np.ndarray:
    """Chromogen in the left third, counterstain in the middle, a little residual throughout."""
    amounts = np.zeros((30, 30, 3), np.uint8)
    amounts[:, :10, 0], amounts[:, 10:20, 1], amounts[..., 2] = 120, 90, 2
    return amounts


def test_it_reaches_what_a_section_in_fast_red_gives():
    """Over many draws the chromogen's share runs from DAB to what Fast Red leaves in it."""
    vectors = StainVectors.from_pair(StainVectors.default().hematoxylin, FAST_RED)
    density = np.array([[[0.7, 0.0, 0.0]]])
    pixel = compose(density, vectors)
    marker, counterstain, _ = marker_channels(pixel, brightfield_scaling("CD31"))[:, 0, 0]
    red_share = marker / counterstain
    shares = []
    for seed in range(200):
        chromogen = restained(stains(), np.random.default_rng(seed))[0, 5].astype(float)
        shares.append(chromogen[0] / max(chromogen[1], 1.0))
    assert min(shares) < 1.2 * red_share
    assert max(shares) > 20


def test_optical_densities_of_two_stains_add():
    """A pixel with both stains holds the sum of what each alone became, to rounding."""
    tile = np.zeros((1, 3, 3), np.uint8)
    tile[0, 0, 0] = tile[0, 2, 0] = 60
    tile[0, 1, 1] = tile[0, 2, 1] = 40
    for seed in range(20):
        chromogen, counterstain, both = restained(tile, np.random.default_rng(seed))[0].astype(int)
        clear = (chromogen > 0) & (counterstain > 0)
        assert np.abs(both - chromogen - counterstain)[clear].max() <= 2


def test_the_chromogen_stays_the_strongest_in_its_channel():
    """Where the chromogen is, the marker channel is brighter than where only nuclei are."""
    for seed in range(100):
        seen = restained(stains(), np.random.default_rng(seed)).astype(int)
        assert seen[:, :10, 0].mean() > seen[:, 10:20, 0].mean() + 20


def test_fluorescence_is_left_alone():
    """Channels without a residual are fluorescence, and come back as they were."""
    image = stains()
    image[..., 2] = 0
    assert not is_brightfield(image)
    augmentation = Augmentation(dataclasses.replace(OFF, restain=1.0))
    augmentation.prepare(3)
    assert np.array_equal(augmentation(image=image, masks=[])["image"], image)


def test_its_chance_is_what_the_recipe_says():
    """With a chance of a quarter about that share of tiles is changed; with 1, all are."""
    for chance in (0.25, 1.0):
        augmentation = Augmentation(dataclasses.replace(OFF, restain=chance))
        changed = 0
        for seed in range(200):
            augmentation.prepare(seed)
            changed += not np.array_equal(augmentation(image=stains(), masks=[])["image"], stains())
        assert abs(changed / 200 - chance) < 0.1
