"""What one block adds to the vessel measurements; tallies merge in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.counting import GraphCounts, settle
from analysis.distances import FAR_PX, DistanceTally, tally_distances
from analysis.errors import SettingsError
from analysis.hotspot import Cover
from analysis.lacunarity import LacunarityTally, boxes_px, tally_lacunarity
from analysis.ownership import Ownership
from analysis.parity import ParityTally, tally_parity
from analysis.parts import GraphParts, Place, cut, held_by
from analysis.profiles import FrameShare, ProfileParts, block_profiles, join_profiles
from analysis.quadrats import Places, QuadratGrid, QuadratSums, count_pixels
from analysis.skeleton import Skeleton, full_halo_px, halo_px, mirror, skeleton_of
from analysis.widths import free_pixels, normals, widths
from imaging.tiles import Tile

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

WIDTH_BIN_PX = 0.05


@dataclass(frozen=True)
class VesselSettings:
    """Every parameter that a vessel measurement depends on.

    Attributes
    ----------
    mpp_um
        Side of a pixel.
    min_profile_area_um2
        Smaller profiles are not counted.
    gap_um
        Fragments closer than this are one profile.
    max_vessel_radius_um
        Parts of the mask wider than twice this have area but no length.
    """

    mpp_um: float
    min_profile_area_um2: float = 20.0
    gap_um: float = 2.0
    max_vessel_radius_um: float = 50.0

    def __post_init__(self) -> None:
        for name, least in (
            ("mpp_um", 0.0),
            ("min_profile_area_um2", None),
            ("gap_um", None),
            ("max_vessel_radius_um", 0.0),
        ):
            value = getattr(self, name)
            good = np.isfinite(value) and (value >= 0 if least is None else value > least)
            if not good:
                raise SettingsError(
                    f"{name} is {value}: give a {'positive' if least == 0.0 else 'non-negative'} "
                    "number",
                    name,
                )

    @property
    def max_radius_px(self) -> float:
        """Return the largest vessel radius in pixels."""
        return self.max_vessel_radius_um / self.mpp_um

    @property
    def reach_px(self) -> float:
        """Return the centre distance below which two pixels belong to one profile.

        Empty space of n pixels between them is n·mpp wide, their centres n + 1 pixels apart.
        """
        return self.gap_um / self.mpp_um + 1.0

    @property
    def min_profile_px(self) -> float:
        """Return the smallest counted profile in pixels."""
        return self.min_profile_area_um2 / self.mpp_um**2

    @property
    def halo_px(self) -> int:
        """Return the widest halo that a block may need."""
        return max(full_halo_px(self.max_radius_px + 1.0), FAR_PX, *boxes_px(self.mpp_um))


@dataclass(frozen=True)
class VesselTally:
    """Sums over the blocks measured so far, by region (R,), and what crosses their borders.

    Attributes
    ----------
    region_px, vessel_px
        Pixels of each region, and of vessel in it, by quadrat.
    wide_px
        Pixels of vessel too wide to have a skeleton.
    length
        Skeleton length by quadrat, in thousandths of a pixel.
    width_weight, width_moment
        Length over which widths were taken, and its product with the width in thousandths.
    width_histogram
        That length by width (R, B), bins of `WIDTH_BIN_PX`.
    profiles, frame_share
        Objects that lie within one block, and their area.
    counts
        Junctions and segments that one block settled.
    distances, lacunarity, cover, parity
        See the modules that define them.
    profile_parts, graph_parts
        What lies across block borders.
    """

    region_px: QuadratSums
    vessel_px: QuadratSums
    wide_px: Ints
    length: QuadratSums
    width_weight: Ints
    width_moment: Ints
    width_histogram: Ints
    profiles: Places
    frame_share: FrameShare
    counts: GraphCounts
    distances: DistanceTally
    lacunarity: LacunarityTally
    cover: Cover
    parity: ParityTally
    profile_parts: ProfileParts
    graph_parts: GraphParts

    @staticmethod
    def merge(tallies: Sequence[VesselTally]) -> VesselTally:
        """Add tallies of disjoint blocks, in any order and grouping."""
        together = {
            "distances": DistanceTally.merge([t.distances for t in tallies]),
            "lacunarity": LacunarityTally.merge([t.lacunarity for t in tallies]),
            "parity": ParityTally.merge([t.parity for t in tallies]),
            "profile_parts": ProfileParts.concatenate([t.profile_parts for t in tallies]),
            "graph_parts": GraphParts.concatenate([t.graph_parts for t in tallies]),
        }
        sums: dict[str, Any] = {
            field.name: sum(
                (getattr(t, field.name) for t in tallies[1:]), getattr(tallies[0], field.name)
            )
            for field in fields(VesselTally)
            if field.name not in together
        }
        return VesselTally(**sums, **together)  # type: ignore[arg-type]

    def join(self, settings: VesselSettings, width: int) -> tuple[Places, FrameShare, GraphCounts]:
        """Return profiles, their area and graph counts with everything joined across borders."""
        profiles, share = join_profiles(
            self.profile_parts, settings.reach_px, settings.min_profile_px
        )
        settled, _ = settle(self.graph_parts, width, complete=True)
        return self.profiles + profiles, self.frame_share + share, self.counts + settled


def tally_block(
    mask: Bools,
    regions: Ownership | None,
    tile: Tile,
    shape: tuple[int, int],
    settings: VesselSettings,
    hidden: Bools | None = None,
    *,
    densities_only: bool = False,
) -> VesselTally:
    """Measure one block.

    Parameters
    ----------
    mask
        Vessel mask of the tile's outer window (h, w), whose halo is at least `settings.halo_px`
        or reaches the image's border.
    regions
        R regions over that window, which may overlap; None for one that is the image.
    tile, shape
        The block, whose core begins at multiples of `CELL_PX`, and (height, width) of the image.
    settings
        What to count and from what size on.
    hidden
        Excluded pixels (h, w), beyond which no vessel can be seen; None where nothing is excluded.
    densities_only
        Leave out widths, distances, lacunarity and parity, which take half of the time.
    """
    if regions is not None and len(regions) == 1 and next(iter(regions)).all():
        regions = None  # a block wholly within tissue: nothing needs to be looked up
    core, width = tile.core, shape[1]
    inside = np.ascontiguousarray(mask[tile.core_in_outer])
    within = None if regions is None else regions.crop(tile.core_in_outer)
    quadrats = QuadratGrid.over(width, settings.mpp_um)
    profiles, frame_share, profile_parts = block_profiles(
        inside, within, (core.y, core.x), shape, settings.reach_px, settings.min_profile_px
    )
    window, place = block_window(mask, tile, shape, settings)
    skeleton = skeleton_of(window, settings.max_radius_px)
    held, owned = held_by(skeleton, place, within), _owned(skeleton, place)
    counts, parts = settle(cut(skeleton, place, held), width, complete=False)
    members = within or [np.ones(inside.shape, np.bool_)]
    if densities_only:
        more = _nothing_more(len(members))
    else:
        more = {
            **_widths(skeleton, window, held, owned, settings),
            # A vessel that was excluded is not there; only what it hides is unknown.
            "distances": tally_distances(
                mask if hidden is None else mask & ~hidden, hidden, within, tile, shape
            ),
            "lacunarity": tally_lacunarity(mask, regions, tile, shape, settings.mpp_um),
            "cover": Cover.of_block(within, core),
            "parity": tally_parity(
                (member & inside for member in members),
                core,
                skeleton,
                held[owned],
                owned,
                settings.max_radius_px,
            ),
        }
    return VesselTally(
        region_px=count_pixels(quadrats, members, core),
        vessel_px=count_pixels(quadrats, (member & inside for member in members), core),
        wide_px=_wide_px(skeleton, place, members),
        length=_lengths(skeleton, place, held, owned, quadrats),
        profiles=profiles,
        frame_share=frame_share,
        counts=counts,
        profile_parts=profile_parts,
        graph_parts=parts,
        **more,
    )


def _nothing_more(regions: int) -> dict[str, Any]:
    """Return empty tallies of what no density needs."""
    none = np.zeros(regions, np.int64)
    return {
        "width_weight": none,
        "width_moment": none,
        "width_histogram": np.zeros((regions, 1), np.int64),
        "distances": DistanceTally.nothing(regions),
        "lacunarity": LacunarityTally.nothing(regions),
        "cover": Cover(),
        "parity": ParityTally.nothing(regions),
    }


def _wide_px(skeleton: Skeleton, place: Place, members: Ownership | list[Bools]) -> Ints:
    """Return the core's pixels too wide to have a skeleton, by region."""
    if skeleton.wide is None:
        return np.zeros(len(members), np.int64)
    wide = skeleton.wide[
        place.top - place.y : place.bottom - place.y, place.left - place.x : place.right - place.x
    ]
    return np.array([np.count_nonzero(wide & member) for member in members])


