"""Is there more stain inside of the outlines than beside them? Else they may be another image's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy.stats import rankdata

from datasets.annotations import TargetAnnotation
from datasets.contact_sheet import annotated_box
from imaging.markers import fit_scaling, marker_channels
from imaging.open import SectionImage
from imaging.polygons import Grid
from imaging.tissue import Tissue, find_tissue
from model.targets import TARGET_OF_MARKER

_MPP_UM = 1.0
_MAX_PX = 1024
_LEAST_PX = 200
# Four of 136 drawn sections, the faintest, have less inside of their outlines, none of 40 VessMAP
# crops (0.88 and more); with the outlines of another section 94 of 100 have less.
_LEAST_CHANCE = 0.6


def stain_doubts(
    image: SectionImage, markers: Sequence[str], outlines: Mapping[str, TargetAnnotation]
) -> Iterator[str]:
    """Yield a sentence for each marker of which outlines hold hardly more than what is beside."""
    outlined = [marker for marker in markers if TARGET_OF_MARKER[marker] in outlines]
    if not outlined:  # nothing to hold against the tissue, which takes a while to find on a slide
        return
    tissue = find_tissue(image)
    for marker in outlined:
        target = TARGET_OF_MARKER[marker]
        chance = stain_chance(image, marker, outlines[target], tissue)
        if chance is not None and chance < _LEAST_CHANCE:
            yield (
                f"inside of the {target} outlines is hardly more {marker} than beside them; are "
                "they of this image, and in its pixels?"
            )


def stain_chance(
    image: SectionImage, marker: str, annotation: TargetAnnotation, tissue: Tissue
) -> float | None:
    """Return the chance that a pixel inside has more of the marker than an annotated one outside.

    0.5 is no difference. Looked at is the middle of what was annotated, 1 mm² at most, at 1 µm per
    pixel or coarser. None where too little lies inside, or outside, to say.
    """
    mpp_um = max(_MPP_UM, image.mpp_um)
    step = image.scale_at(mpp_um)
    left, top, right, bottom = annotated_box(image, {"": annotation})
    (x, width), (y, height) = (
        _middle(start / step, end / step, size)
        for start, end, size in zip(
            (left, top), (right, bottom), image.size_at(mpp_um), strict=True
        )
    )
    found = annotation.read(Grid(x, y, width, height, step))
    inside, outside = found.complete & (found.labels > 0), found.complete & (found.labels == 0)
    if min(np.count_nonzero(inside), np.count_nonzero(outside)) < _LEAST_PX:
        return None
    pixels = image.read_region(x, y, width, height, mpp_um)
    stain = marker_channels(pixels, fit_scaling(image, marker, tissue))[0]
    low, high = stain[outside], stain[inside]
    ranks = rankdata(np.concatenate([low, high]))[low.size :].sum()
    return float((ranks - high.size * (high.size + 1) / 2) / (low.size * high.size))


def _middle(start: float, end: float, size: int) -> tuple[int, int]:
    """Return the first pixel and the length of what is looked at along an axis of `size` pixels."""
    length = min(size, _MAX_PX)
    first = round((start + end - length) / 2)
    return min(max(0, first), size - length), length
