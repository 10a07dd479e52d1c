"""Drawn sections and what a bundle outlines on them, for scripts that judge by such sections."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from datasets.synth import SyntheticSection
from datasets.synth_brightfield import render_brightfield
from datasets.synth_fluorescence import render_fluorescence
from datasets.synth_style import BrightfieldStyle, FluorescenceStyle
from imaging.markers import brightfield_scaling, fluorescence_scaling, marker_channels
from model.bundle import Bundle
from model.predictor import Predictor
from model.targets import CHANNELS, TARGET_OF_MARKER


def look(
    section: SyntheticSection, modality: str, rng: np.random.Generator
) -> tuple[npt.NDArray[Any], int]:
    """Return a section's pixels in a look that `rng` draws, and the camera's full scale."""
    if modality == "brightfield":
        return render_brightfield(section, style=BrightfieldStyle.draw(rng)), 255
    style = FluorescenceStyle.draw(rng)
    return render_fluorescence(section, style=style)[..., 1], style.full_scale


class Outliner:
    """Outlines what a marker stains as the product does, at the bundle's threshold."""

    def __init__(self, bundle: Bundle, marker: str = "CD31", *, tta: bool = False) -> None:
        target = TARGET_OF_MARKER[marker]
        self._predictor, self._marker, self._tta = Predictor(bundle), marker, tta
        self._channel = CHANNELS.index(target)
        self._least = round(255 * bundle.metadata.thresholds[target])

    def __call__(self, pixels: npt.NDArray[Any], full_scale: int = 255) -> npt.NDArray[np.bool_]:
        """Return what is outlined (H, W) of a picture (H, W, 3) or of one channel (H, W)."""
        if pixels.ndim == 3:
            scaling = brightfield_scaling(self._marker)
        else:
            pixels = pixels[..., None]
            scaling = fluorescence_scaling(self._marker, pixels[..., 0], full_scale=full_scale)
        probabilities = self._predictor.predict(marker_channels(pixels, scaling), tta=self._tta)
        return np.asarray(probabilities[self._channel] >= self._least)
