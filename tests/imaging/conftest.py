"""Small images written to disk, whose pixels are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

WriteImage = Callable[..., Path]


@pytest.fixture
def write_png(tmp_path: Path) -> WriteImage:
    """Write an array as PNG (or the format of the name's ending) and return its path."""

    def write(pixels: NDArray[Any], name: str = "section.png", **options: Any) -> Path:
        path = tmp_path / name
        Image.fromarray(pixels).save(path, **options)
        return path

    return write


@pytest.fixture
def write_tiff(tmp_path: Path) -> WriteImage:
    """Write an array as TIFF and return its path."""

    def write(pixels: NDArray[Any], name: str = "section.tif", **options: Any) -> Path:
        path = tmp_path / name
        tifffile.imwrite(path, pixels, **options)
        return path

    return write


@pytest.fixture
def stained() -> NDArray[np.uint8]:
    """Return a bright RGB field (60, 80, 3) with coloured blocks."""
    pixels = np.full((60, 80, 3), (240, 236, 232), dtype=np.uint8)
    pixels[10:20, 10:30] = (150, 100, 60)
    pixels[30:50, 40:60] = (120, 110, 190)
    return pixels


@pytest.fixture
def noisy() -> NDArray[np.uint16]:
    """Return a dark 16-bit field (70, 90) of noise with two bright bars."""
    random = np.random.default_rng(5)
    pixels = random.normal(200.0, 10.0, (70, 90))
    pixels[20:28] += 900.0
    pixels[:, 40:46] += 900.0
    return pixels.astype(np.uint16)
