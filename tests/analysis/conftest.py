"""Sections whose numbers are known beforehand, for the network that thresholds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from analysis.pipeline import SectionResult, measure_section
from analysis.settings import MeasureSettings
from imaging.open import SectionImage, open_image
from imaging.stains import StainVectors, compose
from model.bundle import load_bundle
from model.predictor import Predictor

FRAME = MeasureSettings(tissue="frame")
BOTH = MeasureSettings(markers=("CD31", "VEGF"), tissue="frame")


@dataclass(frozen=True)
class Measured:
    """A result beside the open image that it was measured on."""

    result: SectionResult
    image: SectionImage


def brightfield(dab: np.ndarray[Any, Any], path: Path) -> Path:
    """Write a section of which only the optical density of DAB (H, W) is given, as PNG."""
    amounts = np.zeros((*dab.shape, 3), np.float32)
    amounts[..., 0] = dab
    rgb = compose(amounts, StainVectors.default())
    Image.fromarray(np.rint(rgb).astype(np.uint8)).save(path)
    return path


def fluorescence(planes: list[np.ndarray[Any, Any]], path: Path) -> Path:
    """Write planes (H, W) of 0..1 as an 8-bit image over a dim, slightly noisy glow."""
    rng = np.random.default_rng(0)
    grey = [40 + rng.integers(0, 3, p.shape) + 180 * p for p in planes]
    stack = np.stack(grey).astype(np.uint8)
    if len(planes) == 1:
        Image.fromarray(stack[0]).save(path)
    else:
        tifffile.imwrite(path, stack, photometric="minisblack", metadata={"axes": "CYX"})
    return path


def discs(height: int, width: int, places: list[tuple[int, int, int]]) -> np.ndarray[Any, Any]:
    """Return discs (x, y, radius) of depth 1 at their middle and 0.55 at their outline."""
    rows, columns = np.mgrid[:height, :width]
    depth = np.zeros((height, width))
    for x, y, radius in places:
        distance = np.hypot(columns - x, rows - y)
        inside = distance <= radius
        depth = np.maximum(depth, np.where(inside, 1 - 0.45 * distance / radius, 0))
    return depth


def bars(height: int, width: int) -> np.ndarray[Any, Any]:
    """Return one horizontal bar of 10 px and one vertical of 8 px that do not meet."""
    mask = np.zeros((height, width))
    mask[40:50, 20 : width - 20] = 1
    mask[70 : height - 10, 60:68] = 1
    return mask


@pytest.fixture(scope="session")
def predictor(oracle_bundle: Path) -> Predictor:
    """Return the network that thresholds the marker channel."""
    return Predictor(load_bundle(oracle_bundle), threads=1)


@pytest.fixture
def measure(predictor: Predictor, tmp_path: Path) -> Any:
    """Return a function that measures a file and gives its result and the open image."""
    opened: list[SectionImage] = []

    def run(
        path: Path, settings: MeasureSettings = FRAME, mpp_um: float = 0.5, **options: Any
    ) -> Measured:
        image = open_image(path, mpp_um, **options)
        opened.append(image)
        work = tmp_path / f"work{len(opened)}"
        work.mkdir()
        return Measured(measure_section(image, predictor, settings, workdir=work), image)

    yield run
    for image in opened:
        image.close()


@pytest.fixture
def two(measure: Any, draw: Any, tmp_path: Path) -> Any:
    """Return a measured section with vessels and cells, 400 × 300 px."""
    cells = draw.discs(300, 400, [(150, 150, 15), (250, 110, 20)])
    path = draw.fluorescence([draw.bars(300, 400), cells], tmp_path / "two.tif")
    return measure(path, BOTH, channels={"CD31": 0, "VEGF": 1})


@pytest.fixture(scope="session")
def draw() -> Callable[..., Any]:
    """Return what draws sections: ``draw.brightfield``, ``draw.fluorescence``, discs and bars."""
    return _Draw()  # type: ignore[return-value]


class _Draw:
    brightfield = staticmethod(brightfield)
    fluorescence = staticmethod(fluorescence)
    discs = staticmethod(discs)
    bars = staticmethod(bars)
