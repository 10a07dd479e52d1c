"""What can be wrong with an image, each with the input at fault and the mend in its message.

ImagingError (ValueError)
├── UnsupportedFormatError   not one of the accepted formats
├── ImageTooLargeError       more pixels than allowed, known before decoding
├── UnreadableImageError     an accepted format that cannot be decoded or measured
│   └── MaskValuesError      a mask of more values than 0 and one positive number
├── PixelSizeError           µm/px missing, conflicting, not positive or not square
├── ChannelsError            which channel shows what is unknown or impossible
├── ModalityError            asked to be read as something that it is not
├── TissueMaskError          a given tissue mask that does not fit
└── GeoJsonError             a file of outlines that cannot be read
"""

from __future__ import annotations


class ImagingError(ValueError):
    """Report an image that cannot be measured as it was given.

    Attributes
    ----------
    field : str
        Name of the input at fault as the command line and the HTTP interface call it.
    """

    field: str = "image"


class UnsupportedFormatError(ImagingError):
    """Report a file whose first bytes are none of the accepted formats."""


class ImageTooLargeError(ImagingError):
    """Report an image with more pixels than allowed.

    Attributes
    ----------
    limit_px, value_px : int
        Pixels allowed and pixels that the file's header claims.
    """

    def __init__(self, message: str, *, limit_px: int = 0, value_px: int = 0) -> None:
        super().__init__(message)
        self.limit_px = limit_px
        self.value_px = value_px


class UnreadableImageError(ImagingError):
    """Report a file of an accepted format that is damaged or holds what cannot be measured."""


class MaskValuesError(UnreadableImageError):
    """Report a mask that holds other values than 0 and one positive number."""


class PixelSizeError(ImagingError):
    """Report a pixel size that is missing, conflicting, not positive or not square."""

    field = "mpp_um"


class ChannelsError(ImagingError):
    """Report a channel mapping that is needed, unknown or impossible."""

    field = "channels"


class ModalityError(ImagingError):
    """Report an image that cannot be read as the modality asked for."""

    field = "modality"


class TissueMaskError(ImagingError):
    """Report a tissue mask that is unreadable or of another size than its image."""

    field = "tissue"


class GeoJsonError(ImagingError):
    """Report a file that is no GeoJSON, or an outline in it that is broken."""

    field = "regions"
