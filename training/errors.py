"""What can go wrong before, in and after a training run.

TrainingError(ValueError)
├── RecipeError      a recipe with an unknown key or an impossible value
├── DataError        no tiles to learn from, or none to validate on
└── CheckpointError  a file that is no checkpoint of a run
"""

from __future__ import annotations


class TrainingError(ValueError):
    """A wrong input to this package; `field` names it as the command line does."""

    def __init__(self, message: str, field: str = "recipe") -> None:
        super().__init__(message, field)
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return self.message


class RecipeError(TrainingError):
    """A recipe cannot be followed as it is written."""


class DataError(TrainingError):
    """The data that a recipe names cannot be trained on."""


class CheckpointError(TrainingError):
    """A file is no checkpoint that this version wrote."""
