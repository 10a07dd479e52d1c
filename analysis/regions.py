"""Regions that somebody drew, and those that follow from them.

Coordinates are full-resolution pixels of the image, as QuPath exports them. Three names have a
meaning of their own: ``infarct_core`` yields a peri-infarct band, and with a ``midline`` the mirror
images of both; ``exclude`` takes pixels from the tissue everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
import shapely.affinity

from analysis.errors import RegionsError
from imaging.errors import GeoJsonError
from imaging.geojson import Feature, features, parse, with_area

TISSUE = "tissue"
CORE, MIDLINE, EXCLUDE = "infarct_core", "midline", "exclude"
BAND = "peri_infarct"
MIRRORED_CORE, MIRRORED_BAND = "contralateral_core", "contralateral_peri_infarct"
REMOTE = "ipsilateral_remote"
DERIVED = (TISSUE, BAND, MIRRORED_CORE, MIRRORED_BAND, REMOTE)
PAIRS = ((CORE, MIRRORED_CORE), (BAND, MIRRORED_BAND))

BAND_UM = 500.0
# A quarter circle in 32 pieces: the band's area errs by less than 0.1 %.
_QUARTER_PIECES = 32

# How much of a core may cross a hand-drawn midline.
_MOST_ACROSS = 0.05

Line = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class RegionPlan:
    """What is measured beside the whole tissue.

    Attributes
    ----------
    shapes
        Name of each region to its outline in image pixels, in the order of the file; derived
        regions follow.
    exclusions
        What leaves the tissue everywhere, or None.
    pairs
        Names of regions and of what they are compared with.
    """

    shapes: dict[str, shapely.Geometry] = field(default_factory=dict)
    exclusions: shapely.Geometry | None = None
    pairs: tuple[tuple[str, str], ...] = ()


def read_regions(path: Path) -> dict[str, Any]:
    """Read a file of regions; see `regions_document`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise RegionsError(
            f"{path} cannot be read ({reason}); give a GeoJSON file exported from QuPath"
        ) from error
    return regions_document(text, path.name)


def regions_document(text: str, source: str = "regions") -> dict[str, Any]:
    """Return names and outlines of a GeoJSON text as a FeatureCollection of nothing else.

    This is what a record keeps, so that it can be repeated without the file.

    Raises
    ------
    RegionsError
        If the text is no GeoJSON; `source` is what the error calls it.
    """
    try:
        found = [
            {
                "type": "Feature",
                "properties": {
                    "name": feature.name,
                    "classification": {"name": feature.classification},
                },
                # A bounding box may hold NaN, which no record can.
                "geometry": {k: v for k, v in feature.geometry.items() if k != "bbox"},
            }
            for feature in features(parse(text, source), source)
        ]
    except GeoJsonError as error:
        raise RegionsError(str(error)) from error
    return {"type": "FeatureCollection", "features": found}


def plan_regions(
    document: Any, size_px: tuple[int, int], mpp_um: float, band_um: float = BAND_UM
) -> RegionPlan:
    """Turn QuPath GeoJSON into the regions of one image.

    Parameters
    ----------
    document
        As `regions_document` returns it.
    size_px
        Width and height of the image.
    mpp_um
        Side of an image pixel.
    band_um
        Width of the peri-infarct band.

    Raises
    ------
    RegionsError
        If an outline is broken, lies outside of the image or has no area, a name is taken by a
        derived region, or a midline does not divide the image.
    """
    source = "regions"
    frame = shapely.box(0, 0, *size_px)
    outlines: dict[str, list[shapely.Geometry]] = {}
    vertices: list[npt.NDArray[np.float64]] = []
    try:
        drawn = list(features(document, source))
        taken = {_folded(_given_name(feature)) for feature in drawn}
        for number, feature in enumerate(drawn, start=1):
            name = _name(feature, number, taken)
            if name == MIDLINE:
                vertices.append(_line_vertices(feature))
            else:
                outlines.setdefault(name, []).append(_outline(feature, frame))
    except GeoJsonError as error:
        raise RegionsError(str(error)) from error
    if not outlines and not vertices:
        raise RegionsError("there is no region; draw at least one closed outline")
    whole = {name: shapely.union_all(shapes) for name, shapes in outlines.items()}
    united = {name: with_area(shape.intersection(frame)) for name, shape in whole.items()}
    exclusions = united.pop(EXCLUDE, None)
    pairs: tuple[tuple[str, str], ...] = ()
    if vertices and CORE not in united:
        raise RegionsError(
            f"there is a {MIDLINE} but no {CORE}, which it is there to mirror; "
            f"name the infarct's outline {CORE}"
        )
    if CORE in united:
        line = _fitted(vertices, frame) if vertices else None
        # What was drawn beyond the frame counts for the band, which is clipped afterwards.
        united |= _derived(whole[CORE], frame, line, band_um / mpp_um)
        pairs = PAIRS if vertices else ()
    return RegionPlan(united, exclusions, pairs)


def _given_name(feature: Feature) -> str:
    """Return the feature's own name or that of its class, or nothing."""
    # A class of outlines keeps its meaning where the outline has a name of its own.
    if _folded(feature.classification) in (CORE, MIDLINE, EXCLUDE):
        return feature.classification
    return feature.name or feature.classification


