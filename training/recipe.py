"""The recipe: everything that decides what a training run does, read from TOML.

Unknown keys are errors: a misspelt setting that is silently ignored costs a day of training.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from datasets.geojson import CLASS_MEANINGS
from imaging.calibration import MAX_MPP_UM, MIN_MPP_UM
from model.unet import Encoder, UNetConfig
from training.errors import RecipeError

SOURCES = (
    "annotated",
    "vessmap",
    "rerendered",
    "annotated_rerendered",
    "synthetic_brightfield_vessel",
    "synthetic_brightfield_cells",
    "synthetic_fluorescence_vessel",
    "synthetic_fluorescence_cells",
)
"""Where tiles may come from: own images, VessMAP, renderings of either, synthetic sections."""

TILES = "tiles"
"""Folder of tiles beside the runs' own folders, which are called as their recipes."""

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


@dataclasses.dataclass(frozen=True)
class SyntheticConfig:
    """How many synthetic sections of each kind to make, their side, and from which seed on.

    `empty_fraction` of them hold nothing of their target: what the network must learn to leave.
    """

    brightfield_vessel: int = 0
    brightfield_cells: int = 0
    fluorescence_vessel: int = 0
    fluorescence_cells: int = 0
    size_px: int = 512
    empty_fraction: float = 0.1
    seed: int = 1
    val_fraction: float = 0.1


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where tiles come from.

    `hdab_renderings` says how often each VessMAP crop is rendered again as H-DAB. `shares` weighs
    how often a tile of a source is drawn; a source left out is drawn in proportion to its tiles,
    and the share of one that is not at hand goes to the others. `vessmap_val_fraction` of VessMAP's
    crops validate and are never trained on: part number `vessmap_fold` of them.
    """

    mpp_um: float = 0.5
    tile_px: int = 256
    hdab_renderings: int = 4
    vessmap_val_fraction: float = 0.2
    vessmap_fold: int = 0
    synthetic: SyntheticConfig = SyntheticConfig()
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    classes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    licence: str = "as the images' own"


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Shape of the network: see `model.unet.UNetConfig`."""

    encoder: Encoder = "plain"
    base: int = 24
    depth: int = 4

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be built, while the recipe is read."""
        UNetConfig(self.encoder, self.base, self.depth)


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the three losses; the centre-line loss is for vessels alone."""

    bce: float = 1.0
    dice: float = 1.0
    centre_line: float = 0.2
    centre_line_iterations: int = 8


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Strength of each augmentation; 0 switches one off. See `training.augment`."""

    turns: bool = True
    affine: float = 0.7
    elastic: float = 0.3
    gamma: float = 0.5
    gain: float = 0.5
    blur: float = 0.3
    noise: float = 0.5
    drop_counterstain: float = 0.15
    restain: float = 0.0
    specks: float = 0.0


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Optimiser, length and machinery of the run; one epoch is `steps_per_epoch` steps.

    A run has whole epochs: `steps` are rounded up to them.

    `precision` ``auto`` is bfloat16 where the machine multiplies it, else 32 bits: see
    `training.precision`. `loader_workers` ``-1`` is one for each core but one where a graphics card
    learns, else one: see `training.stream.workers`.
    """

    steps: int = 1500
    steps_per_epoch: int = 100
    batch_size: int = 8
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup_fraction: float = 0.1
    ema_decay: float = 0.995
    ema_from_step: int = 200
    patience_epochs: int = 10
    precision: Precision = "auto"
    loader_workers: int = -1
    seed: int = 1

    @property
    def epoch_steps(self) -> int:
        """Steps of one epoch; the whole run where that is shorter."""
        return min(self.steps, self.steps_per_epoch)

    @property
    def epochs(self) -> int:
        """Epochs of the whole run."""
        return math.ceil(self.steps / self.epoch_steps)


