"""One measure of quality against its limit, as the record shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Check:
    """One measure against its limit; each `advice` says what is wrong and what mends it."""

    name: str
    value: float | bool | None
    limit: float | list[float] | None
    passed: bool | None
    advice: tuple[str, ...] = ()
    severe: bool = False
    unit: str = "1"
    reason: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)

    def entry(self) -> dict[str, Any]:
        """Return the check as the record shows it."""
        shown: dict[str, Any] = {
            "value": rounded(self.value),
            "limit": self.limit,
            "unit": self.unit,
            "pass": self.passed,
        }
        if self.passed is None:
            shown["reason"] = self.reason
        return {**shown, **self.more}


def compared(
    name: str,
    value: float | None,
    limit: float | list[float],
    advice: str,
    reason: str | None,
    *,
    reject: float | None = None,
    unit: str = "1",
) -> Check:
    """Return a check of a value against its greatest, or its lowest and greatest, limit."""
    low, high = limit if isinstance(limit, list) else (float("-inf"), limit)
    passed = None if value is None else low <= value <= high
    severe = value is not None and reject is not None and value > reject
    return Check(name, value, limit, passed, (advice,), severe, unit, reason or "")


def rounded(value: float | bool | None) -> Any:
    """Return a number with four digits that count."""
    return value if value is None or isinstance(value, bool) else float(f"{value:.4g}")


def text(value: float | None) -> str:
    """Return a number as sentences show it, nothing for None."""
    return "" if value is None else f"{value:.3g}"


def percent(value: float | None) -> str:
    """Return a share in percent, nothing for None."""
    return "" if value is None else f"{100 * value:.3g} %"
