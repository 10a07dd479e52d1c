"""One lazy interface to every image: size, µm per pixel, modality, channels, regions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from imaging.calibration import resolve_pixel_size
from imaging.channels import (
    channels_with_signal,
    inspect,
    parse_channels,
    resolve_channels,
    resolve_modality,
)
from imaging.errors import ChannelsError, ImageTooLargeError
from imaging.formats import open_source
from imaging.names import readable
from imaging.resample import resample
from imaging.sources import WHOLE_DECODE_LIMIT_PX, PixelSource, SourceInfo, full_scale_of

__all__ = ["DEFAULT_LIMIT_PX", "SectionImage", "open_image", "parse_channels"]

# A rat brain section of 15 × 10 mm at 0.25 µm has 2.4 · 10⁹ pixels.
DEFAULT_LIMIT_PX = 4_000_000_000

# Grids whose pixel sizes differ by less coincide: nothing is resampled.
_SAME_GRID = 1e-3
# Pixels decoded at once while resampling, about 64 MiB of RGB.
_WORKING_PX = 2**24
_INSPECTED_PX = 2**21
_INSPECTED_WINDOW_PX = 256


class SectionImage:
    """An open image of one section; use it as a context manager.

    Attributes
    ----------
    name : str
        The file's name; what of it is no UTF-8 is replaced.
    path : Path
        The file.
    width_px, height_px : int
        Size in the file's own pixels, as stored (an EXIF orientation is not applied).
    mpp_um : float
        Side of a pixel in µm.
    mpp_source : str
        "file" or "request".
    modality : str
        "brightfield" or "fluorescence".
    channel_count : int
        Channels that `read_region` returns: 3 for brightfield; an RGB image whose channels are
        equal is one grey channel of fluorescence.
    channel_names : tuple of str
        Names of the channels according to the file.
    channels : Mapping
        Marker or "nuclei" to channel index, as the request said; empty if it said nothing.
    full_scale : int
        Greatest grey value, 255 or 65535.
    white_is_zero : bool
        Whether the file stores dark as high values; pixels are read as what they look like.
    """

    def __init__(
        self,
        path: Path,
        source: PixelSource,
        mpp_um: float | None,
        modality: str,
        channels: Mapping[str, int] | None,
    ) -> None:
        info = source.info
        self._source = source
        self.path = path
        self.name = readable(path.name)
        self.width_px, self.height_px = info.levels[0]
        self.mpp_um, self.mpp_source = resolve_pixel_size(info.calibration, mpp_um)
        self.full_scale = full_scale_of(info.dtype)
        self.white_is_zero = info.white_is_zero
        tiles = self._look(info)
        seen = inspect(tiles, info)
        self.modality: Literal["brightfield", "fluorescence"] = resolve_modality(
            modality, info, seen, self.name
        )
        self._one_of_three = info.colour and seen.grey and self.modality == "fluorescence"
        names = ("grey",) if self._one_of_three else info.channel_names
        several = self.modality == "fluorescence" and len(names) > 1
        mapping, self._signal_channel = resolve_channels(
            channels,
            self.modality,
            names,
            channels_with_signal(tiles) if several else (),
            dark_colours=several and info.colour and modality == "auto",
        )
        self.channels: Mapping[str, int] = MappingProxyType(mapping)
        self.channel_names = names
        self.channel_count = len(names)

    def __enter__(self) -> SectionImage:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    @property
    def mask_numbers(self) -> tuple[float | int, int] | None:
        """Return the positive value that a mask holds, as far as it was read, and its type's white.

        None where the file is of bytes or 16-bit numbers, which are read as they are.
        """
        numbers: tuple[float | int, int] | None = getattr(self._source, "numbers", None)
        return numbers

    def channel_of(self, marker: str) -> int:
        """Return the fluorescence channel that shows a marker.

        Raises
        ------
        ChannelsError
            When channels were given and the marker is not among them.
        """
        if not self.channels:
            return self._signal_channel
        if marker not in self.channels:
            given = ", ".join(f"{name}={index}" for name, index in self.channels.items())
            raise ChannelsError(
                f"Channels ({given}) do not say where {marker} is: add {marker}=index."
            )
        return self.channels[marker]

    def scale_at(self, mpp_um: float | None = None) -> float:
        """Return how many of the image's own pixels one pixel of the grid at `mpp_um` spans."""
        if mpp_um is None:
            return 1.0
        if not math.isfinite(mpp_um) or mpp_um <= 0:
            raise ValueError(f"mpp_um must be a number above 0, got {mpp_um}")
        scale = mpp_um / self.mpp_um
        return 1.0 if abs(scale - 1.0) <= _SAME_GRID else scale

    def size_at(self, mpp_um: float | None = None) -> tuple[int, int]:
        """Return (width, height) of the grid at a pixel size, at least 1 × 1.

        Those pixels belong to the grid whose centres lie inside the image.
        """
        scale = self.scale_at(mpp_um)
        width, height = (
            max(1, math.ceil(length / scale - 0.5 - 1e-9))
            for length in (self.width_px, self.height_px)
        )
        return width, height

    def read_region(
        self, x: int, y: int, width: int, height: int, mpp_um: float | None = None
    ) -> NDArray[Any]:
        """Return the pixels of a region.

        Pixel centres stay where they are on the section: pixel i of the grid at `mpp_um` has its
        centre at (i + 0.5)·s of the image's own pixels from the left, s being `scale_at(mpp_um)`.
        How a grid is cut into regions changes no pixel by more than one grey level.

        Parameters
        ----------
        x, y, width, height : int
            Region on the grid at `mpp_um`.
        mpp_um : float, optional
            Pixel size of the grid; the image's own if absent.

        Returns
        -------
        ndarray, shape (height, width, channel_count)
            uint8 or uint16, as the file stores it. A transparent part of a brightfield image is
            white; in fluorescence opacity is ignored.

        Raises
        ------
        ValueError
            When the region is empty or reaches outside the grid.
        UnreadableImageError
            When the file is damaged there.
        """
        grid_width, grid_height = self.size_at(mpp_um)
        if min(width, height) < 1 or not (
            0 <= x <= grid_width - width and 0 <= y <= grid_height - height
        ):
            raise ValueError(
                f"region {width} × {height} px at ({x}, {y}) lies outside the grid of "
                f"{grid_width} × {grid_height} px"
            )
        scale = self.scale_at(mpp_um)
        if scale == 1.0:
            return self._read_level(0, x, y, width, height)
        level = self._level_for(scale)
        level_width, level_height = self._source.info.levels[level]
        steps = (scale * level_width / self.width_px, scale * level_height / self.height_px)
        rows = max(1, int(_WORKING_PX / (steps[0] * steps[1] * width)))
        parts = [
            resample(
                lambda *box: self._read_level(level, *box),
                (level_width, level_height),
                steps,
                (x, top, width, min(rows, y + height - top)),
            )
            for top in range(y, y + height, rows)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _level_for(self, scale: float) -> int:
        """Return the smallest level that is still at least as fine as the grid."""
        best = 0
        for level, (width, height) in enumerate(self._source.info.levels):
            shrink = max(self.width_px / width, self.height_px / height)
            if shrink <= scale * (1 + _SAME_GRID):
                best = level
        return best

    def _read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[Any]:
        """Return (height, width, channel_count) pixels of a level, opacity applied."""
        pixels = self._source.read(level, x, y, width, height)
        if self._source.info.alpha is not None:
            pixels = self._composite(pixels)
        return pixels[..., :1] if self._one_of_three else pixels

    def _composite(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return pixels without their alpha: over white in brightfield, else as they are."""
        colour, alpha = pixels[..., :-1], pixels[..., -1:]
        kind = self._source.info.alpha
        if self.modality == "fluorescence" or kind == "ignored":
            return colour
        if int(alpha.min()) == self.full_scale:
            return colour
        opacity = alpha.astype(np.float32) / self.full_scale
        own = colour if kind == "premultiplied" else colour * opacity
        white = (1.0 - opacity) * np.float32(self.full_scale)
        mixed = np.clip(np.rint(own + white), 0, self.full_scale)
        return np.asarray(mixed.astype(pixels.dtype))

    def _look(self, info: SourceInfo) -> list[NDArray[Any]]:
        """Return the whole of a small image, or evenly spread windows of a large one."""
        boxes = _inspection_boxes(self.width_px, self.height_px)
        tiles = [self._source.read(0, *box) for box in boxes]
        if info.alpha in ("straight", "premultiplied"):
            tiles = [_unseen_as_white(tile, self.full_scale) for tile in tiles]
        return [tile[..., : len(info.channel_names)] for tile in tiles]


def open_image(
    source: str | Path,
    mpp_um: float | None = None,
    *,
    modality: Literal["auto", "brightfield", "fluorescence"] = "auto",
    channels: Mapping[str, int] | None = None,
    limit_px: int = DEFAULT_LIMIT_PX,
    mask: bool = False,
) -> SectionImage:
    """Open the image of a section.

    PNG, JPEG, TIFF, OME-TIFF, ImageJ TIFF (8 or 16 bit), SVS and other slides that are TIFF, and
    DICOM whole-slide images, told apart by their first bytes.

    Parameters
    ----------
    source : str or Path
        The file.
    mpp_um : float, optional
        Side of a pixel in µm; needed if the file does not state it.
    modality : str
        "auto" decides by the pixels: bright RGB is brightfield, everything else fluorescence.
    channels : Mapping, optional
        Which channel, from 0, shows CD31, VEGF or nuclei; needed in fluorescence if several
        channels hold signal.
    limit_px : int
        Most pixels that the image may have by its header. PNG and JPEG, which must be decoded
        whole, may have 2²⁹ at most in any case.
    mask : bool
        Whether the file is a mask, which as a TIFF may hold numbers of any type: they are read as
        0 and 255.

    Raises
    ------
    ImagingError
        One of its kinds, see `imaging.errors`; the file is closed then.
    """
    path = Path(source)
    pixels = open_source(path, mask=mask)
    try:
        _check_size(path.name, pixels, limit_px)
        return SectionImage(path, pixels, mpp_um, modality, channels)
    except BaseException:
        pixels.close()
        raise


def _check_size(name: str, source: PixelSource, limit_px: int) -> None:
    """Refuse an image whose header claims more pixels than allowed."""
    width, height = source.info.levels[0]
    whole = getattr(source, "decodes_whole", False)
    limit = min(limit_px, WHOLE_DECODE_LIMIT_PX) if whole else limit_px
    if width * height > limit:
        mend = (
            "save it as a tiled TIFF, which is read piece by piece"
            if whole and limit < limit_px
            else "crop it"
        )
        raise ImageTooLargeError(
            f"{name} has {width} × {height} = {width * height:,} pixels and at most {limit:,} are "
            f"allowed: {mend}.",
            limit_px=limit,
            value_px=width * height,
        )


def _inspection_boxes(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Return boxes (x, y, width, height): the whole, or 16 windows spread evenly."""
    if width * height <= _INSPECTED_PX:
        return [(0, 0, width, height)]
    box_width, box_height = (min(size, _INSPECTED_WINDOW_PX) for size in (width, height))
    xs = np.linspace(0, width - box_width, 4).astype(int)
    ys = np.linspace(0, height - box_height, 4).astype(int)
    return [(int(x), int(y), box_width, box_height) for y in ys for x in xs]


def _unseen_as_white(tile: NDArray[Any], full_scale: int) -> NDArray[Any]:
    """Return pixels in which what is transparent is white."""
    seen = tile.copy()
    seen[..., :-1][tile[..., -1] == 0] = full_scale
    return seen
