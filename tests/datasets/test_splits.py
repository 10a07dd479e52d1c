"""Splits are by animal, repeatable, and spread over groups."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from datasets.errors import SplitError
from datasets.manifest import Manifest
from datasets.rows import SPLITS, Row
from datasets.splits import Fractions, animals_by_split, assign_splits, splits_of_numbers


def manifest(animals: int, sections: int = 3, groups: int = 2) -> Manifest:
    rows = [
        Row(image=f"{animal}-{section}.png", animal=f"m{animal}", group=f"g{animal % groups}")
        for section in range(sections)
        for animal in range(animals)
    ]
    return Manifest(Path(), tuple(rows))


@pytest.mark.parametrize("seed", range(5))
def test_no_animal_is_in_two_splits(seed: int) -> None:
    """All sections of an animal are in one split, whatever the seed."""
    splits = animals_by_split(assign_splits(manifest(11), seed=seed).rows)
    assert sum(len(animals) for animals in splits.values()) == 11
    assert len(set().union(*splits.values())) == 11


def test_same_seed_same_splits_in_any_order() -> None:
    """Order of rows does not matter; another seed gives another choice."""
    original = manifest(20)
    reversed_rows = dataclasses.replace(original, rows=original.rows[::-1])
    once = animals_by_split(assign_splits(original, seed=1).rows)
    assert once == animals_by_split(assign_splits(reversed_rows, seed=1).rows)
    assert once != animals_by_split(assign_splits(original, seed=2).rows)


def test_fractions_hold_in_all_and_in_each_group() -> None:
    """Of 40 animals in two groups, 20 % validate: 8 in all and 4 of each group."""
    assigned = assign_splits(manifest(40), fractions=Fractions(0.8, 0.2, 0.0))
    per_group = Counter({(row.animal, row.group) for row in assigned.rows if row.split == "val"})
    assert Counter(group for _, group in per_group) == {"g0": 4, "g1": 4}


@pytest.mark.parametrize("animals", [2, 3, 5])
def test_small_sets_validate_on_one_animal(animals: int) -> None:
    """However few animals there are, one validates if there are two; a single one trains."""
    splits = animals_by_split(assign_splits(manifest(animals)).rows)
    assert len(splits["val"]) == 1
    assert len(animals_by_split(assign_splits(manifest(1)).rows)["train"]) == 1


def test_given_splits_are_kept() -> None:
    """An animal whose split is given in one row has it in all, and counts towards its split."""
    original = manifest(10)
    given = [
        dataclasses.replace(row, split="test") if row.image in ("0-0.png", "1-1.png") else row
        for row in original.rows
    ]
    splits = animals_by_split(
        assign_splits(dataclasses.replace(original, rows=tuple(given)), seed=0).rows
    )
    assert {"m0", "m1"} <= splits["test"]
    assert len(splits["train"]) == 7


def test_leaking_animal_is_refused_by_name() -> None:
    """An animal given two splits is an error that names it and them."""
    rows = manifest(2, sections=2).rows
    leaking = (
        dataclasses.replace(rows[0], split="train"),
        dataclasses.replace(rows[2], split="val"),
    )
    assert rows[0].animal == rows[2].animal
    with pytest.raises(SplitError, match="m0 in train and val"):
        assign_splits(Manifest(Path(), leaking))


@pytest.mark.parametrize("parts", [(0.5, 0.2, 0.2), (1.2, -0.1, -0.1)])
def test_fractions_must_add_up(parts: tuple[float, float, float]) -> None:
    """Fractions that are negative or do not add up to 1 are refused."""
    with pytest.raises(SplitError, match="add up to 1"):
        Fractions(*parts)


def test_numbered_animals_keep_their_splits_in_a_longer_set() -> None:
    """Whatever stretch of numbers is looked at, it has the fractions, and each its own split."""
    fractions = Fractions(0.8, 0.15, 0.05)
    whole = splits_of_numbers(range(3000), fractions)
    for first, count in ((0, 400), (333, 250), (2000, 1000)):
        part = splits_of_numbers(range(first, first + count), fractions)
        assert all(whole[number] == split for number, split in part.items())
        for split in SPLITS:
            found = sum(1 for given in part.values() if given == split)
            assert found == pytest.approx(fractions.of(split) * count, abs=2)


def test_more_to_validate_on_takes_nothing_back() -> None:
    """Who validates at 5 % does at 10 %, and who trains at 10 % does at 5 %."""
    few, many = (splits_of_numbers(range(500), Fractions(1 - p, p, 0.0)) for p in (0.05, 0.1))
    assert all(many[number] == "val" for number, split in few.items() if split == "val")


def test_of_two_numbered_animals_one_validates() -> None:
    """However small the fraction; of one alone none does, and none is asked for at 0."""
    small = Fractions(0.99, 0.01, 0.0)
    assert sorted(splits_of_numbers([5, 6], small).values()) == ["train", "val"]
    assert set(splits_of_numbers([5], small).values()) == {"train"}
    assert set(splits_of_numbers(range(9), Fractions(1.0, 0.0, 0.0)).values()) == {"train"}
