"""VEGF-positive cells: instances from probabilities, the same whatever the block.

The cell mask is where the probability reaches its threshold. Touching cells are parted by a
watershed on the predicted depth inside a cell, one seed for each region deeper than half; a
connected part of the mask is parted the same way in whatever window it is seen whole. A cell
belongs to the block that holds its last pixel in row-major order, so blocks add up exactly.

Letters: H, W pixels of the model's grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects
from skimage.segmentation import watershed

from analysis.masks import MaskLike
from imaging.tiles import Window

# Depth is 1 at a cell's centre and 0 at its outline: the saddle between two touching cells lies
# near 0, so about half separates them with a wide margin. Networks predict peaks lower than they
# are, hence a little less: of 104 to 128, 112 parted unseen drawn cells best over both kinds of
# image. A cell too faintly predicted for that is looked for at a quarter; failing this, a connected
# part of the mask is one cell.
_SEED_LEVELS = (112, 64)
_FIRST_HALO_PX = 96
_LAST_HALO_PX = 768
# Seeds are smoothed over 2 px, so what lies this near a window's border is not seen whole.
_RIM_PX = 3


@dataclass(frozen=True)
class CellSettings:
    """Grid, threshold and smallest area of a VEGF-positive cell.

    `level` is the smallest byte of the probability map that counts, 1..255.
    """

    mpp_um: float
    level: int
    min_cell_area_um2: float = 25.0

    @property
    def min_area_px(self) -> float:
        """Return the smallest area counted, in pixels of the grid."""
        return self.min_cell_area_um2 / self.mpp_um**2


def label_cells(
    probability: npt.NDArray[np.uint8], centre: npt.NDArray[np.uint8], settings: CellSettings
) -> npt.NDArray[np.int32]:
    """Part the cell mask into cells.

    Parameters
    ----------
    probability, centre
        uint8 (H, W): probability of a cell body, and the predicted depth inside a cell.
    settings
        Threshold, grid and smallest area.

    Returns
    -------
    int32 (H, W)
        0 outside cells; cells of at least the smallest area are numbered from 1 without gaps.
    """
    mask = probability >= settings.level
    count, parts = _parts(mask)
    if count == 1:
        return np.zeros(mask.shape, np.int32)
    seeds = _seeds(parts, count, centre)
    labels = _flood(parts, count, seeds, centre)
    areas = np.bincount(labels.ravel())
    kept = areas >= settings.min_area_px
    kept[0] = False
    numbers = np.zeros(areas.size, np.int32)
    numbers[kept] = np.arange(1, np.count_nonzero(kept) + 1)
    return np.asarray(numbers[labels], np.int32)


def _parts(mask: npt.NDArray[np.bool_]) -> tuple[int, npt.NDArray[np.int32]]:
    """Return how many numbers there are, 0 included, and the 8-connected parts of a mask."""
    count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return count, np.asarray(parts, np.int32)


def _seeds(
    parts: npt.NDArray[np.int32], count: int, centre: npt.NDArray[np.uint8]
) -> npt.NDArray[np.int32]:
    """Return seeds numbered from 1: every part of the mask holds at least one."""
    # A binomial blur of 5 px takes the noise of single pixels away and keeps peaks of small cells.
    smooth = cv2.GaussianBlur(np.where(parts > 0, centre, 0).astype(np.uint8), (5, 5), 0)
    seeds = np.zeros(parts.shape, np.int32)
    unseeded = np.ones(count, np.bool_)
    unseeded[0] = False
    found = 0
    for level in (*_SEED_LEVELS, 0):
        if not unseeded.any():
            break
        here = unseeded[parts] & (smooth >= level)
        number, local = _parts(here)
        seeds = np.where(local > 0, local + found, seeds)
        unseeded[parts[local > 0]] = False
        found += number - 1
    return np.asarray(seeds, np.int32)


def _flood(
    parts: npt.NDArray[np.int32],
    count: int,
    seeds: npt.NDArray[np.int32],
    centre: npt.NDArray[np.uint8],
) -> npt.NDArray[np.int32]:
    """Spread seeds over the mask; only parts with several seeds need the watershed."""
    inside = seeds > 0
    part_of_seed = np.zeros(int(seeds.max()) + 1, np.int32)
    part_of_seed[seeds[inside]] = parts[inside]
    several = np.bincount(part_of_seed[1:], minlength=count) > 1
    sole = np.zeros(count, np.int32)
    sole[part_of_seed] = np.arange(part_of_seed.size)
    sole[several] = 0
    sole[0] = 0
    labels = sole[parts]
    boxes = find_objects(np.where(several[parts], parts, 0))
    # One part at a time: ties between equal depths fall by the order of all seeds in the queue, so
    # that a cluster seen beside others could be parted otherwise than alone.
    for number in np.flatnonzero(several).tolist():
        box = boxes[number - 1]
        own = parts[box] == number
        inner = np.where(own, seeds[box], 0)
        shared = watershed(  # type: ignore[no-untyped-call]
            -centre[box].astype(np.int16), inner, mask=own, connectivity=2
        )
        labels[box][own] = shared[own]
    return np.asarray(labels, np.int32)


@dataclass(frozen=True)
class BlockCells:
    """Cells seen in the window of one block, and which of them the block owns.

    `labels` int32 covers `window` of the grid; `owned` are the numbers whose last pixel lies in
    the block's core, `counted` tells of each whether it stays clear of the image's bottom and
    right border. `last_pixel` holds (rows, columns) of the grid, `areas_px` the areas, `centroids`
    (n, 2) the mean (y, x).
    """

    window: Window
    labels: npt.NDArray[np.int32]
    owned: npt.NDArray[np.int64]
    counted: npt.NDArray[np.bool_]
    last_pixel: npt.NDArray[np.int64]
    areas_px: npt.NDArray[np.int64]
    centroids: npt.NDArray[np.float64]
    clusters_cut: int


def cells_of_block(
    probability: MaskLike, centre: MaskLike, core: Window, settings: CellSettings
) -> BlockCells:
    """Label the cells of one block in a window wide enough to see each cluster whole.

    The window grows until no cluster of the core reaches its inner border; a cluster wider than
    the widest window is parted as far as it is seen, and counted in `clusters_cut`.
    """
    height, width = probability.shape
    halo = _FIRST_HALO_PX
    while True:
        window = _widened(core, halo, height, width)
        seen = probability[window.slices()]
        cut = _clusters_cut(seen >= settings.level, core, window, height, width)
        if cut == 0 or halo >= _LAST_HALO_PX:
            break
        halo *= 2
    if not np.any(seen[core.within(window).slices()] >= settings.level):
        empty = np.zeros(0, np.int64)
        labels = np.zeros(seen.shape, np.int32)
        last, centroids = np.zeros((2, 0), np.int64), np.zeros((0, 2))
        return BlockCells(window, labels, empty, empty.astype(np.bool_), last, empty, centroids, 0)
    labels = label_cells(seen, centre[window.slices()], settings)
    return _owned(labels, core, window, (height, width), cut)


def _widened(core: Window, halo: int, height: int, width: int) -> Window:
    left, top = max(core.x - halo, 0), max(core.y - halo, 0)
    right, bottom = min(core.right + halo, width), min(core.bottom + halo, height)
    return Window(left, top, right - left, bottom - top)


def _clusters_cut(
    mask: npt.NDArray[np.bool_], core: Window, window: Window, height: int, width: int
) -> int:
    """Count connected parts that lie in the core and reach the window's border in the image."""
    count, parts = _parts(mask)
    borders = [
        (window.y > 0, parts[:_RIM_PX]),
        (window.bottom < height, parts[-_RIM_PX:]),
        (window.x > 0, parts[:, :_RIM_PX]),
        (window.right < width, parts[:, -_RIM_PX:]),
    ]
    reaching, inside = np.zeros((2, count), np.bool_)
    for inner, line in borders:
        if inner:
            reaching[line] = True
    inside[parts[core.within(window).slices()]] = True
    return int(np.count_nonzero((reaching & inside)[1:]))


