"""What the shipped model outlines where there is no vessel: the figures that README states.

    python -m docs.empty_sections

draws mottled glow, which no generator of training sections had a part in, and synthetic sections
without vessels from seeds that were never trained on; the area fractions go to
docs/empty-sections.json. Two minutes on two cores.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from datasets.synth import make_section
from datasets.synth_params import SectionParams
from docs.outliner import Outliner, look
from model.bundle import find_bundle, load_bundle

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "empty-sections.json"
SIDE_PX = 384
FIELDS = 8
SECTIONS = 20  # of each kind
_FIRST_SEED = 9_500_000
_MOST = 0.005

Grey = npt.NDArray[np.float64]


def _clouds(rng: np.random.Generator, scale_px: float) -> Grey:
    """Return Gaussian noise (H, W) of mean 0 and deviation 1, smoothed over `scale_px`."""
    smooth = ndimage.gaussian_filter(rng.standard_normal((SIDE_PX, SIDE_PX)), scale_px)
    return np.asarray(smooth / smooth.std())


def _skewed(rng: np.random.Generator) -> Grey:
    field = _clouds(rng, 10)
    return field + 0.5 * (field**2 - 1)


# Grey levels of an 8-bit image above and below a glow of 40, under a camera's noise of 3.
MOTTLES: Mapping[str, Callable[[np.random.Generator], Grey]] = {
    "clouds of 3 px": lambda rng: 4 * _clouds(rng, 3),
    "clouds of 6 px": lambda rng: 6 * _clouds(rng, 6),
    "clouds of 10 px": lambda rng: 8 * _clouds(rng, 10),
    "clouds of 30 px": lambda rng: 10 * _clouds(rng, 30),
    "clouds of 6 on 30 px": lambda rng: 5 * _clouds(rng, 6) + 8 * _clouds(rng, 30),
    "bright clouds of 10 px": lambda rng: 4 * _skewed(rng),
}


def mottled(kind: str, seed: int) -> npt.NDArray[np.uint8]:
    """Draw a glow that is clouded and holds nothing, (H, W)."""
    rng = np.random.default_rng((list(MOTTLES).index(kind), seed))
    grey = 40 + MOTTLES[kind](rng) + 3 * rng.standard_normal((SIDE_PX, SIDE_PX))
    return np.clip(grey.round(), 0, 255).astype(np.uint8)


def empty_section(modality: str, number: int) -> tuple[npt.NDArray[Any], int]:
    """Draw a section without vessels; return its pixels and the camera's full scale."""
    rng = np.random.default_rng((41, number))
    params = SectionParams.draw(rng, size_px=512).without_vessels()
    return look(make_section(_FIRST_SEED + number, params), modality, rng)


def measure() -> dict[str, Any]:
    """Return the vessel area fraction of every picture, at the shipped threshold."""
    bundle = load_bundle(find_bundle(None))
    outliner = Outliner(bundle)

    def outlined(pixels: npt.NDArray[Any], full_scale: int = 255) -> float:
        return round(float(outliner(pixels, full_scale).mean()), 6)

    mottles = {kind: [outlined(mottled(kind, n)) for n in range(FIELDS)] for kind in MOTTLES}
    sections = {
        modality: [outlined(*empty_section(modality, n)) for n in range(SECTIONS)]
        for modality in ("brightfield", "fluorescence")
    }
    return {"bundle_sha256": bundle.sha256, "mottled": mottles, "sections": sections}


def told(figures: dict[str, Any]) -> dict[str, str]:
    """Return the figures as README states them."""
    by_kind = figures["mottled"].values()
    sections = [value for values in figures["sections"].values() for value in values]
    return {
        "mottled, mean": _percent(np.mean([np.mean(values) for values in by_kind])),
        "mottled, worst kind": _percent(max(np.mean(values) for values in by_kind)),
        "mottled, worst field": _percent(max(max(values) for values in by_kind)),
        "sections below": f"{sum(value < _MOST for value in sections)} of {len(sections)}",
        "sections, mean": _percent(np.mean(sections)),
        "sections, worst": _percent(max(sections)),
    }


def _percent(share: float | np.floating[Any]) -> str:
    return f"{100 * share:.2g} %"


if __name__ == "__main__":
    found = measure()
    FIGURES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for name, text in told(found).items():
        print(f"{name}: {text}")
