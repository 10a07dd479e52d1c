"""What kinds of source there are, kept apart wherever scores are shown; what was learnt from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from datasets.splits import plain_name

Kind = Literal["real", "half_real", "synthetic"]
KINDS: tuple[Kind, ...] = get_args(Kind)

KIND_TITLES: dict[Kind, str] = {
    "real": "Real images",
    "half_real": "Real outlines, synthetic stain",
    "synthetic": "Synthetic sections",
}
_NAMES = {
    "annotated": "annotated images of your own",
    "vessmap": "VessMAP crops, mouse cortex, fluorescence (real image, real annotation)",
    "rerendered": "VessMAP crops rendered as H-DAB (real outlines, synthetic stain)",
    "annotated_rerendered": "your own images rendered as H-DAB (real outlines, synthetic stain)",
}


def is_own(source: str) -> bool:
    """Return whether a source is of a laboratory's own images."""
    return source in ("annotated", "annotated_rerendered")


def kind_of(source: str) -> Kind:
    """Return how real the images of a source are."""
    if source.startswith("synthetic"):
        return "synthetic"
    return "half_real" if source in ("rerendered", "annotated_rerendered") else "real"


def sources_of(kind: Kind, sources: Iterable[str]) -> list[str]:
    """Return the sources of one kind, in their order."""
    return [source for source in sources if kind_of(source) == kind]


def trained_on(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the sources of which everything that was at hand was learnt from.

    `recipe` is that of a bundle, which tells what the weights learnt before, too, and from which
    sources; one that does not (of a checkpoint, or a bundle of before) is taken by its shares.
    """
    data, trained = recipe.get("data", {}), recipe.get("trained", {})
    drawn = trained.get("sources") or data.get("shares", {})
    whole = "vessmap" in drawn and data.get("vessmap_val_fraction") == 0
    learnt = [name for name in ("vessmap", "rerendered") if whole and name in drawn]
    return tuple(dict.fromkeys([*trained.get("whole", ()), *learnt]))


def animal_mark(name: str) -> str:
    """Return what stands for an animal in a bundle; whoever guesses a name can confirm it."""
    return hashlib.sha256(f"animal {plain_name(name)}".encode()).hexdigest()[:16]


def marks_of(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the marks of the animals that a bundle of this recipe learnt from, of all its runs."""
    return tuple(recipe.get("trained", {}).get("animals", ()))


def known_animals(marks: Iterable[str], animals: Iterable[str]) -> list[str]:
    """Return those of `animals` whose marks are among `marks`, in order."""
    learnt = frozenset(marks)
    return sorted(animal for animal in set(animals) if animal_mark(animal) in learnt)


def full_name(source: str) -> str:
    """Return what a source is called in a sentence."""
    return _NAMES.get(source, source.replace("_", " "))


def short_name(source: str) -> str:
    """Return what a source is called where there is little room."""
    if kind_of(source) == "synthetic":
        return " ".join(source.split("_")[:2])  # what is on it is said beside it
    return full_name(source).split(",")[0].split(" (")[0]
