"""What a machine can do at most, beside which its work is timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

SIDES = (1024, 2048, 4096)  # of the matrices: which one is fastest differs by machine and library
TURNS = 3


def turns_s(run: Callable[[], object]) -> list[float]:
    """Return the seconds of three turns, after one that is not counted."""
    run()
    taken = []
    for _ in range(TURNS):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return taken


def median_s(run: Callable[[], object]) -> float:
    """Return the median of three turns, after one that is not counted."""
    return statistics.median(turns_s(run))


def product_gflops(side: int, run: Callable[[], object]) -> float:
    """Return the best that a product of two square matrices reaches, in 10⁹ operations a second."""
    return 2 * side**3 / min(turns_s(run)) / 1e9


def peak_gflops() -> tuple[float, str]:
    """Return the best of all products of 32 bits, in 10⁹ operations a second, and whose it is.

    On the processor, on as many threads as each library takes by itself.
    """
    reached = [
        (product_gflops(side, run), f"{library}, {side}²")
        for side in SIDES
        for library, run in _products(side)
    ]
    return max(reached)


def _products(side: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield each library and its product of the same two matrices."""
    one, other = np.random.default_rng(0).standard_normal((2, side, side), dtype=np.float32)
    out, mine, theirs = np.empty_like(one), torch.from_numpy(one), torch.from_numpy(other)
    target = torch.from_numpy(out)
    # Into an array that is there: fetching new memory would be timed, too.
    yield "numpy", lambda: np.matmul(one, other, out=out)
    yield "torch", lambda: torch.matmul(mine, theirs, out=target)
