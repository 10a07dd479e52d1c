"""Whether an image is fit to be measured: pixel statistics against limits, and a verdict.

The verdict stands beside the measurements and never alters one. Every limit lies beyond what sound
sections show; the comments say what drawn sections and published fields gave.
"""

from __future__ import annotations

from typing import Any

from analysis.checks import Check, compared, percent, rounded, text
from analysis.familiarity import NO_REFERENCE
from analysis.light_check import light_check
from analysis.tissue_check import Cause, tissue_check
from imaging.quality import PixelQuality

# In pixels of the grid that the network looks at. Drawn sections blurred by 1 px read 1.6 at most
# and by 1.5 px 2.0; by 2 px half of them fail, by 3 px 122 of 124 in brightfield, all of 124 in
# fluorescence with nuclei and 27 of 30 without. Published fields read 0 to 1.5.
BLUR_LIMIT_PX, BLUR_REJECT_PX = 2.0, 3.0
# Vessels cover a tenth of a section, so that 1 % of clipped tissue is a tenth of the signal. In
# brightfield lumens clip harmlessly: half of the published fields have 0.01 and more.
CLIPPED_LIMIT = {"brightfield": 0.02, "fluorescence": 0.01}
CLIPPED_REJECT = 0.2
# Drawn sections 0.04 at most, published H-DAB fields 0.007; two H&E slides 0.15 and 0.35.
RESIDUAL_LIMIT = 0.1
# 40 drawn sections without hematoxylin 0.144 at most, with 0.1 OD of it 0.17 and more; published
# fields 0.21 and more.
COUNTERSTAIN_LIMIT_OD = 0.15
FOLDS_LIMIT = 0.02
CORRELATION_LIMIT = 0.95
PIXEL_SIZE_LIMIT, PIXEL_SIZE_REJECT = 2.0, 4.0
# The score is a distance in units of the bundle's own limit. Drawn sections read 0.5 to 0.6 in the
# middle and 0.8 to 1.2 at the 95th percentile, published fluorescence and H-DAB fields 0.3 to 0.9.
OUT_OF_DISTRIBUTION_LIMIT, OUT_OF_DISTRIBUTION_REJECT = 1.0, 3.0

_MAX_OD = 2.41


def judge(
    pixels: PixelQuality,
    *,
    image_mpp_um: float,
    model_mpp_um: float | None,
    out_of_distribution: float | None = None,
    unknown_because: str = NO_REFERENCE,
    little_because: Cause = "image",
) -> dict[str, Any]:
    """Judge the quality of an image.

    Parameters
    ----------
    pixels : PixelQuality
        What the pixels say.
    image_mpp_um : float
        Pixel size of the image.
    model_mpp_um : float, optional
        Pixel size that the network looks at; None where no network is used.
    out_of_distribution : float, optional
        How far the image lies from what the network was trained on, 1 being the bundle's limit;
        None where that is not known.
    unknown_because : str
        Why it is not known.
    little_because : str
        What is at fault where there is little tissue, see `analysis.tissue_check.cause_of`.

    Returns
    -------
    dict
        The record's `quality`, ready for JSON. Each measure has `value`, `limit` (a number not to
        exceed, or the lowest and the highest), `unit` and `pass`, which is null with a `reason`
        where the measure has no meaning. `verdict` is "ok", "caution" if any fails, "reject" if
        any fails so far that numbers would mislead; `reasons` are sentences.
    """
    checks = [
        _focus(pixels),
        _clipped(pixels),
        light_check(pixels),
        tissue_check(pixels, little_because),
        _residual(pixels),
        _counterstain(pixels),
        _folds(pixels),
        _correlation(pixels),
        _pixel_size(image_mpp_um, model_mpp_um),
        _distribution(out_of_distribution, unknown_because),
    ]
    failed = [check for check in checks if check.passed is False]
    verdict = "ok" if not failed else "caution"
    if any(check.severe for check in failed):
        verdict = "reject"
    return {
        **{check.name: check.entry() for check in checks},
        "verdict": verdict,
        "reasons": [advice for check in failed for advice in check.advice],
    }


