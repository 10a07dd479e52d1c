"""Does an annotation look like vessels, or like cells? Sizes in µm say most of it."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import numpy.typing as npt

from datasets.annotations import Labels, TargetAnnotation
from imaging.polygons import Grid
from model.targets import VESSEL

# Finer than this no limit below is decided; larger images are looked at more coarsely.
_MPP_UM = 0.5
_MAX_PX = 2**26
# Outlines that all lie in a quarter of a field of 500 × 500 µm or more: the rest was hardly looked
# at. One or two vessels lie anywhere, and a tile of 128 × 128 µm may well hold all in one corner.
_LARGE_MM2, _SEVERAL, _CORNER = 0.25, 3, 0.25


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is plausible for one target; beyond it a person should look.

    Capillaries are 4–10 µm across and fill 1–10 % of a section, so that over half of the area is
    an inverted mask. Penetrating vessels stay under 50 µm of radius. Somata of neurons and glia
    measure 30–700 µm² in a section.
    """

    max_area_fraction: float
    min_object_um2: float
    max_object_um2: float
    min_radius_um: float
    max_radius_um: float


LIMITS = {
    VESSEL: Limits(0.6, 5.0, float("inf"), 1.0, 50.0),
    "vegf_cell": Limits(0.6, 20.0, 2500.0, 1.5, 25.0),
}


@dataclasses.dataclass(frozen=True)
class LabelStatistics:
    """What was outlined for one target on one image.

    `annotated_mm2` is the area that was looked at, `area_fraction` the part of it inside outlines,
    `spread` the part of it inside the one upright rectangle about all of them.
    `max_radius_um` is that of the largest disc inside them; None where nothing is outlined.
    """

    target: str
    annotated_mm2: float
    area_fraction: float
    spread: float
    objects: int
    small_objects: int
    large_objects: int
    max_radius_um: float | None
    single_number: bool


def measure_labels(
    annotation: TargetAnnotation, target: str, size_px: tuple[int, int], mpp_um: float
) -> LabelStatistics:
    """Measure the outlines of `target` on an image of `size_px` pixels of `mpp_um`."""
    step = max(1.0, _MPP_UM / mpp_um, (size_px[0] * size_px[1] / _MAX_PX) ** 0.5)
    width, height = (max(1, round(size / step)) for size in size_px)
    found = annotation.read(Grid(0, 0, width, height, step))
    pixel_um = mpp_um * step
    sizes_um2 = _object_sizes_px(found, target) * pixel_um**2
    limits = LIMITS[target]
    mask = (found.labels > 0) & found.complete
    annotated_px = int(found.complete.sum())
    return LabelStatistics(
        target,
        annotated_px * pixel_um**2 / 1e6,
        float(mask.sum() / annotated_px) if annotated_px else 0.0,
        float(found.complete[_box(mask)].sum() / annotated_px) if annotated_px else 0.0,
        sizes_um2.size,
        int((sizes_um2 < limits.min_object_um2).sum()),
        int((sizes_um2 > limits.max_object_um2).sum()),
        _max_radius_px(mask) * pixel_um if mask.any() else None,
        target != VESSEL and _is_single_number(found.labels),
    )


def implausibilities(statistics: LabelStatistics) -> list[str]:
    """Say in a sentence each what is implausible about an annotation, and what to look for."""
    limits, target = LIMITS[statistics.target], statistics.target
    if statistics.annotated_mm2 == 0:
        return ["its annotated areas cover no pixel; draw them over the image"]
    if statistics.max_radius_um is None:
        return [f"no {target} is outlined; leave it so only if there is none"]
    doubts = []
    cornered = statistics.objects >= _SEVERAL and statistics.spread < _CORNER
    if cornered and statistics.annotated_mm2 >= _LARGE_MM2:
        doubts.append(
            f"all outlines lie in {statistics.spread:.1%} of the annotated area; if the rest was "
            "not looked at, draw areas of class Region* about what was, or cut the image"
        )
    if statistics.area_fraction > limits.max_area_fraction:
        doubts.append(
            f"{statistics.area_fraction:.0%} of the area is {target}; is the mask inverted?"
        )
    if statistics.max_radius_um > limits.max_radius_um:
        doubts.append(
            f"a {target} has a radius of {statistics.max_radius_um:.0f} µm; is mpp_um right?"
        )
    if statistics.max_radius_um < limits.min_radius_um:
        doubts.append(
            f"no {target} is wider than {2 * statistics.max_radius_um:.1f} µm; "
            "are these centre-lines or dots, or is mpp_um wrong?"
        )
    if statistics.small_objects:
        doubts.append(
            f"{statistics.small_objects} of {statistics.objects} objects are under "
            f"{limits.min_object_um2:g} µm²; remove specks"
        )
    if statistics.large_objects:
        doubts.append(
            f"{statistics.large_objects} of {statistics.objects} objects are over "
            f"{limits.max_object_um2:g} µm²; are touching cells drawn as one?"
        )
    if statistics.single_number:
        doubts.append("all cells have one number, so that touching ones count as one; number them")
    return doubts


def _object_sizes_px(found: Labels, target: str) -> npt.NDArray[np.int64]:
    """Return the pixels of each object: connected ones of a vessel mask, numbers of cells."""
    labels = np.where(found.complete, found.labels, 0)
    if target == VESSEL:
        mask = (labels > 0).astype(np.uint8)
        _, _, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        return np.asarray(statistics[1:, cv2.CC_STAT_AREA], np.int64)
    _, counts = np.unique(labels[labels > 0], return_counts=True)
    return np.asarray(counts, np.int64)


def _box(mask: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and columns from the first to the last that a mask reaches."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return slice(0), slice(0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _max_radius_px(mask: npt.NDArray[np.bool_]) -> float:
    """Return the radius of the largest disc in a mask that goes on beyond the image's border."""
    padded = np.pad(mask.astype(np.uint8), 1, mode="edge")
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    # Distances run to the centre of the next pixel outside, half a pixel beyond the outline. A
    # full mask has no outside; its half side is the largest disc then.
    return float(min(distance.max() - 0.5, max(mask.shape) / 2))


def _is_single_number(labels: npt.NDArray[np.int32]) -> bool:
    numbers = np.unique(labels[labels > 0])
    if numbers.size != 1:
        return False
    count, _ = cv2.connectedComponents((labels > 0).astype(np.uint8), connectivity=8)
    return bool(count > 2)
