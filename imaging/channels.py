"""Which channel shows what, and whether an image is brightfield or fluorescence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.errors import ChannelsError, ModalityError
from imaging.planes import QUANTISATION_SD, estimate_noise
from imaging.sources import SourceInfo, full_scale_of

Modality = Literal["brightfield", "fluorescence"]
CHANNEL_NAMES = ("CD31", "VEGF", "nuclei")

_LUMINANCE_PX = 2**16
# JPEG turns neutral grey into colours one or two levels apart.
_EQUAL_LEVELS = 2
# A channel of pure noise spans under 6 SD between these percentiles of a million pixels.
_SIGNAL_PERCENTILES = (1.0, 99.95)
_SIGNAL_SD = 8.0

_UNDEREXPOSED = (
    " If it is a stained section in transmitted light, photographed too dark, say so with modality "
    "brightfield (--modality brightfield): it was taken for fluorescence because it is dark."
)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a look at some of the pixels says about an image.

    Attributes
    ----------
    grey : bool
        Whether there is one channel, or three equal ones.
    blank : bool
        Whether all pixels have nearly one value, as on empty glass or in the dark.
    bright : bool
        Whether light shines through the preparation, rather than out of it.
    """

    grey: bool
    blank: bool
    bright: bool


def parse_channels(text: str | None) -> dict[str, int]:
    """Read a channel mapping such as ``CD31=1,VEGF=2,nuclei=0``.

    Parameters
    ----------
    text : str, optional
        Pairs of name and index from 0, separated by commas; None and blank give no mapping.

    Raises
    ------
    ChannelsError
        When a name is unknown or given twice, or an index is not a whole number from 0.
    """
    mapping: dict[str, int] = {}
    if text is None or not text.strip():
        return mapping
    known = {name.lower(): name for name in CHANNEL_NAMES}
    for pair in text.split(","):
        name, equals, index = (part.strip() for part in pair.partition("="))
        if not equals or not (index.isascii() and index.isdigit()):
            raise ChannelsError(
                f"Channels are written as name=index, got {pair.strip()!r}: "
                "for example CD31=1,VEGF=2,nuclei=0, counting from 0."
            )
        name = known.get(name.lower(), name)
        if name in mapping:
            raise ChannelsError(f"Channel {name} is given twice: give each name once.")
        mapping[name] = int(index)
    _check_names(mapping)
    return mapping


