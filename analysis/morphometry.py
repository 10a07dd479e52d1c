"""Measurements of a vessel mask that somebody else made, on its own grid."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.areas import Areas, plan_of
from analysis.assembly import (
    MeasuredArea,
    comparisons,
    file_sha256,
    new_id,
    now,
    parity,
    region_of,
    warnings_of,
)
from analysis.clock import Progress, StageClock, silent
from analysis.errors import MaskError
from analysis.folding import tally_areas, vessel_settings
from analysis.masks import MaskLike, TissueMask, window_of
from analysis.record import ImageInfo, Record, Region
from analysis.settings import MeasureSettings
from analysis.uncertainty import entry
from analysis.version import software
from analysis.vessels import finish
from imaging.errors import (
    ChannelsError,
    ImageTooLargeError,
    UnreadableImageError,
    UnsupportedFormatError,
)
from imaging.mask_source import is_fill
from imaging.open import SectionImage, open_image
from imaging.tiles import grid
from imaging.tissue import find_tissue

_BLOCK_PX = 2048
_ONE_CHANNEL = "save the mask as one channel, 0 outside vessels and one other value inside"


@dataclass(frozen=True)
class ImageMask:
    """A mask file as bool (H, W), read window by window; anything but 0 is vessel."""

    image: SectionImage

    @property
    def shape(self) -> tuple[int, int]:
        """Return (H, W)."""
        return self.image.height_px, self.image.width_px

    def __getitem__(self, key: tuple[slice, slice]) -> npt.NDArray[np.bool_]:
        window = window_of(key, self.shape)
        if window is None:
            return np.zeros((0, 0), np.bool_)
        pixels = self.image.read_region(window.x, window.y, window.width, window.height)
        return np.asarray(pixels[..., 0] > 0)


def measure_mask(
    source: Path,
    mpp_um: float | None = None,
    *,
    tissue: Path | None = None,
    settings: MeasureSettings | None = None,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> Record:
    """Measure a binary vessel mask as it is: nothing is filled, nothing removed.

    Parameters
    ----------
    source
        One-channel PNG or TIFF of 0 and one other value; a TIFF may hold numbers of any type.
    mpp_um
        Side of a pixel in µm; needed if the file does not state it.
    tissue
        Mask of Ω, of the same size; the whole frame if None.
    settings
        Vessel conventions; the defaults if None.
    progress
        Called with (stage, done, total).
    executor
        Where blocks are measured; here if None.

    Returns
    -------
    Record
        Its ``model`` is None.

    Raises
    ------
    MaskError
        If the file cannot be read or is no binary mask of one channel.
    imaging.errors.ImagingError
        If its pixel size is not known, or the tissue mask cannot be read or has another size.
    """
    settings = settings or MeasureSettings(tissue="frame")
    clock = StageClock()
    with clock.stage("open"):
        image = _open(source, mpp_um)
    with image:
        mask = ImageMask(image)
        with clock.stage("open"):
            check_binary(image)
            given = None if tissue is None else find_tissue(image, tissue)
            omega = None if given is None else TissueMask(given, *mask.shape, image.mpp_um)
        areas = Areas.of(image, omega, plan_of(image, settings))
        with clock.stage("vessels"):
            measured = _measured(mask, areas, settings, image.mpp_um, progress, executor)
        regions = tuple(_region(area) for area in measured)
        return Record(
            analysis_id=new_id(),
            created_at=now(),
            software=software(),
            image=_info(image, settings),
            model=None,
            settings=_settings(settings, image, tissue),
            regions=regions,
            comparisons=comparisons(measured, regions, areas.pairs),
            uncertainty=tuple(entry(a.name, i, None, None) for a in measured for i in a.intervals),
            parity=parity(measured) if settings.parity else None,
            timings_s=clock.with_total(),
            warnings=warnings_of(measured, given),
        )


def _open(source: Path, mpp_um: float | None) -> SectionImage:
    try:
        return open_image(source, mpp_um, modality="fluorescence", mask=True)
    except (UnsupportedFormatError, ImageTooLargeError, UnreadableImageError) as error:
        raise MaskError(str(error), "mask") from error
    except ChannelsError as error:
        raise MaskError(f"{source.name} has several channels; {_ONE_CHANNEL}", "mask") from error


def check_binary(image: SectionImage) -> None:
    """Refuse an image that is no mask: several channels, or other values than 0 and one more."""
    if image.channel_count != 1:
        raise MaskError(f"{image.name} has {image.channel_count} channels; {_ONE_CHANNEL}", "mask")
    if image.white_is_zero:
        raise MaskError(
            f"{image.name} stores white as 0, as ImageJ's inverting lookup table does: whether "
            "black or white is vessel cannot be told. Invert the lookup table and save it anew, "
            "0 outside vessels and 255 inside",
            "mask",
        )
    seen: set[int] = set()
    for tile in grid(image.width_px, image.height_px, _BLOCK_PX, 0):
        core = tile.core
        try:
            pixels = image.read_region(core.x, core.y, core.width, core.height)
        except UnreadableImageError as error:
            raise MaskError(str(error), "mask") from error
        seen |= set(np.unique(pixels).tolist())
        if len(seen - {0}) > 1:
            shown = ", ".join(map(str, sorted(seen)[:5]))
            raise MaskError(
                f"{image.name} is no binary mask: it holds the values {shown}"
                f"{' …' if len(seen) > 5 else ''}; save it with 0 outside vessels and 255 inside",
                "mask",
            )
    if 0 not in seen:
        value, white = image.mask_numbers or (seen.pop(), image.full_scale)
        if not is_fill(value, white):
            raise MaskError(
                f"{image.name} is no binary mask: all of it is {value:g}; save it with 0 outside "
                "vessels and 255 inside",
                "mask",
            )


def _measured(
    mask: MaskLike,
    areas: Areas,
    settings: MeasureSettings,
    mpp_um: float,
    progress: Progress | None,
    executor: Executor | None,
) -> list[MeasuredArea]:
    tally = tally_areas(mask, areas, settings, mpp_um, progress or silent, executor)
    shape = mask.shape[0], mask.shape[1]
    outcomes = finish(tally, vessel_settings(settings, mpp_um), shape)
    return [MeasuredArea(*pair) for pair in zip(areas.names, outcomes, strict=True)]


def _region(area: MeasuredArea) -> Region:
    region = region_of(area)
    no_cells = dict.fromkeys(("cells", "association"), "a vessel mask shows no cells")
    return dataclasses.replace(region, reasons=dict(region.reasons) | no_cells)


def _info(image: SectionImage, settings: MeasureSettings) -> ImageInfo:
    return ImageInfo(
        name=image.name,
        sha256=file_sha256(image.path),
        width_px=image.width_px,
        height_px=image.height_px,
        mpp_um=image.mpp_um,
        mpp_source=image.mpp_source,
        modality="mask",
        markers=("CD31",),
        channels={},
        section_thickness_um=settings.section_thickness_um,
    )


def _settings(
    settings: MeasureSettings, image: SectionImage, tissue: Path | None
) -> dict[str, Any]:
    return {
        "min_profile_area_um2": settings.min_profile_area_um2,
        "gap_um": settings.gap_um,
        "max_vessel_radius_um": settings.max_vessel_radius_um,
        "regions": settings.regions,
        "band_um": settings.band_um,
        "parity": settings.parity,
        "tissue": "frame" if tissue is None else str(tissue),
        "tissue_sha256": None if tissue is None else file_sha256(tissue),
        "mpp_um": image.mpp_um if image.mpp_source == "request" else None,
    }
