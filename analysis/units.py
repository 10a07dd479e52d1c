"""The unit of every measurement, by its dotted path: one table for all exports."""

from __future__ import annotations

DIMENSIONLESS = "1"

_UNITS = {
    "area_mm2": "mm²",
    "vessels.area_fraction": DIMENSIONLESS,
    "vessels.area_mm2": "mm²",
    "vessels.profile_count": "count",
    "vessels.profile_density_per_mm2": "1/mm²",
    "vessels.length_mm": "mm",
    "vessels.length_density_mm_per_mm2": "mm/mm²",
    "vessels.branchpoint_count": "count",
    "vessels.branchpoint_density_per_mm2": "1/mm²",
    "vessels.segment_count": "count",
    "vessels.endpoint_count": "count",
    "vessels.mean_segment_length_um": "µm",
    "vessels.diameter_um": "µm",
    "vessels.tortuosity_mean": DIMENSIONLESS,
    "vessels.extravascular_distance_um": "µm",
    "vessels.lacunarity": DIMENSIONLESS,
    "vessels.lacunarity.box_um": "µm",
    "vessels.hotspot_profile_density_per_mm2": "1/mm²",
    "vessels.mean_field_profile_density_per_mm2": "1/mm²",
    "cells.positive_count": "count",
    "cells.positive_density_per_mm2": "1/mm²",
    "cells.positive_area_fraction": DIMENSIONLESS,
    "cells.cell_area_um2": "µm²",
    "cells.optical_density": "OD",
    "cells.intensity": "grey value",
    "cells.integrated_optical_density": "OD·µm²",
    "cells.average_optical_density": "OD",
    "comparisons": DIMENSIONLESS,
    "association": DIMENSIONLESS,
    "association.cell_to_vessel_distance_um": "µm",
    "parity.angiotool.explant_area_mm2": "mm²",
    "parity.angiotool.vessels_percentage_area": "%",
    "parity.angiotool.junctions_density_per_mm2": "1/mm²",
    "parity.angiotool.total_vessels_length_mm": "mm",
    "parity.angiotool.vessel_diameter_um": "µm",
    "parity.reaver.vessel_area_fraction": DIMENSIONLESS,
    "parity.reaver.vessel_length_density_mm_per_mm2": "mm/mm²",
    "parity.reaver.mean_segment_diameter_um": "µm",
    "parity.reaver.branchpoint_count": "count",
    "parity.qvat.vascular_density": DIMENSIONLESS,
}


def unit_of(path: str) -> str:
    """Return the unit of a measurement such as ``"vessels.diameter_um.mean"``.

    A path that is not listed takes the unit of the part it belongs to; empty if there is none.
    """
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        unit = _UNITS.get(".".join(parts[:length]))
        if unit is not None:
            return unit
    return ""
