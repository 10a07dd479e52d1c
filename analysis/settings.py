"""What a measurement may be told, validated once, and how an earlier record repeats it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.errors import SettingsError
from analysis.regions import BAND_UM
from model.targets import ANNOTATED_TARGETS, MARKERS, TARGET_OF_MARKER

TISSUE_MODES = ("auto", "frame")
MAX_LEVEL = 255
SIZE_LIMITS: Mapping[str, tuple[float, float]] = {
    # 10,000 µm² is a profile 113 µm wide, or the body of the largest neurons: all would be lost.
    "min_profile_area_um2": (0.0, 10_000.0),
    "min_cell_area_um2": (0.0, 10_000.0),
    # Further apart than a few capillaries are wide, two pieces are two vessels.
    "gap_um": (0.0, 20.0),
    # No vessel has a skeleton below a capillary's radius; the widest sinuses are 1 mm wide.
    "max_vessel_radius_um": (1.0, 500.0),
}
"""Smallest and greatest value of each size that decides what is counted."""


@dataclass(frozen=True)
class MeasureSettings:
    """Every choice that turns probabilities into numbers.

    Attributes
    ----------
    markers
        What the image shows: CD31, VEGF or both, in the order of `model.targets.MARKERS`.
    thresholds
        Target to probability in 0..1; a target that is not named takes the bundle's own.
    min_profile_area_um2, gap_um, max_vessel_radius_um
        Vessel conventions: smallest profile counted, widest gap bridged within one profile,
        widest radius that still has a skeleton.
    min_cell_area_um2
        Smallest VEGF-positive cell counted.
    tta
        Average predictions over eight flips and turns.
    tissue
        ``"auto"`` (frame minus glass), ``"frame"``, or the path of a mask.
    regions
        What is measured beside the whole tissue, as `analysis.regions.regions_document` reads it.
    band_um
        Width of the band about an ``infarct_core``.
    section_thickness_um
        Recorded with the result, because length density grows with it; alters no number.
    association_seed
        Of the random placements that the association's p-values are ranks among.
    parity
        Record also what other programs would report of the same mask.
    block_px
        Side of a measuring block; bounds memory and alters no number.
    """

    markers: tuple[str, ...] = ("CD31",)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    min_profile_area_um2: float = 20.0
    gap_um: float = 2.0
    max_vessel_radius_um: float = 50.0
    min_cell_area_um2: float = 25.0
    tta: bool = False
    tissue: str = "auto"
    regions: Mapping[str, Any] | None = None
    band_um: float = BAND_UM
    section_thickness_um: float | None = None
    association_seed: int = 0
    parity: bool = False
    block_px: int = 2048

    def __post_init__(self) -> None:
        """Refuse parameters that no section could be measured with."""
        _check_markers(self.markers)
        for target, threshold in self.thresholds.items():
            _check_threshold(target, threshold)
        for name, limits in SIZE_LIMITS.items():
            _check_between(name, getattr(self, name), *limits)
        _check_number("band_um", self.band_um)
        if self.section_thickness_um is not None:
            _check_number("section_thickness_um", self.section_thickness_um)
        for name in ("tta", "parity"):
            if not isinstance(getattr(self, name), bool):
                raise SettingsError(f"{name} is {getattr(self, name)!r}; give true or false", name)
        seed = self.association_seed
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise SettingsError(
                f"association_seed is {seed!r}; give a whole number, 0 or more", "settings"
            )
        if not isinstance(self.block_px, int) or self.block_px < 64:
            raise SettingsError(f"block_px is {self.block_px!r}; give 64 or more", "block_px")
        if not self.tissue:
            raise SettingsError("tissue is empty; give auto, frame or a mask file", "tissue")

    @property
    def targets(self) -> tuple[str, ...]:
        """Return the target that each marker is measured by."""
        return tuple(TARGET_OF_MARKER[marker] for marker in self.markers)

    def resolved(self, defaults: Mapping[str, float]) -> MeasureSettings:
        """Return the same settings with every threshold in use written out.

        `defaults` are the bundle's thresholds by target.
        """
        if unused := [target for target in self.thresholds if target not in self.targets]:
            raise SettingsError(
                f"a threshold is given for {unused[0]}, which {'+'.join(self.markers)} does not "
                "measure; leave it out",
                f"threshold_{unused[0]}",
            )
        chosen = {t: float(self.thresholds.get(t, defaults[t])) for t in self.targets}
        return dataclasses.replace(self, thresholds=chosen)

    def shifted(self, by: float) -> MeasureSettings:
        """Return the same settings with every threshold moved `by`, kept between 0 and 1."""
        moved = {t: min(max(v + by, 0.005), 0.995) for t, v in self.thresholds.items()}
        return dataclasses.replace(self, thresholds=moved)

    def level(self, target: str) -> int:
        """Return the smallest byte of a probability map that counts as `target`, 1..255."""
        return max(1, round(MAX_LEVEL * self.thresholds[target]))

    @property
    def tissue_file(self) -> Path | None:
        """Return the tissue mask's file, or None where tissue is found or is the frame."""
        return None if self.tissue in TISSUE_MODES else Path(self.tissue)

    def as_record(self) -> dict[str, Any]:
        """Return what influenced numbers, as the record keeps it."""
        values = dataclasses.asdict(self)
        del values["block_px"], values["section_thickness_um"]
        return values | {"markers": list(self.markers), "thresholds": dict(self.thresholds)}