def _focus(pixels: PixelQuality) -> Check:
    limit = rounded(BLUR_LIMIT_PX * pixels.mpp_um)
    return compared(
        "focus",
        pixels.blur_um,
        limit,
        f"Focus: edges are blurred by {text(pixels.blur_um)} µm, more than {text(limit)} µm, so "
        "that thin vessels are missed and others look wider: focus and image the section again.",
        pixels.reasons.get("blur_um"),
        reject=BLUR_REJECT_PX * pixels.mpp_um,
        unit="µm",
    )


def _clipped(pixels: PixelQuality) -> Check:
    limit, value = CLIPPED_LIMIT[pixels.modality], pixels.clipped_fraction
    mend = (
        "set the lamp so that neither tissue nor the darkest stain is clipped"
        if pixels.modality == "brightfield"
        else "expose for a shorter time"
    )
    return compared(
        "clipped_fraction",
        value,
        limit,
        f"Clipping: {percent(value)} of the tissue lies beyond the camera's scale, more than "
        f"{percent(limit)}, so that intensities are cut off: {mend}.",
        pixels.reasons.get("clipped_fraction"),
        reject=CLIPPED_REJECT,
    )


def _residual(pixels: PixelQuality) -> Check:
    value = pixels.stain_residual
    return compared(
        "stain_residual",
        value,
        RESIDUAL_LIMIT,
        f"Wrong marker: hematoxylin and DAB leave {percent(value)} of the stain unexplained, more "
        f"than {percent(RESIDUAL_LIMIT)}, as in H&E: check that the section is stained with DAB.",
        pixels.reasons.get("stain_residual"),
    )


def _counterstain(pixels: PixelQuality) -> Check:
    value = pixels.counterstain_od
    return compared(
        "counterstain",
        value,
        [COUNTERSTAIN_LIMIT_OD, _MAX_OD],
        f"No counterstain found: nuclei stand out by {text(value)} OD of hematoxylin, less than "
        f"{text(COUNTERSTAIN_LIMIT_OD)}: counterstain with hematoxylin, or check vessels by eye.",
        pixels.reasons.get("counterstain_od"),
        unit="OD",
    )


def _folds(pixels: PixelQuality) -> Check:
    value = pixels.fold_fraction
    return compared(
        "folds",
        value,
        FOLDS_LIMIT,
        f"Folds: {percent(value)} of the tissue seems to lie upon itself, more than "
        f"{percent(FOLDS_LIMIT)}: exclude the folds with a region or a tissue mask.",
        pixels.reasons.get("fold_fraction"),
    )


def _correlation(pixels: PixelQuality) -> Check:
    value = pixels.nuclei_correlation
    return compared(
        "nuclei_correlation",
        value,
        CORRELATION_LIMIT,
        f"Wrong marker: a marker's channel equals that of the nuclei (correlation {text(value)}, "
        f"more than {text(CORRELATION_LIMIT)}): check which channel shows what.",
        pixels.reasons.get("nuclei_correlation"),
    )


def _pixel_size(image_mpp_um: float, model_mpp_um: float | None) -> Check:
    name, more = "pixel_size_adequate", {"image_mpp_um": rounded(image_mpp_um)}
    if model_mpp_um is None:
        reason = "no network was used"
        return Check(name, None, None, None, unit="µm", reason=reason, more=more)
    limit = PIXEL_SIZE_LIMIT * model_mpp_um
    adequate = image_mpp_um <= limit * (1 + 1e-9)
    return Check(
        name,
        adequate,
        rounded(limit),
        adequate,
        (
            f"Pixel size: a pixel is {text(image_mpp_um)} µm wide, more than {text(limit)} µm, so "
            "that capillaries are not resolved: image at a higher magnification.",
        ),
        severe=image_mpp_um > PIXEL_SIZE_REJECT * model_mpp_um * (1 + 1e-9),
        unit="µm",
        more=more,
    )


def _distribution(score: float | None, unknown_because: str) -> Check:
    limit = OUT_OF_DISTRIBUTION_LIMIT
    return Check(
        "out_of_distribution",
        rounded(score),
        None if score is None else limit,
        None if score is None else score <= limit,
        (
            f"Unlike the training data: the image lies at {text(score)} times the distance that "
            "the network knows: check its outlines by eye, or train on such sections.",
        ),
        severe=score is not None and score > OUT_OF_DISTRIBUTION_REJECT,
        reason=unknown_because if score is None else "",
    )
