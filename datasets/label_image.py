"""Label images as people save them: PNG or TIFF, 8 or 16 bit, one grey channel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from datasets.errors import AnnotationError
from imaging.tiff_layout import is_inverted

# By first bytes, since many a TIFF is called .png: classic and BigTIFF, either byte order.
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_LABEL_IMAGE_LIMIT_PX = 2**30
_LEAST_GREYS = 3  # one or two more numbers may have been meant
_LEAST_SHARE = 0.02  # of what is not black, where there is a white
_LEAST_SOLID = 1 / 3  # of an object 3 px wide, it is 4/9
_BAND_PX = 1024  # rows looked at together: memory does not grow with the image


def read_label_image(path: Path, size_px: tuple[int, int]) -> npt.NDArray[Any]:
    """Read a label image (H, W) of whole numbers for an image of `size_px`, width and height.

    Raises
    ------
    AnnotationError
        If it is of another size, which is seen before its pixels are decoded, is no single grey
        channel, or cannot be read.
    """
    try:
        with path.open("rb") as stream:
            tiff = stream.read(4) in _TIFF_STARTS
        size, inverted = _tiff_header(path) if tiff else (_png_size(path), False)
    except Image.DecompressionBombError as error:
        raise AnnotationError(f"{path.name} is too large for PNG; save it as TIFF") from error
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        raise AnnotationError(
            f"{path.name} is no readable label image; save it as PNG or TIFF, 8 or 16 bit"
        ) from error
    if inverted:
        raise AnnotationError(
            f"{path.name} stores white as 0, so whether black or white is background cannot be "
            "told; invert its lookup table and save it anew"
        )
    if size != size_px:
        given, wanted = (f"{width} × {height} px" for width, height in (size, size_px))
        raise AnnotationError(
            f"{path.name} is {given} but its image is {wanted}; "
            "export the labels at full resolution"
        )
    if size[0] * size[1] > _LABEL_IMAGE_LIMIT_PX:
        raise AnnotationError(
            f"{path.name} has {size[0] * size[1]} px; outline so large an image as GeoJSON"
        )
    try:
        pixels = tifffile.imread(path) if tiff else _read_png(path)
    except (OSError, ValueError, SyntaxError, tifffile.TiffFileError) as error:
        raise AnnotationError(f"{path.name} is damaged; save it again") from error
    return _one_channel(pixels, path.name)


def _png_size(path: Path) -> tuple[int, int]:
    with Image.open(path, formats=("PNG",)) as image:
        return image.size


def _read_png(path: Path) -> npt.NDArray[Any]:
    with Image.open(path, formats=("PNG",)) as image:
        return np.asarray(image)


def _tiff_header(path: Path) -> tuple[tuple[int, int], bool]:
    """Return width and height, and whether white is stored as 0."""
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        return (page.imagewidth, page.imagelength), is_inverted(page)


def _one_channel(pixels: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    pixels = np.squeeze(pixels)
    if pixels.ndim == 3 and pixels.shape[-1] in (3, 4):
        colour = pixels[..., :3]
        if not (colour == colour[..., :1]).all():
            raise AnnotationError(
                f"{name} is a colour picture; save labels as one grey channel, 0 for background"
            )
        pixels = colour[..., 0]
    if pixels.ndim != 2:
        raise AnnotationError(f"{name} has several pages or channels; save one grey channel")
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype.kind not in "ui" or (pixels.dtype.kind == "i" and pixels.min() < 0):
        raise AnnotationError(f"{name} holds {pixels.dtype} values; save whole numbers from 0")
    _refuse_greys(pixels, name)
    return pixels


def _refuse_greys(pixels: npt.NDArray[Any], name: str) -> None:
    """Refuse soft edges, as smoothing or JPEG leaves them: each grey would count as annotated.

    Objects are solid: most of their pixels equal those to the right and below, few of an edge's do.
    Pixels that each have a number of their own are neither, and read as they are.
    """
    if pixels.dtype not in (np.uint8, np.uint16):
        return
    levels = np.iinfo(pixels.dtype).max + 1
    counts = cv2.calcHist([pixels], [0], None, [levels], [0, levels]).ravel()
    counts[0] = 0
    white = int(counts.argmax())
    alone = counts[white] < _LEAST_SHARE * counts.sum()
    counts[white] = 0
    if alone or np.count_nonzero(counts) < _LEAST_GREYS:
        return
    solid = 0
    for top in range(0, len(pixels), _BAND_PX):
        band = pixels[top : top + _BAND_PX + 1]
        grey = (band > 0) & (band != white)
        equal = np.zeros(grey.shape, np.bool_)
        here = band[:-1, :-1]
        equal[:-1, :-1] = (here == band[:-1, 1:]) & (here == band[1:, :-1])
        solid += int(np.count_nonzero((equal & grey)[:_BAND_PX]))
    if solid < _LEAST_SOLID * counts.sum():
        raise AnnotationError(
            f"{name} has {np.count_nonzero(counts)} greys along soft edges, as smoothing or JPEG "
            "leaves them; threshold it and save 0 and 255 alone"
        )


def number_cells(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return cells as they are numbered, or number the connected ones of a 0/255 mask."""
    full = np.iinfo(pixels.dtype).max
    if not (pixels == full).any() or not np.isin(pixels, (0, full)).all():
        return pixels
    _, numbers = cv2.connectedComponents((pixels > 0).astype(np.uint8), connectivity=8)
    return np.asarray(numbers, np.int32)