@dataclass(frozen=True)
class EarlierSettings:
    """What a record, or its settings object, says of how it was made.

    `mpp_um` is None where the pixel size came from the image file itself; `model_sha256` is None
    where only a settings object was given; `tissue_sha256` is None where no mask was used;
    `of_mask` says that what was measured was a given vessel mask.
    """

    settings: MeasureSettings
    mpp_um: float | None = None
    modality: str = "auto"
    channels: Mapping[str, int] | None = None
    model: str | None = None
    model_sha256: str | None = None
    tissue_sha256: str | None = None
    of_mask: bool = False


# What the record keeps beside the choices of `MeasureSettings`.
_DERIVED = ("scaling", "tissue_sha256", "mpp_um", "modality", "channels", "model")


def load_settings(path: str | Path) -> EarlierSettings:
    """Read the settings of an earlier record, so that they can be repeated.

    Parameters
    ----------
    path
        A record as `--json` writes it, several of one run, or its ``settings`` object alone.

    Raises
    ------
    SettingsError
        If the file is no such JSON, holds a setting that this version does not know, or records
        that differ in their settings.
    """
    try:
        tree = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read ({error.strerror}); give a record written by --json", "settings"
        ) from error
    except ValueError as error:
        raise SettingsError(
            f"{path} is no JSON; give a record written by --json", "settings"
        ) from error
    earlier = [_earlier(one, path) for one in (tree if isinstance(tree, list) else [tree])]
    if not earlier:
        raise SettingsError(f"{path} holds no record; give one written by --json", "settings")
    if any(one != earlier[0] for one in earlier):
        raise SettingsError(
            f"{path} holds records of different settings; give a file of one of them", "settings"
        )
    return earlier[0]


def _earlier(tree: Any, path: str | Path) -> EarlierSettings:
    """Return the settings of one record, read from `path`."""
    if not isinstance(tree, dict):
        raise SettingsError(
            f"{path} holds something else than records; give a record written by --json", "settings"
        )
    if isinstance(tree.get("record"), dict):  # the service's answer, which wraps the record
        tree = tree["record"]
    values = tree.get("settings", tree)
    if not isinstance(values, dict) or not values:
        raise SettingsError(
            f"{path} holds no settings; give a record written by --json", "settings"
        )
    earlier = settings_from_record(values)
    model = tree.get("model")
    image = tree.get("image")
    if isinstance(model, dict):
        earlier = dataclasses.replace(
            earlier, model=model.get("name"), model_sha256=model.get("sha256")
        )
    if isinstance(image, dict) and image.get("modality") == "mask":
        earlier = dataclasses.replace(earlier, of_mask=True)
    if isinstance(image, dict) and image.get("section_thickness_um") is not None:
        thick = dataclasses.replace(
            earlier.settings, section_thickness_um=image["section_thickness_um"]
        )
        earlier = dataclasses.replace(earlier, settings=thick)
    return earlier


