"""Compare what a network predicts for one image with what was annotated on it.

Letters: K target channels, H, W pixels of the model's grid.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from analysis.cells import CellSettings, label_cells
from imaging.tiles import grid
from model.bundle import Bundle
from model.predictor import Predictor, to_bytes
from model.targets import ANNOTATED_TARGETS, CHANNELS, VEGF_CELL, VEGF_CELL_CENTRE, VESSEL
from training.calibration import LogitTally, tally_probabilities
from training.densities import Amounts, cell_amounts, vessel_amounts
from training.fields import Field, ImageTiles
from training.instances import InstanceTally, tally_instances
from training.kinds import marks_of, trained_on
from training.scores import MaskTally, tally_masks
from training.tally import Tally

Bools = npt.NDArray[np.bool_]
Predict = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


@dataclasses.dataclass(frozen=True)
class Judged:
    """A network to be judged.

    Attributes
    ----------
    predict
        Marker channels float32 (3, H, W) to probabilities float32 (K, H, W), as
        `model.predictor.Predictor.probabilities`.
    mpp_um
        Its grid.
    thresholds
        Target to the probability from which a pixel counts.
    temperature
        Target to what its logits were divided by.
    tile_px, halo_px
        Side of the part of a prediction that is kept, and what is read around it.
    tta
        Whether `predict` averages flips and turns.
    animals
        Marks of the laboratory's own animals that it learnt from, see `training.kinds.animal_mark`.
    described
        What the evaluation says of it: name, version, hash, and the sources (``trained_on``) of
        which training held nothing back.
    """

    predict: Predict
    mpp_um: float
    thresholds: Mapping[str, float]
    temperature: Mapping[str, float]
    tile_px: int = 1024
    halo_px: int = 128
    tta: bool = False
    animals: tuple[str, ...] = ()
    described: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, bundle: Bundle, *, tta: bool = False) -> Self:
        """Return a bundle, ready to be judged: with `tta`, as the mean of eight flips and turns."""
        metadata = bundle.metadata
        return cls(
            functools.partial(Predictor(bundle).probabilities, tta=tta),
            metadata.mpp_um,
            dict(metadata.thresholds),
            dict(metadata.temperature),
            metadata.tile_px,
            metadata.halo_px,
            tta,
            marks_of(metadata.recipe),
            {
                "name": metadata.name,
                "version": metadata.version,
                "sha256": bundle.sha256,
                "trained_on": list(trained_on(metadata.recipe)),
            },
        )

    def level(self, target: str) -> int:
        """Return the smallest byte of a probability that counts as `target`."""
        return max(1, round(255 * self.thresholds[target]))


@dataclasses.dataclass(frozen=True)
class Counts(Tally):
    """All that is counted in an image, or a part of it, for one target."""

    scored_px: int = 0
    mask: MaskTally = dataclasses.field(default_factory=MaskTally)
    logits: LogitTally = dataclasses.field(default_factory=LogitTally)
    cells: InstanceTally = dataclasses.field(default_factory=InstanceTally)
    annotated: Amounts = dataclasses.field(default_factory=Amounts)
    predicted: Amounts = dataclasses.field(default_factory=Amounts)

    def scores(self, target: str) -> dict[str, float | None]:
        """Return every score of a target by name."""
        return self.mask.scores() | (self.cells.scores() if target == VEGF_CELL else {})


@dataclasses.dataclass(frozen=True)
class Sight:
    """A tile to look at: marker channel uint8 (h, w), both masks bool (h, w)."""

    tile: str
    marker: npt.NDArray[np.uint8]
    annotated: Bools
    predicted: Bools

    @property
    def wrong_px(self) -> int:
        """Return how many pixels differ."""
        return int(np.count_nonzero(self.annotated ^ self.predicted))


@dataclasses.dataclass(frozen=True)
class ImageScore:
    """What was counted on one image for one target, and its tile with the most wrong pixels."""

    image: str
    animal: str
    source: str
    target: str
    counts: Counts
    sight: Sight | None = None


def judge_image(network: Judged, image: ImageTiles) -> list[ImageScore]:
    """Judge one image for each target that was annotated on it; none where nothing was."""
    counted: dict[str, Counts] = {}
    sights: dict[str, Sight] = {}
    for field in image.fields():
        if not field.seen.any():
            continue
        probabilities = predict_field(network, field.channels)
        for target in (name for name in ANNOTATED_TARGETS if name in field.labels):
            compared = _Compared.of(network, field, target, probabilities)
            counted[target] = counted.get(target, Counts()) + compared.counts()
            earlier = [sights[target]] if target in sights else []
            seen = itertools.chain(earlier, compared.sights())
            sights[target] = max(seen, key=lambda sight: sight.wrong_px)
    return [
        ImageScore(image.name, image.animal, image.source, target, counts, sights[target])
        for target, counts in counted.items()
    ]


def predict_field(network: Judged, channels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Predict a canvas (H, W, 3), tile by tile with a halo; return float32 (K, H, W)."""
    height, width = channels.shape[:2]
    answer = np.empty((len(CHANNELS), height, width), np.float32)
    for tile in grid(width, height, network.tile_px, network.halo_px):
        read = np.moveaxis(channels[tile.outer.slices()], -1, 0).astype(np.float32) / 255
        kept = network.predict(np.ascontiguousarray(read))[(slice(None), *tile.core_in_outer)]
        answer[(slice(None), *tile.core.slices())] = kept
    return answer