def inspect(tiles: Sequence[NDArray[Any]], info: SourceInfo) -> Inspection:
    """Look at samples of an image.

    Parameters
    ----------
    tiles : sequence of ndarray, shape (H, W, C)
        Samples without their alpha plane.
    info : SourceInfo
        The file's own statements.
    """
    full_scale = float(full_scale_of(info.dtype))
    planes = [cv2.split(np.ascontiguousarray(tile)) for tile in tiles]
    count = tiles[0].shape[2]
    spans = [
        max(float(tile[c].max()) for tile in planes) - min(float(tile[c].min()) for tile in planes)
        for c in range(count)
    ]
    grey = count == 1
    if info.colour and count == 3:
        tolerance = _EQUAL_LEVELS * (1 if info.dtype == np.uint8 else 257)
        grey = all(_greatest_difference(*tile) <= tolerance for tile in planes)
    pixels = sum(tile.shape[0] * tile.shape[1] for tile in tiles)
    step = max(1, math.isqrt(pixels // _LUMINANCE_PX))
    thinned = [tile[::step, ::step].mean(axis=2, dtype=np.float32).ravel() for tile in tiles]
    luminance = np.concatenate(thinned) / full_scale
    quartile, median = (float(value) for value in np.percentile(luminance, (25.0, 50.0)))
    return Inspection(
        grey=grey,
        blank=max(spans) <= 0.02 * full_scale,
        bright=median > 0.42 and quartile > 0.2,
    )


def channels_with_signal(tiles: Sequence[NDArray[Any]]) -> tuple[int, ...]:
    """Return the channels that span more than their noise.

    Parameters
    ----------
    tiles : sequence of ndarray, shape (H, W, C)
        Samples of an image.
    """
    found = []
    for channel in range(tiles[0].shape[2]):
        planes = [tile[..., channel].astype(np.float32) for tile in tiles]
        values = np.concatenate([plane.ravel() for plane in planes])
        low, high = np.percentile(values, _SIGNAL_PERCENTILES)
        if high - low > _SIGNAL_SD * max(estimate_noise(planes), QUANTISATION_SD):
            found.append(channel)
    return tuple(found)


def resolve_modality(asked: str, info: SourceInfo, seen: Inspection, name: str) -> Modality:
    """Return the modality asked for, or the one that the image shows.

    Bright RGB is brightfield; dark RGB, grey, and anything but three colours is fluorescence.

    Raises
    ------
    ModalityError
        When a grey image is asked as brightfield, or looks like a grey photograph of one.
    """
    if asked not in ("auto", "brightfield", "fluorescence"):
        raise ModalityError(
            f"Modality {asked!r} is unknown: choose auto, brightfield or fluorescence."
        )
    three_colours = info.colour and len(info.channel_names) == 3 and (not seen.grey or seen.blank)
    if asked == "brightfield" and not three_colours:
        raise ModalityError(
            f"{name} has no colour, so its stains cannot be told apart: give the colour (RGB) "
            "image of the section, or modality fluorescence if it is that."
        )
    if asked != "auto":
        return "brightfield" if asked == "brightfield" else "fluorescence"
    if three_colours and seen.bright:
        return "brightfield"
    if seen.grey and seen.bright and not seen.blank:
        raise ModalityError(
            f"{name} is grey and bright, as a grey photograph of a brightfield section, whose "
            "stains cannot be told apart: give the colour image, or modality fluorescence if it "
            "is that."
        )
    return "fluorescence"


def resolve_channels(
    asked: Mapping[str, int] | None,
    modality: Modality,
    channel_names: Sequence[str],
    with_signal: tuple[int, ...],
    *,
    dark_colours: bool = False,
) -> tuple[dict[str, int], int]:
    """Return the mapping of names to channels, and the channel of a marker that it leaves out.

    With `dark_colours` nobody said that the image is fluorescence: it is RGB and dark.

    Raises
    ------
    ChannelsError
        When a mapping is given for brightfield, names unknown markers or channels, uses a channel
        twice, or is missing although several channels hold signal.
    """
    mapping = dict(asked or {})
    listing = ", ".join(f"{index} ({name})" for index, name in enumerate(channel_names))
    _check_names(mapping)
    if mapping and modality == "brightfield":
        raise ChannelsError(
            "A brightfield image has stains, not channels: leave channels out, or say modality "
            "fluorescence if the image is that."
        )
    for name, index in mapping.items():
        if isinstance(index, bool) or not isinstance(index, int):
            raise ChannelsError(f"Channel {name} needs a whole number from 0, got {index!r}.")
        if not 0 <= index < len(channel_names):
            raise ChannelsError(
                f"Channel {name}={index} does not exist: the image has the channels {listing}."
            )
    if len(set(mapping.values())) < len(mapping):
        raise ChannelsError(
            f"Two names share one channel in {mapping}: give each its own; the image has the "
            f"channels {listing}."
        )
    if not mapping and modality == "fluorescence" and len(with_signal) > 1:
        example = f"CD31={with_signal[-1]}"
        raise ChannelsError(
            f"Several channels hold signal: {listing}. Their names are not relied on: give "
            f"channels, counting from 0, for example {example} or CD31=1,VEGF=2,nuclei=0."
            f"{_UNDEREXPOSED if dark_colours else ''}"
        )
    return mapping, (with_signal or (0,))[0]


def _check_names(mapping: Mapping[str, int]) -> None:
    """Refuse names that are neither a marker nor nuclei."""
    for name in mapping:
        if name not in CHANNEL_NAMES:
            raise ChannelsError(
                f"Channel name {name!r} is unknown: use {', '.join(CHANNEL_NAMES)}."
            )


def _greatest_difference(red: NDArray[Any], green: NDArray[Any], blue: NDArray[Any]) -> int:
    """Return how far apart the three channels of any pixel lie at most."""
    pairs = ((red, green), (green, blue), (red, blue))
    return max(int(cv2.absdiff(a, b).max()) for a, b in pairs)
