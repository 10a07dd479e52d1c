"""Where a section is measured: its tissue, and the regions of it."""

from __future__ import annotations

from dataclasses import dataclass

import shapely

from analysis.masks import MaskLike, TissueMask
from analysis.region_masks import OutlineMask, Within
from analysis.regions import TISSUE, RegionPlan, plan_regions
from analysis.settings import MeasureSettings
from imaging.open import SectionImage


def plan_of(image: SectionImage, settings: MeasureSettings) -> RegionPlan | None:
    """Return the regions of one section; None where only the tissue is measured.

    Raises
    ------
    RegionsError
        If the regions do not fit the image.
    """
    if settings.regions is None:
        return None
    size = image.width_px, image.height_px
    return plan_regions(settings.regions, size, image.mpp_um, settings.band_um)


@dataclass(frozen=True)
class Areas:
    """Where is measured: the tissue first, then each region of it.

    Attributes
    ----------
    names
        Of the R regions.
    masks
        Where each lies on the grid, bool (H, W); None where the tissue is the frame and the only
        region, so that nothing has to be read.
    hidden
        What was excluded, and hides what lies there; None where nothing is.
    pairs
        Names of regions and their references.
    """

    names: tuple[str, ...]
    masks: tuple[MaskLike, ...] | None
    hidden: MaskLike | None = None
    pairs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, image: SectionImage, omega: TissueMask | None, plan: RegionPlan | None) -> Areas:
        """Return the areas of one section.

        Parameters
        ----------
        image
            The section, in whose pixels regions are drawn.
        omega
            Its tissue on the measuring grid; None is the whole frame of the image's own grid.
        plan
            Its regions, as `plan_of` returns them.
        """
        shape = (image.height_px, image.width_px) if omega is None else omega.shape
        tissue = None if omega is None or omega.tissue.fraction >= 1.0 else omega
        if plan is None:
            return cls((TISSUE,), None if tissue is None else (tissue,))
        step = 1.0 if omega is None else omega.mpp_um / image.mpp_um
        outlines = {name: OutlineMask(s, *shape, step) for name, s in plan.shapes.items()}
        hidden = None if plan.exclusions is None else OutlineMask(plan.exclusions, *shape, step)
        frame = OutlineMask(shapely.box(0, 0, shape[1] * step, shape[0] * step), *shape, step)
        masks = [Within(tissue or frame, but=hidden)]
        masks += [Within(outline, tissue, hidden) for outline in outlines.values()]
        return cls((TISSUE, *outlines), tuple(masks), hidden, plan.pairs)