def find_cells(network: Judged, channels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Return the cells that are found on a canvas (H, W, 3), numbered from 1, int32 (H, W)."""
    levels = to_bytes(predict_field(network, channels))
    cell, centre = (levels[CHANNELS.index(name)] for name in (VEGF_CELL, VEGF_CELL_CENTRE))
    return label_cells(cell, centre, CellSettings(network.mpp_um, network.level(VEGF_CELL)))


@dataclasses.dataclass(frozen=True)
class _Compared:
    """One field's masks (H, W) of one target, both only where it was annotated."""

    network: Judged
    field: Field
    target: str
    probabilities: npt.NDArray[np.float32]
    annotated: Bools
    predicted: Bools

    @classmethod
    def of(
        cls, network: Judged, field: Field, target: str, probabilities: npt.NDArray[np.float32]
    ) -> Self:
        levels = to_bytes(probabilities[CHANNELS.index(target)])
        annotated = np.asarray(field.labels[target] > 0)
        predicted = (levels >= network.level(target)) & field.seen
        return cls(network, field, target, probabilities, annotated, predicted)

    def counts(self) -> Counts:
        seen, mpp_um = self.field.seen, self.network.mpp_um
        channel = self.probabilities[CHANNELS.index(self.target)]
        temperature = self.network.temperature.get(self.target, 1.0)
        if self.target == VESSEL:
            cells = InstanceTally()
            amounts = [vessel_amounts(m, seen, mpp_um) for m in (self.annotated, self.predicted)]
        else:
            cells = self._cells()
            amounts = [cell_amounts(n, seen, mpp_um) for n in (cells.annotated, cells.predicted)]
        return Counts(
            int(np.count_nonzero(seen)),
            tally_masks(self.predicted, self.annotated, centre_line=self.target == VESSEL),
            tally_probabilities(channel[seen], self.annotated[seen], temperature),
            cells,
            *amounts,
        )

    def sights(self) -> Iterator[Sight]:
        for place in self.field.tiles:
            inside = place.window.slices()
            yield Sight(
                place.name,
                self.field.channels[..., 0][inside].copy(),
                self.annotated[inside].copy(),
                self.predicted[inside].copy(),
            )

    def _cells(self) -> InstanceTally:
        """Compare cells tile by tile; parts of either that a border made too small are left out.

        Annotated cells have their numbers within a tile only: one on a border counts in each. Where
        tiles overlap, only one of them is compared.
        """
        settings = CellSettings(self.network.mpp_um, self.network.level(VEGF_CELL))
        levels = [
            to_bytes(self.probabilities[CHANNELS.index(name)])
            for name in (VEGF_CELL, VEGF_CELL_CENTRE)
        ]
        total = InstanceTally()
        for number, place in enumerate(self.field.tiles):
            inside = place.window.slices()
            own = self.field.owner[inside] == number
            cells, centres = (level[inside] for level in levels)
            found = label_cells(cells, centres, settings)
            both = (found * own, self.field.labels[VEGF_CELL][inside] * own)
            total += tally_instances(*(_large(labels, settings.min_area_px) for labels in both))
        return total


def _large(labels: npt.NDArray[Any], least_px: float) -> npt.NDArray[Any]:
    areas = np.bincount(labels.ravel())
    return np.where(areas[labels] >= least_px, labels, 0)
