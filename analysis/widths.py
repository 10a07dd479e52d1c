"""Vessel widths along the normal of the skeleton."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from analysis.skeleton import Skeleton, end_half_steps, end_pixels

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

# The tangent is the chord over so many pixels to either side: 5 px bound its error to 0.1 rad.
TANGENT_PX = 5
STEP_PX = 0.5
_SAMPLES = 5
_REMAP_COLUMNS = 1024
# A vessel's wall lies about one radius from its centre-line. A normal that finds none within two,
# and a few pixels for crooked outlines, runs along another vessel: it measures no width.
_FARTHEST_RADII = 2.0
_FARTHEST_MARGIN_PX = 4.0


def free_pixels(skeleton: Skeleton) -> Bools:
    """Say which chain pixels (M,) lie further than one local radius from junctions and ends.

    The radius is that at the junction, or at the end itself; distance is measured along the chain.
    """
    graph, chains = skeleton.graph, skeleton.chains
    part = graph.length_by_pixel[chains.pixel] / 1000.0
    total = np.concatenate([[0.0], np.cumsum(part)])
    centre = (total[1:] + total[:-1]) / 2
    chain = np.repeat(np.arange(len(chains.ring)), chains.size)
    half = end_half_steps(skeleton) / 1000.0
    from_start = centre - (total[chains.offset[:-1]] - half[:, 0])[chain]
    from_stop = (total[chains.offset[1:]] + half[:, 1])[chain] - centre
    met = np.where(chains.junction >= 0, chains.junction, end_pixels(chains))
    zone = np.where(chains.ring[:, None], 0.0, skeleton.radius[met])[chain]
    return np.asarray((from_start >= zone[:, 0]) & (from_stop >= zone[:, 1]))


def normals(skeleton: Skeleton) -> tuple[Floats, Floats]:
    """Return the unit normal (y, x) at each chain pixel (M,)."""
    graph, chains = skeleton.graph, skeleton.chains
    count = len(chains.pixel)
    place = np.arange(count)
    chain = np.repeat(np.arange(len(chains.ring)), chains.size)
    first, last = chains.offset[:-1][chain], chains.offset[1:][chain] - 1
    size = last - first + 1
    ring = chains.ring[chain]
    # On a small ring the chord would close upon itself.
    hop = np.where(ring, np.clip(size // 4, 1, TANGENT_PX), TANGENT_PX)
    ahead, behind = place + hop, place - hop
    ahead = np.where(ring & (ahead > last), ahead - size, np.minimum(ahead, last))
    behind = np.where(ring & (behind < first), behind + size, np.maximum(behind, first))
    y, x = graph.y[chains.pixel], graph.x[chains.pixel]
    dy = (y[ahead] - y[behind]).astype(np.float32)
    dx = (x[ahead] - x[behind]).astype(np.float32)
    dx[(dy == 0) & (dx == 0)] = 1.0  # a lone pixel has no direction: any normal will do
    norm: Floats = np.hypot(dy, dx)
    return dx / norm, -dy / norm


def widths(mask: Bools, y: Ints, x: Ints, ny: Floats, nx: Floats, inside: Floats) -> Floats:
    """Return the width (M,) of `mask` through the pixels (y, x) along (ny, nx), in pixels.

    Each way, bilinear samples half a pixel apart run outwards until they fall below one half; the
    crossing is interpolated. `inside` is the distance to the background, within which nothing needs
    to be sampled. The width is NaN where a side has no crossing within two such distances.
    """
    image = mask.view(np.uint8) * np.uint8(255)
    # A sample below one half has a background pixel's centre within √½ px: none comes before this.
    begin = np.maximum(np.floor((inside - 0.8) / STEP_PX) * STEP_PX, 0.0).astype(np.float32)
    y32, x32 = y.astype(np.float32), x.astype(np.float32)
    end = (_FARTHEST_RADII * inside + _FARTHEST_MARGIN_PX).astype(np.float32)
    there = _reach(image, y32, x32, ny, nx, begin, end)
    return there + _reach(image, y32, x32, -ny, -nx, begin, end)


def _reach(
    image: npt.NDArray[np.uint8],
    y: Floats,
    x: Floats,
    ny: Floats,
    nx: Floats,
    begin: Floats,
    end: Floats,
) -> Floats:
    """Return how far (M,) the mask reaches from (y, x) in one direction; NaN if beyond `end`."""
    reach = np.full(len(y), np.nan, np.float32)
    left = np.arange(len(y))
    begin = begin.copy()
    steps = np.arange(_SAMPLES, dtype=np.float32)[:, None] * np.float32(STEP_PX)
    while len(left):
        along = begin[left] + steps
        value = _sample(image, y[left] + ny[left] * along, x[left] + nx[left] * along)
        low = value < 127.5
        found = low[1:].any(axis=0)
        hit = np.flatnonzero(found)
        at = 1 + low[1:, hit].argmax(axis=0)
        inner, outer = value[at - 1, hit], value[at, hit]
        inner = np.maximum(inner, 128.0)
        reach[left[hit]] = along[at - 1, hit] + STEP_PX * (inner - 127.5) / (inner - outer)
        left = left[~found]
        begin[left] += steps[-1]
        left = left[begin[left] <= end[left]]
    return np.where(reach <= end, reach, np.float32(np.nan))


def _sample(image: npt.NDArray[np.uint8], y: Floats, x: Floats) -> Floats:
    """Sample `image` bilinearly at (y, x), any shape; outside it is 0."""
    rows = -(-y.size // _REMAP_COLUMNS)
    flat = np.full((2, rows * _REMAP_COLUMNS), -2.0, np.float32)
    flat[0, : y.size], flat[1, : x.size] = y.reshape(-1), x.reshape(-1)
    grid = flat.reshape(2, rows, _REMAP_COLUMNS)
    value = cv2.remap(
        image, grid[1], grid[0], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
    return value.reshape(-1)[: y.size].reshape(y.shape).astype(np.float32)
