"""Show a brightfield tile as if its section had been stained by another laboratory.

Marker channels come from fixed H-DAB vectors, so that red chromogens arrive partly in the
counterstain's channel, and nothing in the channels says so. Optical densities add (Beer–Lambert):
what another pair of stains would have given is a linear map of the amounts that the tile holds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imaging.stains import RGB, StainVectors, separate

# Absorption of red, green and blue as ImageJ's colour deconvolution lists it.
FAST_RED: RGB = (0.214, 0.851, 0.478)
_AEC: RGB = (0.274, 0.680, 0.680)
_SPREAD = 0.03
_COUNTERSTAIN_GAIN = (0.7, 2.5)


def is_brightfield(image: npt.NDArray[np.uint8]) -> bool:
    """Tell brightfield channels (H, W, 3) from fluorescence, which never has a residual."""
    return bool(image[..., 2].any())


def restained(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return marker channels (H, W, 3) as other stains would have given them.

    The chromogen lies anywhere between DAB and one of two red ones, and the counterstain is up to
    2.5 times as strong. Amounts below zero are not in a tile, so that the map is exact but there.
    """
    default = StainVectors.default()
    red = (FAST_RED, _AEC)[int(rng.integers(2))]
    pure = default.matrix[:2]
    pure[0] += rng.uniform(0.0, 1.0) * (np.asarray(red) - pure[0])
    chromogen, counterstain = np.maximum(pure + rng.normal(0, _SPREAD, (2, 3)), 0.02)
    absorbed = StainVectors.from_pair(counterstain, chromogen).matrix
    absorbed[1] *= np.exp(rng.uniform(*np.log(_COUNTERSTAIN_GAIN)))
    amounts = separate(image.astype(np.float32) @ absorbed.astype(np.float32), default)
    return np.clip(np.rint(amounts), 0, 255).astype(np.uint8)
