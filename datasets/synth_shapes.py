"""Shapes of known truth (tubes, closed outlines) and the pixels that they cover.

Coordinates are µm, x to the right and y down, from the outer corner of the first pixel: the centre
of pixel (row i, column j) lies at ((j + 0.5)·p, (i + 0.5)·p). A pixel belongs to a shape when its
centre lies inside.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from skimage.draw import polygon as polygon_pixels

FloatArray = npt.NDArray[np.float64]
Field = npt.NDArray[np.float32]

_OUTSIDE_UM = np.float32(1e6)
_RIM_PX = 3.0
"""How far beyond its wall a tube's distance is known: rendering softens edges within it."""


@dataclass(frozen=True, eq=False)
class Tube:
    """A vessel segment: a centre-line whose radius changes linearly from point to point.

    Attributes
    ----------
    points_um
        Centre-line (N, 2) as x, y.
    radii_um
        Outer radius (N,), endothelium included.
    layer
        Tubes of one layer join where they meet; those of different layers cross above each other.
    """

    points_um: FloatArray
    radii_um: FloatArray
    layer: int = 0

    def length_within_um(self, size_um: float) -> float:
        """Return the length of the centre-line inside a square frame of ``size_um``."""
        line = shapely.LineString(self.points_um)
        return float(line.intersection(shapely.box(0, 0, size_um, size_um)).length)

    def reaches(self, size_um: float) -> bool:
        """Return whether any of it may lie inside a square frame of ``size_um``."""
        radii = self.radii_um[:, None]
        low, high = (self.points_um - radii).min(axis=0), (self.points_um + radii).max(axis=0)
        return bool(np.all(high > 0) and np.all(low < size_um))

    def polygon(self) -> shapely.Geometry:
        """Return the outline: the union of the round cones between successive points."""
        circles = [
            _circle(point, radius)
            for point, radius in zip(self.points_um, self.radii_um, strict=True)
        ]
        cones = [shapely.MultiPolygon([a, b]).convex_hull for a, b in itertools.pairwise(circles)]
        return shapely.union_all(cones)


@dataclass(frozen=True, eq=False)
class Outline:
    """A closed shape, star-shaped about its centre: the polygon through its polar samples.

    Attributes
    ----------
    centre_um
        x, y.
    radii_um
        Distance of the outline from the centre (A,) at A equally spaced angles from the x axis.
    """

    centre_um: tuple[float, float]
    radii_um: FloatArray

    @property
    def vertices_um(self) -> FloatArray:
        """Corners of the polygon (A, 2) as x, y."""
        angles = angles_of(self.radii_um.size)
        direction = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return np.asarray(self.centre_um + self.radii_um[:, None] * direction)

    @property
    def mean_radius_um(self) -> float:
        """Radius of the circle of about equal area."""
        return float(np.sqrt(np.mean(self.radii_um**2)))

    def reaches(self, size_um: float) -> bool:
        """Return whether any of it lies inside a square frame of ``size_um``."""
        return bool(self.polygon().intersects(shapely.box(0, 0, size_um, size_um)))

    def distance_um(self, point_um: FloatArray) -> float:
        """Return how far a point x, y lies outside, to the nearest corner; 0 inside."""
        away = np.subtract(point_um, self.centre_um)
        angles = angles_of(self.radii_um.size)
        towards = np.interp(np.arctan2(away[1], away[0]), angles, self.radii_um, period=2 * np.pi)
        if np.hypot(*away) <= towards:
            return 0.0
        return float(np.hypot(*(self.vertices_um - point_um).T).min())

    def polygon(self) -> shapely.Geometry:
        """Return the outline as a polygon."""
        return shapely.Polygon(self.vertices_um)


@dataclass(frozen=True)
class VesselField:
    """Where each pixel lies with respect to the walls of one layer of tubes.

    Attributes
    ----------
    signed_um
        Distance to the outer wall (H, W), negative inside, huge far from every tube.
    radius_um
        Local radius (H, W) of the nearest tube.
    owner
        Number (H, W) of the nearest tube in the list given, −1 far from every tube.
    """

    signed_um: Field
    radius_um: Field
    owner: npt.NDArray[np.int32]


