"""Weights to start from, and what goes with them: licence, sources and animals learnt from."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

from datasets.rows import file_sha256
from model.bundle import find_bundle, load_bundle
from model.restore import restore_network
from training.checkpoints import check_whole
from training.errors import CheckpointError
from training.kinds import marks_of, trained_on
from training.module import SegmentationModule, Start
from training.recipe import Recipe


def read_start(name: str) -> Start:
    """Return the weights of a bundle, named or given by its file, or of a checkpoint (`.ckpt`).

    Raises
    ------
    CheckpointError, BundleError
        If there is no such thing, or it is damaged, or a bundle of other targets.
    """
    if name.endswith(".ckpt"):
        module = load_checkpoint(Path(name))
        inherited = inheritance(module.recipe, module.inherited, module.animals)
        label = f"checkpoint {Path(name).name}, SHA-256 {file_sha256(Path(name))}"
        return Start(label, module.network, module.frozen_normalisation, inherited)
    bundle = load_bundle(find_bundle(name))
    told = bundle.metadata
    label = f"{told.name} {told.version}, SHA-256 {bundle.sha256}"
    inherited = {
        "licence": told.data_licence,
        "whole": list(trained_on(told.recipe)),
        "animals": list(marks_of(told.recipe)),
        "temperature": dict(told.temperature),
        "familiar": dict(told.familiar),
    }
    return Start(label, restore_network(bundle), folded=True, inherited=inherited)


def inheritance(
    recipe: Recipe, inherited: Mapping[str, Any], animals: Iterable[str] = ()
) -> dict[str, Any]:
    """Return what is to be said of weights that `recipe` trained from what had `inherited` so much.

    Returns
    -------
    The `licence` of all that they learnt from, the sources that they learnt `whole`, and the marks
    of the laboratories' own `animals`: those inherited, and those of this run.
    """
    own, before = recipe.data.licence, inherited.get("licence", "")
    whole = {"trained": {"whole": list(inherited.get("whole", ()))}}
    return {
        "licence": own if before in own else f"{own}; before that: {before}",
        "whole": list(trained_on(dataclasses.asdict(recipe) | whole)),
        "animals": sorted({*inherited.get("animals", ()), *animals}),
    }


def load_checkpoint(path: Path) -> SegmentationModule:
    """Return the module that a checkpoint holds, on the processor.

    Raises
    ------
    CheckpointError
        If the file cannot be read, is damaged, or holds something else.
    """
    if not path.is_file():
        raise CheckpointError(f"the checkpoint {path} cannot be read: no such file", "checkpoint")
    if path.suffix == ".onnx":
        raise CheckpointError(f"{path.name} is a bundle already; give a run's .ckpt", "checkpoint")
    try:
        check_whole(path)  # torch takes altered numbers as they are
        return SegmentationModule.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    # torch and pickle raise many types of their own for a damaged file.
    except (
        RuntimeError,
        KeyError,
        ValueError,
        EOFError,
        TypeError,
        AttributeError,
        UnpicklingError,
        BadZipFile,
        zlib.error,
        OSError,
    ) as error:
        raise CheckpointError(
            f"{path.name} is damaged or no checkpoint of a training run; use an earlier one",
            "checkpoint",
        ) from error
