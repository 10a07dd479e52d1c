"""Which numbers a run computes with where the recipe leaves it open.

Half-width numbers pay only where a processor multiplies them: elsewhere each product converts them
to 32 bits and back, and a step takes longer (`tests/benchmarks/test_training.py` measures it).
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch

from training.recipe import Recipe

Chosen = Literal["32-true", "bf16-mixed", "16-mixed"]
_HALF_WIDTH = ("avx512_bf16", "amx_bf16", "avx10_2")


def followed(recipe: Recipe) -> Recipe:
    """Return the recipe with ``auto`` replaced by what it means here, for the bundle to record."""
    if recipe.run.precision != "auto":
        return recipe
    return dataclasses.replace(
        recipe, run=dataclasses.replace(recipe.run, precision=best_precision())
    )


def best_precision() -> Chosen:
    """Return the precision that is fastest here: of the graphics card, or of the processor."""
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(False) else "16-mixed"
    return "bf16-mixed" if multiplies_half_width() else "32-true"


def multiplies_half_width() -> bool:
    """Return whether this processor has instructions that multiply bfloat16.

    oneDNN's own answer does not serve: it is yes on every AVX-512, where it emulates them.
    """
    ask = getattr(torch.cpu, "get_capabilities", None)  # torch from 2.12 on
    if ask is not None:
        return any(ask().get(name, False) for name in _HALF_WIDTH)
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in probes)
