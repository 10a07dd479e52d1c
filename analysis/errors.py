"""What can go wrong between probabilities and numbers.

AnalysisError (ValueError)
├── SettingsError     a parameter of the measurement that cannot be
├── MarkerImageError  markers that this image cannot show
├── RegionsError      regions that cannot be measured on this image
└── MaskError         a given mask that is no mask, or not of its image's size
"""

from __future__ import annotations

LOST_PROCESS = (
    "a process that shared the work was ended from outside, often for want of memory; "
    "run again, with fewer --workers"
)


class AnalysisError(ValueError):
    """A wrong input to a measurement; `field` names it as the API and the command line do."""

    def __init__(self, message: str, field: str = "image") -> None:
        super().__init__(message, field)
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return self.message


class SettingsError(AnalysisError):
    """A parameter of the measurement is out of range or unknown."""


class MarkerImageError(AnalysisError):
    """The markers asked for cannot be told apart, or are not shown, on this image."""


class MaskError(AnalysisError):
    """A given mask is not binary, or not of the size that it has to have."""


class RegionsError(AnalysisError):
    """Regions are broken, lie outside of the image, or lack what they are derived from."""

    def __init__(self, message: str, field: str = "regions") -> None:
        super().__init__(message, field)
