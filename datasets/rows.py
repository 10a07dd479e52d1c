"""One row of the manifest: what it says, and how its cells are read and faulted."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

from imaging.channels import parse_channels
from imaging.errors import ChannelsError
from model.errors import MarkerError
from model.targets import ANNOTATED_TARGETS, MARKERS, TARGET_OF_MARKER, parse_markers

Modality = Literal["auto", "brightfield", "fluorescence"]
Split = Literal["train", "val", "test"]

SPLITS: tuple[Split, ...] = get_args(Split)
MODALITIES: tuple[Modality, ...] = get_args(Modality)
COLUMNS = (
    "image",
    "animal",
    "section",
    "group",
    "markers",
    "modality",
    "mpp_um",
    "annotation",
    "targets",
    "split",
    "licence",
    "sha256",
)
FILLED_COLUMNS = ("image", "animal", "markers")
"""Those of which no cell may be empty."""
OPTIONAL_COLUMNS = ("channels",)
VESSMAP_GROUP = "vessmap"
"""The group of the published crops, and the source of their tiles."""
SYNTHETIC_GROUP = "synthetic"
"""The group of drawn sections, which are no animals'."""
GEOJSON_SUFFIXES = (".geojson", ".json")
_HEX_DIGITS = frozenset("0123456789abcdef")
_HASH_BLOCK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Row:
    """One annotated image.

    `annotation` maps a target to the file that outlines it; a file may serve several targets.
    `mpp_um` is None where the file itself states its pixel size, `split` where it is to be drawn.
    """

    image: str
    animal: str
    section: str = ""
    group: str = ""
    markers: tuple[str, ...] = ("CD31",)
    modality: Modality = "auto"
    mpp_um: float | None = None
    annotation: Mapping[str, str] = dataclasses.field(default_factory=dict)
    targets: tuple[str, ...] = ()
    split: Split | None = None
    licence: str = ""
    sha256: str = ""
    channels: str = ""

    def cells(self) -> dict[str, str]:
        """Return the row as CSV text by column, the inverse of reading it."""
        paths = set(self.annotation.values())
        annotation = ";".join(f"{target}={path}" for target, path in self.annotation.items())
        return {
            **{name: str(getattr(self, name)) for name in (*COLUMNS, *OPTIONAL_COLUMNS)},
            "markers": "+".join(self.markers),
            "mpp_um": "" if self.mpp_um is None else repr(self.mpp_um),
            "annotation": paths.pop() if len(paths) == 1 else annotation,
            "targets": "+".join(self.targets),
            "split": self.split or "",
        }


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


class CellReader:
    """Reads the cells of one row and notes what is wrong with each."""

    def __init__(self, cells: Mapping[str, Any], where: str, problems: list[str]) -> None:
        self._cells = cells
        self._where = where
        self._problems = problems

    def text(self, column: str) -> str:
        """Return the cell of a column without the spaces around it."""
        return (self._cells.get(column) or "").strip()

    def wrong(self, column: str, message: str) -> None:
        """Note a problem of a column."""
        self._problems.append(f"{self._where}, {column}: {message}")

    def choice(self, column: str, choices: Sequence[str]) -> str:
        """Return the cell if it is one of the choices, else nothing, noting what it was."""
        value = self.text(column)
        if value and value not in choices:
            self.wrong(column, f"{value!r} is not known; write one of {', '.join(choices)}")
        return value if value in choices else ""


def parse_row(
    cells: Mapping[str, Any], folder: Path, where: str, problems: list[str], verify_hash: bool
) -> Row | None:
    """Read the cells of one row, adding what is wrong to `problems`; None if anything is.

    `where` is how messages call the row; paths start at `folder`.
    """
    read = CellReader(cells, where, problems)
    before = len(problems)
    if "\0extra" in cells or None in cells.values():
        read.wrong(
            "all columns",
            "it has more or fewer cells than the header; put a cell that holds a comma or a "
            "semicolon into quotes",
        )
        return None  # its cells lie under the wrong columns
    if not read.text("animal"):
        read.wrong("animal", "it is empty; name the animal, because splits are made by animal")
    markers = _parse_markers(read)
    targets = _parse_targets(read, markers)
    row = Row(
        image=read.text("image"),
        animal=read.text("animal"),
        section=read.text("section"),
        group=read.text("group"),
        markers=markers,
        modality=cast(Modality, read.choice("modality", MODALITIES) or "auto"),
        mpp_um=_parse_mpp(read),
        annotation=_parse_annotation(read, targets, folder),
        targets=targets,
        split=cast("Split | None", read.choice("split", SPLITS) or None),
        licence=read.text("licence"),
        sha256=read.text("sha256").lower(),
        channels=_parse_channels(read),
    )
    _check_image(read, row, folder, verify_hash)
    return row if len(problems) == before else None