@dataclasses.dataclass(frozen=True)
class ThresholdConfig:
    """Calibrated probability from which a pixel belongs to a target; 0.5 is more likely than not.

    Higher ones leave more of what only looks like a vessel, and some of what is one.
    """

    vessel: float = 0.5
    vegf_cell: float = 0.5


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A whole recipe."""

    name: str
    version: str
    description: str = ""
    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    run: RunConfig = RunConfig()
    thresholds: ThresholdConfig = ThresholdConfig()

    def __post_init__(self) -> None:
        """Refuse values that would fail hours later."""
        _check_ranges(self)
        positive = {
            "run.steps": self.run.steps,
            "run.steps_per_epoch": self.run.steps_per_epoch,
            "run.batch_size": self.run.batch_size,
            "run.learning_rate": self.run.learning_rate,
        }
        for key, value in positive.items():
            if not value > 0:
                raise RecipeError(f"{key} is {value}; it must be positive")
        stride = 2**self.network.depth
        if self.data.tile_px < stride or self.data.tile_px % stride:
            raise RecipeError(
                f"data.tile_px is {self.data.tile_px}; make it a multiple of {stride}"
            )
        if not any(map(str.isalnum, self.name)) or not all(
            c.isalnum() or c in "-_." for c in self.name
        ):
            raise RecipeError(f"name is {self.name!r}; use letters, digits, '-', '_' and '.' only")
        if self.name == TILES:
            raise RecipeError(f"name is {TILES!r}, where tiles are kept; give another")


_RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "data": {
        "mpp_um": (MIN_MPP_UM, MAX_MPP_UM),
        "tile_px": (16, 4096),
        "hdab_renderings": (0, 1000),
        "vessmap_val_fraction": (0, 0.9),
        "vessmap_fold": (0, 1000),
    },
    "data.synthetic": {
        **dict.fromkeys(
            (
                "brightfield_vessel",
                "brightfield_cells",
                "fluorescence_vessel",
                "fluorescence_cells",
            ),
            (0, 999_999),
        ),
        "size_px": (16, 8192),
        "empty_fraction": (0, 1),
        "seed": (0, 2**31),
        "val_fraction": (0, 1),
    },
    "loss": {
        **dict.fromkeys(("bce", "dice", "centre_line"), (0, 1e3)),
        "centre_line_iterations": (1, 100),
    },
    "augment": {
        field.name: (0, 1) for field in dataclasses.fields(AugmentConfig) if field.name != "turns"
    },
    "run": {
        "learning_rate": (0, 1),
        "weight_decay": (0, 1),
        "warmup_fraction": (0, 1),
        "ema_decay": (0, 1),
        "ema_from_step": (0, 1e9),
        "patience_epochs": (1, 1e9),
        "loader_workers": (-1, 1024),
        "seed": (0, 2**32 - 1),
    },
    "thresholds": {"vessel": (0.05, 0.95), "vegf_cell": (0.05, 0.95)},
}


def _check_ranges(recipe: Recipe) -> None:
    for part, ranges in _RANGES.items():
        table = operator.attrgetter(part)(recipe)
        for key, (low, high) in ranges.items():
            value = getattr(table, key)
            if not low <= value <= high:
                raise RecipeError(
                    f"{part}.{key} is {value}; give a number from {low:g} to {high:g}"
                )
    if not any((recipe.loss.bce, recipe.loss.dice, recipe.loss.centre_line)):
        raise RecipeError("loss.bce, loss.dice and loss.centre_line are all 0; give one a weight")
    for name, meaning in recipe.data.classes.items():
        if meaning not in CLASS_MEANINGS:
            raise RecipeError(
                f"data.classes.{name} is {meaning!r}; choose one of {', '.join(CLASS_MEANINGS)}"
            )
    shares = recipe.data.shares
    if unknown := sorted(set(shares) - set(SOURCES)):
        raise RecipeError(
            f"data.shares names {', '.join(unknown)}; tiles come from {', '.join(SOURCES)}"
        )
    if any(not 0 <= share <= 1 for share in shares.values()) or sum(shares.values()) > 1 + 1e-9:
        raise RecipeError("data.shares are parts of the draws: from 0 to 1, together at most 1")


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe from TOML.

    Raises
    ------
    RecipeError
        If the file cannot be read, a key is unknown, or a value has the wrong type or range.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"the recipe {path} cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"the recipe {path.name} is no valid TOML: {error}") from error
    return recipe_from_dict(table)


def recipe_from_dict(table: Mapping[str, Any]) -> Recipe:
    """Build a recipe from nested mappings, as TOML or a checkpoint holds it."""
    recipe: Recipe = _build(Recipe, table, "")
    return recipe


def _build(kind: Any, table: Mapping[str, Any], path: str) -> Any:
    hints = typing.get_type_hints(kind)
    if unknown := sorted(set(table) - set(hints)):
        keys = ", ".join(path + key for key in unknown)
        raise RecipeError(
            f"unknown key {keys}; known here are: {', '.join(path + k for k in hints)}"
        )
    values = {key: _value(hints[key], value, path + key) for key, value in table.items()}
    try:
        return kind(**values)
    except RecipeError:
        raise
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{path.rstrip('.') or 'the recipe'}: {error}") from error


def _value(hint: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise RecipeError(f"{path} must be a table of its own, [{path}]")
        return _build(hint, value, path + ".")
    if typing.get_origin(hint) is Literal:
        if value not in typing.get_args(hint):
            raise RecipeError(f"{path} is {value!r}; choose one of {typing.get_args(hint)}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wanted = typing.get_origin(hint) or hint
    if isinstance(hint, types.UnionType) or not isinstance(value, wanted):
        raise RecipeError(f"{path} is {value!r}; it must be of type {wanted.__name__}")
    if isinstance(value, bool) and wanted is not bool:
        raise RecipeError(f"{path} is {value!r}; it must be of type {wanted.__name__}")
    return value
