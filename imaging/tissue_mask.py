"""Ω as somebody drew it: a binary mask of the image's own size.

Letters: H, W pixels of the mask, C its colour channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging.errors import ImagingError, TissueMaskError
from imaging.formats import open_source
from imaging.mask_source import is_fill
from imaging.sources import WHOLE_DECODE_LIMIT_PX, PixelSource, full_scale_of

_MEND = "save it as PNG or TIFF with 0 outside of the tissue and 255 inside"
_MOST_SHOWN = 5


def read_tissue_mask(path: Path, size_px: tuple[int, int]) -> NDArray[np.bool_]:
    """Return where a mask file says that tissue is.

    Parameters
    ----------
    path : Path
        Black and one other value or colour, in any accepted format.
    size_px : tuple of int
        Width and height of the image.

    Returns
    -------
    ndarray of bool, shape (H, W)

    Raises
    ------
    TissueMaskError
        When the file cannot be read, is not binary or is of another size than the image.
    """
    try:
        source = open_source(path, mask=True)
        try:
            _check_size(source, path.name, size_px)
            pixels = source.read(0, 0, 0, *size_px)
        finally:
            source.close()
    except TissueMaskError:
        raise
    except ImagingError as error:
        raise TissueMaskError(f"The tissue mask cannot be used: {error}") from error
    if source.info.white_is_zero:
        raise TissueMaskError(
            f"The tissue mask {path.name} stores white as 0, as ImageJ's inverting lookup table "
            f"does, so that black or white may be tissue: invert the table and {_MEND}."
        )
    inside = _inside(pixels[..., : len(source.info.channel_names)], path.name)
    if inside.all():
        _check_fill(pixels, source, path.name)
    return inside


def _check_size(source: PixelSource, name: str, size_px: tuple[int, int]) -> None:
    width, height = source.info.levels[0]
    if (width, height) != size_px:
        raise TissueMaskError(
            f"The tissue mask {name} has {width} × {height} px and the image "
            f"{size_px[0]} × {size_px[1]}: draw the mask on the image's own pixels."
        )
    if width * height > WHOLE_DECODE_LIMIT_PX:
        raise TissueMaskError(
            f"The tissue mask {name} has {width * height:,} pixels and at most "
            f"{WHOLE_DECODE_LIMIT_PX:,} are allowed: use tissue auto for so large a section."
        )


def _check_fill(pixels: NDArray[Any], source: PixelSource, name: str) -> None:
    """Refuse a grey that fills the frame: an empty photograph rather than a mask."""
    colour = pixels[0, 0, : len(source.info.channel_names)]
    seen = [(value, full_scale_of(pixels.dtype)) for value in colour[colour > 0].tolist()]
    stored = getattr(source, "numbers", None)
    for value, white in seen if stored is None else [stored]:
        if not is_fill(value, white):
            raise TissueMaskError(
                f"The tissue mask {name} is not binary, all of it is {value:g}: {_MEND}."
            )


def _inside(pixels: NDArray[Any], name: str) -> NDArray[np.bool_]:
    """Return which pixels (H, W, C) are not black, all of which have to be alike."""
    inside = np.asarray((pixels > 0).any(axis=2))
    colour = pixels[np.unravel_index(inside.argmax(), inside.shape)]
    if inside.any() and not np.array_equal((pixels == colour).all(axis=2), inside):
        values = np.unique(pixels)
        shown = ", ".join(map(str, values[:_MOST_SHOWN]))
        more = " …" if len(values) > _MOST_SHOWN else ""
        raise TissueMaskError(
            f"The tissue mask {name} is not binary, it holds the values {shown}{more}: {_MEND}."
        )
    return inside
