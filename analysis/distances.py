"""How far tissue lies from the nearest vessel, with what the frame hides taken into account.

A pixel near the frame's edge, or near an excluded part, may have its nearest vessel out of sight.
Its distance is then known only to be no less than the way to that edge: it is censored there, as a
patient lost to follow-up is, and Kaplan and Meier's estimator (J Am Stat Assoc 53:457, 1958) gives
the distribution. Distances run between pixel centres.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import cv2
import numpy as np
import numpy.typing as npt

from analysis.masks import MaskLike, counts_between
from analysis.ownership import Ownership
from analysis.record import ExtravascularDistance
from analysis.skeleton import distance_to_background
from imaging.tiles import Tile

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

# Up to here a block knows distances exactly; beyond, they are taken between cells of `CELL_PX`,
# which errs by less than 5 %. In brain, hardly a point lies further than 64 µm from a capillary.
FAR_PX = 256
CELL_PX = 16
_BINS = 2 * FAR_PX + 1
_SAME_PX = np.float32(1e-3)
_WINDOW_PX = 1024

NO_TISSUE_OUTSIDE = "the region holds no tissue outside vessels"
NO_VESSEL = "no vessel was found from which a distance could be taken"
OUT_OF_SIGHT = (
    "so much of the surroundings is out of sight that the distances of the tissue furthest from "
    "vessels are unknown"
)


@dataclass(frozen=True)
class DistanceTally:
    """Distances of tissue pixels outside vessels, by region; tallies add in any order.

    Attributes
    ----------
    events, censored
        Pixels (R, B) by distance in half pixels: to a vessel, or to where sight ends.
    outside
        Pixels (R, B) by distance to a vessel in sight, whether or not one out of sight may be
        nearer.
    furthest
        Largest distance to a vessel (R,), in thousandths of a pixel.
    far_cell, far_px
        Cells (n,) of `CELL_PX`, and how many of their pixels (n, R) lie beyond `FAR_PX` from
        vessels and edges alike. Cells are numbered row by row over the image.
    vessel_cell, hidden_cell
        Cells that hold a vessel, or an excluded pixel.
    """

    events: Ints
    censored: Ints
    outside: Ints
    furthest: Ints
    far_cell: Ints
    far_px: Ints
    vessel_cell: Ints
    hidden_cell: Ints

    @classmethod
    def nothing(cls, regions: int) -> DistanceTally:
        """Return the tally of a block that was not looked at."""
        none, counts = np.empty(0, np.int64), np.zeros((regions, _BINS), np.int64)
        per_region = np.zeros(regions, np.int64)
        return cls(
            counts, counts, counts, per_region, none, np.empty((0, regions), int), none, none
        )

    @staticmethod
    def merge(parts: Sequence[DistanceTally]) -> DistanceTally:
        """Add the tallies of disjoint blocks."""
        together = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("far_cell", "far_px", "vessel_cell", "hidden_cell")
        }
        return DistanceTally(
            events=sum((part.events for part in parts[1:]), parts[0].events),
            censored=sum((part.censored for part in parts[1:]), parts[0].censored),
            outside=sum((part.outside for part in parts[1:]), parts[0].outside),
            furthest=reduce(np.maximum, (part.furthest for part in parts)),
            **together,
        )


def tally_distances(
    mask: Bools, hidden: Bools | None, regions: Ownership | None, tile: Tile, shape: tuple[int, int]
) -> DistanceTally:
    """Measure one block, whose core begins at multiples of `CELL_PX`.

    Parameters
    ----------
    mask
        Vessels in the tile's outer window (h, w), whose halo is `FAR_PX` or reaches the image's
        border; none of them excluded.
    hidden
        Excluded pixels (h, w), or None.
    regions
        Regions over the core, or None for one that is the whole image.
    tile, shape
        The block, and (height, width) of the image.
    """
    core = tile.core_in_outer
    inside = mask[core]
    to_vessel = _distance_to(mask, core)
    to_hidden = _distance_to(hidden, core) if hidden is not None and hidden.any() else None
    blind, to_edge = _out_of_sight(to_vessel, to_hidden, _distance_to_edge(tile, shape))
    far = to_vessel > FAR_PX
    far.reshape(-1)[blind[to_edge <= FAR_PX]] = False
    outside = ~inside
    members: Iterable[Bools] = [outside]
    if regions is not None:
        members = (region & outside for region in regions)
    histograms, furthest, far_counts = zip(
        *(
            (*_by_distance(to_vessel, member, blind, to_edge, far), _far_per_cell(member, far))
            for member in members
        ),
        strict=True,
    )
    events, censored, known = np.stack(histograms, axis=1)
    columns = -(-shape[1] // CELL_PX)
    origin = tile.core.y // CELL_PX, tile.core.x // CELL_PX
    far_cell, far_px = _far_cells(np.stack(far_counts, axis=-1), origin, columns)
    return DistanceTally(
        events=events,
        censored=censored,
        outside=known,
        furthest=np.rint(1000 * np.array(furthest)).astype(np.int64),
        far_cell=far_cell,
        far_px=far_px,
        vessel_cell=_cells_of(inside, origin, columns),
        hidden_cell=_cells_of(
            np.zeros_like(inside) if hidden is None else hidden[core], origin, columns
        ),
    )


def _out_of_sight(
    to_vessel: Floats, to_hidden: Floats | None, to_edge: tuple[Floats, Floats]
) -> tuple[Ints, Floats]:
    """Return the pixels (n,) that lie nearer to where sight ends than to a vessel, and how near.

    `to_edge` is how far each row and each column lies from the first pixel outside the image.
    """
    rows, columns = to_edge
    blind = to_vessel > rows[:, None]
    blind |= to_vessel > columns
    if to_hidden is not None:
        # Two roots of one number may differ in their last bit.
        blind |= to_vessel > to_hidden + _SAME_PX
    index = np.flatnonzero(blind.reshape(-1))
    y, x = np.divmod(index, len(columns))
    nearest = np.minimum(rows[y], columns[x])
    if to_hidden is not None:
        nearest = np.minimum(nearest, to_hidden[y, x])
    return index, nearest


def _by_distance(
    to_vessel: Floats, member: Bools, blind: Ints, to_edge: Floats, far: Bools
) -> tuple[tuple[Ints, Ints, Ints], float]:
    """Return events, censorings and all distances (B,) of one region, and its furthest event."""
    known = _histogram(to_vessel, member)
    here = member.reshape(-1)[blind]
    index, to_edge = blind[here], to_edge[here]
    unseen = _binned(to_vessel.reshape(-1)[index])
    censored = _binned(to_edge[to_edge <= FAR_PX])
    seen = member
    if len(index) or far.any():
        seen = member & ~far
        seen.reshape(-1)[index] = False
        beyond = member & far
        beyond.reshape(-1)[index] = False
        unseen = unseen + _binned(to_vessel[beyond])
    return (known - unseen, censored, known), cv2.minMaxLoc(to_vessel, seen.view(np.uint8))[1]


def _distance_to(target: Bools, core: tuple[slice, slice]) -> Floats:
    """Return the distance (core) to the nearest pixel of `target` within `FAR_PX`, else more."""
    halo = _reach_px(target, core)
    rows, columns = (slice(max(part.start - halo, 0), part.stop + halo) for part in core)
    window = np.ascontiguousarray(target[rows, columns])
    if not window.any():
        return np.full(_size(core), 2.0 * FAR_PX, np.float32)
    distance = distance_to_background(~window)
    height, width = _size(core)
    top, left = core[0].start - rows.start, core[1].start - columns.start
    return distance[top : top + height, left : left + width]


def _reach_px(target: Bools, core: tuple[slice, slice]) -> int:
    """Return a halo within which every core pixel has its nearest target, at most `FAR_PX`.

    Seen on every fourth pixel of every fourth row, targets are no nearer than they are, and no
    pixel is further than √18 px from such a one.
    """
    sampled = target[tuple(slice(part.start, part.stop, 4) for part in core)]
    if not sampled.any():
        return FAR_PX
    furthest = 4.0 * float(distance_to_background(~sampled).max()) + 5.0
    return min(int(np.ceil(furthest)), FAR_PX)


def _size(core: tuple[slice, slice]) -> tuple[int, int]:
    return core[0].stop - core[0].start, core[1].stop - core[1].start


def _distance_to_edge(tile: Tile, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Return how far each row and column of the core lies from the first pixel outside the image.

    A pixel is as far from the edge as the nearer of its row and its column.
    """
    core, (height, width) = tile.core, shape
    y = np.arange(core.y, core.bottom, dtype=np.float32)
    x = np.arange(core.x, core.right, dtype=np.float32)
    return np.minimum(y + 1, height - y), np.minimum(x + 1, width - x)


