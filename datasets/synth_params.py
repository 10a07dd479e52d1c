"""What a synthetic section is asked to contain: densities, sizes and pixel size, validated."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from model.targets import MARKERS, TARGET_OF_MARKER

_NON_NEGATIVE = (
    "vessel_length_density_mm_per_mm2",
    "profile_density_per_mm2",
    "large_vessel_density_per_mm2",
    "positive_cell_density_per_mm2",
    "nucleus_density_per_mm2",
    "radius_spread",
    "tortuosity",
    "cell_strength_spread",
)
_POSITIVE = ("mpp_um", "radius_median_um", "wall_thickness_um", "positive_cell_radius_um")
_FRACTIONS = ("network_fraction", "wide_fraction", "cluster_fraction", "nuclear_fraction")


@dataclass(frozen=True)
class SectionParams:
    """The geometry that is asked of one synthetic section.

    Densities are expectations: the section that is made tells its exact ones.

    Attributes
    ----------
    size_px
        Width and height of the square section in pixels of ``mpp_um``.
    mpp_um
        Pixel size in µm.
    markers
        What was stained: CD31, VEGF or both. Each annotates its own target.
    vessel_length_density_mm_per_mm2
        Centre-line length of tubes over the area.
    network_fraction
        Share of that length that lies in a connected network; the rest are free branching tubes.
    profile_density_per_mm2
        Round and oval cross-sections, open rings about a lumen.
    wide_fraction
        Share of these that are arterioles and venules, 10 to 50 µm across; among dense tubes fewer
        find room.
    large_vessel_density_per_mm2
        Wide tubes (12 to 32 µm across) with two walls.
    radius_median_um, radius_spread
        Log-normal radius of capillaries: its median, and the standard deviation of its logarithm.
    tortuosity
        0 straight, 1 strongly winding.
    wall_thickness_um
        Thickness of the endothelium, which holds the CD31 stain.
    positive_cell_density_per_mm2, positive_cell_radius_um
        VEGF-positive cell bodies, and their median radius.
    cell_strength_spread
        Standard deviation of the logarithm of how strongly the cells of one section stain.
    cluster_fraction
        Share of the positive cells that touch a neighbour.
    nuclear_fraction
        Share of the positive cells that stain in their nucleus alone, as transcription factors and
        proliferation markers do: the nucleus is then what is outlined.
    nucleus_density_per_mm2
        Nuclei of negative cells.
    """

    size_px: int = 512
    mpp_um: float = 0.5
    markers: tuple[str, ...] = ("CD31",)
    vessel_length_density_mm_per_mm2: float = 20.0
    network_fraction: float = 0.5
    profile_density_per_mm2: float = 120.0
    wide_fraction: float = 0.15
    large_vessel_density_per_mm2: float = 4.0
    radius_median_um: float = 2.7
    radius_spread: float = 0.25
    tortuosity: float = 0.5
    wall_thickness_um: float = 1.2
    positive_cell_density_per_mm2: float = 250.0
    positive_cell_radius_um: float = 6.5
    cell_strength_spread: float = 0.36
    cluster_fraction: float = 0.3
    nuclear_fraction: float = 0.0
    nucleus_density_per_mm2: float = 1200.0

    def __post_init__(self) -> None:
        if self.size_px < 1:
            raise ValueError(f"size_px is {self.size_px}; give at least 1")
        if not self.markers or set(self.markers) - set(MARKERS):
            raise ValueError(f"markers are {self.markers}; give some of {', '.join(MARKERS)}")
        for name in (*_NON_NEGATIVE, *_POSITIVE, *_FRACTIONS):
            value = getattr(self, name)
            if not np.isfinite(value) or value < 0 or (name in _POSITIVE and value == 0):
                bound = "above 0" if name in _POSITIVE else "that is not negative"
                raise ValueError(f"{name} is {value}; give a finite number {bound}")
            if name in _FRACTIONS and value > 1:
                raise ValueError(f"{name} is {value}; give a fraction between 0 and 1")

    @property
    def size_um(self) -> float:
        """Width and height in µm."""
        return self.size_px * self.mpp_um

    @property
    def area_mm2(self) -> float:
        """Area of the section in mm²."""
        return (self.size_um * 1e-3) ** 2

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets that these markers annotate."""
        return tuple(TARGET_OF_MARKER[marker] for marker in self.markers)

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        *,
        size_px: int = 512,
        mpp_um: float = 0.5,
        markers: tuple[str, ...] = ("CD31",),
    ) -> SectionParams:
        """Draw a plausible section: from sparse thin ones (profiles) to thick dense networks."""
        thick = rng.random() < 0.7
        nuclear_rng, wide_rng = rng.spawn(2)
        nuclear = _nuclear_fraction(nuclear_rng) if "VEGF" in markers else 0.0
        # Nuclei are smaller than cell bodies: tumours hold up to 5,000 stained ones in a mm².
        most_cells = 5000 if nuclear == 1 else 2000
        return cls(
            size_px=size_px,
            mpp_um=mpp_um,
            markers=markers,
            vessel_length_density_mm_per_mm2=float(
                rng.uniform(10.0, 60.0) if thick else rng.uniform(1.0, 12.0)
            ),
            network_fraction=float(rng.uniform(0.0, 1.0)) if thick else 0.0,
            profile_density_per_mm2=float(
                rng.uniform(0.0, 60.0) if thick else rng.uniform(80.0, 400.0)
            ),
            wide_fraction=_wide_fraction(wide_rng),
            large_vessel_density_per_mm2=float(
                rng.uniform(0.0, 14.0) if rng.random() < 0.65 else rng.uniform(14.0, 45.0)
            ),
            radius_median_um=float(rng.uniform(1.9, 3.6)),
            radius_spread=float(rng.uniform(0.1, 0.35)),
            tortuosity=float(rng.uniform(0.05, 1.0)),
            wall_thickness_um=float(rng.uniform(0.8, 2.0)),
            positive_cell_density_per_mm2=float(
                np.exp(rng.uniform(np.log(60), np.log(most_cells)))
            ),
            positive_cell_radius_um=float(rng.uniform(3.2, 9.0)),
            cell_strength_spread=float(rng.uniform(0.2, 0.8)),
            cluster_fraction=float(rng.uniform(0.0, 0.6)),
            nucleus_density_per_mm2=float(np.exp(rng.uniform(np.log(300), np.log(5000)))),
            nuclear_fraction=nuclear,
        )

    def without_vessels(self) -> SectionParams:
        """Return the same section without any vessel."""
        return dataclasses.replace(
            self,
            vessel_length_density_mm_per_mm2=0.0,
            profile_density_per_mm2=0.0,
            large_vessel_density_per_mm2=0.0,
        )

    def without_cells(self) -> SectionParams:
        """Return the same section without any VEGF-positive cell."""
        return dataclasses.replace(self, positive_cell_density_per_mm2=0.0)


def _wide_fraction(rng: np.random.Generator) -> float:
    """Draw the share of wide cross-sections: capillaries prevail, but not in every section."""
    return float(rng.uniform(0.4, 1.0)) if rng.random() < 0.35 else 0.15


def _nuclear_fraction(rng: np.random.Generator) -> float:
    """Draw the share of cells whose nucleus alone is stained: mostly none, or all."""
    return float(rng.choice([0.0, 0.5, 1.0], p=[0.65, 0.05, 0.3]))