def _name(feature: Feature, number: int, taken: Collection[str]) -> str:
    """Return the feature's name; reserved names in any spelling become theirs.

    Without one it is numbered, by a name that is not `taken` (folded) by an outline that has one.
    """
    name = _given_name(feature) or _free(f"region {number}", taken)
    folded = _folded(name)
    if folded in DERIVED:
        raise RegionsError(
            f"{feature.where}: {folded} is the name of a region that is derived; "
            "give the outline another name"
        )
    return folded if folded in (CORE, MIDLINE, EXCLUDE) else name


def _free(name: str, taken: Collection[str]) -> str:
    """Return the name, or where it is taken the first of "name (2)", "name (3)" … that is not."""
    numbered = (f"{name} ({number})" for number in count(2))
    return next(each for each in chain([name], numbered) if _folded(each) not in taken)


def _folded(name: str) -> str:
    """Return a name without what spelling makes of it: case, spaces and hyphens."""
    return re.sub(r"[\s\-]+", "_", name.strip().casefold())


def _outline(feature: Feature, frame: shapely.Geometry) -> shapely.Geometry:
    """Return polygons that lie at least partly in the image."""
    shape = feature.filled()
    if shape.geom_type not in ("Polygon", "MultiPolygon"):
        raise RegionsError(
            f"{feature.where} is a {shape.geom_type}; draw a closed outline "
            f"(only {MIDLINE} is a line)"
        )
    if shape.area <= 0:
        raise RegionsError(f"{feature.where} encloses no area; draw it again")
    if shape.intersection(frame).area <= 0:
        raise RegionsError(
            f"{feature.where} lies outside of the image; export the outlines of this image in "
            "full-resolution pixels"
        )
    return shape


def _line_vertices(feature: Feature) -> npt.NDArray[np.float64]:
    shape = feature.shape()
    if shape.geom_type not in ("LineString", "MultiLineString"):
        raise RegionsError(f"{feature.where} is a {shape.geom_type}; draw the midline as a line")
    if shape.is_empty:
        raise RegionsError(f"{feature.where} has no points; draw it from end to end")
    return np.asarray(shapely.get_coordinates(shape), np.float64)


def _fitted(vertices: Iterable[npt.NDArray[np.float64]], frame: shapely.Geometry) -> Line:
    """Return the line of least squared distances: a point on it and its direction (x, y)."""
    points = np.concatenate(list(vertices))
    middle = points.mean(axis=0)
    _, spread, axes = np.linalg.svd(points - middle, full_matrices=False)
    if len(points) < 2 or spread[0] <= 0:
        raise RegionsError(f"the {MIDLINE} is a point; draw it from end to end")
    line = middle, axes[0]
    half = _half(line, frame, middle + np.array([-axes[0][1], axes[0][0]]))
    if not 0 < half.area < frame.area:
        raise RegionsError(f"the {MIDLINE} does not divide the image; draw it along the fissure")
    return line


def _half(
    line: Line, frame: shapely.Geometry, towards: npt.NDArray[np.float64]
) -> shapely.Geometry:
    """Return the part of the frame that lies on the side of `towards`."""
    middle, along = line
    normal = np.array([-along[1], along[0]])
    normal = normal if normal @ (towards - middle) >= 0 else -normal
    left, top, right, bottom = frame.bounds
    reach = 2 * (np.hypot(right - left, bottom - top) + np.hypot(*middle))
    corners = [
        middle - reach * along,
        middle + reach * along,
        middle + reach * (along + normal),
        middle + reach * (normal - along),
    ]
    return with_area(shapely.Polygon(corners).intersection(frame))


def mirrored(shape: shapely.Geometry, line: Line) -> shapely.Geometry:
    """Return the mirror image of a geometry across a line."""
    (x, y), (u, v) = line
    a, b = u * u - v * v, 2 * u * v
    return shapely.affinity.affine_transform(
        shape, [a, b, b, -a, x - a * x - b * y, y - b * x + a * y]
    )


def _derived(
    core: shapely.Geometry, frame: shapely.Geometry, line: Line | None, band_px: float
) -> dict[str, shapely.Geometry]:
    """Return the regions that follow from the core, and from the midline if there is one.

    The band does not cross the midline: what lies beyond belongs to the other hemisphere.
    """
    widened = core.buffer(band_px, quad_segs=_QUARTER_PIECES)
    band = widened.difference(core).intersection(frame)
    if line is None:
        return {BAND: with_area(band)}
    core = core.intersection(frame)
    half = _half(line, frame, np.array([core.centroid.x, core.centroid.y]))
    band = with_area(band.intersection(half))
    own = with_area(core.intersection(half))
    if own.area < (1 - _MOST_ACROSS) * core.area:
        raise RegionsError(
            f"the {CORE} lies on both sides of the {MIDLINE}, so that it has no mirror image; "
            "correct one of them"
        )
    return {
        BAND: band,
        MIRRORED_CORE: with_area(mirrored(own, line).intersection(frame)),
        MIRRORED_BAND: with_area(mirrored(band, line).intersection(frame)),
        REMOTE: with_area(half.difference(core).difference(band)),
    }
