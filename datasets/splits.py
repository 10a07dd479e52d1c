"""Splits by animal: all images of an animal go to one of train, val, test.

Tiles of one animal resemble each other; a score on tiles whose neighbours were learnt from says
nothing about the next animal.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence

from datasets.errors import SplitError
from datasets.manifest import Manifest
from datasets.rows import SPLITS, Row, Split

_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


@dataclasses.dataclass(frozen=True)
class Fractions:
    """Parts of the animals that go to each split; they add up to 1."""

    train: float = 0.7
    val: float = 0.15
    test: float = 0.15

    def __post_init__(self) -> None:
        parts = (self.train, self.val, self.test)
        if min(parts) < 0 or not math.isclose(sum(parts), 1.0, abs_tol=1e-6):
            raise SplitError(f"split fractions {parts} do not add up to 1; give three such parts")

    def of(self, split: Split) -> float:
        """Return the fraction of one split."""
        return {"train": self.train, "val": self.val, "test": self.test}[split]


def animals_by_split(rows: Sequence[Row]) -> dict[Split, set[str]]:
    """Return the animals of each split as the rows state it, undecided rows left out."""
    return {split: {row.animal for row in rows if row.split == split} for split in SPLITS}


def leaking_animals(rows: Sequence[Row]) -> dict[str, tuple[Split, ...]]:
    """Return the animals that are in more than one split, with those splits."""
    found = {
        animal: tuple(s for s, animals in animals_by_split(rows).items() if animal in animals)
        for animal in sorted({row.animal for row in rows})
    }
    return {animal: splits for animal, splits in found.items() if len(splits) > 1}


def assign_splits(
    manifest: Manifest, *, seed: int = 0, fractions: Fractions | None = None
) -> Manifest:
    """Give every undecided row the split of its animal.

    Animals are laid out group by group, within a group in an order drawn from `seed`, and each
    goes to the split that is furthest behind its fraction. So every group is spread as evenly as
    its size allows, and the same manifest and seed give the same splits. An animal that has a
    split in any of its rows keeps it. Of two animals or more, at least one validates.

    Raises
    ------
    SplitError
        If rows put one animal into two splits.
    """
    fractions = fractions or Fractions()
    leaks = leaking_animals(manifest.rows)
    if leaks:
        listed = "; ".join(f"{animal} in {' and '.join(s)}" for animal, s in leaks.items())
        raise SplitError(f"animals are in more than one split: {listed}; give each animal one")
    split_of: dict[str, Split] = {
        animal: split
        for split, animals in animals_by_split(manifest.rows).items()
        for animal in animals
    }
    count = {split: sum(1 for s in split_of.values() if s == split) for split in SPLITS}
    undecided = [animal for animal in _layout(manifest.rows, seed) if animal not in split_of]
    for animal in undecided:
        due = len(split_of) + 1
        chosen = max(SPLITS, key=lambda split: fractions.of(split) * due - count[split])
        if animal == undecided[-1] and split_of and not count["val"] and fractions.val > 0:
            chosen = "val"
        split_of[animal] = chosen
        count[chosen] += 1
    rows = tuple(dataclasses.replace(row, split=split_of[row.animal]) for row in manifest.rows)
    return dataclasses.replace(manifest, rows=rows)


def splits_of_numbers(numbers: Sequence[int], fractions: Fractions) -> dict[int, Split]:
    """Give numbered animals splits by their numbers alone: in a longer set they keep them.

    Multiples of the golden ratio less their whole parts lie evenly in 0..1 for any stretch of
    numbers, so that each stretch has about these fractions. Of two animals or more at least one
    validates; where that takes one that would not by its number, it may not in a longer set.
    """
    place_of = {number: number * _GOLDEN_RATIO % 1.0 for number in dict.fromkeys(numbers)}
    split_of: dict[int, Split] = {
        number: "val" if place < fractions.val
        else "test" if place >= 1 - fractions.test
        else "train"
        for number, place in place_of.items()
    }  # fmt: skip
    if len(split_of) > 1 and fractions.val > 0 and "val" not in split_of.values():
        split_of[min(place_of, key=place_of.__getitem__)] = "val"
    return split_of


def told(split_of: Mapping[str, Split]) -> str:
    """Return who is in which split, in words: ``train rat 1, rat 2; val rat 3``."""
    parts = []
    for split in SPLITS:
        animals = sorted(animal for animal, given in split_of.items() if given == split)
        if animals:
            parts.append(f"{split} {', '.join(animals)}")
    return "; ".join(parts)


def plain_name(animal: str) -> str:
    """Return a name without what people write in different ways: capitals, spaces, - and _."""
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFC", animal.casefold()))


def draw(seed: int, name: str) -> str:
    """Return a number for `name` that looks random but depends on `seed` and `name` alone."""
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def _layout(rows: Sequence[Row], seed: int) -> list[str]:
    group_of: dict[str, str] = {}
    for row in rows:
        group_of.setdefault(row.animal, row.group)
    return sorted(group_of, key=lambda animal: (group_of[animal], draw(seed, animal)))
