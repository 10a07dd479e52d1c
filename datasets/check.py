"""What is wrong, or doubtful, in a set of annotated images before a network learns from it."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from datasets.annotations import open_annotation
from datasets.contact_sheet import Thumbnail, outlined_thumbnail
from datasets.duplicates import Fingerprint, duplicates, fingerprint
from datasets.errors import DatasetsError, SplitError
from datasets.geojson import DEFAULT_CLASSES
from datasets.label_check import LabelStatistics, implausibilities, measure_labels
from datasets.manifest import Manifest
from datasets.rows import Row, Split, file_sha256
from datasets.splits import assign_splits, leaking_animals, plain_name
from datasets.stain_check import stain_doubts
from imaging.errors import ImagingError
from imaging.open import open_image, parse_channels

Progress = Callable[[str, int, int], None]
Severity = Literal["error", "warning"]
Topic = Literal["image", "annotation", "labels", "leakage", "duplicate", "balance", "provenance"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong (error) or that a person should look at (warning)."""

    severity: Severity
    topic: Topic
    image: str
    message: str


@dataclasses.dataclass(frozen=True)
class Balance:
    """How much of one target there is in one split, group and modality."""

    split: str
    group: str
    modality: str
    target: str
    images: int
    animals: int
    annotated_mm2: float
    positive_mm2: float
    objects: int


