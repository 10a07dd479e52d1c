"""Promises about augmentation."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np

from tests.training.small import OFF
from training.augment import Augmentation
from training.recipe import AugmentConfig


def tile() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = np.zeros((64, 64), np.uint16)
    labels[10:30, 20:40] = 1
    labels[40:50, 5:60] = 1000
    return generator.integers(0, 255, (64, 64, 3), np.uint8), labels


def test_the_seed_decides_everything():
    """The same seed changes a tile alike, whatever was changed before; another seed differs."""
    image, labels = tile()
    augmentation = Augmentation(AugmentConfig())
    augmentation.prepare(7)
    first = augmentation(image=image, masks=[labels])
    augmentation(image=image, masks=[labels])
    augmentation.prepare(7)
    again = augmentation(image=image, masks=[labels])
    assert np.array_equal(first["image"], again["image"])
    assert np.array_equal(first["masks"][0], again["masks"][0])
    augmentation.prepare(8)
    assert not np.array_equal(first["image"], augmentation(image=image, masks=[labels])["image"])


def test_labels_move_with_their_pixels_and_are_never_mixed():
    """Cells keep their numbers, and where the image shows a cell the label does."""
    _, labels = tile()
    image = np.repeat((labels > 0).astype(np.uint8)[..., None] * 255, 3, axis=2)
    geometry = dataclasses.replace(OFF, turns=True, affine=1.0, elastic=1.0)
    augmentation = Augmentation(geometry)
    for seed in range(10):
        augmentation.prepare(seed)
        changed = augmentation(image=image, masks=[labels])
        assert set(np.unique(changed["masks"][0])) <= {0, 1, 1000}
        agreement = np.mean((changed["image"][..., 0] > 127) == (changed["masks"][0] > 0))
        assert agreement > 0.97


def test_everything_can_be_switched_off():
    """With all strengths 0 a tile comes back as it was."""
    image, labels = tile()
    augmentation = Augmentation(OFF)
    augmentation.prepare(1)
    changed = augmentation(image=image, masks=[labels])
    assert np.array_equal(changed["image"], image)
    assert np.array_equal(changed["masks"][0], labels)


def test_the_marker_is_never_dropped():
    """A missing counterstain clears the two other channels and leaves the marker."""
    image, labels = tile()
    augmentation = Augmentation(dataclasses.replace(OFF, drop_counterstain=1.0))
    augmentation.prepare(1)
    changed = augmentation(image=image, masks=[labels])["image"]
    assert np.array_equal(changed[..., 0], image[..., 0])
    assert changed[..., 1:].max() == 0


def test_albumentations_asks_nobody_for_updates():
    """Importing augmentation in a fresh process sets the switch that albumentations reads."""
    code = "import training.augment, os; print(os.environ['NO_ALBUMENTATIONS_UPDATE'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