def _owned(
    labels: npt.NDArray[np.int32], core: Window, window: Window, shape: tuple[int, int], cut: int
) -> BlockCells:
    height, width = shape
    flat = labels.ravel()
    places = np.flatnonzero(flat)
    count = int(flat.max(initial=0))
    last = np.zeros(count + 1, np.int64)
    np.maximum.at(last, flat[places], places)
    numbers = np.arange(1, count + 1)
    rows = last[1:] // window.width + window.y
    columns = last[1:] % window.width + window.x
    mine = (rows >= core.y) & (rows < core.bottom) & (columns >= core.x) & (columns < core.right)
    meets = np.zeros(count + 1, np.bool_)
    if window.bottom == height:
        meets[labels[-1]] = True
    if window.right == width:
        meets[labels[:, -1]] = True
    owned = numbers[mine]
    areas = np.bincount(flat, minlength=count + 1)[owned]
    y, x = np.divmod(places, window.width)
    sums = [np.bincount(flat[places], weight, minlength=count + 1)[owned] for weight in (y, x)]
    return BlockCells(
        window=window,
        labels=labels,
        owned=owned,
        counted=~meets[owned],
        last_pixel=np.stack([rows[mine], columns[mine]]),
        areas_px=areas,
        centroids=np.stack([sums[0] / areas + window.y, sums[1] / areas + window.x], axis=1),
        clusters_cut=cut,
    )
