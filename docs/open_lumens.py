"""How much of wide vessels' lumens the shipped model fills: the figures that README states.

    python -m docs.open_lumens

draws sections of unseen seeds with arterioles and venules cut across and finds the share of each
that is outlined; the shares go to docs/open-lumens.json. A minute on two cores.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datasets.synth import SyntheticSection, make_section
from datasets.synth_params import SectionParams
from datasets.synth_shapes import outline_labels
from docs.outliner import Outliner, look
from model.bundle import find_bundle, load_bundle

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "open-lumens.json"
SECTIONS = 20  # of each kind
_FIRST_SEED = 9_700_000
_LEAST_UM = 5.0  # of the mean radius
_LEAST_PX = 300  # at least so much of it inside the image
_FILLED, _MISSED = 0.8, 0.1


def section_with_lumens(number: int, rng: np.random.Generator) -> SyntheticSection:
    """Draw a section of which most vessels that are cut across are wide."""
    params = SectionParams.draw(rng, size_px=512)
    wide = dataclasses.replace(params, wide_fraction=float(rng.uniform(0.4, 1.0)))
    return make_section(_FIRST_SEED + number, wide)


def lumens_of(section: SyntheticSection) -> npt.NDArray[np.int32]:
    """Return the wide vessels that are cut across, numbered from 1, (H, W)."""
    wide = [p for p in section.profiles if p.mean_radius_um >= _LEAST_UM]
    return outline_labels(wide, section.shape_at(), section.params.mpp_um)


def whole_lumens(labels: npt.NDArray[np.int32]) -> list[npt.NDArray[np.bool_]]:
    """Return the mask of each that is inside the image for the most part, in their order."""
    masks = [labels == k for k in range(1, labels.max() + 1)]
    return [mask for mask in masks if mask.sum() >= _LEAST_PX]


def measure() -> dict[str, Any]:
    """Return what share of each wide cross-section is outlined, at the shipped threshold."""
    bundle = load_bundle(find_bundle(None))
    outliner = Outliner(bundle)
    filled: dict[str, list[float]] = {}
    for modality in ("brightfield", "fluorescence"):
        filled[modality] = []
        for number in range(SECTIONS):
            rng = np.random.default_rng((43, number))
            section = section_with_lumens(number, rng)
            vessel = outliner(*look(section, modality, rng))
            filled[modality] += [
                round(float(vessel[lumen].mean()), 4) for lumen in whole_lumens(lumens_of(section))
            ]
    return {"bundle_sha256": bundle.sha256, "filled": filled}


def told(figures: dict[str, Any]) -> dict[str, str]:
    """Return the figures as README states them."""
    told = {}
    for modality, shares in figures["filled"].items():
        told[modality] = f"{sum(s >= _FILLED for s in shares)} of {len(shares)}"
        told[f"{modality}, missed"] = f"{sum(s < _MISSED for s in shares)} of {len(shares)}"
    return told


if __name__ == "__main__":
    found = measure()
    FIGURES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for kind, text in told(found).items():
        print(f"{kind}: {text} wide vessels (outlined over at least {100 * _FILLED:g} % or missed)")
