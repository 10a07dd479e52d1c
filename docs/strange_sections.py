"""How well the shipped bundle tells sections it knows from strange ones: docs/model-choices.md.

    python -m docs.strange_sections

draws sections of seeds that were never trained on, spoils each in several ways, and asks for
`quality.out_of_distribution` of all, as `angiometry measure` does. Of each way it tells the area
under the ROC curve: the chance that a spoiled section is called stranger than a good one. The
figures go to docs/strange-sections.json. Two minutes on two cores.
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from analysis.familiarity import unfamiliarity
from datasets.manifest import Manifest
from datasets.rows import Row
from datasets.synth import make_section
from datasets.synth_paint import gain_noise
from datasets.synth_params import SectionParams
from datasets.synth_scene import nuclei_stain
from datasets.synth_write import SynthModality, write_synthetic
from imaging.markers import fit_scaling
from imaging.open import open_image, parse_channels
from imaging.tissue import find_tissue
from model.bundle import BundleMetadata, find_bundle, load_bundle

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "strange-sections.json"
SECTIONS = 16
SIDE_PX = 512
MPP_UM = 0.5
_FIRST_SEED = 9_700_000
# Absorbance of red, green and blue: hematoxylin and eosin (Ruifrok & Johnston 2001).
_HEMATOXYLIN, _EOSIN = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11)

Pixels = npt.NDArray[Any]  # (H, W, channels)
Spoil = Callable[[Pixels, int], Pixels]


def blurred(pixels: Pixels, _: int, *, sigma_px: float) -> Pixels:
    """Return a section out of focus."""
    return np.atleast_3d(cv2.GaussianBlur(pixels, (0, 0), sigma_px))


def rescaled(pixels: Pixels, _: int, *, factor: float) -> Pixels:
    """Return a section whose pixels are `factor` times smaller than the file says.

    One that shrinks is repeated until it fills the frame.
    """
    height, width = pixels.shape[:2]
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    changed = np.atleast_3d(cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=way))
    repeats = -(-height // changed.shape[0]), -(-width // changed.shape[1]), 1
    return np.tile(changed, repeats)[:height, :width]


def other_stain(pixels: Pixels, number: int) -> Pixels:
    """Return another section of the same kind of tissue, in hematoxylin and eosin."""
    rng = np.random.default_rng((43, number))
    section = make_section(_FIRST_SEED - 1 - number, SectionParams.draw(rng, size_px=SIDE_PX))
    nuclei = nuclei_stain(rng, section)
    eosin = gain_noise(rng, nuclei.shape, 10, 0.3) * rng.uniform(0.3, 0.7)
    density = 0.6 * nuclei[..., None] * _HEMATOXYLIN + eosin[..., None] * _EOSIN
    noise = rng.normal(0, 2, pixels.shape)
    return np.clip(255 * 10.0**-density + noise, 0, 255).astype(np.uint8)


def empty(pixels: Pixels, number: int) -> Pixels:
    """Return glass without a section: a camera's noise and nothing else."""
    rng = np.random.default_rng((47, number))
    if pixels.dtype == np.uint8:
        return np.clip(rng.normal(240, 1.5, pixels.shape), 0, 255).astype(np.uint8)
    return (rng.poisson(20, pixels.shape) * 50).astype(pixels.dtype)


WAYS: dict[str, Spoil] = {
    "blurred by 4 px": functools.partial(blurred, sigma_px=4.0),
    "by 6 px": functools.partial(blurred, sigma_px=6.0),
    "a pixel 4 × too large": functools.partial(rescaled, factor=0.25),
    "3 ×": functools.partial(rescaled, factor=1 / 3),
    "3 × too small": functools.partial(rescaled, factor=3.0),
    "4 ×": functools.partial(rescaled, factor=4.0),
    "H&E": other_stain,
    "empty glass": empty,
}
# What cannot always be seen; told apart, and not in the figure for all together.
SLIGHT: dict[str, Spoil] = {
    "blurred by 2 px": functools.partial(blurred, sigma_px=2.0),
    "a pixel 2 × too large": functools.partial(rescaled, factor=0.5),
    "2 × too small": functools.partial(rescaled, factor=2.0),
}


