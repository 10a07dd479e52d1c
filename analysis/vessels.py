"""Vessel measurements of a mask: a fold over blocks, finished into the record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from analysis.counting import GraphCounts
from analysis.distances import CELL_PX, DistanceSummary
from analysis.errors import MaskError
from analysis.hotspot import hotspot
from analysis.lacunarity import lacunarity_of
from analysis.ownership import Bits, Ownership
from analysis.parity import OwnSums, parity_of
from analysis.profiles import FrameShare
from analysis.quadrats import Places, QuadratGrid
from analysis.record import Diameter, ExtravascularDistance, Lacunarity, Vessels
from analysis.tally import WIDTH_BIN_PX, VesselSettings, VesselTally, tally_block
from analysis.uncertainty import Interval, intervals
from imaging.tiles import Tile, grid

__all__ = ["VesselOutcome", "VesselSettings", "finish", "fold_vessels", "measure_vessels"]

Bools = npt.NDArray[np.bool_]
Progress = Callable[[int, int], None]

# 6 px, less the half pixel to which a width is known: tubes drawn 6 px wide are to be measured.
MIN_MEDIAN_WIDTH_PX = 5.5
# Where more of the profiles' area is not counted, their number does not describe the vessels.
_MOST_FRAMED = 0.5
# Projections of thick sections reach a third.
_MOST_VESSEL = 0.6
# Blocks handed to an executor and not yet merged: bounds the memory of the caller.
_PENDING = 8


class MaskSource(Protocol):
    """A mask that can be read window by window: an array, a memory map, a lazy reader."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (height, width)."""

    def __getitem__(self, window: tuple[slice, slice], /) -> Any:
        """Return the pixels of a window."""


@dataclass(frozen=True)
class VesselOutcome:
    """The vessel measurements of one region.

    Attributes
    ----------
    vessels
        The numbers; None where one cannot be computed.
    area_mm2
        Area of the region.
    reasons
        Why a number is None, by its dotted path in the record.
    warnings
        What a reader of the numbers has to know.
    intervals
        Where the densities of the tissue at large probably lie.
    parity
        What other programs would report.
    """

    vessels: Vessels
    area_mm2: float
    reasons: dict[str, str]
    warnings: tuple[str, ...]
    intervals: tuple[Interval, ...] = ()
    parity: Mapping[str, Any] = field(default_factory=dict)


