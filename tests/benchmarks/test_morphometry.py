"""Vessel measurements against the libraries that one would put together for them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import cv2
import numpy as np
import pytest
import skan
from scipy import ndimage
from skimage.measure import label as label_image
from skimage.measure import regionprops
from skimage.morphology import skeletonize

from analysis.thinning import pack, thin_words
from analysis.vessels import VesselSettings, measure_vessels
from tests.phantoms import Bools

pytestmark = pytest.mark.benchmark
SETTINGS = VesselSettings(mpp_um=0.5)
RUNS = 3


def network(side: int, seed: int = 1) -> Bools:
    """Return winding vessels about 8 px wide, a quarter of the area."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.standard_normal((side, side), dtype=np.float32), 12)
    return np.asarray(np.abs(noise) < np.quantile(np.abs(noise[::4, ::4]), 0.25))


def median_s(run: Callable[[], object], runs: int = RUNS) -> float:
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def chain(mask: Bools) -> None:
    """Skeleton, distances, graph and objects by scikit-image, SciPy and skan."""
    skeleton = skeletonize(mask)
    ndimage.distance_transform_edt(mask)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # skan's own, about pandas
        skan.summarize(skan.Skeleton(skeleton), separator="-")
    regionprops(label_image(mask))


def test_against_the_chain_of_libraries() -> None:
    """All vessel measurements of 4096², in one process and in two, against that chain."""
    mask = network(4096)
    theirs = median_s(lambda: chain(mask), 2)
    one = median_s(lambda: measure_vessels(mask, None, SETTINGS))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        run = lambda: measure_vessels(mask, None, SETTINGS, block_px=1024, executor=pool)  # noqa: E731
        run()
        two = median_s(run)
    print(f"\nfraction set {mask.mean():.3f}: chain {theirs:.2f} s")
    print(f"one process {one:.2f} s, ratio {theirs / one:.1f}")
    print(f"two processes {two:.2f} s, ratio {theirs / two:.1f}")


@pytest.mark.parametrize("side", [1024, 2048, 4096, 8192, 16384])
def test_time_grows_with_the_pixels(side: int) -> None:
    """Seconds for each megapixel, which should not depend on the size."""
    mask = network(min(side, 4096))
    mask = np.tile(mask, (side // mask.shape[0], side // mask.shape[1]))
    taken = median_s(lambda: measure_vessels(mask, None, SETTINGS), 1 if side > 4096 else RUNS)
    print(f"\n{side}²: {taken:.2f} s, {taken / (side / 1024) ** 2:.3f} s for each 1024²")


def test_where_the_time_goes() -> None:
    """The floor, below which no measurement of these things comes, and what is done beside it.

    The floor is one read of the mask, one thinning, and two exact distances: inside the vessels,
    for widths and pruning, and outside of them.
    """
    mask = network(4096)
    inside, outside = mask.view(np.uint8), (~mask).view(np.uint8)
    floor = {
        "read and pack": median_s(lambda: pack(mask)),
        "thinning": median_s(lambda: thin_words(pack(mask))) - median_s(lambda: pack(mask)),
        "distances": median_s(
            lambda: [
                cv2.distanceTransform(part, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
                for part in (inside, outside)
            ]
        ),
    }
    whole = median_s(lambda: measure_vessels(mask, None, SETTINGS))
    print("\n4096², one process: " + ", ".join(f"{k} {v:.2f} s" for k, v in floor.items()))
    print(f"floor {sum(floor.values()):.2f} s, all measurements {whole:.2f} s")


def spin(count: int) -> int:
    """Add numbers: work that needs no memory, shares nothing and never waits."""
    return sum(range(count))


def test_two_processes_against_one() -> None:
    """From 8192² on the blocks keep two processes busy; all are run in turn.

    OpenCV uses further cores for parts of the work: one process is timed with and without. What the
    machine itself gains by a second process is printed beside.
    """
    mask = np.tile(network(4096), (2, 2))
    taken: dict[str, list[float]] = {"one core": [], "one process": [], "two": []}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        measure_vessels(mask[:4096, :2048], None, SETTINGS, block_px=1024, executor=pool)
        alone = median_s(lambda: [spin(30_000_000) for _ in range(2)])
        beside = median_s(lambda: list(pool.map(spin, [30_000_000] * 2)))
        for _ in range(RUNS):
            for name, executor in (("one core", None), ("one process", None), ("two", pool)):
                cv2.setNumThreads(1 if name == "one core" else -1)
                start = time.perf_counter()
                measure_vessels(mask, None, SETTINGS, executor=executor)
                taken[name].append(time.perf_counter() - start)
    core, one, two = (float(np.median(seconds)) for seconds in taken.values())
    print(f"\n8192²: one core {core:.2f} s, one process {one:.2f} s, two processes {two:.2f} s")
    print(f"ratio {core / two:.2f} to one core, {one / two:.2f} to one process")
    print(f"two processes that only add numbers: ratio {alone / beside:.2f}")
