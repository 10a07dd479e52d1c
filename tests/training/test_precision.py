"""Promises about the numbers that a run computes with."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from training.precision import best_precision, followed, multiplies_half_width
from training.recipe import Recipe


@pytest.mark.parametrize(
    ("abilities", "yes"),
    [
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({}, False),
    ],
)
def test_half_width_is_taken_where_the_processor_multiplies_it(
    abilities: dict[str, bool], yes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AVX-512 alone does not multiply bfloat16; AVX512_BF16 and AMX do."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert multiplies_half_width() is yes
    assert best_precision() == ("bf16-mixed" if yes else "32-true")


def test_a_recipe_records_what_auto_was(small_recipe: Recipe) -> None:
    """What is followed and written down is a precision; one that was asked for stays."""
    run = dataclasses.replace(small_recipe.run, precision="auto")
    assert followed(dataclasses.replace(small_recipe, run=run)).run.precision == best_precision()
    assert followed(small_recipe) is small_recipe
