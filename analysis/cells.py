"""VEGF-positive cells: instances from probabilities, the same whatever the block.

The cell mask is where the probability reaches its threshold. Touching cells are parted by a
watershed on the predicted depth inside a cell, from each peak of it that stands out (its h-maxima,
Soille 2003, Morphological Image Analysis, section 6.3); a connected part of the mask is parted the
same way in whatever window it is seen whole. A cell belongs to the block that holds its last pixel
in row-major order, so blocks add up exactly.

Letters: H, W pixels of the model's grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from analysis.masks import MaskLike
from imaging.tiles import Window

# Depth is 255 at a cell's centre and 0 at its outline, so that a saddle lies between two touching
# cells; a network predicts it shallower, and peaks of faint cells lower. A peak is a cell's if it
# stands out by more than so much from whatever saddle leads to a higher one. Of 8 to 64, 16 to 24
# parted unseen drawn cells best, in both kinds of image.
_PROMINENCE = 16
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
    mask = (probability >= settings.level).astype(np.uint8)
    count, parts, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    # A binomial blur of 5 px takes the noise of single pixels away and keeps peaks of small cells.
    inner = np.where(mask > 0, centre, 0).astype(np.uint8)
    smooth = np.asarray(cv2.GaussianBlur(inner, (5, 5), 0), np.uint8)
    labels = np.zeros(mask.shape, np.int32)
    found = 0
    for number in range(1, count):
        left, top, width, height, area = statistics[number].tolist()
        if area < settings.min_area_px:
            continue
        box = slice(top, top + height), slice(left, left + width)
        own = parts[box] == number
        if area < 2 * settings.min_area_px:  # no room for two
            cells = own.astype(np.int32)
        else:
            cells = _parted(own, smooth[box], centre[box])
            _join_small(cells, centre[box], settings.min_area_px)
        numbers, cells_on_part = np.unique(cells[own], return_inverse=True)
        labels[box][own] = found + 1 + cells_on_part
        found += numbers.size
    return labels


def _parts(mask: npt.NDArray[np.bool_]) -> tuple[int, npt.NDArray[np.int32]]:
    """Return how many numbers there are, 0 included, and the 8-connected parts of a mask."""
    count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return count, np.asarray(parts, np.int32)


def _parted(
    own: npt.NDArray[np.bool_], smooth: npt.NDArray[np.uint8], centre: npt.NDArray[np.uint8]
) -> npt.NDArray[np.int32]:
    """Part one connected part of the mask, alone: labels (H, W) from 1 on it, 0 elsewhere.

    One part at a time: ties between equal depths fall by the order of all seeds in the queue, so
    that a cluster seen beside others could be parted otherwise than alone.
    """
    depth = np.where(own, smooth, 0).astype(np.int16)
    # Cutting so much off every top joins those that hardly stand out to the higher one beside them.
    levelled = reconstruction(  # type: ignore[no-untyped-call]
        np.maximum(depth - _PROMINENCE, 0), depth
    )
    peaks = local_maxima(levelled, connectivity=2)  # type: ignore[no-untyped-call]
    count, seeds = _parts(peaks & own)
    if count <= 2:
        return own.astype(np.int32)
    return np.asarray(
        watershed(  # type: ignore[no-untyped-call]
            -centre.astype(np.int16), seeds, mask=own, connectivity=2
        ),
        np.int32,
    )


def _join_small(
    cells: npt.NDArray[np.int32], centre: npt.NDArray[np.uint8], least_px: float
) -> None:
    """Give each piece too small for a cell to the neighbour that it meets deepest, in place.

    Dropped instead, the two halves of a small cell with a dent would be no cell at all.
    """
    areas = np.bincount(cells.ravel())
    boxes = find_objects(cells)
    for number in sorted(range(1, areas.size), key=lambda number: areas[number]):
        if areas[number] >= least_px:  # it has grown
            continue
        y, x = (slice(max(side.start - 1, 0), side.stop + 1) for side in boxes[number - 1])
        near = cells[y, x]
        piece = near == number
        beside = cv2.dilate(piece.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        beside &= (near > 0) & ~piece
        if not beside.any():  # the only one that is left
            continue
        depth = np.where(beside, centre[y, x].astype(np.int16), -1)
        other = int(near[np.unravel_index(depth.argmax(), depth.shape)])
        near[piece] = other
        areas[other] += areas[number]
        boxes[other - 1] = tuple(
            slice(min(one.start, two.start), max(one.stop, two.stop))
            for one, two in zip(boxes[number - 1], boxes[other - 1], strict=True)
        )


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
