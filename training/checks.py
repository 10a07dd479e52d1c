"""What is wrong with the tiles of a run, told before its first step."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datasets.cut import ANNOTATED
from datasets.rows import SYNTHETIC_GROUP
from datasets.tiles import outlined_targets
from model.targets import CHANNELS
from training.errors import DataError
from training.stream import tiles_of_split


def check_tiles(folders: Sequence[Path]) -> None:
    """Refuse tiles that teach nothing, or whose score would tell nothing.

    Raises
    ------
    DataError
        If so, saying what to change.
    """
    check_animals(folders)
    check_classes(folders)
    check_judged(folders)


def check_animals(folders: Sequence[Path]) -> None:
    """Refuse an animal of which one manifest trains and another judges.

    Within a manifest `datasets.splits` refuses it; drawn sections number their animals anew.

    Raises
    ------
    DataError
        If there is one.
    """
    splits: dict[str, set[str]] = {}
    for folder in folders:
        with (folder / "tiles.csv").open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                if not row["source"].startswith(SYNTHETIC_GROUP):
                    splits.setdefault(row["animal"], set()).add(row["split"])
    leaking = [f"{a} in {' and '.join(sorted(s))}" for a, s in sorted(splits.items()) if len(s) > 1]
    if leaking:
        raise DataError(
            f"animals are in more than one split over the manifests: {'; '.join(leaking)}; write "
            "the same split for each in all of them, or other names if they are others",
            "data",
        )


def check_classes(folders: Sequence[Path]) -> None:
    """Refuse training tiles that show a target nowhere, or show nothing but it.

    From such tiles a network learns one answer for every pixel. What a laboratory outlined has to
    show both by itself: drawn sections beside it would only hide that its masks are empty or
    inverted. Reading ends where both were seen.

    Raises
    ------
    DataError
        If every annotated pixel of a target is the same, on the images that somebody outlined or
        on all tiles together.
    """
    seen: dict[tuple[str, str], set[bool]] = {}
    for tiles in tiles_of_split(folders, split="train"):
        for index, row in enumerate(tiles.rows):
            groups = ("annotated ", "") if row["source"] == ANNOTATED else ("",)
            named = [(whose, target) for whose in groups for target in outlined_targets(row)]
            if all(len(seen.get(key, ())) == 2 for key in named):
                continue
            item = tiles[index]
            learnt = item["weight"][0] > 0
            for key in named:
                values = item["target"][CHANNELS.index(key[1])][learnt].numpy() > 0
                seen.setdefault(key, set()).update(np.unique(values).tolist())
    for (whose, target), classes in seen.items():
        if classes == {False}:
            raise DataError(
                f"no {whose}training tile shows any {target}; outline some, also where images "
                f"without any are to be learnt, or take {target} out of the manifest's targets",
                "data",
            )
        if classes == {True}:
            raise DataError(
                f"every annotated pixel of the {whose}training tiles is {target}; draw the areas "
                "that were annotated, background included, and check that no mask is inverted",
                "data",
            )


def check_judged(folders: Sequence[Path]) -> None:
    """Refuse validation tiles of which none holds a target: every epoch would have the same score.

    Raises
    ------
    DataError
        If so.
    """
    for tiles in tiles_of_split(folders):
        for index in range(len(tiles)):
            item = tiles[index]
            learnt = item["weight"] * item["annotated"][:, None, None]
            if bool((item["target"] * learnt > 0).any()):
                return
    raise DataError(
        "no validation tile shows any vessel or cell, so that no epoch is better than another; "
        "give split val to an animal that has some",
        "data",
    )
