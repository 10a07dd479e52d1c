"""Whether a probability means what it says: reliability, and the temperature that mends it.

Logits are counted in fine bins, so that images add up and any temperature can be tried afterwards.
Letters: B bins of logits, T the temperature.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from training.tally import Tally

Floats = npt.NDArray[np.float64]

RELIABILITY_BINS = 15
_STEP, _LIMIT = 0.05, 30.0  # a step moves a probability by 0.0125 at most; 1e-13 is out of range
_BINS = round(2 * _LIMIT / _STEP)
_CENTRES: Floats = (np.arange(_BINS, dtype=np.float64) + 0.5) * _STEP - _LIMIT
_LEAST_PROBABILITY = 1e-9  # float32 knows no probability nearer to 1 than 6e-8


@dataclasses.dataclass(frozen=True, eq=False)
class LogitTally(Tally):
    """Pixels by the logit that the network gave them before any temperature.

    `pixels` (B,) counts them, `target` (B,) adds up what was annotated there, 0..1 each.
    """

    pixels: Floats = dataclasses.field(default_factory=lambda: np.zeros(_BINS))
    target: Floats = dataclasses.field(default_factory=lambda: np.zeros(_BINS))


def tally_logits(logits: npt.NDArray[Any], target: npt.NDArray[Any]) -> LogitTally:
    """Count pixels: `logits` and `target` (0..1) are of one shape."""
    index = np.floor((np.ravel(logits) + _LIMIT) / _STEP).clip(0, _BINS - 1).astype(np.intp)
    weights = np.ravel(target).astype(np.float64)
    return LogitTally(
        np.bincount(index, minlength=_BINS).astype(np.float64),
        np.bincount(index, weights, minlength=_BINS).astype(np.float64),
    )


def tally_probabilities(
    probabilities: npt.NDArray[np.float32], target: npt.NDArray[Any], temperature: float
) -> LogitTally:
    """Count pixels by calibrated probabilities, as a bundle of that `temperature` gives them."""
    inside = np.clip(probabilities.astype(np.float64), _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    return tally_logits(logit(inside) * temperature, target)


def cross_entropy(tally: LogitTally, temperature: float) -> float:
    """Return the mean cross-entropy of a pixel (nat) with logits divided by `temperature`."""
    scaled = _CENTRES / temperature
    losses = np.logaddexp(0.0, scaled) * tally.pixels - scaled * tally.target
    return float(losses.sum() / tally.pixels.sum())


def best_temperature(tally: LogitTally) -> float:
    """Return the temperature of the least cross-entropy, 0.1 to 10.

    Guo et al. 2017, arXiv 1706.04599.
    """
    best = minimize_scalar(
        lambda log_temperature: cross_entropy(tally, float(np.exp(log_temperature))),
        bounds=(np.log(0.1), np.log(10.0)),
        method="bounded",
    )
    return round(float(np.exp(best.x)), 4)


def calibration_error(pixels: Floats, target: Floats, temperature: float) -> Floats:
    """Return the expected calibration error of tallies (..., B), one for each.

    Pixels fall into 15 equally wide bins of probability; it is the mean over pixels of the gap
    between their bin's mean probability and its annotated fraction (Naeini et al. 2015, AAAI 29).
    Here the probability is that of the target, so that untouched background counts as well.
    """
    said = expit(_CENTRES / temperature)
    gaps = (pixels * said - target) @ np.eye(RELIABILITY_BINS)[_bins_of(said)]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(gaps).sum(axis=-1) / pixels.sum(axis=-1))


def reliability(tally: LogitTally, temperature: float) -> list[dict[str, Any]]:
    """Return each bin of probability that holds a pixel: what was said, and what was there."""
    said = expit(_CENTRES / temperature)
    bins = _bins_of(said)
    pixels = np.bincount(bins, tally.pixels, minlength=RELIABILITY_BINS)
    mean = np.bincount(bins, tally.pixels * said, minlength=RELIABILITY_BINS)
    found = np.bincount(bins, tally.target, minlength=RELIABILITY_BINS)
    return [
        {
            "from": number / RELIABILITY_BINS,
            "to": (number + 1) / RELIABILITY_BINS,
            "pixels": int(pixels[number]),
            "mean_probability": mean[number] / pixels[number],
            "annotated_fraction": found[number] / pixels[number],
        }
        for number in np.flatnonzero(pixels).tolist()
    ]


def _bins_of(probabilities: Floats) -> npt.NDArray[np.intp]:
    return np.minimum((probabilities * RELIABILITY_BINS).astype(np.intp), RELIABILITY_BINS - 1)