def angles_of(count: int) -> FloatArray:
    """Return ``count`` equally spaced angles from 0."""
    return np.arange(count, dtype=np.float64) * (2 * np.pi / count)


def tube_field(tubes: Sequence[Tube], shape: tuple[int, int], mpp_um: float) -> VesselField:
    """Measure the signed wall distance of every pixel centre near a tube.

    Exact inside a tube: distance to the centre-line's segment less the radius interpolated at the
    foot of the perpendicular, least over all segments.
    """
    signed = np.full(shape, _OUTSIDE_UM, np.float32)
    radius = np.zeros(shape, np.float32)
    owner = np.full(shape, -1, np.int32)
    field = VesselField(signed, radius, owner)
    for number, tube in enumerate(tubes):
        starts, ends = tube.points_um[:-1], tube.points_um[1:]
        radii = np.stack([tube.radii_um[:-1], tube.radii_um[1:]], axis=1)
        reach = radii.max(axis=1)[:, None] + _RIM_PX * mpp_um
        low = np.floor((np.minimum(starts, ends) - reach) / mpp_um).clip(0).astype(int)
        high = np.ceil((np.maximum(starts, ends) + reach) / mpp_um)
        high = np.minimum(high, (shape[1], shape[0])).astype(int)
        for k in np.flatnonzero(np.all(low < high, axis=1)):
            window = (slice(low[k, 1], high[k, 1]), slice(low[k, 0], high[k, 0]))
            _add_segment(field, number, window, (starts[k], ends[k]), radii[k], mpp_um)
    return field


def _add_segment(
    field: VesselField,
    number: int,
    window: tuple[slice, slice],
    ends: tuple[FloatArray, FloatArray],
    radii: FloatArray,
    mpp_um: float,
) -> None:
    """Lower the distances in a window to those from one segment of a tube."""
    start = ends[0]
    along_x, along_y = (ends[1] - start).astype(np.float32)
    rows, columns = window
    dx = np.arange(columns.start, columns.stop, dtype=np.float32)
    dx = (dx + np.float32(0.5)) * np.float32(mpp_um) - np.float32(start[0])
    dy = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
    dy = (dy + np.float32(0.5)) * np.float32(mpp_um) - np.float32(start[1])
    squared = max(along_x**2 + along_y**2, np.float32(1e-12))
    t = np.clip((dx * along_x + dy * along_y) / squared, np.float32(0), np.float32(1))
    local = np.float32(radii[0]) + t * np.float32(radii[1] - radii[0])
    distance = np.hypot(dx - t * along_x, dy - t * along_y) - local
    nearer = distance < field.signed_um[window]
    np.copyto(field.signed_um[window], distance, where=nearer)
    np.copyto(field.radius_um[window], local, where=nearer)
    np.copyto(field.owner[window], number, where=nearer)


def outline_labels(
    outlines: Iterable[Outline], shape: tuple[int, int], mpp_um: float
) -> npt.NDArray[np.int32]:
    """Return (H, W): the number, from 1, of the outline that holds a pixel's centre, else 0."""
    labels = np.zeros(shape, np.int32)
    for number, outline in enumerate(outlines, start=1):
        corners = outline.vertices_um / mpp_um - 0.5
        rows, columns = polygon_pixels(  # type: ignore[no-untyped-call]
            corners[:, 1], corners[:, 0], shape
        )
        labels[rows, columns] = number
    return labels


def _circle(centre: FloatArray, radius: float, corners: int = 32) -> shapely.Geometry:
    """Return a polygon of exactly the circle's area."""
    step = 2 * np.pi / corners
    equal_area = radius * np.sqrt(step / np.sin(step))
    angles = angles_of(corners)
    direction = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return shapely.Polygon(centre + equal_area * direction)