def block_window(
    mask: Bools, tile: Tile, shape: tuple[int, int], settings: VesselSettings
) -> tuple[Bools, Place]:
    """Return the core with the halo that its vessels need, mirrored beyond the image."""
    core, outer = tile.core, tile.outer
    halo = halo_px(mask, settings.max_radius_px)
    top, left = core.y - halo, core.x - halo
    bottom, right = core.bottom + halo, core.right + halo
    rows = slice(max(top, 0) - outer.y, min(bottom, shape[0]) - outer.y)
    columns = slice(max(left, 0) - outer.x, min(right, shape[1]) - outer.x)
    window = mirror(
        mask[rows, columns],
        max(-top, 0), max(bottom - shape[0], 0), max(-left, 0), max(right - shape[1], 0),
    )  # fmt: skip
    return window, Place(top, left, core.y, core.bottom, core.x, core.right, shape[0], shape[1])


def _owned(skeleton: Skeleton, place: Place) -> Ints:
    """Return the skeleton pixels that lie in the core."""
    graph = skeleton.graph
    return np.flatnonzero(place.in_core(graph.y + place.y, graph.x + place.x) & ~skeleton.rim)


def _lengths(
    skeleton: Skeleton, place: Place, held: Bools, owned: Ints, quadrats: QuadratGrid
) -> QuadratSums:
    """Return the length of the core's skeleton, the pixels `owned`, by quadrat."""
    graph = skeleton.graph
    quadrat = quadrats.of(graph.y[owned] + place.y, graph.x[owned] + place.x)
    return QuadratSums.weigh(quadrat, graph.length_by_pixel[owned], held[owned])


