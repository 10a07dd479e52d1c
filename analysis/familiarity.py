"""Whether the network knows such sections: blocks of the section against the bundle's reference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from imaging.markers import MarkerScaling, marker_channels
from imaging.open import SectionImage
from imaging.tissue import Tissue
from model.bundle import BundleMetadata
from model.familiarity import BLOCK_PX, describe, distance, reference_key

# The median of 16 blocks settles the matter, and reading them takes no longer than a field of view.
_BLOCKS = 16
_LATTICE = 8
_LEAST_TISSUE = 0.5
_LEAST_SIDE_PX = BLOCK_PX // 2

NO_REFERENCE = "this bundle holds no reference of what it was trained on"
TOO_SMALL = "the field is too small"


def unfamiliarity(
    image: SectionImage,
    tissue: Tissue,
    scalings: Mapping[str, MarkerScaling],
    metadata: BundleMetadata,
) -> tuple[float | None, str]:
    """Return how far a section lies from what the bundle was trained on, and why if unknown.

    1 is the bundle's limit; of several markers, the strangest counts.
    """
    boxes = _boxes(image, tissue, metadata.mpp_um)
    if not boxes:
        return None, TOO_SMALL
    found = []
    for marker, scaling in scalings.items():
        reference = metadata.familiar.get(reference_key(image.modality, marker))
        if reference is None:
            return None, NO_REFERENCE
        described = [
            describe(marker_channels(image.read_region(*box, metadata.mpp_um), scaling))
            for box in boxes
        ]
        found.append(distance(np.array(described), reference))
    return max(found), ""


def _boxes(image: SectionImage, tissue: Tissue, mpp_um: float) -> list[tuple[int, int, int, int]]:
    """Return boxes (x, y, width, height) on the model's grid, spread evenly over the tissue."""
    width, height = image.size_at(mpp_um)
    side_x, side_y = min(BLOCK_PX, width), min(BLOCK_PX, height)
    if min(side_x, side_y) < _LEAST_SIDE_PX:
        return []
    xs, ys = (
        np.linspace(0, size - side, min(_LATTICE, max(1, size // side))).round().astype(int)
        for size, side in ((width, side_x), (height, side_y))
    )
    boxes = [(int(x), int(y), side_x, side_y) for y in ys for x in xs]
    covered = [box for box in boxes if tissue.read(*box, mpp_um).mean() >= _LEAST_TISSUE]
    boxes = covered or boxes
    return boxes[:: -(-len(boxes) // _BLOCKS)]
