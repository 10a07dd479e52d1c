"""Masks of the image's own size as files, written strip by strip.

Letters: H, W pixels of the image.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import tifffile

from analysis.masks import MaskLike
from analysis.pipeline import SectionResult
from imaging.open import SectionImage
from model.targets import VEGF_CELL, VESSEL

_STRIP_PX = 256
TILE_PX = 512
TIFF_SUFFIXES = (".tif", ".tiff")
MASK_SUFFIXES = (".png", *TIFF_SUFFIXES)
"""What a mask file may be called: the suffix decides its format."""


@dataclass(frozen=True)
class ImageFrame:
    """Size and pixel size of an image, and how many of its pixels a pixel of the grid spans."""

    width_px: int
    height_px: int
    mpp_um: float
    scale: float

    @classmethod
    def of(cls, image: SectionImage, grid_um: float) -> ImageFrame:
        """Return the frame of `image` as seen from the grid at `grid_um`."""
        return cls(image.width_px, image.height_px, image.mpp_um, image.scale_at(grid_um))

    @property
    def size(self) -> tuple[int, int]:
        """Return (H, W)."""
        return self.height_px, self.width_px


def write_masks(result: SectionResult, image: SectionImage, path: Path) -> list[Path]:
    """Write the masks of `result`, 0 or 255, one channel, in the image's own size.

    The first mask goes to `path`: vessels, or cells where only VEGF was measured. Where both
    were, cells go beside it as ``<stem>_vegf_cell<suffix>``. A suffix .tif or .tiff writes a
    tiled, compressed OME-TIFF with its pixel size, anything else a PNG.

    Returns
    -------
    list of Path
        The files written.
    """
    paths = [path]
    targets = [name for name in (VESSEL, VEGF_CELL) if name in result.store.targets]
    if len(targets) > 1:
        paths.append(cell_mask_path(path))
    for target, out in zip(targets, paths, strict=True):
        write_mask(result.mask(target), ImageFrame.of(image, result.mpp_um), out)
    return paths


def cell_mask_path(path: Path) -> Path:
    """Return where the cell mask goes if the vessel mask goes to `path`."""
    name, dot, suffixes = path.name.partition(".")
    return path.with_name(f"{name}_{VEGF_CELL}{dot}{suffixes}")


def write_mask(mask: MaskLike, frame: ImageFrame, path: Path) -> None:
    """Write one mask, nearest neighbour, in the size of the image."""
    partial = path.with_name(path.name + ".partial")
    if path.suffix.lower() in TIFF_SUFFIXES:
        _write_tiff(mask, frame, partial)
    else:
        with partial.open("wb") as stream:
            write_grey_png(stream, frame.size, strips(mask, frame, _STRIP_PX))
    partial.replace(path)


def strips(mask: MaskLike, frame: ImageFrame, strip_px: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield a mask in the image's own size, 0 or 255, as strips (strip_px, W) from the top.

    Each pixel of the image takes the value of the grid's pixel that its centre lies in.
    """
    columns = nearest(frame.width_px, frame.scale, mask.shape[1])
    rows = nearest(frame.height_px, frame.scale, mask.shape[0])
    for top in range(0, frame.height_px, strip_px):
        wanted = rows[top : top + strip_px]
        seen = mask[int(wanted[0]) : int(wanted[-1]) + 1, 0 : mask.shape[1]]
        yield np.where(seen[wanted - wanted[0]][:, columns], 255, 0).astype(np.uint8)


def nearest(length: int, scale: float, grid_length: int) -> npt.NDArray[np.int64]:
    """Return the pixel of a grid line that the centre of each of `length` pixels lies in.

    `scale` is how many of the image's pixels one pixel of the grid spans.
    """
    places = np.floor((np.arange(length) + 0.5) / scale).astype(np.int64)
    return np.asarray(np.minimum(places, grid_length - 1), np.int64)


def write_grey_png(
    stream: BinaryIO, size: tuple[int, int], rows: Iterator[npt.NDArray[np.uint8]]
) -> None:
    """Write an 8-bit grey PNG (ISO/IEC 15948) from strips, so that no whole image is held."""
    height, width = size
    stream.write(b"\x89PNG\r\n\x1a\n")
    _chunk(stream, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    packer = zlib.compressobj(6)
    for strip in rows:
        # Every line opens with its filter type: 0, none, packs a mask best.
        lines = np.pad(strip, ((0, 0), (1, 0)))
        packed = packer.compress(lines.tobytes())
        if packed:
            _chunk(stream, b"IDAT", packed)
    _chunk(stream, b"IDAT", packer.flush())
    _chunk(stream, b"IEND", b"")


def _chunk(stream: BinaryIO, kind: bytes, content: bytes) -> None:
    stream.write(struct.pack(">I", len(content)) + kind + content)
    stream.write(struct.pack(">I", zlib.crc32(kind + content)))


def _write_tiff(mask: MaskLike, frame: ImageFrame, path: Path) -> None:
    write_ome_tiff(path, frame, np.dtype(np.uint8), [strips(mask, frame, TILE_PX)])


def write_ome_tiff(
    path: Path,
    frame: ImageFrame,
    dtype: np.dtype[Any],
    planes: Sequence[Iterator[npt.NDArray[Any]]],
    channels: Sequence[str] = (),
) -> None:
    """Write a tiled, compressed OME-TIFF with its pixel size, strip by strip.

    Each of `planes` yields strips (`TILE_PX`, W) from the top. With names of `channels`, one for
    each plane, the picture is (C, H, W); without, it has one plane and is (H, W).
    """
    metadata: dict[str, Any] = {"axes": "CYX" if channels else "YX"}
    for axis in "XY":
        metadata[f"PhysicalSize{axis}"] = frame.mpp_um
        metadata[f"PhysicalSize{axis}Unit"] = "µm"
    if channels:
        metadata["Channel"] = {"Name": list(channels)}
    size_bytes = len(planes) * frame.height_px * frame.width_px * dtype.itemsize
    with tifffile.TiffWriter(path, ome=True, bigtiff=size_bytes > 2**31) as writer:
        writer.write(
            (tile for plane in planes for strip in plane for tile in _tiles(strip)),
            shape=(len(planes), *frame.size) if channels else frame.size,
            dtype=dtype,
            tile=(TILE_PX, TILE_PX),
            compression="zlib",
            photometric="minisblack",
            metadata=metadata,
        )


def _tiles(strip: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    for left in range(0, strip.shape[1], TILE_PX):
        yield np.ascontiguousarray(strip[:, left : left + TILE_PX])
