"""A contact sheet of quality: for each flag a drawn section that passes beside one that fails.

    python -m docs.quality_pictures

writes docs/images/measure-quality.png. Values, limits and verdicts are those that the code computes
for the very pixels shown; where one is not as the sheet would have it, nothing is written.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from PIL import Image

from analysis.quality import judge
from datasets.synth import make_section
from datasets.synth_brightfield import render_brightfield
from datasets.synth_fluorescence import fluorescence_channels, render_fluorescence
from datasets.synth_style import BrightfieldStyle, FluorescenceStyle
from docs.pictures import IMAGES, MPP_UM, OKABE
from imaging.markers import fit_scaling
from imaging.open import open_image
from imaging.quality import pixel_quality
from imaging.stains import StainVectors, optical_density
from imaging.tissue import find_tissue

CHANNELS = fluorescence_channels(("CD31",))
SEED = 2
COLUMNS = 6
SHOWN_PX = 150
# The numbers of the check of light that have a limit of their own.
PARTS_OF_LIGHT = ("unevenness", "vignetting")
# A camera of 12 bits in a file of 16; a sound exposure fills a third of it.
CAMERA_TOP, EXPOSED = 4095, 1500

Pixels = npt.NDArray[Any]


class Example(NamedTuple):
    """A section on the sheet: what flag it is for, what it shows, and whether it passes.

    `field` tells apart the numbers of one flag; `passes` is None where the limit itself is shown;
    `close` shows the middle 64 µm instead of the whole frame.
    """

    flag: str
    what: str
    pixels: Pixels
    passes: bool | None
    mpp_um: float = MPP_UM
    field: str = "value"
    close: bool = False

    @property
    def modality(self) -> str:
        """Return what kind of image the pixels are."""
        return "brightfield" if self.pixels.shape[-1] == 3 else "fluorescence"


def brightfield(**changes: Any) -> Pixels:
    """Render a counterstained section."""
    style = BrightfieldStyle(hematoxylin_od=0.5, blur_px=0.7)
    return render_brightfield(make_section(SEED), style=dataclasses.replace(style, **changes))


def fluorescence(**changes: Any) -> Pixels:
    """Render nuclei and CD31, of which a twentieth of the camera's scale is background."""
    style = FluorescenceStyle(full_scale=65535, uneven_background=0.02, vignetting=0.0)
    return render_fluorescence(make_section(SEED), style=dataclasses.replace(style, **changes))


def lit(pixels: Pixels, light: npt.NDArray[np.float64]) -> Pixels:
    """Return pixels that get the share `light` (H, W) of the light."""
    return np.asarray(np.rint(pixels * light[..., None]).astype(pixels.dtype))


def sideways(low: float, side_px: int = 512) -> npt.NDArray[np.float64]:
    """Return light that rises from `low` to 1 across the frame."""
    return np.linspace(low, 1.0, side_px) * np.ones((side_px, 1))


def cornered(fall_od: float, side_px: int = 512) -> npt.NDArray[np.float64]:
    """Return light that falls from the middle to the corners."""
    side = np.linspace(-1, 1, side_px)
    return np.asarray(10 ** (-fall_od * (side[:, None] ** 2 + side**2) / 2))


def folded(pixels: Pixels) -> Pixels:
    """Return a section of which a winding band of 40 µm lies upon itself."""
    row, column = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    beside = np.abs(column - 200 - 20 * np.sin(row / 60))
    layers = 1 + np.clip((40 - beside) / 2, 0, 1)[..., None]
    return np.asarray(np.rint(255 * 10 ** (-optical_density(pixels) * layers)).astype(np.uint8))


def coarse(pixels: Pixels, step: int) -> Pixels:
    """Return an image of pixels `step` times as wide."""
    size = pixels.shape[1] // step, pixels.shape[0] // step
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def noise(level: Pixels, deviation: float) -> Pixels:
    """Return a frame of a level and the camera's noise."""
    random = np.random.default_rng(SEED)
    return np.asarray(random.normal(level, deviation, (512, 512, len(level))))


