"""Vessel masks whose measurements are known in closed form.

A pixel is set where its centre lies inside the drawn shape; the centre of pixel (y, x) is (y, x).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Point = tuple[float, float]


def polyline(points: Sequence[Point], width_px: float, shape: tuple[int, int]) -> Bools:
    """Return a tube (H, W) about a line through `points` (x, y) with round ends.

    One straight piece is a capsule: its medial axis is as long as its spine.
    """
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    mask = np.zeros(shape, np.bool_)
    for (ax, ay), (bx, by) in itertools.pairwise(points):
        dx, dy = bx - ax, by - ay
        along = ((columns - ax) * dx + (rows - ay) * dy) / max(dx * dx + dy * dy, 1e-12)
        along = np.clip(along, 0, 1)
        reach = np.hypot(columns - ax - along * dx, rows - ay - along * dy)
        mask |= reach <= width_px / 2
    return mask


def capsule(length_px: float, width_px: float, degrees: float, offset: Point = (0.0, 0.0)) -> Bools:
    """Return one capsule of spine `length_px` in the middle of a frame that it does not touch."""
    side = math.ceil(length_px + 2 * width_px) + 12
    middle_x, middle_y = side / 2 + offset[0], side / 2 + offset[1]
    turn = math.radians(degrees)
    dx, dy = length_px / 2 * math.cos(turn), length_px / 2 * math.sin(turn)
    ends = [(middle_x - dx, middle_y - dy), (middle_x + dx, middle_y + dy)]
    return polyline(ends, width_px, (side, side))


def offsets(count: int = 8, seed: int = 5) -> list[Point]:
    """Return sub-pixel offsets (x, y): none, and others spread over a pixel."""
    rng = np.random.default_rng(seed)
    return [(0.0, 0.0), *((float(x), float(y)) for x, y in rng.random((count - 1, 2)))]


def disc(radius_px: float, shape: tuple[int, int], x: float, y: float) -> Bools:
    """Return a disc about (x, y)."""
    return polyline([(x, y), (x, y)], 2 * radius_px, shape)


def ellipse(half_px: Point, degrees: float, offset: Point = (0.0, 0.0)) -> Bools:
    """Return a filled ellipse of semi-axes a ≥ b: its medial axis is 2(a − b²/a) long."""
    side = math.ceil(2 * half_px[0]) + 14
    rows, columns = np.mgrid[:side, :side].astype(np.float64)
    x, y = columns - side / 2 - offset[0], rows - side / 2 - offset[1]
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    along, across = (c * x + s * y) / half_px[0], (c * y - s * x) / half_px[1]
    return np.asarray(along**2 + across**2 <= 1, np.bool_)


def annulus(outer_px: float, inner_px: float, side: int) -> Bools:
    """Return a ring about the middle of a square frame."""
    middle = (side - 1) / 2
    return disc(outer_px, (side, side), middle, middle) & ~disc(
        inner_px, (side, side), middle, middle
    )


def star(arms: Sequence[float], arm_px: float, width_px: float) -> Bools:
    """Return capsules that leave one point at the angles `arms` in degrees."""
    side = math.ceil(2 * arm_px + 2 * width_px) + 12
    middle = side / 2
    mask = np.zeros((side, side), np.bool_)
    for degrees in arms:
        turn = math.radians(degrees)
        tip = (middle + arm_px * math.cos(turn), middle + arm_px * math.sin(turn))
        mask |= polyline([(middle, middle), tip], width_px, (side, side))
    return mask


def crossing(
    widths_px: Point, arm_px: float, degrees: float, meet_degrees: float,
    offset: Point = (0.0, 0.0),
) -> Bools:  # fmt: skip
    """Return two capsules of different widths that cross in their middles."""
    side = math.ceil(2 * arm_px + 2 * max(widths_px)) + 12
    x, y = side / 2 + offset[0], side / 2 + offset[1]
    mask = np.zeros((side, side), np.bool_)
    for width_px, heading in zip(widths_px, (degrees, degrees + meet_degrees), strict=True):
        turn = math.radians(heading)
        dx, dy = arm_px * math.cos(turn), arm_px * math.sin(turn)
        mask |= polyline([(x - dx, y - dy), (x + dx, y + dy)], width_px, mask.shape)
    return mask


def crossing_grid(
    across: int, down: int, *, spacing_px: float, width_px: float, degrees: float = 0.0,
    meet_degrees: float = 90.0,
) -> Bools:  # fmt: skip
    """Return `across` × `down` tubes that cross at `meet_degrees`, all turned by `degrees`."""
    first, second = math.radians(degrees), math.radians(degrees + meet_degrees)
    step = spacing_px / math.sin(math.radians(meet_degrees))
    u = np.array([math.cos(first), math.sin(first)]) * step
    v = np.array([math.cos(second), math.sin(second)]) * step
    lines = [((i * u - 0.6 * v), (i * u + (down - 0.4) * v)) for i in range(across)]
    lines += [((j * v - 0.6 * u), (j * v + (across - 0.4) * u)) for j in range(down)]
    corners = np.array(lines).reshape(-1, 2)
    low = corners.min(axis=0) - 2 * width_px - 6
    side = np.ceil(corners.max(axis=0) - low + 2 * width_px + 6).astype(int)
    mask = np.zeros((side[1], side[0]), np.bool_)
    for start, stop in lines:
        a, b = start - low, stop - low
        mask |= polyline([(a[0], a[1]), (b[0], b[1])], width_px, mask.shape)
    return mask


def random_network(seed: int, side: int = 512, lines: int = 24, width: float = 9.0) -> Bools:
    """Return crossing and winding tubes with round profiles between: some reach the border."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((side, side), np.bool_)
    for _ in range(lines):
        heading, place = rng.uniform(0, 2 * math.pi), rng.uniform(0, side, 2)
        points = [(float(place[0]), float(place[1]))]
        for _ in range(int(rng.integers(2, 7))):
            heading += rng.normal(0, 0.5)
            place = place + 40 * np.array([math.cos(heading), math.sin(heading)])
            points.append((float(place[0]), float(place[1])))
        mask |= polyline(points, float(rng.uniform(0.6, 1.5)) * width, mask.shape)
    for x, y in rng.uniform(0, side, (lines, 2)):
        mask |= disc(float(rng.uniform(2, 8)), mask.shape, float(x), float(y))
    return mask


def partitions(shape: tuple[int, int], seed: int) -> Iterator[Bools]:
    """Yield three regions of ragged outline that cover a frame once."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    cut = columns + 0.3 * rows + 12 * np.sin(rows / 17 + rng.uniform(0, 6))
    first, second = np.quantile(cut, sorted(rng.uniform(0.2, 0.8, 2)))
    yield cut < first
    yield (cut >= first) & (cut < second)
    yield cut >= second
