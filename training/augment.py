"""Augmentation of tiles: the only file that knows albumentations.

What is varied stands for what differs between laboratories: orientation, cutting and mounting
(affine, elastic), other stains (restain), bright dirt (specks), stain strength and camera gain
(gain, gamma), focus (blur), sensor (noise), and a missing counterstain.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

# albumentations asks its home page for a newer version unless told not to before its import.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations as A  # noqa: N812 - the name that its own pages use

from training.recipe import AugmentConfig
from training.restain import is_brightfield, restained
from training.specks import specked

_REFLECT = cv2.BORDER_REFLECT_101


class Augmentation:
    """Random changes of one tile, a function of nothing but the tile and the seed set before."""

    def __init__(self, config: AugmentConfig) -> None:
        turns = [A.D4(p=1.0)] if config.turns else []
        self._compose = A.Compose(
            [
                *turns,
                A.Affine(
                    scale=(0.8, 1.25),
                    rotate=(-45, 45),
                    shear=(-8, 8),
                    border_mode=_REFLECT,
                    p=config.affine,
                ),
                A.ElasticTransform(alpha=60, sigma=8, border_mode=_REFLECT, p=config.elastic),
                A.MultiplicativeNoise(multiplier=(0.7, 1.4), per_channel=True, p=config.gain),
                A.RandomGamma(gamma_limit=(60, 160), p=config.gamma),
                A.GaussianBlur(blur_limit=0, sigma_limit=(0.4, 2.0), p=config.blur),
                A.GaussNoise(std_range=(0.01, 0.08), per_channel=True, p=config.noise),
            ]
        )
        self._restain, self._specks = config.restain, config.specks
        self._drop_counterstain = config.drop_counterstain
        self._chance = np.random.default_rng(0)
        self._may_be_specked = True

    def prepare(self, seed: int, *, may_be_specked: bool = True) -> None:
        """Decide all chance of the next tile; no specks over cells, which may be as bright."""
        self._compose.set_random_seed(seed)
        self._chance = np.random.default_rng(seed)
        self._may_be_specked = may_be_specked

    def __call__(
        self, *, image: npt.NDArray[np.uint8], masks: Sequence[npt.NDArray[Any]]
    ) -> dict[str, Any]:
        """Change a tile's channels (H, W, 3) and its label images (H, W) alike."""
        chance = self._chance.random()
        if chance < self._restain and is_brightfield(image):
            image = restained(image, self._chance)
        elif self._may_be_specked and chance < self._specks and not is_brightfield(image):
            image = specked(image, self._chance)
        changed: dict[str, Any] = self._compose(image=image, masks=list(masks))
        # The counterstain goes, never the marker: without the marker there is nothing to learn.
        if self._chance.random() < self._drop_counterstain:
            changed["image"] = changed["image"] * np.array([1, 0, 0], np.uint8)
        return changed
