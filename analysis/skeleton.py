"""The skeleton of a vessel mask: thinned, pruned, measured against the local diameter."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from analysis.ends import end_changes
from analysis.graph import Chains, PixelGraph, pixel_graph, trace
from analysis.radii import Radii
from analysis.thinning import Words, clear, coordinates, fill, pack, thin_words

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

# What lies further off than this many radii of the widest vessel around, plus a margin for junction
# clusters, cannot alter the skeleton or its pruning (thinning alone: 2 radii).
HALO_RADII = 3
HALO_MARGIN_PX = 16

# Where two vessels part at an acute angle, pixels fall by chance on either side of the narrowing
# gap and leave holes of a few background pixels: up to 10 px where tubes of 4 to 11 px cross at 45°
# to 60°. Each would be a loop with two branchpoints. They are closed for the skeleton alone.
PINHOLE_PX = 12
# By so much the balls about pixels of a digitised disc's axis stand out of the largest: a diagonal
# step, as much as three pixels in a row reach from their middle.
GRAIN_PX = 1.5


@dataclass(frozen=True)
class Skeleton:
    """A pruned skeleton with its graph, in the coordinates of one window.

    Attributes
    ----------
    graph
        Skeleton pixels and the steps between them.
    chains
        Pixels between junctions and ends, in walking order.
    junction
        Pixels (N,) with three or more branches.
    rim
        Pixels (N,) just inside a part of the mask too wide to have a skeleton: chains are cut here.
    radii
        How far pixels lie from the background.
    wide
        Mask (H, W) of the parts too wide, or None.
    """

    graph: PixelGraph
    chains: Chains
    junction: Bools
    rim: Bools
    radii: Radii
    wide: Bools | None

    @cached_property
    def radius(self) -> Floats:
        """Return the distance to the background at each skeleton pixel (N,), in px."""
        return self.radii.at(self.graph.y, self.graph.x)


def distance_to_background(mask: Bools) -> Floats:
    """Return the exact Euclidean distance (H, W) of each mask pixel to the background, in px."""
    if mask.all():
        return np.full(mask.shape, np.float32(np.hypot(*mask.shape)))
    distance = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance, np.float32)


def skeleton_of(window: Bools, max_radius_px: float) -> Skeleton:
    """Thin, prune and trace the mask in `window` (H, W); outside it is background."""
    window = without_pinholes(window)
    radii = Radii.of(window, max_radius_px + GRAIN_PX)
    wide, keep = None, None
    # No pixel lies further off than the background in its own column.
    if radii.in_column.max() > max_radius_px and _radius_bound_px(window) > max_radius_px:
        core = distance_to_background(window) > max_radius_px
        if core.any():
            wide = window & (distance_to_background(~core) <= max_radius_px)
            keep = pack(core)
    words = thin_words(pack(window), keep)
    before = _trace(words, window.shape[1], radii, wide)
    spur = _spurs(before)
    gone = before.chains.pixel[np.repeat(spur, before.chains.size)]
    ends = end_changes(before.graph, before.chains, before.radius, radii, ~spur)
    gone = np.concatenate([gone, ends.gone, _residues(before)])
    if not len(gone) and not len(ends.y):
        return before
    pruned = words.copy()
    clear(pruned, before.graph.y[gone], before.graph.x[gone])
    fill(pruned, ends.y, ends.x)
    return _trace(thin_words(pruned, keep, words), window.shape[1], radii, wide)


def _residues(skeleton: Skeleton) -> Ints:
    """Return the pixels beyond one of what thinning leaves of a round profile.

    A disc's medial axis is a point: the ball about it holds all others. Of drawn discs a few pixels
    stay, whose balls lie in the largest one but for the grain of pixels.
    """
    graph, chains = skeleton.graph, skeleton.chains
    alone = (chains.junction < 0).all(axis=1) & ~chains.ring & (chains.size > 1)
    chain = np.repeat(np.arange(len(alone)), chains.size)
    place = np.flatnonzero(alone[chain])
    pixel, chain = chains.pixel[place], chain[place]
    radius = skeleton.radius[pixel].astype(np.float64)
    off_middle = np.abs(2 * place - chains.offset[chain] - chains.offset[chain + 1] + 1)
    order = np.lexsort((off_middle, -radius, chain))
    _, first = np.unique(chain[order], return_index=True)
    largest = np.zeros(len(alone), np.int64)
    largest[chain[order[first]]] = order[first]
    middle = largest[chain]
    y, x = graph.y[pixel], graph.x[pixel]
    apart = np.hypot(y - y[middle], x - x[middle])
    round_ = alone.copy()
    round_[chain[radius + apart > radius[middle] + GRAIN_PX]] = False
    rest = round_[chain]
    rest[order[first]] = False
    return pixel[rest]


def without_pinholes(mask: Bools) -> Bools:
    """Return `mask` (H, W) with every hole of at most `PINHOLE_PX` pixels closed."""
    contours, levels = cv2.findContours(
        np.ascontiguousarray(mask).view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    # A hole's contour runs through the pixels around it: by Pick's theorem it encloses
    # A − n/2 + 1 others. A hole of 12 px has at most 28 pixels around it, all in a row.
    pinholes = [
        contour
        for contour, level in zip(contours, levels[0] if len(contours) else (), strict=True)
        if level[3] >= 0
        and len(contour) <= 2 * PINHOLE_PX + 4
        and cv2.contourArea(contour) - len(contour) / 2 + 1 <= PINHOLE_PX
    ]
    if not pinholes:
        return mask
    closed = np.array(mask, np.uint8)
    cv2.drawContours(closed, pinholes, -1, 1, cv2.FILLED)
    return closed.view(np.bool_)


def skeletonise(mask: Bools, max_radius_px: float = np.inf) -> Bools:
    """Return the pruned Guo–Hall skeleton (H, W) of `mask`, mirrored at the border before thinning.

    Parameters
    ----------
    mask
        Vessel mask (H, W).
    max_radius_px
        Parts wider than twice this have no skeleton.
    """
    if not mask.any():
        return np.zeros_like(mask)
    halo = halo_px(mask, max_radius_px)
    skeleton = skeleton_of(mirror(mask, halo, halo, halo, halo), max_radius_px)
    graph = skeleton.graph
    y, x = graph.y[~skeleton.rim] - halo, graph.x[~skeleton.rim] - halo
    inside = (y >= 0) & (x >= 0) & (y < mask.shape[0]) & (x < mask.shape[1])
    result = np.zeros_like(mask)
    result[y[inside], x[inside]] = True
    return result


def mirror(mask: Bools, top: int, bottom: int, left: int, right: int) -> Bools:
    """Extend `mask` by its mirror image, the border pixel itself not repeated."""
    if not (top or bottom or left or right):
        return np.ascontiguousarray(mask)
    extended = cv2.copyMakeBorder(
        np.ascontiguousarray(mask).view(np.uint8), top, bottom, left, right, cv2.BORDER_REFLECT_101
    )
    return extended.view(np.bool_)


def halo_px(mask: Bools, max_radius_px: float) -> int:
    """Return the halo that makes the skeleton inside `mask` independent of what lies beyond."""
    return full_halo_px(min(_radius_bound_px(mask), max_radius_px + 1.0))


def _radius_bound_px(mask: Bools) -> float:
    """Return what no pixel of `mask` (H, W) lies further from the background, in px.

    Looked at on every fourth pixel of every fourth row: the distance there is at least that on the
    full grid, and no pixel is further than √8 px from one of them.
    """
    sampled = np.ascontiguousarray(mask[::4, ::4])
    if not sampled.any() and not mask.any():
        return 0.0
    return 4.0 * float(distance_to_background(sampled).max()) + 3.0


def full_halo_px(radius_px: float) -> int:
    """Return the halo for vessels of at most `radius_px`."""
    return int(np.ceil(HALO_RADII * radius_px)) + HALO_MARGIN_PX


def _trace(words: Words, width: int, radii: Radii, wide: Bools | None) -> Skeleton:
    y, x = coordinates(words)
    rim = np.zeros(len(y), np.bool_)
    if wide is not None:
        inner = wide[y, x]
        narrow = np.zeros_like(wide)
        narrow[y[~inner], x[~inner]] = True
        near = cv2.dilate(narrow.view(np.uint8), np.ones((3, 3), np.uint8)).view(np.bool_)
        stays = ~inner | near[y, x]
        y, x, rim = y[stays], x[stays], inner[stays]
    graph = pixel_graph(y, x, width)
    junction = (graph.degree > 2) & ~rim
    return Skeleton(graph, trace(graph, junction | rim), junction, rim, radii, wide)


def chain_length(skeleton: Skeleton) -> Ints:
    """Return each chain's length (K,) up to the junction pixels it meets, in thousandths of px."""
    graph, chains = skeleton.graph, skeleton.chains
    part = np.append(graph.length_by_pixel[chains.pixel], 0)
    length: Ints = np.add.reduceat(part, chains.offset[:-1]) if len(chains.ring) else part[:0]
    return np.asarray(length + end_half_steps(skeleton).sum(axis=1))


def end_half_steps(skeleton: Skeleton) -> Ints:
    """Return the junction's half of the step between each chain end (K, 2) and its junction."""
    graph, chains = skeleton.graph, skeleton.chains
    end = end_pixels(chains)
    met = chains.junction
    straight = (graph.y[end] == graph.y[met]) | (graph.x[end] == graph.x[met])
    half: Ints = np.where(straight, 490, 703) * (met >= 0)
    return half


def end_pixels(chains: Chains) -> Ints:
    """Return the first and last pixel of each chain (K, 2)."""
    return np.stack([chains.pixel[chains.offset[:-1]], chains.pixel[chains.offset[1:] - 1]], axis=1)


def _spurs(skeleton: Skeleton) -> Bools:
    """Say which chains (K,) are end–branch and shorter than the diameter where they branch off."""
    chains = skeleton.chains
    met = chains.junction
    one_end = ((met < 0).sum(axis=1) == 1) & ~chains.ring
    diameter = 2.0 * skeleton.radius[met.max(axis=1)] if len(met) else np.empty(0)
    return np.asarray(one_end & (chain_length(skeleton) < 1000.0 * diameter))
