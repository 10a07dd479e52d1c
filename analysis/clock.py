"""How far a measurement is, and where its time goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, int, int], None]
"""Called with (stage, steps done, steps in all): scale, predict, vessels, cells, export."""


def silent(stage: str, done: int, total: int) -> None:
    """Take no notice of progress."""


class StageClock:
    """Seconds spent in each stage, for the record's ``timings_s``; stages may overlap."""

    def __init__(self, seconds: dict[str, float] | None = None) -> None:
        self.seconds: dict[str, float] = dict(seconds or {})
        self._start = time.perf_counter() - sum(self.seconds.values())

    def with_total(self) -> dict[str, float]:
        """Return the stages, and as ``total`` what has passed since the first of them began."""
        return self.seconds | {"total": round(time.perf_counter() - self._start, 6)}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to stage `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 6)
