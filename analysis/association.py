"""How VEGF-positive cells lie to vessels, against cells placed anywhere between them.

What uniform placement leads to needs no simulation: the chance of lying within a distance is the
share of tissue outside vessels that does. Only the rank of the observed count among such placements
is drawn, with a seed that the record keeps.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.cell_tally import NO_CELL
from analysis.distances import DistanceSummary
from analysis.record import Association, MeanMedian

DISTANCES_UM = (5, 10, 20)
DRAWS = 199

NO_VESSEL = "no vessel was found"
NO_PLACE = "no cell lies outside vessels, or no tissue lies within this distance of one"


def associate(
    distance_um: npt.NDArray[np.float64],
    distances: DistanceSummary,
    region: int,
    seed: int,
) -> tuple[Association | None, dict[str, str]]:
    """Compare the cells of one region with uniform placement outside vessels.

    Parameters
    ----------
    distance_um
        From each cell's centroid (n,) to the nearest vessel, 0 inside one.
    distances
        How far the region's tissue lies from vessels.
    region
        The region's number.
    seed
        Of the draws that the p-value is the rank among.

    Returns
    -------
    tuple
        The measurements, or None, and why they or parts of them are null.
    """
    if not len(distance_um):
        return None, {"association": NO_CELL}
    if not np.isfinite(distance_um).all():
        return None, {"association": NO_VESSEL}
    outside = distance_um[distance_um > 0]
    rng = np.random.default_rng(seed)
    within: dict[str, float | None] = {}
    ratio: dict[str, float | None] = {}
    rank: dict[str, float | None] = {}
    reasons = {}
    for limit in DISTANCES_UM:
        key = str(limit)
        within[key] = float(np.mean(distances.within(distance_um, limit)))
        chance = distances.share_within(region, limit)
        if not chance or not len(outside):
            ratio[key] = rank[key] = None
            for name in ("observed_to_expected", "p_value"):
                reasons[f"association.{name}.{key}"] = NO_PLACE
            continue
        observed = np.count_nonzero(distances.within(outside, limit))
        expected = chance * len(outside)
        draws = rng.binomial(len(outside), min(chance, 1.0), DRAWS)
        as_far = np.count_nonzero(np.abs(draws - expected) >= abs(observed - expected) - 1e-9)
        ratio[key] = float(observed / expected)
        rank[key] = float((1 + as_far) / (1 + DRAWS))
    mean = MeanMedian(float(distance_um.mean()), float(np.median(distance_um)))
    return Association(mean, within, ratio, rank), reasons
