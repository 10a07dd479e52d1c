"""What a bundle takes along to know a strange image by: fitted on tiles, whole and spoiled.

Letters: C = 3 input channels, H, W pixels, N blocks, F statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.optimize import minimize

from datasets.tiles import TileDataset
from model.familiarity import (
    BLOCK_PX,
    Channels,
    Float64,
    describe,
    products,
    reference_key,
    standardised,
)
from training.stream import learnt_tiles

_Place = tuple[TileDataset, int]

_DRAWS = 1000
# One good tile in 200 is called strange; a section is its median block, and far less often so.
_LIMIT_PERCENTILE = 99.5
_RIDGE = 3.0
_FOLDS = 4
_LEAST_TILES = 12
# A deviation is not taken for smaller than this: a statistic that never varied proves little.
_SMALLEST_SCALE = 0.02
_SHRINKAGE = 0.05


def fit_references(folders: Sequence[Path]) -> dict[str, Any]:
    """Return, for each kind of image among the training tiles, how to know a strange one.

    The sources of a kind count alike, however many tiles they have: VessMAP's few must be known as
    well as synthetic sections. A kind with fewer than 12 tiles gets no reference.
    """
    by_kind: dict[str, dict[str, list[_Place]]] = {}
    for part in learnt_tiles(folders):
        for number, row in enumerate(part.rows):
            of_kind = by_kind.setdefault(reference_key(row["modality"], row["marker"]), {})
            of_kind.setdefault(row["source"], []).append((part, number))
    return {
        key: _fit_kind(key.split("/")[0], list(sources.values()))
        for key, sources in sorted(by_kind.items())
        if sum(map(len, sources.values())) >= _LEAST_TILES
    }


def _fit_kind(modality: str, sources: Sequence[Sequence[_Place]]) -> dict[str, Any]:
    chance = np.random.default_rng(0)
    whole, spoiled = [], []
    for turn in range(_DRAWS):
        source = sources[turn % len(sources)]
        part, number = source[int(chance.integers(len(source)))]
        channels = part[number]["image"].numpy()[:, :BLOCK_PX, :BLOCK_PX]
        whole.append(describe(channels))
        spoiled.append(describe(spoil(channels, modality, chance)))
    return fit_reference(np.array(whole), np.array(spoiled))


def fit_reference(whole: Float64, spoiled: Float64) -> dict[str, Any]:
    """Return what `model.familiarity.distance` needs, from described blocks (N, F) of both."""
    centre, scale = whole.mean(axis=0), np.maximum(whole.std(axis=0), _SMALLEST_SCALE)
    frame = {"centre": centre, "scale": scale}
    good, bad = standardised(whole, frame), standardised(spoiled, frame)
    form = np.linalg.inv(
        (1 - _SHRINKAGE) * np.cov(good, rowvar=False) + _SHRINKAGE * np.eye(good.shape[1])
    )
    away = np.sqrt(np.einsum("nf,fg,ng->n", good, form, good))
    return {
        "centre": centre.round(4).tolist(),
        "scale": scale.round(4).tolist(),
        "weights": _regression(good, bad).round(4).tolist(),
        "weights_limit": round(float(np.percentile(_unseen(good, bad), _LIMIT_PERCENTILE)), 4),
        "precision": form.round(4).tolist(),
        "distance_limit": round(float(np.percentile(away, _LIMIT_PERCENTILE)), 4),
    }


def _unseen(good: Float64, bad: Float64) -> Float64:
    """Return what regressions say of good blocks (N,) that they were not fitted on."""
    said = np.zeros(len(good))
    part = np.arange(len(good)) * _FOLDS // len(good)
    for fold in range(_FOLDS):
        left_out = part == fold
        said[left_out] = products(good[left_out]) @ _regression(good[~left_out], bad[~left_out])
    return said


def _regression(good: Float64, bad: Float64) -> Float64:
    """Return the weights of a logistic regression with a ridge on all but the first."""
    rows = products(np.concatenate([good, bad]))
    is_spoiled = np.arange(len(rows)) >= len(good)
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
    # Fluorescence that shows nothing but noise is what an unstained section looks like: no fault.
    ways: tuple[Callable[[Channels, np.random.Generator], Channels], ...] = (
        (_defocused, _rescaled, _other_stain, _empty)
        if modality == "brightfield"
        else (_defocused, _rescaled)
    )
    chances_of_ways = np.array([0.35, 0.4, 0.15, 0.1][: len(ways)])
    way = ways[int(chance.choice(len(ways), p=chances_of_ways / chances_of_ways.sum()))]
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


def _empty(channels: Channels, chance: np.random.Generator) -> Channels:
    """Return an even field with a little noise."""
    level = chance.uniform(0, 0.3, (3, 1, 1)) * channels.mean(axis=(1, 2), keepdims=True)
    return np.asarray(level + chance.normal(0, 0.01, channels.shape), np.float32)