def measure_vessels(
    mask: MaskSource,
    tissue: MaskSource | None,
    settings: VesselSettings,
    *,
    block_px: int = 2048,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> VesselOutcome:
    """Measure the vessels of a mask inside the tissue.

    Parameters
    ----------
    mask
        Vessel mask (H, W): an array or anything that slices like one.
    tissue
        Analysed tissue (H, W), or None for the whole frame.
    settings
        Pixel size and sizes that count.
    block_px
        Side of the blocks; numbers do not depend on it.
    executor
        Where blocks are measured; None for here and now.
    progress
        Called with the number of blocks done and of all.

    Raises
    ------
    MaskError
        Where the mask has no pixels or the tissue is of another size.
    """
    regions = None if tissue is None else [tissue]
    tally = fold_vessels(
        mask, regions, settings, block_px=block_px, executor=executor, progress=progress
    )
    return finish(tally, settings, (int(mask.shape[0]), int(mask.shape[1])))[0]


def fold_vessels(
    mask: MaskSource,
    regions: Sequence[MaskSource] | None,
    settings: VesselSettings,
    *,
    hidden: MaskSource | None = None,
    block_px: int = 2048,
    executor: Executor | None = None,
    progress: Progress | None = None,
    densities_only: bool = False,
) -> VesselTally:
    """Tally a mask block by block over R regions, which may overlap; None is the whole frame.

    `hidden` marks excluded pixels (H, W). Blocks begin at multiples of `CELL_PX`. See `tally_block`
    for `densities_only`.
    """
    shape = _checked_shape(mask, regions)
    tiles = list(grid(shape[1], shape[0], -(-block_px // CELL_PX) * CELL_PX, settings.halo_px))
    merged: VesselTally | None = None
    sources = _Sources(mask, regions, hidden)
    measure = partial(tally_block, shape=shape, settings=settings, densities_only=densities_only)
    for done, tally in enumerate(_tallies(sources, tiles, measure, executor), 1):
        merged = tally if merged is None else VesselTally.merge([merged, tally])
        if progress is not None:
            progress(done, len(tiles))
    assert merged is not None  # a grid has at least one tile
    return merged


def _checked_shape(mask: MaskSource, regions: Sequence[MaskSource] | None) -> tuple[int, int]:
    shape = tuple(int(n) for n in mask.shape)
    if len(shape) != 2 or min(shape) < 1:
        raise MaskError(
            f"the mask has shape {shape}: give one channel of at least one pixel", "mask"
        )
    for region in regions or ():
        if tuple(region.shape) != shape:
            raise MaskError(
                f"the tissue mask has shape {tuple(region.shape)}, the vessel mask {shape}: "
                "give both on the same grid",
                "tissue",
            )
    return shape[0], shape[1]


@dataclass(frozen=True)
class _Sources:
    """What a block is read from."""

    mask: MaskSource
    regions: Sequence[MaskSource] | None
    hidden: MaskSource | None

    def read(self, tile: Tile) -> tuple[Bools, Ownership | None, Bools | None]:
        """Return mask (h, w), regions and hidden pixels (h, w) of the outer window."""
        window = tile.outer.slices()
        regions = None
        if self.regions is not None:
            regions = Ownership.of(_bools(region[window]) for region in self.regions)
        hidden = None if self.hidden is None else _bools(self.hidden[window])
        return _bools(self.mask[window]), regions, hidden


def _bools(pixels: Any) -> Bools:
    return np.asarray(pixels).astype(np.bool_, copy=False)


def _tallies(
    sources: _Sources,
    tiles: list[Tile],
    measure: Callable[..., VesselTally],
    executor: Executor | None,
) -> Iterator[VesselTally]:
    """Yield the tally of each tile, in the order in which they are done."""
    pending: set[Future[VesselTally]] = set()
    for tile in tiles:
        mask, regions, hidden = sources.read(tile)
        if executor is None:
            yield measure(mask, regions, tile, hidden=hidden)
            continue
        bits = Bits.of(mask), None if hidden is None else Bits.of(hidden)
        pending.add(executor.submit(_measure_bits, measure, *bits, regions, tile))
        if len(pending) >= _PENDING:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    yield from (future.result() for future in pending)


def _measure_bits(
    measure: Callable[..., VesselTally],
    mask: Bits, hidden: Bits | None, regions: Ownership | None, tile: Tile,
) -> VesselTally:  # fmt: skip
    return measure(mask.mask(), regions, tile, hidden=None if hidden is None else hidden.mask())


def finish(
    tally: VesselTally,
    settings: VesselSettings,
    shape: tuple[int, int],
    distances: DistanceSummary | None = None,
) -> list[VesselOutcome]:
    """Join what crosses block borders and return the measurements of each region.

    `shape` is (height, width) of the image; `distances` are the tally's, summed up here if None.
    """
    distances = distances or DistanceSummary(tally.distances, shape, settings.mpp_um)
    return [region.outcome(distances, shape) for region in _regions(tally, settings, shape[1])]


def densities(
    tally: VesselTally, settings: VesselSettings, width: int
) -> list[dict[str, float | None]]:
    """Return the densities of each region by their paths in the record, and nothing else."""
    return [region.densities() for region in _regions(tally, settings, width)]


def _regions(tally: VesselTally, settings: VesselSettings, width: int) -> list[_Region]:
    profiles, share, counts = tally.join(settings, width)
    return [
        _Region(tally, profiles, share, counts, settings, width, region)
        for region in range(profiles.member.shape[1])
    ]


class _Region:
    """One region's sums on their way to the record."""

    def __init__(
        self, tally: VesselTally, profiles: Places, share: FrameShare, counts: GraphCounts,
        settings: VesselSettings, width: int, index: int,
    ) -> None:  # fmt: skip
        self.tally, self.settings, self.index = tally, settings, index
        self.profiles, self.branchpoints, self.width = profiles, counts.branchpoints, width
        self.counts = {
            name: int(getattr(counts, name)[index])
            for name in counts.__dataclass_fields__
            if name != "branchpoints"
        }
        self.profile_px = int(share.whole_px[index])
        self.framed_px = int(share.framed_px[index])
        self.area_mm2 = self._mm2(int(tally.region_px.total[index]))
        self.reasons: dict[str, str] = {}

    def _mm2(self, pixels: int) -> float:
        return pixels * self.settings.mpp_um**2 * 1e-6

    def _um(self, thousandths_px: int) -> float:
        return thousandths_px * self.settings.mpp_um / 1000.0

    def _density(self, name: str, value: float) -> float | None:
        if self.area_mm2 > 0:
            return value / self.area_mm2
        self.reasons[f"vessels.{name}"] = "the region holds no tissue"
        return None

    def densities(self) -> dict[str, float | None]:
        """Return what is counted in the region over its area, by path in the record."""
        index = self.index
        counted = {
            "area_fraction": self._mm2(int(self.tally.vessel_px.total[index])),
            "profile_density_per_mm2": int(self.profiles.total[index]),
            "length_density_mm_per_mm2": self._um(int(self.tally.length.total[index])) / 1000.0,
            "branchpoint_density_per_mm2": int(self.branchpoints.total[index]),
        }
        return {f"vessels.{name}": self._density(name, value) for name, value in counted.items()}

    def outcome(self, distances: DistanceSummary, shape: tuple[int, int]) -> VesselOutcome:
        """Return the record's part and its reasons; `shape` is that of the image."""
        counts, index = self.counts, self.index
        found = self.densities()
        hottest, mean_field = self._hotspot(shape)
        vessels = Vessels(
            **{path.removeprefix("vessels."): value for path, value in found.items()},
            area_mm2=self._mm2(int(self.tally.vessel_px.total[index])),
            profile_count=int(self.profiles.total[index]),
            length_mm=self._um(int(self.tally.length.total[index])) / 1000.0,
            branchpoint_count=int(self.branchpoints.total[index]),
            segment_count=counts["segments"],
            endpoint_count=counts["endpoints"],
            mean_segment_length_um=self._mean_segment_length(),
            diameter_um=self._diameter(),
            tortuosity_mean=self._tortuosity(),
            extravascular_distance_um=self._distance(distances),
            lacunarity=self._lacunarity(),
            hotspot_profile_density_per_mm2=hottest,
            mean_field_profile_density_per_mm2=mean_field,
        )
        return VesselOutcome(
            vessels, self.area_mm2, self.reasons, self._warnings(), self._intervals(found),
            self._parity(),
        )  # fmt: skip

    def _parity(self) -> dict[str, Any]:
        tally, counts, index = self.tally, self.counts, self.index
        own = OwnSums(
            region_px=int(tally.region_px.total[index]),
            vessel_px=int(tally.vessel_px.total[index]),
            length=int(tally.length.total[index]),
            branchpoints=int(self.branchpoints.total[index]),
            segments=counts["segments"],
            mean_radius=counts["mean_radius"],
            swept_area=counts["swept_area"],
        )
        return parity_of(tally.parity, index, own, self.settings.mpp_um)

    def _intervals(self, values: dict[str, float | None]) -> tuple[Interval, ...]:
        tally, mpp_um = self.tally, self.settings.mpp_um
        quadrats = QuadratGrid.over(self.width, mpp_um)
        sums = {
            "vessels.area_fraction": tally.vessel_px,
            "vessels.profile_density_per_mm2": self.profiles.by_quadrat(quadrats, self.width),
            "vessels.length_density_mm_per_mm2": tally.length,
            "vessels.branchpoint_density_per_mm2": self.branchpoints.by_quadrat(
                quadrats, self.width
            ),
        }
        return intervals(values, sums, tally.region_px, self.index, quadrats, mpp_um)

    def _distance(self, distances: DistanceSummary) -> ExtravascularDistance:
        found, reason = distances.of(self.index)
        path = "vessels.extravascular_distance_um"
        if found == ExtravascularDistance():
            self.reasons[path] = reason
            return found
        for name in found.__dataclass_fields__:
            if getattr(found, name) is None:
                self.reasons[f"{path}.{name}"] = reason
        return found

    def _lacunarity(self) -> Lacunarity:
        found, reason = lacunarity_of(self.tally.lacunarity, self.index, self.settings.mpp_um)
        if reason:
            self.reasons["vessels.lacunarity"] = reason
            return found
        if None in found.value:
            self.reasons["vessels.lacunarity.value"] = (
                "a box of this size is no whole pixel, as many pixels as a larger one, or fits "
                "into the region less than 100 times"
            )
        if found.slope is None:
            self.reasons["vessels.lacunarity.slope"] = "only one size of box fits into the region"
        return found

    def _hotspot(self, shape: tuple[int, int]) -> tuple[float | None, float | None]:
        y, x = self.profiles.of_region(self.index, self.width)
        cells = self.tally.cover.share(self.index, shape)
        hottest, mean, reason = hotspot(y, x, cells, self.area_mm2, self.settings.mpp_um)
        if reason:
            for name in ("hotspot", "mean_field"):
                self.reasons[f"vessels.{name}_profile_density_per_mm2"] = reason
        return hottest, mean

    def _mean_segment_length(self) -> float | None:
        if self.counts["segments"]:
            return self._um(self.counts["segment_length"]) / self.counts["segments"]
        self.reasons["vessels.mean_segment_length_um"] = "there is no segment"
        return None

    def _tortuosity(self) -> float | None:
        if self.counts["path_length"]:
            return max(1.0, self.counts["bent_length"] / self.counts["path_length"])
        self.reasons["vessels.tortuosity_mean"] = "there is no segment that is not a loop"
        return None

    def _diameter(self) -> Diameter:
        tally, index, mpp = self.tally, self.index, self.settings.mpp_um
        weight = int(tally.width_weight[index])
        if weight <= 0:
            self.reasons["vessels.diameter_um"] = (
                "no skeleton lies further than a vessel's radius from junctions and ends"
            )
            return Diameter()
        p10, median, p90 = _quantiles(tally.width_histogram[index], (0.1, 0.5, 0.9))
        if median < MIN_MEDIAN_WIDTH_PX:
            self.reasons["vessels.diameter_um"] = (
                f"the median width is {median:.1f} px: under {MIN_MEDIAN_WIDTH_PX:g} px the "
                "pixels are too coarse for a diameter"
            )
            return Diameter()
        mean = int(tally.width_moment[index]) / weight / 1000.0
        return Diameter(mean * mpp, median * mpp, p10 * mpp, p90 * mpp)

    def _warnings(self) -> tuple[str, ...]:
        return tuple(self._wide() + self._framed() + self._elsewhere() + self._inverted())

    def _wide(self) -> list[str]:
        wide, all_ = (
            int(self.tally.wide_px[self.index]),
            int(self.tally.vessel_px.total[self.index]),
        )
        if not wide:
            return []
        return [
            f"{self._mm2(wide):.4g} mm² of the vessel mask ({wide / all_:.1%}) is wider than "
            f"{2 * self.settings.max_vessel_radius_um:g} µm: its area counts, but it has no "
            "skeleton and adds no length"
        ]

    def _framed(self) -> list[str]:
        if self.framed_px <= _MOST_FRAMED * self.profile_px:
            return []
        return [
            f"{self.framed_px / self.profile_px:.0%} of the vessels' area belongs to profiles that "
            "meet the image's bottom or right border, where the counting frame leaves them out: "
            "the count of profiles says little here, look at length and area"
        ]

    def _elsewhere(self) -> list[str]:
        """Say where vessels make no profile, since a profile counts at its last pixel alone."""
        if self.profile_px or not self.counts["segments"]:
            return []
        return [
            "vessels lie here, but no profile is counted: what is connected counts once, where its "
            "last pixel lies, and that is elsewhere; look at length and area"
        ]

    def _inverted(self) -> list[str]:
        vessel_px = int(self.tally.vessel_px.total[self.index])
        region_px = int(self.tally.region_px.total[self.index])
        if vessel_px <= _MOST_VESSEL * region_px:
            return []
        return [f"{vessel_px / region_px:.0%} of the area is vessel: is the mask inverted?"]


def _quantiles(histogram: npt.NDArray[np.int64], wanted: tuple[float, ...]) -> list[float]:
    """Return quantiles in pixels, interpolated inside bins of `WIDTH_BIN_PX`."""
    total = np.concatenate([[0], np.cumsum(histogram)])
    edge = np.arange(len(total)) * WIDTH_BIN_PX
    rises = np.concatenate([[True], np.diff(total) > 0])
    rises[:-1] |= rises[1:]
    return [float(np.interp(q * total[-1], total[rises], edge[rises])) for q in wanted]