@dataclasses.dataclass(frozen=True)
class CheckReport:
    """What `check_manifest` found.

    `drawn` names the animals whose split the manifest leaves open, with the one that they will get;
    `splits` are those that annotated images have or will get; `thumbnails` are there if they were
    asked for.
    """

    images: int
    animals: int
    findings: tuple[Finding, ...]
    balance: tuple[Balance, ...]
    drawn: Mapping[str, Split]
    splits: frozenset[str] = frozenset()
    thumbnails: tuple[Thumbnail, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Return what must be mended before tiles are built."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Return what a person should look at."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON, without the pictures."""
        return {
            "images": self.images,
            "animals": self.animals,
            "errors": len(self.errors),
            "warnings": len(self.warnings),
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "balance": [dataclasses.asdict(line) for line in self.balance],
            "drawn": dict(self.drawn),
        }


@dataclasses.dataclass(frozen=True)
class _Inspection:
    """What was seen of one image."""

    row: Row
    modality: str
    findings: tuple[Finding, ...]
    statistics: tuple[LabelStatistics, ...] = ()
    print: Fingerprint | None = None
    thumbnail: Thumbnail | None = None


def check_manifest(
    manifest: Manifest,
    *,
    classes: Mapping[str, str] = DEFAULT_CLASSES,
    ignore: Sequence[str] = (),
    thumbnails: bool = False,
    progress: Progress | None = None,
) -> CheckReport:
    """Look at every image and annotation of a manifest.

    Errors are images or annotations that cannot be used, animals in two splits, and one picture
    in two splits. Warnings are empty or implausible outlines, outlines without stain, duplicates
    within a split, images without annotation, targets missing from a split, and rows without
    licence or hash. Where the manifest leaves splits open, they are drawn as `train` draws them,
    from seed 0.

    Parameters
    ----------
    classes, ignore
        GeoJSON class name to target, and class names left out: see `open_annotation`.
    thumbnails
        Whether small pictures with the outlines are kept for a contact sheet.
    progress
        Called with ("check", images done, images in all).
    """
    rows = _settled(manifest)
    seen = []
    for done, row in enumerate(rows, start=1):
        seen.append(_inspect(manifest.folder, row, {**classes, **dict.fromkeys(ignore, "ignore")}))
        if progress:
            progress("check", done, len(manifest.rows))
    balance = tuple(_balance(seen))
    findings = [finding for inspection in seen for finding in inspection.findings]
    findings += [*_leaks(manifest.rows), *_repeats(seen)]
    findings += [*_gaps(balance), *_groups_apart(balance)]
    findings += [*_lacking(rows, "sha256", "record it, so that a changed file is noticed")]
    findings += [*_lacking(rows, "licence", "record under what terms they may be used")]
    findings.sort(key=lambda finding: finding.severity != "error")
    return CheckReport(
        len(manifest.rows),
        len({row.animal for row in manifest.rows}),
        tuple(findings),
        balance,
        _drawn(manifest.rows, rows),
        frozenset(row.split for row in rows if row.targets and row.split),
        tuple(s.thumbnail for s in seen if s.thumbnail is not None) if thumbnails else (),
    )


def _inspect(folder: Path, row: Row, classes: Mapping[str, str]) -> _Inspection:
    path = folder / row.image
    findings = []
    if not row.targets:
        message = "it is not annotated and gives no tiles; name targets and annotation"
        findings.append(Finding("warning", "annotation", row.image, message))
    try:
        channels = parse_channels(row.channels) if row.channels else None
        with open_image(path, row.mpp_um, modality=row.modality, channels=channels) as image:
            size = (image.width_px, image.height_px)
            outlines = {}
            statistics, doubts = [], []
            for target in row.targets:
                file = folder / row.annotation[target]
                outlines[target] = open_annotation(file, target, size, classes)
                found = measure_labels(outlines[target], target, size, image.mpp_um)
                statistics.append(found)
                doubts += implausibilities(found)
            doubts += stain_doubts(image, row.markers, outlines)
            findings += [Finding("warning", "labels", row.image, doubt) for doubt in doubts]
            picture, thumbnail = outlined_thumbnail(image, row, outlines)
            return _Inspection(
                row,
                image.modality,
                tuple(findings),
                tuple(statistics),
                fingerprint(file_sha256(path), picture),
                thumbnail,
            )
    except ImagingError as error:
        findings.append(Finding("error", "image", row.image, str(error)))
    except DatasetsError as error:
        findings.append(Finding("error", "annotation", row.image, str(error)))
    return _Inspection(row, row.modality, tuple(findings))


def _settled(manifest: Manifest) -> tuple[Row, ...]:
    """Return the rows with the splits that tiles will have."""
    try:
        return assign_splits(manifest).rows
    except SplitError:
        return manifest.rows  # animals leak, which is a finding of its own


def _drawn(given: Sequence[Row], settled: Sequence[Row]) -> dict[str, Split]:
    """Return the annotated animals to which no row gives a split, with the one that is drawn."""
    stated = {row.animal for row in given if row.split is not None}
    return {
        row.animal: row.split
        for row in settled
        if row.targets and row.split is not None and row.animal not in stated
    }


def _lacking(rows: Sequence[Row], field: str, mend: str) -> Iterator[Finding]:
    """Find the rows without `field`: one finding, as mostly all lack it or none."""
    images = [row.image for row in rows if not getattr(row, field)]
    if images:
        named = ", ".join(images[:3]) + (f" and {len(images) - 3} more" if images[3:] else "")
        count = "1 image has" if len(images) == 1 else f"{len(images)} images have"
        yield Finding("warning", "provenance", "", f"{count} no {field} ({named}); {mend}")


def _leaks(rows: Sequence[Row]) -> Iterator[Finding]:
    for animal, splits in leaking_animals(rows).items():
        message = f"animal {animal!r} is in {' and '.join(splits)}; give each animal one split"
        yield Finding("error", "leakage", "", message)
    spelt = defaultdict(set)
    for row in rows:
        spelt[plain_name(row.animal)].add(row.animal)
    for names in spelt.values():
        if len(names) > 1:
            message = (
                f"animals {', '.join(sorted(names))} differ in capitals, spaces, hyphens or "
                "underscores alone; if they are one, write one name"
            )
            yield Finding("warning", "leakage", "", message)
    groups = defaultdict(set)
    for row in rows:
        groups[row.animal].add(row.group)
    for animal, names in sorted(groups.items()):
        if len(names) > 1:
            message = f"animal {animal!r} is in groups {', '.join(sorted(names))}; is that meant?"
            yield Finding("warning", "balance", "", message)


def _repeats(seen: Sequence[_Inspection]) -> Iterator[Finding]:
    """Find equal pictures; in two splits they are errors."""
    for first, second, exact in duplicates([inspection.print for inspection in seen]):
        a, b = seen[first].row, seen[second].row
        across = a.split is not None and b.split is not None and a.split != b.split
        alike = "the same file as" if exact else "nearly the same picture as"
        where = f"; {a.split} and {b.split} must not share pictures" if across else ""
        message = f"it is {alike} {a.image}{where}; remove one of them"
        yield Finding("error" if across else "warning", "duplicate", b.image, message)


def _balance(seen: Sequence[_Inspection]) -> Iterator[Balance]:
    cells: dict[tuple[str, str, str, str], list[tuple[Row, LabelStatistics]]] = defaultdict(list)
    for inspection in seen:
        row = inspection.row
        for found in inspection.statistics:
            key: tuple[str, str, str, str] = (
                row.split or "undecided",
                row.group,
                inspection.modality,
                found.target,
            )
            cells[key].append((row, found))
    for key, members in sorted(cells.items()):
        yield Balance(
            *key,
            images=len(members),
            animals=len({row.animal for row, _ in members}),
            annotated_mm2=sum(found.annotated_mm2 for _, found in members),
            positive_mm2=sum(found.annotated_mm2 * found.area_fraction for _, found in members),
            objects=sum(found.objects for _, found in members),
        )


def _gaps(balance: Sequence[Balance]) -> Iterator[Finding]:
    """Find targets that a split lacks; none where animals leak, and so no split is settled."""
    images = Counter[tuple[str, str]]()
    for line in balance:
        images[line.target, line.split] += line.images
    for target in sorted({line.target for line in balance}):
        for split in ("train", "val"):
            if not images[target, split] + images[target, "undecided"]:
                message = f"no image of split {split!r} is annotated for {target}; add one"
                yield Finding("warning", "balance", "", message)


def _groups_apart(balance: Sequence[Balance]) -> Iterator[Finding]:
    """Find groups of animals that are learnt from and not judged on, or the reverse.

    Treatment changes how vessels look, and a score says nothing of a group that is not in it.
    """
    splits_of: dict[str, set[str]] = defaultdict(set)
    for line in balance:
        splits_of[line.group].add(line.split)
    if any("undecided" in splits for splits in splits_of.values()):
        return
    for lacking, meaning in (
        ("train", "nothing is learnt from it"),
        ("val", "training is not judged on it"),
    ):
        named = [group for group, splits in sorted(splits_of.items()) if lacking not in splits]
        for group in named if 0 < len(named) < len(splits_of) else ():
            message = (
                f"no animal of group {group!r} is in split {lacking!r}, so that {meaning}; "
                "give it one if the group has two"
            )
            yield Finding("warning", "balance", "", message)