def _widths(
    skeleton: Skeleton, window: Bools, held: Bools, owned: Ints, settings: VesselSettings
) -> dict[str, Ints]:
    """Return weight, moment and histogram of the widths, by region."""
    graph = skeleton.graph
    own = np.zeros(len(graph.y), np.bool_)
    own[owned] = True
    ny, nx = normals(skeleton)
    taken = np.flatnonzero(free_pixels(skeleton) & own[skeleton.chains.pixel])
    pixel = skeleton.chains.pixel[taken]
    y, x = graph.y[pixel], graph.x[pixel]
    width = widths(window, y, x, ny[taken], nx[taken], skeleton.radius[pixel])
    measured = np.isfinite(width)
    pixel, width = pixel[measured], width[measured]
    members = held[pixel].T
    weight = graph.length_by_pixel[pixel]
    moment = weight * np.rint(1000.0 * width.astype(np.float64)).astype(np.int64)
    bins = int(np.ceil(4.0 * settings.max_radius_px / WIDTH_BIN_PX)) + 1
    at = np.minimum((width / WIDTH_BIN_PX).astype(np.int64), bins - 1)
    histogram = [
        np.bincount(at[member], weight[member], minlength=bins).astype(np.int64)
        for member in members
    ]
    return {
        "width_weight": np.array([weight[member].sum(dtype=np.int64) for member in members]),
        "width_moment": np.array([moment[member].sum(dtype=np.int64) for member in members]),
        "width_histogram": np.stack(histogram),
    }