def auroc(good: npt.ArrayLike, strange: npt.ArrayLike) -> float:
    """Return the chance that one of `strange` is larger than one of `good`; ties count half."""
    above = np.subtract.outer(np.asarray(strange), np.asarray(good))
    return float((above > 0).mean() + (above == 0).mean() / 2)


def measure(count: int = SECTIONS) -> dict[str, Any]:
    """Return the figures of each kind of section."""
    bundle = load_bundle(find_bundle(None))
    kinds = {}
    with tempfile.TemporaryDirectory() as folder:
        for modality in ("brightfield", "fluorescence"):
            for marker in ("CD31", "VEGF"):
                print(f"{modality} {marker}", file=sys.stderr, flush=True)
                drawn = _draw(Path(folder) / f"{modality}-{marker}", modality, marker, count)
                kinds[f"{modality} {marker}"] = _kind(drawn, bundle.metadata)
    return {"bundle_sha256": bundle.sha256, "sections": count, "kinds": kinds}


def table(figures: Mapping[str, Any]) -> list[str]:
    """Return the table of docs/model-choices.md, line by line."""
    columns = [*WAYS, "all these", *(f"slightly: {way}" for way in SLIGHT)]
    lines = [f"| kind | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for kind, found in figures["kinds"].items():
        told = found["auroc"]
        values = [*(told.get(way) for way in WAYS), found["all"], *(told[way] for way in SLIGHT)]
        cells = ["–" if value is None else f"{value:.2f}" for value in values]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return lines


def _draw(folder: Path, modality: SynthModality, marker: str, count: int) -> Manifest:
    return write_synthetic(
        folder, count, _FIRST_SEED, size_px=SIDE_PX, mpp_um=MPP_UM, markers=[marker],
        modalities=[modality], empty_fraction=0.0,
    )  # fmt: skip


def _kind(drawn: Manifest, metadata: BundleMetadata) -> dict[str, Any]:
    """Return the figures of one kind of section."""
    good = [_strangeness(drawn.folder / row.image, row, metadata) for row in drawn.rows]
    strange = {
        way: [
            _strangeness(_spoiled(drawn.folder, row, spoil, number), row, metadata)
            for number, row in enumerate(drawn.rows)
        ]
        for way, spoil in {**WAYS, **SLIGHT}.items()
        if drawn.rows[0].modality == "brightfield" or way != "H&E"
    }
    together = [value for way in WAYS for value in strange.get(way, ())]
    return {
        "good": [round(value, 3) for value in good],
        "auroc": {way: round(auroc(good, values), 4) for way, values in strange.items()},
        "all": round(auroc(good, together), 4),
    }


def _spoiled(folder: Path, row: Row, spoil: Spoil, number: int) -> Path:
    """Write a spoiled copy of a row's image and return its path."""
    path = folder / row.image
    if row.modality == "brightfield":
        changed = folder / "changed.png"
        Image.fromarray(spoil(np.asarray(Image.open(path)), number)).save(changed)
        return changed
    changed = folder / "changed.ome.tif"
    pixels = spoil(np.moveaxis(tifffile.imread(path), 0, -1), number)
    tifffile.imwrite(
        changed, np.moveaxis(pixels, -1, 0), photometric="minisblack", metadata={"axes": "CYX"}
    )
    return changed


def _strangeness(path: Path, row: Row, metadata: BundleMetadata) -> float:
    """Return what `measure` would say of an image, over its whole frame."""
    channels = parse_channels(row.channels) if row.channels else None
    with open_image(path, row.mpp_um, modality=row.modality, channels=channels) as image:
        tissue = find_tissue(image, "frame")
        (marker,) = row.markers
        scalings = {marker: fit_scaling(image, marker, tissue)}
        value, unknown = unfamiliarity(image, tissue, scalings, metadata)
    if value is None:
        raise SystemExit(f"{path.name}: {unknown}")
    return value


if __name__ == "__main__":
    figures = measure()
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table(figures)))
    for kind, found in figures["kinds"].items():
        slight = ", ".join(f"{way} {found['auroc'][way]:.2f}" for way in SLIGHT)
        beyond = sum(value > 1 for value in found["good"])
        print(f"{kind}: {slight}; {beyond} of {len(found['good'])} good ones beyond the limit")
