"""Vessel measurements of a mask: a fold over blocks, finished into the record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from analysis.errors import MaskError
from analysis.record import Diameter, Vessels
from analysis.tally import WIDTH_BIN_PX, VesselSettings, VesselTally, tally_block
from imaging.tiles import Tile, grid

__all__ = ["VesselOutcome", "VesselSettings", "finish", "fold_vessels", "measure_vessels"]

Bools = npt.NDArray[np.bool_]
Progress = Callable[[int, int], None]

NOT_MEASURED = "not measured by this version"
# 6 px, less the half pixel to which a width is known: tubes drawn 6 px wide are to be measured.
MIN_MEDIAN_WIDTH_PX = 5.5
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
    """

    vessels: Vessels
    area_mm2: float
    reasons: dict[str, str]
    warnings: tuple[str, ...]


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
    return finish(tally, settings, int(mask.shape[1]))[0]


def fold_vessels(
    mask: MaskSource,
    regions: Sequence[MaskSource] | None,
    settings: VesselSettings,
    *,
    block_px: int = 2048,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> VesselTally:
    """Tally a mask block by block over R regions, which may overlap; None is the whole frame."""
    shape = _checked_shape(mask, regions)
    tiles = list(grid(shape[1], shape[0], block_px, settings.halo_px))
    merged: VesselTally | None = None
    for done, tally in enumerate(_tallies(mask, regions, tiles, shape, settings, executor), 1):
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


def _tallies(
    mask: MaskSource, regions: Sequence[MaskSource] | None, tiles: list[Tile],
    shape: tuple[int, int], settings: VesselSettings, executor: Executor | None,
) -> Iterator[VesselTally]:  # fmt: skip
    """Yield the tally of each tile, in the order in which they are done."""
    pending: set[Future[VesselTally]] = set()
    for tile in tiles:
        window = np.asarray(mask[tile.outer.slices()]).astype(np.bool_, copy=False)
        inside = None
        if regions is not None:
            cores = [np.asarray(region[tile.core.slices()]) for region in regions]
            inside = np.stack(cores).astype(np.bool_, copy=False)
        if executor is None:
            yield tally_block(window, inside, tile, shape, settings)
            continue
        pending.add(executor.submit(tally_block, window, inside, tile, shape, settings))
        if len(pending) >= _PENDING:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    yield from (future.result() for future in pending)


def finish(tally: VesselTally, settings: VesselSettings, width: int) -> list[VesselOutcome]:
    """Join what crosses block borders and return the measurements of each region."""
    profiles, counts = tally.join(settings, width)
    return [_Region(tally, profiles, counts, settings, r).outcome() for r in range(len(profiles))]


class _Region:
    """One region's sums on their way to the record."""

    def __init__(
        self, tally: VesselTally, profiles: Any, counts: Any, settings: VesselSettings, index: int
    ) -> None:
        self.tally, self.settings, self.index = tally, settings, index
        self.profile_count = int(profiles[index])
        self.counts = {n: int(getattr(counts, n)[index]) for n in counts.__dataclass_fields__}
        self.area_mm2 = self._mm2(int(tally.region_px[index]))
        self.reasons: dict[str, str] = {
            f"vessels.{name}": NOT_MEASURED
            for name in (
                "extravascular_distance_um",
                "lacunarity",
                "hotspot_profile_density_per_mm2",
            )
        }

    def _mm2(self, pixels: int) -> float:
        return pixels * self.settings.mpp_um**2 * 1e-6

    def _um(self, thousandths_px: int) -> float:
        return thousandths_px * self.settings.mpp_um / 1000.0

    def _density(self, name: str, value: float) -> float | None:
        if self.area_mm2 > 0:
            return value / self.area_mm2
        self.reasons[f"vessels.{name}"] = "the region holds no tissue"
        return None

    def outcome(self) -> VesselOutcome:
        """Return the record's part and its reasons."""
        counts, index = self.counts, self.index
        area = self._mm2(int(self.tally.vessel_px[index]))
        length_mm = self._um(int(self.tally.length[index])) / 1000.0
        vessels = Vessels(
            area_fraction=self._density("area_fraction", area),
            area_mm2=area,
            profile_count=self.profile_count,
            profile_density_per_mm2=self._density("profile_density_per_mm2", self.profile_count),
            length_mm=length_mm,
            length_density_mm_per_mm2=self._density("length_density_mm_per_mm2", length_mm),
            branchpoint_count=counts["branchpoints"],
            branchpoint_density_per_mm2=self._density(
                "branchpoint_density_per_mm2", counts["branchpoints"]
            ),
            segment_count=counts["segments"],
            endpoint_count=counts["endpoints"],
            mean_segment_length_um=self._mean_segment_length(),
            diameter_um=self._diameter(),
            tortuosity_mean=self._tortuosity(),
        )
        return VesselOutcome(vessels, self.area_mm2, self.reasons, self._warnings())

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
        wide, all_ = int(self.tally.wide_px[self.index]), int(self.tally.vessel_px[self.index])
        if not wide:
            return ()
        return (
            f"{self._mm2(wide):.4g} mm² of the vessel mask ({wide / all_:.1%}) is wider than "
            f"{2 * self.settings.max_vessel_radius_um:g} µm: its area counts, but it has no "
            "skeleton and adds no length",
        )


def _quantiles(histogram: npt.NDArray[np.int64], wanted: tuple[float, ...]) -> list[float]:
    """Return quantiles in pixels, interpolated inside bins of `WIDTH_BIN_PX`."""
    total = np.concatenate([[0], np.cumsum(histogram)])
    edge = np.arange(len(total)) * WIDTH_BIN_PX
    rises = np.concatenate([[True], np.diff(total) > 0])
    rises[:-1] |= rises[1:]
    return [float(np.interp(q * total[-1], total[rises], edge[rises])) for q in wanted]
