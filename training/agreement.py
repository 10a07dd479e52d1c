"""How far two ways of measuring the same images agree: bias, limits, intraclass correlation.

Letters: n images, k ways of measuring (annotated and predicted: 2), I images with their weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from training.bootstrap import Floats, Resampling, Statistic, share

LEAST_IMAGES = 3
_Z95 = 1.96


def icc_agreement(values: npt.NDArray[Any], weights: Floats | None = None) -> Floats:
    """Return the intraclass correlation ICC(A,1) of values (n, k): two-way, absolute agreement.

    ``(MSR − MSE) / (MSR + (k − 1)·MSE + k/n·(MSC − MSE))`` of the mean squares between rows
    (images), between columns (ways of measuring) and of the rest: McGraw & Wong 1996,
    doi 10.1037/1082-989X.1.1.30, case A,1; Shrout & Fleiss 1979 call it ICC(2,1).

    Parameters
    ----------
    values
        (n, k), without gaps.
    weights
        (m, n): how often each image counts in each of m draws; once if None.

    Returns
    -------
    (m,), or one number without `weights`; NaN under three images or where all are alike.
    """
    x = np.asarray(values, np.float64)
    x = x - x.mean()  # a shift changes nothing, and keeps digits
    w = np.ones((1, len(x))) if weights is None else weights
    n, k = w.sum(axis=1), x.shape[1]
    columns = w @ x
    whole = columns.sum(axis=1) ** 2 / (n * k)
    between_rows = w @ x.sum(axis=1) ** 2 / k - whole
    between_columns = (columns**2).sum(axis=1) / n - whole
    rest = w @ (x**2).sum(axis=1) - whole - between_rows - between_columns
    with np.errstate(divide="ignore", invalid="ignore"):
        msr, msc = between_rows / (n - 1), between_columns / (k - 1)
        mse = rest / ((n - 1) * (k - 1))
        icc = (msr - mse) / (msr + (k - 1) * mse + k / n * (msc - mse))
    icc = np.where((n >= LEAST_IMAGES) & np.isfinite(icc), icc, np.nan)
    return np.asarray(icc[0] if weights is None else icc)


def differences(annotated: Floats, predicted: Floats) -> Floats:
    """Return predicted − annotated, (I,): 0 where both are the same but for rounding."""
    alike = np.isclose(predicted, annotated, rtol=1e-12, atol=0.0)
    return np.where(alike, 0.0, predicted - annotated)


def agreement(annotated: Floats, predicted: Floats, resampling: Resampling) -> dict[str, Any]:
    """Compare a density measured on predicted masks with that on annotated ones, both (I,).

    Returns
    -------
    ``mean_annotated``; ``bias`` (mean of predicted − annotated) and ``limits_of_agreement``
    (bias ± 1.96 standard deviations of the differences: Bland & Altman 1986,
    doi 10.1016/S0140-6736(86)90837-8); ``mean_absolute_relative_error`` over the images whose
    annotated density is not 0; ``icc_a1``. Numbers with ``ci95``; null where there are too few.
    """
    difference = differences(annotated, predicted)
    every = np.ones(len(difference))
    holding = annotated > 0
    error = np.divide(np.abs(difference), annotated, out=np.zeros(len(every)), where=holding)
    pairs = np.stack([annotated, predicted], axis=1)
    bias = float(difference.mean())
    reach = _Z95 * float(difference.std(ddof=1)) if len(every) >= LEAST_IMAGES else None
    return {
        "images": len(every),
        "mean_annotated": float(annotated.mean()),
        "bias": _with_interval(share(difference, every), resampling),
        "limits_of_agreement": None if reach is None else [bias - reach, bias + reach],
        "mean_absolute_relative_error": _with_interval(share(error, holding), resampling, holding),
        "relative_images": int(holding.sum()),
        "icc_a1": _with_interval(lambda weights: icc_agreement(pairs, weights), resampling),
    }


def _with_interval(
    statistic: Statistic, resampling: Resampling, counted: npt.NDArray[np.bool_] | None = None
) -> dict[str, Any] | None:
    (value,) = statistic(np.ones((1, resampling.membership.shape[1])))
    if not np.isfinite(value):
        return None
    return {"value": float(value), "ci95": resampling.interval(statistic, counted)}
