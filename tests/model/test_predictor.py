"""Promises about running a bundle."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from imaging.tiles import grid
from model.bundle import Bundle
from model.predictor import Predictor, pad_to_multiple


@pytest.fixture(scope="module")
def predictor(bundle: Bundle) -> Predictor:
    return Predictor(bundle, threads=1)


def channels(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((3, height, width), dtype=np.float32)


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (33, 2), (64, 64), (65, 63)])
def test_any_size_is_answered_in_its_own_size(predictor: Predictor, size: tuple[int, int]):
    """Every height and width from one pixel comes back as bytes of the same size."""
    answer = predictor.predict(channels(*size))
    assert answer.shape == (3, *size)
    assert answer.dtype == np.uint8


def test_bytes_are_rounded_probabilities(predictor: Predictor):
    """A byte is 255 times the probability, rounded to the nearest."""
    image = channels(32, 32)
    expected = np.rint(255 * predictor.probabilities(image))
    assert np.array_equal(predictor.predict(image), expected)


def test_the_result_does_not_depend_on_the_tile(predictor: Predictor):
    """Predicting tile by tile with the bundle's halo equals predicting the whole at once."""
    image = channels(150, 190)
    whole = predictor.predict(image)
    metadata = predictor.bundle.metadata
    tiled = np.zeros_like(whole)
    for tile in grid(190, 150, metadata.tile_px, metadata.halo_px):
        outer, core = tile.outer, tile.core
        part = predictor.predict(
            image[:, outer.y : outer.y + outer.height, outer.x : outer.x + outer.width]
        )
        y, x = core.y - outer.y, core.x - outer.x
        tiled[:, core.y : core.y + core.height, core.x : core.x + core.width] = part[
            :, y : y + core.height, x : x + core.width
        ]
    # Different tile shapes may sum in a different order: at most the last byte may round otherwise.
    assert np.abs(tiled.astype(int) - whole.astype(int)).max() <= 1
    assert np.mean(tiled != whole) < 1e-3


def test_turning_the_image_turns_the_average_of_turns(predictor: Predictor):
    """With test-time augmentation a quarter turn of the input is a quarter turn of the output."""
    image = channels(32, 32)
    turned = np.rot90(image, axes=(1, 2))
    straight = np.rot90(predictor.predict(image, tta=True), axes=(1, 2)).astype(int)
    assert np.abs(predictor.predict(turned, tta=True).astype(int) - straight).max() <= 1


def test_self_test_tells_the_exported_network_from_another(bundle: Bundle, predictor: Predictor):
    """The self-test passes on what was exported and fails where the answer moved."""
    assert predictor.self_test()
    moved = tuple(value + 0.1 for value in bundle.metadata.self_test)
    object.__setattr__(bundle.metadata, "self_test", moved)
    try:
        assert not predictor.self_test()
    finally:
        restored = tuple(value - 0.1 for value in moved)
        object.__setattr__(bundle.metadata, "self_test", restored)


def test_padding_mirrors_and_keeps_what_fits():
    """Sizes that fit are handed on as they are; others grow by mirror images."""
    image = channels(3, 4)
    assert pad_to_multiple(image, 1) is image
    padded = pad_to_multiple(image, 4)
    assert padded.shape == (3, 4, 4)
    assert np.array_equal(padded[:, 3], image[:, 2])


def test_telemetry_is_off_before_the_runtime_is_imported():
    """Importing the predictor in a fresh process sets the switch that the runtime reads."""
    code = "import model.predictor, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_serving_needs_no_torch():
    """Loading and running a bundle imports neither torch nor lightning."""
    code = "import sys, model.predictor; print({'torch', 'lightning'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
