"""How far a section lies from what a network was trained on, before any of its answers is believed.

A block of 256² px is described by plain statistics of its marker channels: how much of each there
is, and how much of marker and counterstain varies at which size. Defocus empties the finest sizes,
a wrong pixel size shifts all of them, a wrong stain changes the amounts, empty glass has neither.

Two judges look at that description, and the stricter one counts. One has seen training tiles and
the same tiles spoiled on purpose (defocused, rescaled, otherwise stained, emptied) and tells them
apart by a logistic regression on statistics and their products (outlier exposure, Hendrycks et al.
2019, arXiv 1812.04606). The other knows training tiles alone and measures the Mahalanobis distance
from them: it answers for what nobody thought of spoiling.

Letters: C = 3 input channels, H, W pixels of the model's grid, N blocks, F statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Channels = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

BLOCK_PX = 256
_SIGMAS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
_FLOOR = 1e-3  # a quarter of a grey level of 255: what is fainter is rounding
_FARTHEST = 8.0  # deviations; products of larger ones would outvote everything else
# The score doubles for about two nats of the regression: what it is surer of counts for more.
_NATS = 3.0


def reference_key(modality: str, marker: str) -> str:
    """Return the name under which a bundle keeps what it knows of a kind of image."""
    return f"{modality}/{marker}"


def describe(channels: Channels) -> Float64:
    """Describe one block.

    Parameters
    ----------
    channels
        float32 (C, H, W) in 0..1, as the network sees them.

    Returns
    -------
    float64 (F,): logarithms to base ten of the channels' means, of the marker's 99th percentile,
    and of the deviations of marker and counterstain between blurs of 0, 1, 2, 4, 8 and 16 px.
    """
    marker, counterstain, residual = channels
    amounts = [marker.mean(), counterstain.mean(), residual.mean(), np.percentile(marker, 99)]
    values = np.array([*amounts, *_bands(marker), *_bands(counterstain)], np.float64)
    described: Float64 = np.log10(np.maximum(values, 0) + _FLOOR)
    return described


def distance(described: Float64, reference: Mapping[str, Any]) -> float:
    """Return how far a section lies from what a bundle knows, 1 being the bundle's limit.

    Parameters
    ----------
    described
        float64 (N, F): blocks of the section; the median block counts.
    reference
        As `training.familiarity.fit_reference` returns it, with one more under ``before`` where
        training went on from weights that had learnt other images: what either knows is known.
    """
    return float(np.median(_of_blocks(described, reference)))


def _of_blocks(described: Float64, reference: Mapping[str, Any]) -> Float64:
    """Return how far each block lies from what a bundle knows, (N,)."""
    scaled = standardised(described, reference)
    spoiled = products(scaled) @ np.array(reference["weights"]) - reference["weights_limit"]
    form = np.array(reference["precision"])
    far = np.sqrt(np.einsum("nf,fg,ng->n", scaled, form, scaled)) / reference["distance_limit"]
    found: Float64 = np.maximum(np.exp(np.minimum(spoiled / _NATS, 10.0)), far)
    before = reference.get("before")
    return found if before is None else np.minimum(found, _of_blocks(described, before))


def standardised(described: Float64, reference: Mapping[str, Any]) -> Float64:
    """Return statistics (N, F) in deviations from their mean over training tiles."""
    scaled = (described - np.array(reference["centre"])) / np.array(reference["scale"])
    clipped: Float64 = np.clip(scaled, -_FARTHEST, _FARTHEST)
    return clipped


def products(scaled: Float64) -> Float64:
    """Return a one, the statistics and all their products, (N, 1 + F + F·(F + 1)/2)."""
    first, second = np.triu_indices(scaled.shape[1])
    ones = np.ones((len(scaled), 1))
    return np.concatenate([ones, scaled, scaled[:, first] * scaled[:, second]], axis=1)


def _bands(plane: Channels) -> Sequence[float]:
    """Return the deviation between each blur and the next."""
    blurred = [
        plane
        if sigma == 0
        else cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        for sigma in _SIGMAS
    ]
    return [float(np.std(fine - coarse)) for fine, coarse in pairwise(blurred)]
