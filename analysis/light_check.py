"""Whether the light is bright and even: three numbers of one check, each with a limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from analysis.checks import Check, percent, rounded, text
from imaging.quality import PixelQuality

# Drawn sections: 0.11 at most, published fields 0.03.
BACKGROUND_OD_LIMIT = 0.25
# Brightfield in optical density (drawn sections 0.08 at most, published fields 0.03), fluorescence
# as a share of the median background (1.2 at most, 0.6).
UNEVENNESS_LIMIT = {"brightfield": 0.1, "fluorescence": 1.25}
# Share of the light that corners lack. Brightfield: drawn sections 0.11 at most, published fields
# 0.01; a fall by 0.2 OD takes 0.37, of which 0.23 is seen at least, whatever its shape.
# Fluorescence: seven of eleven published widefield fields lack 0.5 to 0.55, drawn sections 0.32.
VIGNETTING_LIMIT = {"brightfield": 0.2, "fluorescence": 0.6}

_MEND = "correct the illumination with an image of an empty field"


def light_check(pixels: PixelQuality) -> Check:
    """Judge background, unevenness and vignetting; each that fails has its own advice."""
    bright = pixels.modality == "brightfield"
    more: dict[str, Any] = {
        "unevenness": rounded(pixels.unevenness),
        "unevenness_limit": UNEVENNESS_LIMIT[pixels.modality],
        "unevenness_unit": "OD" if bright else "1",
    }
    if pixels.unevenness is None:
        more["unevenness_reason"] = pixels.reasons.get("unevenness", "")
    more["vignetting"] = rounded(pixels.vignetting)
    more["vignetting_limit"] = VIGNETTING_LIMIT[pixels.modality]
    if pixels.vignetting is None:
        more["vignetting_reason"] = pixels.reasons.get("vignetting", "")
    known = pixels.background_od is not None or pixels.unevenness is not None
    advice = tuple(_advice(pixels))
    return Check(
        "background_od",
        pixels.background_od,
        BACKGROUND_OD_LIMIT if bright else None,
        not advice if known else None,
        advice,
        unit="OD",
        reason=pixels.reasons.get("background_od", ""),
        more=more,
    )


def _advice(pixels: PixelQuality) -> Iterator[str]:
    dark, uneven, corners = pixels.background_od, pixels.unevenness, pixels.vignetting
    bright = pixels.modality == "brightfield"
    if dark is not None and dark > BACKGROUND_OD_LIMIT:
        yield (
            f"Light: the empty slide has an optical density of {text(dark)}, more than "
            f"{text(BACKGROUND_OD_LIMIT)}: set the lamp and the white balance on empty glass."
        )
    if uneven is not None and uneven > (limit := UNEVENNESS_LIMIT[pixels.modality]):
        change, most = (
            (f"{text(uneven)} OD", f"{text(limit)} OD")
            if bright
            else (f"{percent(uneven)} of its median", percent(limit))
        )
        yield (
            f"Light: the background changes by {change} over the frame, more than {most}, so that "
            f"stain looks stronger in some places than in others: {_MEND}."
        )
    if corners is not None and corners > (limit := VIGNETTING_LIMIT[pixels.modality]):
        yield (
            f"Light: the corners get {percent(corners)} less light than the middle, more than "
            f"{percent(limit)}, so that stain looks different there: {_MEND}."
        )
