"""Put the tiles of an image together again, so that it is judged as it would be measured.

An image of which only some places were annotated falls into fields: tiles that touch are one.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import connected_components

from datasets.tiles import TileDataset
from imaging.tiles import Window


@dataclasses.dataclass(frozen=True)
class TilePlace:
    """Where a tile lies in its field, and how it is called."""

    name: str
    window: Window


@dataclasses.dataclass(frozen=True)
class Field:
    """Tiles that touch, on one canvas (H, W) of the model's grid.

    Attributes
    ----------
    channels
        uint8 (H, W, 3): marker, counterstain, residual, × 255; 0 where no tile lies.
    labels
        Target to label image (H, W); cells are numbered within their tile.
    owner
        int32 (H, W): the number in `tiles` of the tile whose annotation stands there, −1 where
        nothing was annotated. Where tiles overlap, it is the first that was annotated there.
    """

    channels: npt.NDArray[np.uint8]
    labels: Mapping[str, npt.NDArray[np.integer]]
    owner: npt.NDArray[np.int32]
    tiles: tuple[TilePlace, ...]

    @cached_property
    def seen(self) -> npt.NDArray[np.bool_]:
        """Where it was annotated, bool (H, W)."""
        return np.asarray(self.owner >= 0)


@dataclasses.dataclass(frozen=True)
class ImageTiles:
    """The tiles of one image (of one marker, and of one rendering) in a folder."""

    name: str
    animal: str
    source: str
    part: TileDataset
    indices: tuple[int, ...]

    def fields(self) -> Iterator[Field]:
        """Read the image's fields, one after the other."""
        rows = [self.part.rows[index] for index in self.indices]
        windows = [_window(row) for row in rows]
        groups: dict[int, list[int]] = defaultdict(list)
        for number, group in enumerate(_touching(windows)):
            groups[group].append(number)
        for members in groups.values():
            yield self._field(members, [windows[number] for number in members])

    def _field(self, members: Sequence[int], windows: Sequence[Window]) -> Field:
        left, top = min(w.x for w in windows), min(w.y for w in windows)
        shape = max(w.bottom for w in windows) - top, max(w.right for w in windows) - left
        frame = Window(left, top, shape[1], shape[0])
        channels, owner = np.zeros((*shape, 3), np.uint8), np.full(shape, -1, np.int32)
        labels: dict[str, npt.NDArray[np.integer]] = {}
        places: list[TilePlace] = []
        for number, window in zip(members, windows, strict=True):
            index = self.indices[number]
            tile, inside = self.part.raw(index), window.within(frame)
            at = inside.slices()
            channels[at] = tile.image
            new = (tile.weight > 0) & (owner[at] < 0)
            owner[at][new] = len(places)
            for target, drawn in tile.labels.items():
                canvas = labels.setdefault(target, np.zeros(shape, np.int32))
                canvas[at][new] = drawn[new]
            places.append(TilePlace(self.part.rows[index]["tile"], inside))
        return Field(channels, labels, owner, tuple(places))


def images_of(parts: Sequence[TileDataset]) -> list[ImageTiles]:
    """Group the tiles of folders by image, in the order in which they lie there."""
    images = []
    for part in parts:
        members: dict[tuple[str, str], list[int]] = defaultdict(list)
        for index, row in enumerate(part.rows):
            name = row["tile"].rsplit("_", 2)[0]  # a tile's name ends in its corner
            members[name, row["source"]].append(index)
        for (name, source), indices in members.items():
            animal = part.rows[indices[0]]["animal"]
            images.append(ImageTiles(name, animal, source, part, tuple(indices)))
    return images


def _window(row: Mapping[str, str]) -> Window:
    return Window(*(int(row[name]) for name in ("x_px", "y_px", "width_px", "height_px")))


def _touching(windows: Sequence[Window]) -> list[int]:
    """Return each window's group: those that overlap or share a border have one number."""
    x0, y0, x1, y1 = np.array([(w.x, w.y, w.right, w.bottom) for w in windows]).T
    columns = (x0[:, None] <= x1) & (x0 <= x1[:, None])
    rows = (y0[:, None] <= y1) & (y0 <= y1[:, None])
    _, groups = connected_components(columns & rows, directed=False)
    return [int(group) for group in groups]