def _parse_markers(read: CellReader) -> tuple[str, ...]:
    try:
        return parse_markers(read.text("markers"))
    except MarkerError as error:
        read.wrong("markers", str(error))
        return MARKERS  # so that the targets of this row are not faulted for it too


def _parse_targets(read: CellReader, markers: tuple[str, ...]) -> tuple[str, ...]:
    names = [part.strip() for part in read.text("targets").split("+") if part.strip()]
    stained = {TARGET_OF_MARKER[marker]: marker for marker in markers}
    for name in names:
        if name not in ANNOTATED_TARGETS:
            known = ", ".join(ANNOTATED_TARGETS)
            read.wrong("targets", f"{name!r} is not known; write one of {known}, joined by +")
        elif name not in stained:
            read.wrong(
                "targets",
                f"{name!r} belongs to a marker that this image does not show; "
                "add that marker or remove the target",
            )
    return tuple(name for name in ANNOTATED_TARGETS if name in names)


def _parse_mpp(read: CellReader) -> float | None:
    text = read.text("mpp_um")
    if not text:
        return None
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value <= 0:
        read.wrong(
            "mpp_um",
            f"{text!r} is no pixel size; write µm per pixel, such as 0.5, "
            "or leave it empty if the file states it",
        )
        return None
    return value


def _parse_channels(read: CellReader) -> str:
    text = read.text("channels")
    try:
        parse_channels(text)
    except ChannelsError as error:
        read.wrong("channels", str(error))
    return text


def _parse_annotation(read: CellReader, targets: tuple[str, ...], folder: Path) -> dict[str, str]:
    if read.text("annotation") and not read.text("targets"):
        read.wrong("targets", "it is empty though an annotation is given; say what it outlines")
        return {}
    paths: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in read.text("annotation").split(";"))):
        name, equals, path = (piece.strip() for piece in part.partition("="))
        if equals and name in ANNOTATED_TARGETS:
            if name not in targets:
                read.wrong("annotation", f"{name!r} is not among the targets; add it there")
            paths[name] = path
        else:
            paths.update(dict.fromkeys(targets, part))
    lacking = [target for target in targets if target not in paths]
    for target in lacking:
        read.wrong(
            "annotation",
            f"target {target!r} has none; give a file as {target}=PATH or remove the target",
        )
    for path in sorted(set(paths.values())):
        if not (folder / path).is_file():
            read.wrong("annotation", f"there is no file {path!r}; mend the path")
        elif list(paths.values()).count(path) > 1 and not is_geojson(path):
            read.wrong(
                "annotation",
                f"{path!r} has no classes; give each target a file of its own, "
                "as target=PATH;target=PATH",
            )
    return paths


def is_geojson(path: str | Path) -> bool:
    """Return whether a file is GeoJSON by its name; all other annotations are label images."""
    return Path(path).suffix.lower() in GEOJSON_SUFFIXES


def _check_image(read: CellReader, row: Row, folder: Path, verify_hash: bool) -> None:
    if not row.image:
        read.wrong("image", "it is empty; give the path of the image")
        return
    path = folder / row.image
    if not path.is_file():
        read.wrong("image", f"there is no file {row.image!r}; mend the path")
    if row.sha256 and (len(row.sha256) != 64 or not _HEX_DIGITS.issuperset(row.sha256)):
        read.wrong("sha256", "it is not 64 hexadecimal digits; copy it again or leave it empty")
    elif row.sha256 and verify_hash and path.is_file() and file_sha256(path) != row.sha256:
        read.wrong(
            "sha256",
            f"{row.image!r} is not the file that was recorded; restore it, "
            "or clear the cell if the change was meant",
        )
