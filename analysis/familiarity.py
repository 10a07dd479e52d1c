"""Whether the network knows such sections: blocks of the section against the bundle's reference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from imaging.markers import MarkerScaling, marker_channels
from imaging.open import SectionImage
from imaging.sampling import Lattice, spread_boxes
from imaging.tissue import Tissue
from model.bundle import BundleMetadata
from model.familiarity import BLOCK_PX, describe, distance, reference_key

# The median of 16 blocks settles the matter, and reading them takes no longer than a field of view.
_LATTICE = Lattice(side_px=BLOCK_PX, most_across=8, most=16, least_tissue=(0.5,))
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
    size_px = image.size_at(metadata.mpp_um)
    if min(size_px) < _LEAST_SIDE_PX:
        return None, TOO_SMALL
    boxes = spread_boxes(size_px, tissue, metadata.mpp_um, _LATTICE)
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
