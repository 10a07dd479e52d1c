"""What the tags of a TIFF say: which pages make the image, its channels and its calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from imaging.calibration import imagej_calibration, ome_calibration, tiff_calibration
from imaging.errors import UnreadableImageError
from imaging.sources import (
    WHOLE_DECODE_LIMIT_PX,
    Alpha,
    FileCalibration,
    SourceInfo,
    default_names,
)

_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _SEPARATED, _YCBCR = 0, 1, 2, 3, 5, 6
MAX_CHANNELS = 64
_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA = 1, 2


@dataclass(frozen=True)
class Layout:
    """Where the pixels of a TIFF's image lie.

    Attributes
    ----------
    series : tifffile.TiffPageSeries
        The image.
    pages : tuple of tuple of tifffile.TiffPage
        For each level, the pages whose samples follow one another as channels.
    samples : int
        Channels to keep of a pixel, alpha included.
    palette : ndarray, shape (256, 3), optional
        Colours of a palette image, uint8.
    inverted : bool
        Whether 0 is white.
    info : SourceInfo
        What the reader tells of itself.
    """

    series: Any
    pages: tuple[tuple[Any, ...], ...]
    samples: int
    palette: NDArray[np.uint8] | None
    inverted: bool
    info: SourceInfo


def layout_of(tiff: Any, name: str, *, any_number: bool = False) -> Layout:
    """Return the layout of a TIFF file.

    Parameters
    ----------
    tiff : tifffile.TiffFile
        The open file.
    name : str
        Its name, for messages.
    any_number : bool
        Whether pixels may be floats, signed, or of more than 16 bit.

    Raises
    ------
    UnreadableImageError
        When the image is a stack, has pixels of another kind than 8- or 16-bit intensities, or
        several images of which none is clearly meant.
    """
    series = _series(tiff, name)
    page = series.keyframe
    _check_axes(series, name)
    _check_pixels(page, name, any_number)
    colour, samples, alpha = _samples(page)
    page_count = 1
    for axis, size in zip(series.axes, series.shape, strict=True):
        page_count *= size if axis == "C" else 1
    levels = tuple(_pages(level, page_count, name) for level in series.levels)
    bilevel = page.dtype == np.bool_
    palette = _palette(page) if page.photometric == _PALETTE else None
    channels = 3 if palette is not None else samples * page_count - (alpha is not None)
    colour = (colour and page_count == 1) or palette is not None
    names = _channel_names(tiff, series) if page_count > 1 or samples > 1 else ()
    if len(names) != channels or colour:
        names = default_names(channels, colour)
    return Layout(
        series=series,
        pages=levels,
        samples=samples * page_count,
        palette=palette,
        inverted=is_inverted(page),
        info=SourceInfo(
            levels=tuple((pages[0].imagewidth, pages[0].imagelength) for pages in levels),
            colour=colour,
            channel_names=names,
            dtype=np.dtype(np.uint8 if palette is not None or bilevel else page.dtype),
            alpha=alpha if page_count == 1 else None,
            calibration=calibration_of(tiff),
            white_is_zero=is_inverted(page),
        ),
    )


def calibration_of(tiff: Any) -> FileCalibration | None:
    """Return the pixel size that a TIFF states: OME first, then ImageJ, then per centimetre."""
    page = tiff.pages.first
    x_per_unit, y_per_unit = (_ratio(page, tag) for tag in ("XResolution", "YResolution"))
    if tiff.is_ome and tiff.ome_metadata:
        found = ome_calibration(tiff.ome_metadata)
        if found is not None:
            return found
    if tiff.is_imagej and tiff.imagej_metadata:
        found = imagej_calibration(tiff.imagej_metadata, x_per_unit, y_per_unit)
        if found is not None:
            return found
    unit = page.tags.get("ResolutionUnit")
    return tiff_calibration(None if unit is None else int(unit.value), x_per_unit, y_per_unit)


def _series(tiff: Any, name: str) -> Any:
    """Return the series that is the image: OME's first, else the largest if it comes first."""
    series = [one for one in tiff.series if one.keyframe is not None]
    if not series:
        raise UnreadableImageError(f"{name} holds no image: export it again.")
    first = series[0]
    if not tiff.is_ome and any(_area(one) > _area(first) for one in series[1:]):
        raise UnreadableImageError(
            f"{name} holds {len(series)} images of different size: save the one to measure as a "
            "file of its own."
        )
    return first


def _area(series: Any) -> int:
    """Return the pixels of one plane of a series."""
    return int(series.keyframe.imagewidth) * int(series.keyframe.imagelength)


def _check_axes(series: Any, name: str) -> None:
    """Refuse stacks."""
    for axis, size in zip(series.axes, series.shape, strict=True):
        if axis not in "YXSC" and size > 1:
            what = {"Z": "focal planes", "T": "time points"}.get(axis, "pages")
            raise UnreadableImageError(
                f"{name} is a stack of {size} {what}: save the one to measure, or a maximum "
                "projection, as a file of its own. Channels of one section belong into an "
                "OME-TIFF or an ImageJ composite with a channel axis."
            )


