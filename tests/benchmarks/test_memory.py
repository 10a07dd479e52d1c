"""Memory of measuring a mask far larger than memory should hold."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import pytest
import tifffile
from scipy import ndimage

pytestmark = pytest.mark.benchmark
ROOT = Path(__file__).resolve().parents[2]
LIMIT_GIB = 1.5
TILE_PX = 512


def pattern() -> npt.NDArray[np.uint8]:
    """Return a tile of winding vessels, a quarter of the area, that continues in its copies."""
    noise = np.random.default_rng(1).standard_normal((TILE_PX, TILE_PX))
    height = np.abs(ndimage.gaussian_filter(noise, 12, mode="wrap"))
    return np.where(height < np.quantile(height, 0.25), 255, 0).astype(np.uint8)


def write_mask(path: Path, side: int) -> None:
    """Write copies of the pattern, compressed once, as a tiled TIFF (side, side)."""
    tile = zlib.compress(pattern().tobytes())
    tiles = itertools.repeat(tile, (side // TILE_PX) ** 2)
    layout = {"tile": (TILE_PX, TILE_PX), "compression": "zlib"}
    tifffile.imwrite(path, tiles, shape=(side, side), dtype=np.uint8, **layout)


def peak_gib(command: list[str]) -> float:
    """Run a command; return the most memory that it and its children held resident together."""
    peak = 0
    with psutil.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, resident(process))
            time.sleep(0.05)
    assert process.returncode == 0
    return peak / 2**30


def resident(process: psutil.Process) -> int:
    """Return the resident bytes of a process and its children; pages they share count for each."""
    held = 0
    try:
        for one in (process, *process.children(recursive=True)):
            held += one.memory_info().rss
    except psutil.NoSuchProcess:
        pass  # ended since it was listed
    return held


@pytest.mark.parametrize("side", [16384, 32768])
def test_memory_of_a_streamed_mask(side: int, tmp_path: Path) -> None:
    """`morphometry` of a tiled TIFF stays within the limit, with one worker and with two."""
    path = tmp_path / "mask.tif"
    write_mask(path, side)
    for workers in (1, 2):
        command = [sys.executable, "angiometry.py", "morphometry", str(path), "--mpp", "0.5"]
        start = time.perf_counter()
        peak = peak_gib([*command, "--workers", str(workers), "--json", str(tmp_path / "out.json")])
        taken = time.perf_counter() - start
        print(f"\n{side}², {workers} workers: {peak:.2f} GiB, {taken:.0f} s")
        assert peak < LIMIT_GIB
