"""What a bundle takes along to know a strange image by: fitted on tiles, whole and spoiled.

Letters: C = 3 input channels, H, W pixels, N blocks, F statistics.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from model.familiarity import (
    BLOCK_PX,
    Channels,
    Float64,
    describe,
    products,
    reference_key,
    standardised,
)
from training.errors import DataError
from training.stream import chances, tiles_of_split

_DRAWS = 2000
# One good tile in 200 is called strange; a section is its median block, and far less often so.
_LIMIT_PERCENTILE = 99.5
_RIDGE = 1.0
_LEAST_TILES = 40
# A deviation is not taken for smaller than this: a statistic that never varied proves little.
_SMALLEST_SCALE = 0.02
_SHRINKAGE = 0.05


def fit_references(folders: Sequence[Path], shares: Mapping[str, float]) -> dict[str, Any]:
    """Return, for each kind of image among the training tiles, how to know a strange one.

    Tiles are drawn as they are in training. A kind with fewer than 40 draws gets no reference.
    """
    try:
        parts = tiles_of_split(folders, split="train")
    except DataError:
        return {}  # folders that only validate
    index = [(part, number) for part in parts for number in range(len(part))]
    rows = [row for part in parts for row in part.rows]
    chance = np.random.default_rng(0)
    likely = chances(np.array([row["source"] for row in rows]), shares)
    whole: dict[str, list[Float64]] = defaultdict(list)
    spoiled: dict[str, list[Float64]] = defaultdict(list)
    for drawn in chance.choice(len(rows), _DRAWS, p=likely):
        part, number = index[drawn]
        channels = part[number]["image"].numpy()[:, :BLOCK_PX, :BLOCK_PX]
        key = reference_key(rows[drawn]["modality"], rows[drawn]["marker"])
        whole[key].append(describe(channels))
        spoiled[key].append(describe(spoil(channels, rows[drawn]["modality"], chance)))
    return {
        key: fit_reference(np.array(whole[key]), np.array(spoiled[key]))
        for key in sorted(whole)
        if len(whole[key]) >= _LEAST_TILES
    }


def fit_reference(whole: Float64, spoiled: Float64) -> dict[str, Any]:
    """Return what `model.familiarity.distance` needs, from described blocks (N, F) of both."""
    centre, scale = whole.mean(axis=0), np.maximum(whole.std(axis=0), _SMALLEST_SCALE)
    frame = {"centre": centre, "scale": scale}
    good, bad = standardised(whole, frame), standardised(spoiled, frame)
    weights = _regression(
        products(np.concatenate([good, bad])), np.arange(len(good) + len(bad)) >= len(good)
    )
    form = np.linalg.inv(
        (1 - _SHRINKAGE) * np.cov(good, rowvar=False) + _SHRINKAGE * np.eye(good.shape[1])
    )
    away = np.sqrt(np.einsum("nf,fg,ng->n", good, form, good))
    return {
        "centre": centre.round(4).tolist(),
        "scale": scale.round(4).tolist(),
        "weights": weights.round(4).tolist(),
        "weights_limit": round(
            float(np.percentile(products(good) @ weights, _LIMIT_PERCENTILE)), 4
        ),
        "precision": form.round(4).tolist(),
        "distance_limit": round(float(np.percentile(away, _LIMIT_PERCENTILE)), 4),
    }


def _regression(rows: Float64, is_spoiled: npt.NDArray[np.bool_]) -> Float64:
    """Return the weights of a logistic regression with a ridge on all but the first."""
    ridge = np.full(rows.shape[1], _RIDGE)
    ridge[0] = 0.0

    def loss(weights: Float64) -> tuple[float, Float64]:
        nats = rows @ weights
        value = np.logaddexp(0, nats).sum() - nats[is_spoiled].sum() + ridge @ weights**2
        slope = rows.T @ (1 / (1 + np.exp(-np.clip(nats, -500, 500))) - is_spoiled)
        return float(value), slope + 2 * ridge * weights

    start = np.zeros(rows.shape[1])
    found: Float64 = minimize(loss, start, jac=True, method="L-BFGS-B").x
    return found


def spoil(channels: Channels, modality: str, chance: np.random.Generator) -> Channels:
    """Return marker channels (C, H, W) defocused, rescaled, otherwise stained, or emptied."""
    ways: tuple[Callable[[Channels, np.random.Generator], Channels], ...] = (
        _defocused,
        _rescaled,
        _other_stain if modality == "brightfield" else _noise,
        _empty,
    )
    way = ways[int(chance.choice(len(ways), p=[0.35, 0.4, 0.15, 0.1]))]
    changed = np.clip(way(channels, chance), 0, 1).astype(np.float32)
    if modality == "fluorescence":  # its range is taken from the image itself
        low, high = np.percentile(changed[0], [1, 99.5])
        changed[0] = np.clip((changed[0] - low) / max(high - low, 0.05), 0, 1)
    return changed


def _defocused(channels: Channels, chance: np.random.Generator) -> Channels:
    sigma = float(np.exp(chance.uniform(np.log(3.0), np.log(9.0))))
    return np.stack([cv2.GaussianBlur(plane, (0, 0), sigma) for plane in channels])


def _rescaled(channels: Channels, chance: np.random.Generator) -> Channels:
    """Return the tile as if a pixel were twice to five times as large, or as small, as it is."""
    factor = float(np.exp(chance.uniform(np.log(2.0), np.log(5.0))))
    if chance.random() < 0.5:
        factor = 1 / factor
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    planes = [
        cv2.resize(plane, None, fx=factor, fy=factor, interpolation=way) for plane in channels
    ]
    height, width = planes[0].shape
    y, x = (int(chance.integers(0, max(size - BLOCK_PX, 0) + 1)) for size in (height, width))
    return np.stack([plane[y : y + BLOCK_PX, x : x + BLOCK_PX] for plane in planes])


def _other_stain(channels: Channels, chance: np.random.Generator) -> Channels:
    """Return stains that are unmixed wrongly: all three mixed, and more left unexplained."""
    mix = chance.dirichlet(np.ones(3), 3)
    mixed = np.tensordot(mix, channels, axes=1)
    mixed[2] += chance.uniform(0.02, 0.2)
    return np.asarray(mixed, np.float32)


def _noise(channels: Channels, chance: np.random.Generator) -> Channels:
    """Return a plane in which the camera's noise is as strong as any signal."""
    noisy = channels.copy()
    noisy[0] += chance.normal(0, chance.uniform(0.2, 0.6), channels.shape[1:])
    return noisy


def _empty(channels: Channels, chance: np.random.Generator) -> Channels:
    """Return an even field with a little noise."""
    level = chance.uniform(0, 0.3, (3, 1, 1)) * channels.mean(axis=(1, 2), keepdims=True)
    return np.asarray(level + chance.normal(0, 0.01, channels.shape), np.float32)
