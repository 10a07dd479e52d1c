"""Training tiles as a torch dataset: pixels, targets, and what of them was annotated."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.utils.data import Dataset

from datasets.errors import BuildError
from datasets.rows import SPLITS, Split
from model.targets import ANNOTATED_TARGETS, target_arrays

Transform = Callable[..., Mapping[str, Any]]
Pixels = npt.NDArray[Any]


class TileItem(TypedDict):
    """One tile: T target channels, H = W = the data set's tile size."""

    image: torch.Tensor  # float32 (3, H, W) in 0..1: marker, counterstain, residual
    target: torch.Tensor  # float32 (T, H, W) in 0..1
    annotated: torch.Tensor  # bool (T,): channels to learn from
    weight: torch.Tensor  # float32 (1, H, W): 1 where annotated, 0 beyond it and on padding
    tile: str
    source: str  # where its pixels come from: annotated, vessmap, …


class RawTile(NamedTuple):
    """One tile as it lies in its folder, h × w px of the model's grid."""

    image: Pixels  # uint8 (h, w, 3): marker, counterstain, residual, × 255
    labels: dict[str, Pixels]  # target to (h, w): 0 background, each cell a number of its own
    weight: Pixels  # uint8 (h, w): 1 where annotated


class TileDataset(Dataset[TileItem]):
    """The tiles of one split in a folder that `build_tiles` wrote.

    Parameters
    ----------
    folder
        A folder of tiles.
    split
        ``train``, ``val`` or ``test``.
    transform
        Called as ``transform(image=(H, W, 3) uint8, masks=[(H, W) uint16 or uint8, …])`` and
        answering with a mapping of the same keys, as albumentations do. Masks are label images
        with nearest-neighbour sampling in mind; the last one is 1 where pixels may be learnt
        from. Targets are made after it, so that depth inside a cell stays true.
    tile_px
        Side of the items; the build's own by default. Smaller tiles are padded by reflection with
        weight 0, larger ones cropped: at random where there is a transform, else in the middle.

    Raises
    ------
    BuildError
        If the folder holds no tiles, or none of that split.
    """

    def __init__(
        self,
        folder: str | Path,
        split: Split,
        transform: Transform | None = None,
        *,
        tile_px: int | None = None,
    ) -> None:
        self.folder = Path(folder)
        if not (self.folder / "tiles.csv").is_file():
            raise BuildError(_no_tiles(self.folder), "tiles")
        if split not in SPLITS:
            raise BuildError(f"split {split!r} is not one of {', '.join(SPLITS)}", "split")
        described = json.loads((self.folder / "tiles.json").read_text(encoding="utf-8"))
        self.mpp_um = float(described["mpp_um"])
        self.manifest_hash = str(described["manifest_hash"])
        self.tile_px = tile_px or int(described["tile_px"])
        with (self.folder / "tiles.csv").open(encoding="utf-8", newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if row["split"] == split]
        if not rows:
            raise BuildError(f"{folder} has no tile of split {split!r}; build it with one", "split")
        self.rows: tuple[Mapping[str, str], ...] = tuple(rows)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> TileItem:
        row = self.rows[index]
        image, labels, weight = self.raw(index)
        image, *masks = _pad_unlearnt([image, *labels.values(), weight], self.tile_px)
        if self.transform is not None:
            changed = self.transform(image=image, masks=masks)
            arrays = [changed["image"], *changed["masks"]]
            image, *masks = _pad_unlearnt(arrays, self.tile_px)
        image, *masks = _crop([image, *masks], self.tile_px, random=self.transform is not None)
        *drawn, weight = masks
        target, annotated = target_arrays(dict(zip(labels, drawn, strict=True)))
        return {
            "image": torch.from_numpy(_to_unit(image)),
            "target": torch.from_numpy(target),
            "annotated": torch.from_numpy(annotated),
            "weight": torch.from_numpy((weight > 0).astype(np.float32)[None]),
            "tile": row["tile"],
            "source": row["source"],
        }

    def raw(self, index: int) -> RawTile:
        """Return a tile unchanged, in its own size.

        Raises
        ------
        BuildError
            If a file is missing, or is no mask of its image.
        """
        row = self.rows[index]
        name = f"{row['tile']}.png"
        image = _read_png(self.folder / "channels" / name)
        labels = {target: self._mask(target, name, image) for target in outlined_targets(row)}
        weight = np.ones(image.shape[:2], np.uint8)
        if (self.folder / "annotated" / name).is_file():
            weight = (self._mask("annotated", name, image) > 0).astype(np.uint8)
        return RawTile(image, labels, weight)

    def _mask(self, subfolder: str, name: str, image: Pixels) -> Pixels:
        mask = _read_png(self.folder / subfolder / name)
        if mask.shape != image.shape[:2]:
            sizes = [" × ".join(map(str, pixels.shape[:2][::-1])) for pixels in (mask, image)]
            raise BuildError(
                f"{subfolder}/{name} is no mask of its image: it has {sizes[0]} px, the image "
                f"{sizes[1]} px, and a mask has one channel; build {self.folder.name} again",
                "tiles",
            )
        return mask


def outlined_targets(row: Mapping[str, str]) -> tuple[str, ...]:
    """Return the targets that were outlined on the tile of a row of tiles.csv, in channel order."""
    named = row["targets"].split("+")
    return tuple(target for target in ANNOTATED_TARGETS if target in named)


def _no_tiles(folder: Path) -> str:
    """Return what to do where `folder` has no tiles of its own."""
    inside = sorted(path.parent.name for path in folder.glob("*/tiles.csv"))
    if inside:
        return f"{folder} holds folders of tiles; name each of them: {', '.join(inside)}"
    return f"{folder} holds no tiles.csv; run `angiometry data build` first"


def _read_png(path: Path) -> Pixels:
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return np.array(image)  # a copy, which a transform may write to
    except OSError as error:
        raise BuildError(f"{path} is missing or damaged; build the tiles again") from error


def _pad_unlearnt(arrays: list[Pixels], tile_px: int) -> list[Pixels]:
    """Mirror (H, W, ...) arrays evenly at their borders up to `tile_px`; the last becomes 0 there.

    Arrays that are large enough come back as they are.
    """
    height, width = arrays[0].shape[:2]
    short = [max(0, tile_px - height), max(0, tile_px - width)]
    if not any(short):
        return arrays
    around = [(missing // 2, missing - missing // 2) for missing in short]
    *mirrored, weight = arrays
    padded = [
        np.pad(array, [*around, *[(0, 0)] * (array.ndim - 2)], mode="symmetric")
        for array in mirrored
    ]
    return [*padded, np.pad(weight, around)]


def _crop(arrays: list[Pixels], tile_px: int, *, random: bool) -> list[Pixels]:
    height, width = arrays[0].shape[:2]
    spare = (height - tile_px, width - tile_px)
    if random:
        y, x = (int(torch.randint(left + 1, ())) for left in spare)
    else:
        y, x = (left // 2 for left in spare)
    return [array[y : y + tile_px, x : x + tile_px] for array in arrays]


def _to_unit(image: Pixels) -> npt.NDArray[np.float32]:
    """Return (H, W, 3) bytes, or floats in 0..1, as float32 (3, H, W) in 0..1."""
    unit = image.astype(np.float32) / 255 if image.dtype == np.uint8 else image.astype(np.float32)
    return np.ascontiguousarray(np.moveaxis(unit, -1, 0))