def brightfield_examples() -> Iterator[Example]:
    """Yield sections in hematoxylin and DAB, five of focus and then pairs."""
    sound = brightfield()
    yield from _focus(sound, brightfield)
    over = np.minimum(sound.astype(np.float64) * 1.6, 255).astype(np.uint8)
    yield Example("clipped_fraction", "within the scale", sound, True)
    yield Example("clipped_fraction", "overexposed", over, False)
    yield Example("background_od", "bright glass", sound, True)
    yield Example("background_od", "dark lamp", lit(sound, np.full((512, 512), 0.5)), False)
    yield from _light(sound, sideways(0.55), cornered(0.25))
    flat = brightfield(dab_haze_od=0.12, hematoxylin_haze_od=0.12, haze_texture=0.1)
    yield Example("folds", "flat", flat, True)
    yield Example("folds", "a fold", folded(flat), False)
    yield Example("counterstain", "with hematoxylin", sound, True)
    yield Example("counterstain", "without", brightfield(hematoxylin_od=0.0), False)
    eosin = StainVectors.from_pair((0.65, 0.70, 0.29), (0.07, 0.99, 0.11))
    pink = brightfield(vectors=eosin, dab_od=0.8, dab_haze_od=0.1)
    yield Example("stain_residual", "DAB", sound, True)
    yield Example("stain_residual", "eosin (wrong marker)", pink, False)
    yield from _pixel_sizes(sound)
    glass = noise(np.array([240.0, 236.0, 232.0]), 2.5).astype(np.uint8)
    yield Example("tissue_fraction", "tissue", sound, True)
    yield Example("tissue_fraction", "blank glass", glass, False)


def fluorescence_examples() -> Iterator[Example]:
    """Yield sections with a channel of nuclei and one of CD31, five of focus and then pairs."""
    sound = fluorescence()
    yield from _focus(sound, fluorescence)
    bright = sound / np.percentile(sound[..., 1], 97)
    short = (bright * EXPOSED).astype(np.uint16)
    long = np.minimum(bright * CAMERA_TOP, CAMERA_TOP).astype(np.uint16)
    yield Example("clipped_fraction", "short exposure", short, True)
    yield Example("clipped_fraction", "saturated", long, False)
    glow = fluorescence(background=0.2)
    yield from _light(glow, sideways(0.1), cornered(0.45))
    twice = np.stack([sound[..., 0], sound[..., 0]], axis=-1)
    yield Example("nuclei_correlation", "nuclei, CD31", sound, True)
    yield Example("nuclei_correlation", "nuclei twice (wrong)", twice, False)
    yield from _pixel_sizes(sound)
    dark = noise(np.array([900.0, 900.0]), 40.0).astype(np.uint16)
    yield Example("tissue_fraction", "tissue", sound, True)
    yield Example("tissue_fraction", "nothing but noise", dark, False)


def _focus(sound: Pixels, render: Callable[..., Pixels]) -> Iterator[Example]:
    yield Example("focus", "in focus", sound, True, close=True)
    for blur_px, passes in ((1, True), (2, None), (3, False), (4, False)):
        pixels = render(blur_px=float(blur_px))
        yield Example("focus", f"blur {blur_px} px", pixels, passes, close=True)


def _light(even: Pixels, *uneven: npt.NDArray[np.float64]) -> Iterator[Example]:
    """Yield an even frame beside one under each light: from the side, and from the middle."""
    looks = ("uneven light", "dark corners")
    for field, what, light in zip(PARTS_OF_LIGHT, looks, uneven, strict=True):
        yield Example("background_od", "even light", even, True, field=field)
        yield Example("background_od", what, lit(even, light), False, field=field)


def _pixel_sizes(sound: Pixels) -> Iterator[Example]:
    for step, passes in ((1, True), (3, False)):
        um = MPP_UM * step
        pixels = coarse(sound, step)
        what = f"pixels of {um:g} µm"
        yield Example(
            "pixel_size_adequate", what, pixels, passes, um, field="image_mpp_um", close=True
        )


