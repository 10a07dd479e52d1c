"""What has to be said wherever an intensity, or another program's number, is reported."""

from __future__ import annotations

NOT_STOICHIOMETRIC = (
    "DAB is not stoichiometric: optical densities are semi-quantitative and compare only "
    "sections stained and scanned together"
)
NOT_A_CONCENTRATION = (
    "fluorescence intensities are grey values of this camera and exposure, not concentrations: "
    "they compare only sections stained and imaged together"
)
BY_ANOTHER_DEFINITION = "by another program's definition: to compare with the literature"
