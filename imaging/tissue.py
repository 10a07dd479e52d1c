"""Ω: the frame minus glass.

Real brain background has an optical density of 0.03 only, and the usual tissue masks by Otsu's
threshold would throw most of it away; so glass is what has to be proven, not tissue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from imaging.glass import BRIGHTFIELD, find_glass, fluorescence_rule
from imaging.open import SectionImage
from imaging.stains import RGB, estimate_background, optical_density
from imaging.tissue_mask import read_tissue_mask

TissueSource = Literal["glass", "field", "frame", "mask"]

# At 2 µm a capillary is still two pixels wide and camera noise is averaged away.
OVERVIEW_MPP_UM = 2.0
_OVERVIEW_PX = 4_000_000


@dataclass(frozen=True)
class Tissue:
    """Where tissue lies on an image.

    Attributes
    ----------
    width_px, height_px : int
        Size of the image in its own pixels.
    image_mpp_um : float
        Pixel size of the image.
    source : str
        "glass": the frame minus the glass found; "field": none was found, so the whole frame;
        "frame": the whole frame, as asked; "mask": a given mask.
    mask : ndarray of bool, shape (H, W), optional
        Tissue on the overview, or on the image's own grid for a given mask; None for the whole
        frame.
    mask_mpp_um : float
        Pixel size of `mask`; its borders are exact to about one of its pixels.
    background_rgb : tuple of float, optional
        Median colour of the glass on the scale 0–255, in brightfield where glass was found.
    """

    width_px: int
    height_px: int
    image_mpp_um: float
    source: TissueSource
    mask: NDArray[np.bool_] | None = None
    mask_mpp_um: float = OVERVIEW_MPP_UM
    background_rgb: RGB | None = None

    @property
    def fraction(self) -> float:
        """Return the share of the frame that is tissue, 0 to 1."""
        return 1.0 if self.mask is None else float(self.mask.mean())

    @property
    def is_empty(self) -> bool:
        """Return whether nothing of the frame is tissue."""
        return self.mask is not None and not self.mask.any()

    def read(
        self, x: int, y: int, width: int, height: int, mpp_um: float | None = None
    ) -> NDArray[np.bool_]:
        """Return where a region of the grid at `mpp_um` is tissue.

        Each pixel takes the value of the mask's pixel that its centre lies in, so cutting a grid
        into regions changes nothing.

        Parameters
        ----------
        x, y, width, height : int
            Region on the grid at `mpp_um`, as for `SectionImage.read_region`.
        mpp_um : float, optional
            Pixel size of the grid; the image's own if absent.

        Returns
        -------
        ndarray of bool, shape (height, width)
        """
        if self.mask is None:
            return np.ones((height, width), dtype=bool)
        grid_um = self.image_mpp_um if mpp_um is None else mpp_um
        if abs(grid_um / self.image_mpp_um - 1.0) <= 1e-3:
            grid_um = self.image_mpp_um
        step = grid_um / self.mask_mpp_um
        rows = _nearest(y, height, step, self.mask.shape[0])
        columns = _nearest(x, width, step, self.mask.shape[1])
        return self.mask[rows[:, None], columns[None, :]]


def find_tissue(image: SectionImage, mode: str | Path = "auto") -> Tissue:
    """Find where an image shows tissue.

    Parameters
    ----------
    image : SectionImage
        The section.
    mode : str or Path
        "auto" takes the glass from the frame, "frame" takes the whole frame, and a path names a
        mask of the image's own size: 0 outside of the tissue and one other value inside.

    Returns
    -------
    Tissue
        Found on an overview of 2 µm per pixel, coarser where the section has more than four
        million pixels of that size: memory does not grow with the section.

    Raises
    ------
    TissueMaskError
        When a given mask cannot be read, is not binary or is of another size than the image.
    """
    frame = (image.width_px, image.height_px, image.mpp_um)
    if mode == "frame":
        return Tissue(*frame, source="frame")
    if mode != "auto":
        mask = read_tissue_mask(Path(mode), (image.width_px, image.height_px))
        return Tissue(*frame, source="mask", mask=mask, mask_mpp_um=image.mpp_um)
    overview_um = overview_mpp(image)
    overview = image.read_region(0, 0, *image.size_at(overview_um), overview_um)
    overview_um = image.mpp_um * image.scale_at(overview_um)
    background: RGB | None = None
    if image.modality == "brightfield":
        rgb = overview.astype(np.float32) * np.float32(255.0 / image.full_scale)
        glass, fill = _brightfield_glass(rgb, overview_um)
        if glass.any():
            lit = glass & ~fill
            background, _ = estimate_background(rgb, lit if lit.any() else glass)
    else:
        glass = _fluorescence_glass(overview, overview_um, image.full_scale)
    if not glass.any():
        return Tissue(*frame, source="field")
    return Tissue(
        *frame,
        source="glass",
        mask=~glass,
        mask_mpp_um=overview_um,
        background_rgb=background,
    )


def overview_mpp(image: SectionImage) -> float:
    """Return the µm per pixel at which a section is looked at as a whole."""
    area_um2 = image.width_px * image.height_px * image.mpp_um**2
    return max(image.mpp_um, OVERVIEW_MPP_UM, math.sqrt(area_um2 / _OVERVIEW_PX))


def _brightfield_glass(
    rgb: NDArray[np.float32], mpp_um: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the glass of a brightfield overview on the scale 0–255, and its unscanned part."""
    od = optical_density(rgb)
    return find_glass([od[..., channel] for channel in range(3)], BRIGHTFIELD, mpp_um)


def _fluorescence_glass(
    overview: NDArray[Any], mpp_um: float, full_scale: int
) -> NDArray[np.bool_]:
    """Return the glass of a fluorescence overview: dark in every channel."""
    planes = [overview[..., channel] for channel in range(overview.shape[2])]
    glass, _ = find_glass(planes, fluorescence_rule(1.0), mpp_um)
    # A frame that is flat throughout shows nothing if it is black, or saturated everywhere; an
    # even glow is tissue.
    if glass.all() and int(overview.max()) > 2 and int(overview.min()) < full_scale:
        return np.zeros_like(glass)
    return glass


def _nearest(start: int, count: int, step: float, size: int) -> NDArray[np.intp]:
    """Return which pixels of the mask the centres of a grid's pixels lie in, along one axis."""
    centres = (np.arange(start, start + count) + 0.5) * step
    return np.minimum(centres.astype(np.intp), size - 1)