def settings_from_record(values: Mapping[str, Any]) -> EarlierSettings:
    """Turn a record's ``settings`` object back into settings; unknown names are errors."""
    known = {f.name for f in dataclasses.fields(MeasureSettings)}
    unknown = set(values) - known - set(_DERIVED)
    if unknown:
        raise SettingsError(
            f"{', '.join(sorted(unknown))} is no setting of this version; measure with the version "
            f"that the record names, or take it out (known are {', '.join(sorted(known))})",
            "settings",
        )
    chosen = {name: value for name, value in values.items() if name in known}
    if "markers" in chosen:
        if not isinstance(chosen["markers"], list):
            raise SettingsError('markers must be a list such as ["CD31"]', "marker")
        chosen["markers"] = tuple(chosen["markers"])
    if not isinstance(chosen.get("regions") or {}, dict):
        raise SettingsError("regions must be a GeoJSON FeatureCollection", "regions")
    if not isinstance(chosen.get("thresholds", {}), dict):
        raise SettingsError("thresholds must be an object of target and number", "settings")
    if not isinstance(chosen.get("tissue", ""), str):
        raise SettingsError("tissue must be auto, frame, or the name of a mask file", "tissue")
    if values.get("mpp_um") is not None:
        _check_number("mpp_um", values["mpp_um"])
    if not isinstance(values.get("channels") or {}, dict):
        raise SettingsError("channels must be an object of marker and number", "channels")
    if not isinstance(values.get("tissue_sha256") or "", str):
        raise SettingsError("tissue_sha256 must be the text of a SHA-256", "tissue")
    return EarlierSettings(
        settings=MeasureSettings(**chosen),
        mpp_um=values.get("mpp_um"),
        modality=values.get("modality") or "auto",
        channels=values.get("channels"),
        model=values.get("model"),
        tissue_sha256=values.get("tissue_sha256"),
    )


def _check_markers(markers: tuple[str, ...]) -> None:
    if not markers or any(name not in MARKERS for name in markers):
        raise SettingsError(
            f"marker {'+'.join(map(str, markers))!r} is not known; "
            f"give one of {', '.join(MARKERS)}, or {'+'.join(MARKERS)}",
            "marker",
        )
    if list(markers) != [name for name in MARKERS if name in markers]:
        raise SettingsError(
            f"markers {'+'.join(markers)!r} must be given once each, as {'+'.join(MARKERS)}",
            "marker",
        )


def _check_threshold(target: str, threshold: object) -> None:
    if target not in ANNOTATED_TARGETS:
        raise SettingsError(
            f"there is no target {target!r} to threshold; give {' or '.join(ANNOTATED_TARGETS)}",
            "settings",
        )
    number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
    if not number or not 0 < threshold < 1:  # type: ignore[operator]
        raise SettingsError(
            f"threshold_{target} is {threshold!r}; give a probability between 0 and 1",
            f"threshold_{target}",
        )


def _check_number(name: str, value: object) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value):  # type: ignore[arg-type]
        raise SettingsError(f"{name} is {value!r}; give a number, more than 0", name)
    if value <= 0:  # type: ignore[operator]
        raise SettingsError(f"{name} is {value}; give more than 0", name)


def _check_between(name: str, value: object, least: float, most: float) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not least <= value <= most:  # type: ignore[operator]
        unit = "µm²" if name.endswith("_um2") else "µm"
        raise SettingsError(f"{name} is {value!r}; give {least:g} to {most:g} {unit}", name)
