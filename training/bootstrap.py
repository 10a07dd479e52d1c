"""Intervals by resampling: what a score would be had other animals been examined.

Every statistic is a function of how often each image counts, its weight. Animals are drawn with
all their images where there are at least six of them, else images are drawn one by one, which
gives intervals that are too narrow if images of one animal are alike.

Letters: I images, U units that are drawn, R draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""Weights (n, I) to n values; NaN where there is nothing to compute."""

DRAWS = 2000
SEED = 20261126
LEAST_ANIMALS = 6
LEAST_UNITS = 3
_COVERAGE = 0.95


@dataclass(frozen=True, eq=False)
class Resampling:
    """Seeded draws of images.

    Attributes
    ----------
    unit
        What is drawn: ``animals`` or ``images``.
    membership
        (U, I): 1 where an image belongs to a unit.
    draws
        (R, U): how often each unit was drawn.
    """

    unit: str
    membership: Floats
    draws: Floats

    @classmethod
    def of(cls, animals: Sequence[str]) -> Resampling:
        """Return the draws for I images of these `animals`."""
        names, owner = np.unique(np.array(animals), return_inverse=True)
        by_animal = len(names) >= LEAST_ANIMALS
        units = np.eye(len(names))[:, owner] if by_animal else np.eye(len(animals))
        count = len(units)
        draws = np.random.default_rng(SEED).multinomial(count, [1 / count] * count, DRAWS)
        return cls("animals" if by_animal else "images", units, draws.astype(np.float64))

    def interval(
        self, statistic: Statistic, counted: npt.NDArray[np.bool_] | None = None
    ) -> list[float] | None:
        """Return a 95 % interval of `statistic`, bias-corrected and accelerated.

        Efron 1987, doi 10.1080/01621459.1987.10478410. `counted` (I,) tells which images the
        statistic looks at. None where fewer than three units hold such an image.
        """
        if counted is not None and np.count_nonzero(self.membership @ counted) < LEAST_UNITS:
            return None
        if len(self.membership) < LEAST_UNITS:
            return None
        drawn = statistic(self.draws @ self.membership)
        drawn = drawn[np.isfinite(drawn)]
        (value,) = statistic(np.ones((1, self.membership.shape[1])))
        if not len(drawn) or not np.isfinite(value):
            return None
        left_out = statistic((1 - np.eye(len(self.membership))) @ self.membership)
        quantiles = _corrected(drawn, float(value), left_out[np.isfinite(left_out)])
        return [float(bound) for bound in np.quantile(drawn, quantiles)]


def share(parts: npt.NDArray[np.generic], wholes: npt.NDArray[np.generic]) -> Statistic:
    """Return the statistic Σ parts / Σ wholes over images, both (I,)."""
    above, below = parts.astype(np.float64), wholes.astype(np.float64)

    def statistic(weights: Floats) -> Floats:
        total = weights @ below
        empty = np.full(len(total), np.nan)
        return np.asarray(np.divide(weights @ above, total, out=empty, where=total != 0))

    return statistic


def _corrected(drawn: Floats, value: float, left_out: Floats) -> tuple[float, float]:
    """Return the quantiles of the draws that bound the interval."""
    tail = (1 - _COVERAGE) / 2
    tied = np.isclose(drawn, value, rtol=1e-12, atol=0.0)  # sums are rounded as processors like
    below = np.mean((drawn < value) & ~tied) + np.mean(tied) / 2
    away = left_out.mean() - left_out if len(left_out) else left_out
    spread = float((away**2).sum()) ** 1.5
    # All alike, all on one side, or too few to leave one out: there is nothing to correct by.
    if spread == 0 or not 0 < below < 1:
        return tail, 1 - tail
    bias, acceleration = norm.ppf(below), float((away**3).sum()) / (6 * spread)
    ends = (bias + norm.ppf(p) for p in (tail, 1 - tail))
    low, high = (float(norm.cdf(bias + end / (1 - acceleration * end))) for end in ends)
    return low, high