def is_inverted(page: Any) -> bool:
    """Return whether 0 is white.

    tifffile writes arrays of bool as fax machines do, 0 being white; True is 1 all the same.
    """
    of_bools = page.dtype == np.bool_ and str(page.software).startswith("tifffile")
    return page.photometric == _MINISWHITE and not of_bools


def _check_pixels(page: Any, name: str, any_number: bool) -> None:
    """Refuse pixels that are not 8- or 16-bit intensities, or black and white."""
    grey = page.dtype in (np.uint8, np.uint16) and page.bitspersample >= 8
    if any_number and page.dtype is not None and page.photometric == _MINISBLACK:
        grey = grey or (page.dtype.kind in "iuf" and page.bitspersample >= 8)
    if page.dtype is None or not (grey or page.dtype == np.bool_):
        raise UnreadableImageError(
            f"{name} has pixels of type {page.dtype} ({page.bitspersample} bit): save it with 8 or "
            "16 bit per channel, unsigned."
        )
    if page.photometric == _SEPARATED:
        raise UnreadableImageError(
            f"{name} is a CMYK TIFF, made for printing: save the scan as RGB."
        )
    jpeg = page.compression in (6, 7, 33003, 33005, 34712)
    if page.photometric not in (_MINISWHITE, _MINISBLACK, _RGB, _PALETTE) and not (
        page.photometric == _YCBCR and jpeg
    ):
        raise UnreadableImageError(
            f"{name} stores its colours as {getattr(page.photometric, 'name', page.photometric)}: "
            "save it as grey or RGB."
        )
    segment_px = page.tilewidth * page.tilelength if page.is_tiled else page.imagewidth
    if not 0 < segment_px <= WHOLE_DECODE_LIMIT_PX or not 0 < page.samplesperpixel <= MAX_CHANNELS:
        raise UnreadableImageError(
            f"{name} has tiles of {segment_px:,} pixels and {page.samplesperpixel} samples "
            f"a pixel: save it with tiles of 512 × 512 px and at most {MAX_CHANNELS} channels."
        )
    if page.imagedepth != 1:
        raise UnreadableImageError(f"{name} is a volume: save the one plane to measure.")


def _samples(page: Any) -> tuple[bool, int, Alpha | None]:
    """Return whether a page is RGB, its samples to keep, and how its alpha is to be applied."""
    samples = int(page.samplesperpixel)
    colour = page.photometric in (_RGB, _YCBCR) and samples in (3, 4)
    main = 3 if colour else 1
    if samples != main + 1:
        return colour, samples, None
    extra = int(page.extrasamples[-1]) if page.extrasamples else 0
    if extra == _ASSOCIATED_ALPHA:
        return colour, samples, "premultiplied"
    if extra == _UNASSOCIATED_ALPHA:
        return colour, samples, "straight"
    # A fourth sample of RGB that is not declared is opacity in practice; a second grey one is not.
    return (colour, samples, "ignored") if colour else (colour, samples, None)


def _pages(level: Any, count: int, name: str) -> tuple[Any, ...]:
    """Return the pages of one level, one for each separate channel."""
    pages = [page if page is None else page.aspage() for page in level.pages]
    if level.dataoffset is not None and len(pages) == 1:
        return tuple(pages)
    if len(pages) != count or any(page is None for page in pages):
        raise UnreadableImageError(
            f"{name} keeps {count} channels on {sum(page is not None for page in pages)} pages: "
            "some lie in other files. Save all channels as one file."
        )
    return tuple(pages)


def _palette(page: Any) -> NDArray[np.uint8]:
    """Return the colours of a palette image, (levels, 3)."""
    table = np.asarray(page.colormap)
    if table.dtype == np.uint16:
        table = table >> 8
    return np.ascontiguousarray(table.T.astype(np.uint8))


def _channel_names(tiff: Any, series: Any) -> tuple[str, ...]:
    """Return the channel names of an OME or ImageJ file."""
    if tiff.is_ome and tiff.ome_metadata:
        try:
            root = ET.fromstring(tiff.ome_metadata)
        except (ET.ParseError, ValueError):
            return ()
        pixels = next((node for node in root.iter() if node.tag.endswith("}Pixels")), None)
        if pixels is None:
            return ()
        found = [node.get("Name") or "" for node in pixels if node.tag.endswith("}Channel")]
        return tuple(n or f"channel {i}" for i, n in enumerate(found))
    if tiff.is_imagej and tiff.imagej_metadata:
        labels = tiff.imagej_metadata.get("Labels") or ()
        return tuple(str(label) for label in labels) if isinstance(labels, list) else ()
    if tiff.is_qpi:
        return tuple(_qpi_name(page, i) for i, page in enumerate(series.pages))
    return ()


def _qpi_name(page: Any, index: int) -> str:
    """Return the name of one channel of a PerkinElmer file."""
    try:
        name = ET.fromstring(page.aspage().description).findtext("Name")
    except (ET.ParseError, ValueError):
        name = None
    return name or f"channel {index}"


def _ratio(page: Any, tag: str) -> float | None:
    """Return a rational tag as a number."""
    value = page.tags.get(tag)
    if value is None:
        return None
    numerator, denominator = (
        (*value.value, 1)[:2]
        if isinstance(value.value, tuple)
        else (
            value.value,
            1,
        )
    )
    return float(numerator) / float(denominator) if denominator else None
