"""Make synthetic sections with exactly known truth from one integer seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from datasets.synth_cells import Cell, Nucleus, place_cells, place_nuclei
from datasets.synth_params import SectionParams
from datasets.synth_shapes import FloatArray, Outline, Tube, outline_labels, tube_field
from datasets.synth_vessels import grow_vessels

_GEOMETRY_STREAM = 0


@dataclass(frozen=True, eq=False)
class SyntheticSection:
    """The vector truth of one section; pixels are derived from it at any µm per pixel.

    Attributes
    ----------
    seed, params
        What the section was made from.
    tubes, profiles
        Vessels that run in the section, and those cut across. They reach beyond the frame.
    branch_nodes_um
        Places (J, 2) inside the frame where three or more vessel segments meet.
    cells
        VEGF-positive cells.
    nuclei
        Nuclei of negative cells.
    """

    seed: int
    params: SectionParams
    tubes: tuple[Tube, ...]
    profiles: tuple[Outline, ...]
    branch_nodes_um: FloatArray
    cells: tuple[Cell, ...]
    nuclei: tuple[Nucleus, ...]

    def shape_at(self, mpp_um: float | None = None) -> tuple[int, int]:
        """Return height and width in pixels at ``mpp_um``, the section's own by default."""
        size = max(1, round(self.params.size_um / (mpp_um or self.params.mpp_um)))
        return size, size

    def vessel_mask(self, mpp_um: float | None = None) -> npt.NDArray[np.bool_]:
        """Rasterise the vessels, lumen included, to a mask (H, W) at ``mpp_um``."""
        pixel = mpp_um or self.params.mpp_um
        shape = self.shape_at(pixel)
        tubes = tube_field(self.tubes, shape, pixel).signed_um <= 0
        return np.asarray(tubes | (outline_labels(self.profiles, shape, pixel) > 0))

    def cell_labels(self, mpp_um: float | None = None) -> npt.NDArray[np.int32]:
        """Rasterise the positive cells to instance labels (H, W) at ``mpp_um``, 0 between them."""
        pixel = mpp_um or self.params.mpp_um
        return outline_labels((cell.body for cell in self.cells), self.shape_at(pixel), pixel)

    def labels(self, mpp_um: float | None = None) -> dict[str, npt.NDArray[np.int32]]:
        """Return a label image (H, W) for each target that the section's markers annotate."""
        made: dict[str, npt.NDArray[np.int32]] = {}
        for target in self.params.targets:
            is_vessel = target == "vessel"
            made[target] = (
                self.vessel_mask(mpp_um).astype(np.int32) if is_vessel else self.cell_labels(mpp_um)
            )
        return made

    @cached_property
    def cell_outlines(self) -> tuple[shapely.Geometry, ...]:
        """The bodies of the positive cells inside the frame, in µm; empty where one is outside."""
        return tuple(cell.body.polygon().intersection(self._frame()) for cell in self.cells)

    @cached_property
    def vessel_outline(self) -> shapely.Geometry:
        """The union of all vessels inside the frame, in µm."""
        size = self.params.size_um
        shapes = [tube.polygon() for tube in self.tubes if tube.reaches(size)]
        shapes += [profile.polygon() for profile in self.profiles]
        return shapely.union_all(shapes).intersection(self._frame())

    def truth(self) -> dict[str, Any]:
        """Return the exact measurements of this section, from its vectors."""
        size = self.params.size_um
        lengths = np.array([tube.length_within_um(size) for tube in self.tubes])
        inside = lengths > 0
        widths = [2 * float(tube.radii_um.mean()) for tube in self.tubes]
        bodies = self.cell_outlines
        return {
            "seed": self.seed,
            "area_mm2": self.params.area_mm2,
            "vessel_area_fraction": float(self.vessel_outline.area) / size**2,
            "centre_line_length_um": float(lengths.sum()),
            "tube_count": int(inside.sum()),
            "tube_length_um": lengths[inside].round(3).tolist(),
            "tube_diameter_um": np.asarray(widths)[inside].round(3).tolist(),
            "profile_count": len(self.profiles),
            "profile_diameter_um": [round(2 * p.mean_radius_um, 3) for p in self.profiles],
            "branch_nodes_um": self.branch_nodes_um.round(3).tolist(),
            "positive_cell_count": sum(not body.is_empty for body in bodies),
            "positive_cell_area_um2": [round(float(body.area), 3) for body in bodies],
            "nucleus_centres_um": [
                [round(value, 3) for value in nucleus.outline.centre_um] for nucleus in self.nuclei
            ],
        }

    def _frame(self) -> shapely.Geometry:
        return shapely.box(0, 0, self.params.size_um, self.params.size_um)


def make_section(seed: int, params: SectionParams | None = None) -> SyntheticSection:
    """Make the geometry of one section; ``params`` None draws them from the seed as well.

    The same seed and parameters give the same section. Rendering uses streams of its own, so that a
    section looks different under another rendering and stays where it is.
    """
    streams = [
        np.random.default_rng(child)
        for child in np.random.SeedSequence((seed, _GEOMETRY_STREAM)).spawn(4)
    ]
    params = SectionParams.draw(streams[0]) if params is None else params
    vessels = grow_vessels(streams[1], params)
    cells = place_cells(streams[2], params, vessels.tubes, vessels.profiles)
    nuclei = place_nuclei(streams[3], params, vessels.tubes, vessels.profiles, cells)
    return SyntheticSection(
        seed, params, vessels.tubes, vessels.profiles, vessels.branch_nodes_um, cells, nuclei
    )


def look_streams(seed: int, stream: int, count: int) -> list[np.random.Generator]:
    """Return random streams for a rendering, apart from those of the geometry."""
    entropy = np.random.SeedSequence((seed, stream))
    return [np.random.default_rng(child) for child in entropy.spawn(count)]