def judged(example: Example) -> dict[str, Any]:
    """Return the record's entry for the example's flag, as `angiometry measure` finds it."""
    colour = example.modality == "brightfield"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "section.ome.tif"
        planes = example.pixels if colour else np.moveaxis(example.pixels, -1, 0)
        axes, photometric = ("YXS", "rgb") if colour else ("CYX", "minisblack")
        tifffile.imwrite(path, planes, metadata={"axes": axes}, photometric=photometric)
        channels = None if colour else CHANNELS
        with open_image(path, example.mpp_um, channels=channels) as image:
            tissue = find_tissue(image)
            scalings = {"CD31": fit_scaling(image, "CD31", tissue)}
            pixels = pixel_quality(image, tissue, ["CD31"], scalings, MPP_UM)
            quality = judge(pixels, image_mpp_um=image.mpp_um, model_mpp_um=MPP_UM)
    entry: dict[str, Any] = quality[example.flag]
    return entry


def caption(example: Example, entry: dict[str, Any]) -> tuple[str, bool]:
    """Return the value against its limit, and whether it keeps it."""
    value, limit, unit = entry[example.field], entry["limit"], entry["unit"]
    if example.field in PARTS_OF_LIGHT:
        limit, unit = entry[f"{example.field}_limit"], entry.get(f"{example.field}_unit", "1")
    lowest = isinstance(limit, list)
    limit = limit[0] if lowest else limit
    keeps = bool(value >= limit if lowest else value <= limit)
    sign = ("≥" if keeps else "<") if lowest else ("≤" if keeps else ">")
    unit = "" if unit == "1" else f" {unit}"
    return f"{value:.3g} {sign} {limit:.3g}{unit}", keeps


def display(example: Example) -> Pixels:
    """Return what is seen (H, W, 3) of an example: CD31 in green, nuclei in blue."""
    pixels = example.pixels
    if example.close:
        side = round(64 / example.mpp_um)
        corner = (pixels.shape[0] - side) // 2
        pixels = pixels[corner : corner + side, corner : corner + side]
    if example.modality == "fluorescence":
        top = CAMERA_TOP if example.flag == "clipped_fraction" else 0.6 * 65535
        nuclei, marker = (np.clip(pixels[..., k] / top, 0, 1) ** 0.8 for k in (0, 1))
        pixels = np.rint(255 * np.stack([0.3 * marker, marker, nuclei], axis=-1)).astype(np.uint8)
    shrunk = pixels.shape[0] > SHOWN_PX
    way = cv2.INTER_AREA if shrunk else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(pixels, (SHOWN_PX, SHOWN_PX), interpolation=way))


def show(axes: Axes, example: Example) -> None:
    """Draw one example with its flag, value and limit."""
    entry = judged(example)
    text, keeps = caption(example, entry)
    if example.passes is not None and not entry["pass"] == keeps == example.passes:
        raise ValueError(f"{example.modality}, {example.flag}, {example.what}: {text} {entry}")
    axes.imshow(display(example), interpolation="nearest")
    part = f".{example.field}" if example.field in PARTS_OF_LIGHT else ""
    axes.set_title(f"{example.flag}{part}\n{example.what}", size=6.2, pad=3)
    axes.set_xlabel(
        f"{text}  {'passes' if keeps else 'FAILS'}", size=6.5, labelpad=3,
        color=OKABE[4 if keeps else 5],
    )  # fmt: skip


def sheet() -> None:
    """Draw the examples of both modalities, and write them in few colours."""
    parts = [list(brightfield_examples()), list(fluorescence_examples())]
    rows = [1 + -(-(len(part) - 5) // COLUMNS) for part in parts]
    figure, grid = plt.subplots(
        sum(rows), COLUMNS, figsize=(COLUMNS * 1.42, sum(rows) * 1.78), dpi=120
    )
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    first = 0
    for part, height in zip(parts, rows, strict=True):
        places = list(grid[first : first + height].flat)
        places.pop(5).set_axis_off()
        for axes, example in zip(places, part, strict=True):
            show(axes, example)
        grid[first, 0].set_ylabel(part[0].modality, size=8, weight="bold")
        first += height
    figure.tight_layout(h_pad=0.6, w_pad=0.3)
    drawn = BytesIO()
    figure.savefig(drawn, bbox_inches="tight", pad_inches=0.04, metadata={"Software": None})
    plt.close(figure)
    small = Image.open(drawn).convert("RGB").quantize(128, kmeans=4, dither=Image.Dither.NONE)
    small.save(IMAGES / "measure-quality.png", optimize=True)


if __name__ == "__main__":
    sheet()