def _histogram(distance: Floats, which: Bools) -> Ints:
    """Count the pixels of `which` by distance, rounded to half pixels (B,)."""
    count = cv2.calcHist([distance], [0], which.view(np.uint8), [_BINS], [-0.25, _BINS / 2 - 0.25])
    return np.rint(count.reshape(-1)).astype(np.int64)


def _binned(distance: Floats) -> Ints:
    """Count distances (n,), rounded to half pixels (B,); those beyond the last bin are left out."""
    half = np.floor(2.0 * distance + 0.5).astype(np.int64)
    return np.bincount(half[half < _BINS], minlength=_BINS)


def _cells_of(mask: Bools, origin: tuple[int, int], columns: int) -> Ints:
    """Return the numbers of the cells that hold a set pixel."""
    rows, columns_held = np.nonzero(per_cell(mask))
    return (rows + origin[0]) * columns + columns_held + origin[1]


def _far_per_cell(member: Bools, far: Bools) -> Ints:
    """Count the far pixels of one region in each cell (rows, columns)."""
    seen = member & far
    if not seen.any():
        return np.zeros([-(-length // CELL_PX) for length in far.shape], np.int64)
    return per_cell(seen)


def _far_cells(counts: Ints, origin: tuple[int, int], columns: int) -> tuple[Ints, Ints]:
    """Return the cells that hold far pixels, of `counts` (rows, columns, R), and how many."""
    rows, held = np.nonzero(counts.any(axis=-1))
    return (rows + origin[0]) * columns + held + origin[1], counts[rows, held]


def per_cell(mask: Bools) -> Ints:
    """Count the set pixels in each cell of `CELL_PX`."""
    rows, columns = (np.arange(0, length, CELL_PX) for length in mask.shape)
    return counts_between(np.ascontiguousarray(mask), rows, columns)


class DistanceSummary:
    """What the tally of a whole image says of each of its regions."""

    def __init__(self, tally: DistanceTally, shape: tuple[int, int], mpp_um: float) -> None:
        self._tally, self._mpp, self._shape = tally, mpp_um, shape
        self._far_time, self._far_event = _far_distances(tally, shape)

    def share_within(self, region: int, distance_um: float) -> float | None:
        """Return the share of a region's tissue outside vessels that lies so near to one in sight.

        None where there is no such tissue. Distances count to the nearest half pixel and up to
        `FAR_PX`.
        """
        tally = self._tally
        total = sum(int(part[region].sum()) for part in (tally.events, tally.censored))
        total += int(tally.far_px[:, region].sum())
        bins = self._whole_halves(distance_um) + 1
        return float(tally.outside[region, :bins].sum()) / total if total else None

    def within(
        self, distance_um: npt.NDArray[np.float64], limit_um: float
    ) -> npt.NDArray[np.bool_]:
        """Say which distances (n,) count as no further than the limit, as `share_within` counts."""
        half = np.floor(2.0 * distance_um / self._mpp + 0.5)
        return np.asarray(half <= self._whole_halves(limit_um))

    def _whole_halves(self, distance_um: float) -> int:
        """Return a distance in half pixels, the step to which distances are tallied."""
        return int(np.floor(2 * distance_um / self._mpp + 1e-9))

    def at(self, mask: MaskLike, places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the distance in µm of each place (n, 2), (y, x), to the nearest vessel of `mask`.

        0 inside vessels; infinite where there is no vessel at all.
        """
        return np.asarray(_at_places(mask, places, self._tally, self._shape) * self._mpp)

    def of(self, region: int) -> tuple[ExtravascularDistance, str]:
        """Return the numbers of one region, and why they are null where they are."""
        tally = self._tally
        far = tally.far_px[:, region]
        length = max(_BINS, int(self._far_time.max(initial=0)) + 1)
        events = np.bincount(self._far_time, far * self._far_event, minlength=length) + _padded(
            tally.events[region], length
        )
        censored = np.bincount(self._far_time, far * ~self._far_event, minlength=length) + _padded(
            tally.censored[region], length
        )
        if not events.sum() + censored.sum():
            return ExtravascularDistance(), NO_TISSUE_OUTSIDE
        if not events.sum():
            return ExtravascularDistance(), NO_VESSEL
        survival = kaplan_meier(events, censored)
        furthest = max(
            tally.furthest[region] / 1000.0,
            0.5 * float(np.max(self._far_time * self._far_event * (far > 0), initial=0)),
        )
        # Beyond the last observation the survival is unknown. At most 5 % is left there for a mean;
        # of more, the mean would tell how far one sees, not how far vessels lie.
        last = int(np.flatnonzero(events + censored)[-1])
        median, high = (_passes(survival, share) for share in (0.5, 0.05))
        half = 0.5 * self._mpp
        found = ExtravascularDistance(
            mean=None if high is None else float(survival[:last].sum()) * half,
            p50=None if median is None else median * half,
            p95=None if high is None else high * half,
            max=float(furthest) * self._mpp,
        )
        return found, "" if high is not None else OUT_OF_SIGHT


def kaplan_meier(
    events: npt.NDArray[np.float64], censored: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the share (B,) of tissue that lies further off than each distance.

    Parameters
    ----------
    events, censored
        Pixels (B,) by distance: those whose vessel is seen, and those of which only the distance
        to the edge is known. At equal distance events come first.
    """
    at_risk = np.cumsum((events + censored)[::-1])[::-1]
    stays = 1 - events / np.maximum(at_risk, 1)
    return np.asarray(np.cumprod(stays))


def _passes(survival: npt.NDArray[np.float64], share: float) -> float | None:
    """Return the distance, in half pixels, at which `survival` falls to `share`."""
    below = np.flatnonzero(survival <= share + 1e-12)
    return float(below[0]) if len(below) else None


def _padded(histogram: Ints, length: int) -> npt.NDArray[np.float64]:
    return np.pad(histogram.astype(np.float64), (0, length - len(histogram)))


def _far_distances(tally: DistanceTally, shape: tuple[int, int]) -> tuple[Ints, Bools]:
    """Return the distance of each far cell in half pixels, and whether it leads to a vessel."""
    if not len(tally.far_cell):
        return np.empty(0, np.int64), np.empty(0, np.bool_)
    rows, columns = (-(-length // CELL_PX) for length in shape)
    y, x = np.divmod(tally.far_cell, columns)
    to_vessel = CELL_PX * _distance_between_cells(tally.vessel_cell, rows, columns)[y, x]
    centre_y, centre_x = (CELL_PX * v + CELL_PX / 2 for v in (y, x))
    to_edge = np.minimum(
        np.minimum(centre_y, shape[0] - centre_y), np.minimum(centre_x, shape[1] - centre_x)
    )
    if len(tally.hidden_cell):
        hidden = _distance_between_cells(tally.hidden_cell, rows, columns)[y, x]
        to_edge = np.minimum(to_edge, CELL_PX * hidden)
    event = to_vessel <= to_edge
    distance = np.maximum(np.minimum(to_vessel, to_edge), FAR_PX)
    return np.rint(2 * distance).astype(np.int64), np.asarray(event)


def _distance_between_cells(held: Ints, rows: int, columns: int) -> Floats:
    """Return the distance (rows, columns) of every cell to the nearest of those `held`."""
    empty = np.ones((rows, columns), np.bool_)
    empty.reshape(-1)[held] = False
    if empty.all():
        return np.full((rows, columns), np.float32(2 * np.hypot(rows, columns)))
    return distance_to_background(empty)


def _at_places(
    mask: MaskLike, places: npt.NDArray[np.float64], tally: DistanceTally, shape: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Return the distance in pixels at each place, read window by window where places lie."""
    found = np.full(len(places), np.inf)
    if not len(tally.vessel_cell):
        return found
    y, x = np.rint(places).astype(np.int64).T
    window = (y // _WINDOW_PX) * (shape[1] // _WINDOW_PX + 1) + x // _WINDOW_PX
    for number in np.unique(window):
        here = np.flatnonzero(window == number)
        top, left = int(y[here].min()), int(x[here].min())
        rows = slice(max(top - FAR_PX, 0), min(int(y[here].max()) + 1 + FAR_PX, shape[0]))
        columns = slice(max(left - FAR_PX, 0), min(int(x[here].max()) + 1 + FAR_PX, shape[1]))
        seen = np.ascontiguousarray(mask[rows, columns], np.bool_)
        if seen.any():
            distance = distance_to_background(~seen)
            found[here] = distance[y[here] - rows.start, x[here] - columns.start]
    far = np.flatnonzero(found > FAR_PX)
    if len(far):
        cells = tuple(-(-length // CELL_PX) for length in shape)
        coarse = _distance_between_cells(tally.vessel_cell, *cells)
        found[far] = np.maximum(CELL_PX * coarse[y[far] // CELL_PX, x[far] // CELL_PX], FAR_PX)
    return found
