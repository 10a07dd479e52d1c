"""Whether tissue enough is left to be measured, and what took the rest away."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import shapely

from analysis.checks import Check, compared, percent
from analysis.region_masks import OutlineMask
from imaging.open import SectionImage
from imaging.quality import PixelQuality
from imaging.tissue import Tissue, overview_mpp

TISSUE_LIMIT = 0.05

Cause = Literal["image", "mask", "exclusions"]


def remaining(image: SectionImage, tissue: Tissue, excluded: shapely.Geometry | None) -> Tissue:
    """Return the tissue that exclusions leave, as exact as a pixel of its mask.

    Parameters
    ----------
    image
        The section.
    tissue
        Its tissue before anything is excluded.
    excluded
        Outlines in image pixels, or None.
    """
    if excluded is None:
        return tissue
    grid_um = tissue.mask_mpp_um
    held = tissue.mask
    if held is None:
        wanted_um = overview_mpp(image)
        grid_um = image.mpp_um * image.scale_at(wanted_um)
        width, height = image.size_at(wanted_um)
        held = np.ones((height, width), np.bool_)
    height, width = held.shape
    hidden = OutlineMask(excluded, height, width, grid_um / image.mpp_um)
    return dataclasses.replace(tissue, mask=held & ~hidden[0:height, 0:width], mask_mpp_um=grid_um)


def cause_of(tissue: Tissue, left: Tissue) -> Cause:
    """Return what is at fault where little is `left` of the tissue; else the image itself is."""
    if left.fraction >= TISSUE_LIMIT:
        return "image"
    if tissue.fraction >= TISSUE_LIMIT:
        return "exclusions"
    return "mask" if tissue.source == "mask" else "image"


def tissue_check(pixels: PixelQuality, cause: Cause) -> Check:
    """Judge how much of the frame is tissue; the advice names what is at fault."""
    value = pixels.tissue_fraction
    little = f"only {percent(value)} of the frame"
    limit = f"less than {percent(TISSUE_LIMIT)}"
    left = f"{little}, {limit}" if value else "nothing of the frame"
    advice = {
        "image": "Tissue: "
        + (f"{little} shows tissue, {limit}" if value else "nothing stands out from an empty frame")
        + ": image a field that lies on the section, or expose for longer.",
        "mask": f"Tissue: the tissue mask leaves {left}: draw it with 0 outside of the tissue and "
        "255 inside.",
        "exclusions": f"Tissue: the exclusions leave {left}: draw the outlines named exclude about "
        "less of it.",
    }
    return compared(
        "tissue_fraction",
        value,
        [TISSUE_LIMIT, 1.0],
        advice[cause],
        None,
        reject=float("-inf"),
    )
