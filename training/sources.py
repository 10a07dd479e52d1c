"""Where a run's tiles come from: manifests, VessMAP, its renderings, synthetic sections.

Each source becomes one folder of tiles, cut by `datasets.build` on the path that a served image
takes. A folder is named by a hash of what decides its content, drawing code included, and is built
once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from datasets import synth_write
from datasets.build import build_tiles
from datasets.cut import ANNOTATED
from datasets.geojson import DEFAULT_CLASSES
from datasets.manifest import Manifest
from datasets.splits import Fractions
from datasets.vessmap import vessmap_manifest
from training.errors import DataError
from training.recipe import DataConfig, Recipe

Progress = Callable[[str, int, int], None]
SYNTHETIC_KINDS: dict[str, tuple[str, Literal["brightfield", "fluorescence"]]] = {
    "brightfield_vessel": ("CD31", "brightfield"),
    "brightfield_cells": ("VEGF", "brightfield"),
    "fluorescence_vessel": ("CD31", "fluorescence"),
    "fluorescence_cells": ("VEGF", "fluorescence"),
}
_SEEDS_PER_KIND = 1_000_000  # so that no two kinds share the seed of a section


@dataclasses.dataclass(frozen=True)
class _Source:
    """One source: its name in shares and scores, and how to write down what it holds."""

    name: str
    key: Any
    manifest: Callable[[Path], Manifest]
    hdab_renderings: int = 0


def prepare_tiles(
    recipe: Recipe,
    folder: Path,
    *,
    manifests: Sequence[Path] = (),
    vessmap: Path | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Build every folder of tiles that a run needs and return them, in a fixed order.

    Parameters
    ----------
    folder
        Where tile folders are kept between runs.
    manifests
        Manifests of the laboratory's own annotated images.
    vessmap
        The folder or archive of VessMAP, if there is one.
    executor
        Spreads sections and images over workers; the tiles are the same with or without it.

    Raises
    ------
    DataError
        If neither the arguments nor the recipe name any data.
    """
    sources = [_annotated(Manifest.read(path)) for path in manifests]
    if vessmap is not None:
        sources.append(_vessmap(vessmap, recipe.data))
    sources += _synthetic(recipe.data, executor, progress)
    if not sources:
        raise DataError(
            "there is nothing to train on; give --data MANIFEST or --vessmap FOLDER, "
            "or counts under [data.synthetic] in the recipe",
            field="data",
        )
    return [_build_once(source, folder, recipe.data, executor, progress) for source in sources]


@contextmanager
def cut_tiles(
    manifests: Sequence[Manifest],
    mpp_um: float,
    classes: Mapping[str, str],
    progress: Progress | None = None,
) -> Iterator[list[Path]]:
    """Cut the tiles of `manifests` for the length of a ``with`` block; nothing is kept."""
    with tempfile.TemporaryDirectory() as folder:
        data = DataConfig(mpp_um=mpp_um, classes=classes)
        sources = map(_annotated, manifests)
        yield [_build_once(source, Path(folder), data, None, progress) for source in sources]


def _annotated(manifest: Manifest) -> _Source:
    return _Source(ANNOTATED, manifest.content_hash(), lambda _: manifest)


def _vessmap(folder: Path, data: DataConfig) -> _Source:
    manifest = vessmap_manifest(
        folder, val_fraction=data.vessmap_val_fraction, fold=data.vessmap_fold
    )
    key = [manifest.content_hash(), *([_generator_sha256()] if data.hdab_renderings else [])]
    return _Source("vessmap", key, lambda _: manifest, data.hdab_renderings)


def _synthetic(
    data: DataConfig, executor: Executor | None, progress: Progress | None
) -> list[_Source]:
    config = data.synthetic
    sources = []
    for number, (kind, (marker, modality)) in enumerate(SYNTHETIC_KINDS.items()):
        count = getattr(config, kind)
        if count == 0:
            continue
        arguments = {
            "count": count,
            "seed": config.seed + number * _SEEDS_PER_KIND,
            "size_px": config.size_px,
            "mpp_um": data.mpp_um,
            "markers": (marker,),
            "modalities": (modality,),
            "empty_fraction": config.empty_fraction,
            "fractions": Fractions(1 - config.val_fraction, config.val_fraction, 0.0),
        }
        write = partial(
            synth_write.write_synthetic, **arguments, executor=executor, progress=progress
        )
        sources.append(_Source(f"synthetic_{kind}", [str(arguments), _generator_sha256()], write))
    return sources


def _generator_sha256() -> str:
    """Return a hash of the code that makes synthetic sections: other code, other tiles."""
    code = sorted(Path(synth_write.__file__).parent.glob("synth*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in code)).hexdigest()


def _build_once(
    source: _Source,
    folder: Path,
    data: DataConfig,
    executor: Executor | None,
    progress: Progress | None,
) -> Path:
    """Cut a source's tiles into a folder named by what decides its content, unless it is there."""
    key = [source.key, source.hdab_renderings, data.mpp_um, data.tile_px, dict(data.classes)]
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
    target = folder / f"{source.name}-{digest}"
    if (target / "tiles.json").is_file():
        return target
    for leftover in (target, target.with_suffix(".images")):
        shutil.rmtree(leftover, ignore_errors=True)
    build_tiles(
        source.manifest(target.with_suffix(".images")),
        target,
        mpp_um=data.mpp_um,
        tile_px=data.tile_px,
        classes={**DEFAULT_CLASSES, **data.classes},
        source=source.name,
        hdab_renderings=source.hdab_renderings,
        executor=executor,
        progress=progress,
    )
    return target
