"""Write synthetic sections as a data set: images, labels, QuPath outlines, truth, manifest."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import shapely
import shapely.affinity
import tifffile
from PIL import Image

from datasets.errors import BuildError
from datasets.manifest import Manifest
from datasets.rows import SYNTHETIC_GROUP, Row, file_sha256
from datasets.splits import Fractions, splits_of_numbers
from datasets.synth import SyntheticSection, make_section
from datasets.synth_brightfield import render_brightfield
from datasets.synth_fluorescence import fluorescence_channels, render_fluorescence
from datasets.synth_params import SectionParams
from datasets.synth_style import FluorescenceStyle
from model.targets import VEGF_CELL, VESSEL, parse_markers

SynthModality = Literal["brightfield", "fluorescence"]

_SECTIONS_PER_ANIMAL = 3
_CHOICE_STREAM = 9
_LICENCE = "Apache-2.0"  # as the generator, and as the shipped bundle says
_CLASS_OF_TARGET = {VESSEL: ("Vessel", [200, 0, 0]), VEGF_CELL: ("VEGF cell", [150, 90, 20])}


def write_synthetic(
    out_dir: str | Path,
    count: int,
    seed: int,
    *,
    size_px: int = 512,
    mpp_um: float = 0.5,
    markers: Sequence[str] = ("CD31", "VEGF"),
    modalities: Sequence[SynthModality] = ("brightfield", "fluorescence"),
    empty_fraction: float = 0.1,
    fractions: Fractions | None = None,
    executor: Executor | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Manifest:
    """Write ``count`` synthetic sections and their manifest.

    Section k is made from seed ``seed + k`` alone: it is the same in a longer data set, and in the
    same split, so that no run validates on what another, that it goes on from, has learnt.

    Parameters
    ----------
    markers
        What the sections show, in turn, such as CD31, VEGF or, in fluorescence, CD31+VEGF.
    modalities
        How they are rendered, in turn.
    empty_fraction
        Share of the sections that hold nothing of what their marker stains.
    fractions
        Parts of the animals, of three sections each, that go to train, val and test.
    executor
        Spreads the sections over workers; the files are the same with or without it.
    progress
        Called with a stage's name, the number of sections written, and of all.

    Returns
    -------
    Manifest
        As written to ``out_dir/manifest.csv``.

    Raises
    ------
    BuildError
        If an argument is out of its range, or the folder holds a manifest already.
    """
    out_dir = Path(out_dir)
    _check(out_dir, count, seed, size_px, markers, modalities, empty_fraction)
    jobs = [
        _Job(
            out_dir, seed + number, size_px, mpp_um,
            parse_markers(markers[(number // len(modalities)) % len(markers)]),
            modalities[number % len(modalities)], empty_fraction,
        )
        for number in range(count)
    ]  # fmt: skip
    split_of = splits_of_numbers([job.animal for job in jobs], fractions or Fractions())
    rows = []
    written = zip(jobs, (executor.map if executor else map)(_make, jobs), strict=True)
    for done, (job, row) in enumerate(written, start=1):
        rows.append(replace(row, split=split_of[job.animal]))
        if progress is not None:
            progress("sections", done, count)
    manifest = Manifest(out_dir, tuple(rows))
    manifest.write(out_dir / "manifest.csv")
    return manifest


@dataclass(frozen=True)
class _Job:
    """One section to make and write."""

    out_dir: Path
    seed: int
    size_px: int
    mpp_um: float
    markers: tuple[str, ...]
    modality: SynthModality
    empty_fraction: float

    @property
    def animal(self) -> int:
        """The number of its animal, whatever the set begins with."""
        return self.seed // _SECTIONS_PER_ANIMAL


def _make(job: _Job) -> Row:
    section = _section(job.seed, job.markers, job.size_px, job.mpp_um, job.empty_fraction)
    return _write_section(job.out_dir, section, job.modality, f"synthetic-{job.animal}")


def parse_modalities(text: str) -> tuple[SynthModality, ...]:
    """Return the modalities that ``brightfield``, ``fluorescence`` or ``both`` names.

    Raises
    ------
    BuildError
        If it is none of these.
    """
    choices: dict[str, tuple[SynthModality, ...]] = {
        "brightfield": ("brightfield",),
        "fluorescence": ("fluorescence",),
        "both": ("brightfield", "fluorescence"),
    }
    if text not in choices:
        raise BuildError(
            f"modality {text!r} is not known; give {', '.join(choices)}", field="modality"
        )
    return choices[text]


def _check(
    out_dir: Path,
    count: int,
    seed: int,
    size_px: int,
    markers: Sequence[str],
    modalities: Sequence[SynthModality],
    empty_fraction: float,
) -> None:
    if count < 1:
        raise BuildError(f"count is {count}; ask for at least one section", field="count")
    if seed < 0:
        raise BuildError(f"seed is {seed}; give 0 or more", field="seed")
    if size_px < 16:
        raise BuildError(f"size_px is {size_px}; give at least 16", field="size_px")
    if not 0 <= empty_fraction <= 1:
        raise BuildError(f"empty_fraction is {empty_fraction}; give 0 to 1", field="empty_fraction")
    if not markers or not modalities:
        raise BuildError("no marker or no modality; give one of each", field="markers")
    several = [name for name in markers if len(parse_markers(name)) > 1]
    if several and "brightfield" in modalities:
        raise BuildError(
            f"{several[0]} cannot be brightfield, where one brown stain shows one marker; "
            "give one marker, or fluorescence alone",
            field="markers",
        )
    if (out_dir / "manifest.csv").exists():
        raise BuildError(f"{out_dir} holds a manifest already; give a new folder", field="out")


def _section(
    seed: int, markers: tuple[str, ...], size_px: int, mpp_um: float, empty_fraction: float
) -> SyntheticSection:
    rng = np.random.default_rng((seed, _CHOICE_STREAM))
    params = SectionParams.draw(rng, size_px=size_px, mpp_um=mpp_um, markers=markers)
    if rng.random() < empty_fraction:
        params = params.without_vessels() if "CD31" in markers else params
        params = params.without_cells() if "VEGF" in markers else params
    return make_section(seed, params)


def _write_section(
    out_dir: Path, section: SyntheticSection, modality: SynthModality, animal: str
) -> Row:
    markers = section.params.markers
    name = f"{'_'.join(markers)}_{modality}_{section.seed:07d}"
    if modality == "brightfield":
        image = _at(out_dir, f"images/{name}.png")
        Image.fromarray(render_brightfield(section)).save(image)
    else:
        image = _at(out_dir, f"images/{name}.ome.tif")
        _write_fluorescence(image, section)
    annotation = {}
    for target, labels in section.labels().items():
        path = _at(out_dir, f"{target}/{name}.png")
        Image.fromarray(labels.astype(np.uint16)).save(path)
        annotation[target] = path.relative_to(out_dir).as_posix()
    _write_json(_at(out_dir, f"outlines/{name}.geojson"), outlines_geojson(section))
    _write_json(_at(out_dir, f"truth/{name}.json"), {"image": image.name, **section.truth()})
    channels = ",".join(f"{key}={index}" for key, index in fluorescence_channels(markers).items())
    return Row(
        image=image.relative_to(out_dir).as_posix(),
        animal=animal,
        section=str(section.seed),
        group=SYNTHETIC_GROUP,
        markers=markers,
        modality=modality,
        mpp_um=section.params.mpp_um,
        annotation=annotation,
        targets=section.params.targets,
        licence=_LICENCE,
        sha256=file_sha256(image),
        channels=channels if modality == "fluorescence" else "",
    )


def outlines_geojson(section: SyntheticSection) -> dict[str, Any]:
    """Return the outlines of the annotated targets for QuPath, in pixels of the section."""
    found = {
        VESSEL: shapely.get_parts(section.vessel_outline),
        VEGF_CELL: np.array(section.cell_outlines, dtype=object),
    }
    features = [
        _feature(outline, target, section.params.mpp_um)
        for target in section.params.targets
        for outline in found[target]
        if outline.geom_type == "Polygon" and not outline.is_empty
    ]
    return {"type": "FeatureCollection", "features": features}


def _feature(outline: shapely.Polygon, target: str, mpp_um: float) -> dict[str, Any]:
    name, colour = _CLASS_OF_TARGET[target]
    scaled = shapely.affinity.scale(outline, 1 / mpp_um, 1 / mpp_um, origin=(0, 0))
    rings = [scaled.exterior, *scaled.interiors]
    return {
        "type": "Feature",
        "geometry": {
            "type": "Polygon",
            "coordinates": [shapely.get_coordinates(ring).round(3).tolist() for ring in rings],
        },
        "properties": {
            "objectType": "annotation",
            "classification": {"name": name, "color": colour},
        },
    }


def _write_fluorescence(path: Path, section: SyntheticSection) -> None:
    """Write 16-bit OME-TIFF with its pixel size and the names of its channels."""
    style = FluorescenceStyle.draw(
        np.random.default_rng((section.seed, _CHOICE_STREAM, 1)), full_scale=65535
    )
    pixels: npt.NDArray[Any] = render_fluorescence(section, style=style)
    mpp_um = section.params.mpp_um
    tifffile.imwrite(
        path,
        np.ascontiguousarray(np.moveaxis(pixels, -1, 0)),
        photometric="minisblack",
        compression="deflate",
        metadata={
            "axes": "CYX",
            "UUID": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, path.name)}",  # the same each time
            "PhysicalSizeX": mpp_um,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": mpp_um,
            "PhysicalSizeYUnit": "µm",
            "Channel": {"Name": list(fluorescence_channels(section.params.markers))},
        },
    )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _at(out_dir: Path, name: str) -> Path:
    path = out_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
