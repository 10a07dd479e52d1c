"""Counts that add up: the tallies of parts sum to the tally of the whole."""

from __future__ import annotations

import dataclasses
from typing import Self


@dataclasses.dataclass(frozen=True)
class Tally:
    """A tuple of counts; every field of a subclass can be added."""

    def __add__(self, other: Self) -> Self:
        """Return the tally of both parts together."""
        names = [field.name for field in dataclasses.fields(self)]
        return type(self)(*(getattr(self, name) + getattr(other, name) for name in names))


def ratio(part: float, whole: float) -> float | None:
    """Return a part of a whole; a ratio of nothing is None."""
    return part / whole if whole else None
