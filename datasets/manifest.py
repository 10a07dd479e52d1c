"""The manifest: one CSV row for each annotated image, validated as it is read.

Columns, by these names: image, animal, section, group, markers, modality, mpp_um, annotation,
targets, split, licence, sha256; and `channels` where an image has several. Paths are relative to
the manifest's folder. Row numbers in messages count as a spreadsheet does: the header is row 1.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

from datasets.errors import ManifestError
from datasets.rows import COLUMNS, FILLED_COLUMNS, OPTIONAL_COLUMNS, Row, file_sha256, parse_row


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The images of a data set: `rows`, whose paths start at `folder`."""

    folder: Path
    rows: tuple[Row, ...]
    name: str = "manifest.csv"

    @classmethod
    def read(cls, path: str | Path, *, verify_hashes: bool = True) -> Manifest:
        """Read and validate a manifest, reporting all problems of all rows at once.

        Parameters
        ----------
        path
            The CSV file, UTF-8, with commas between the cells, or semicolons or tabs.
        verify_hashes
            Whether each image is read once to compare it with its `sha256`, where it has one.

        Raises
        ------
        ManifestError
            If a column, a file or a cell is missing, unknown or impossible; each problem names
            its row and column and says what to do.
        """
        path = Path(path)
        if not path.is_file():
            raise ManifestError(f"there is no manifest {path}; give the path of a CSV file")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ManifestError(f"{path.name} is not UTF-8 text; save it as CSV UTF-8") from error
        reader = csv.DictReader(
            io.StringIO(text, newline=""), restkey="\0extra", delimiter=_separator(text)
        )
        _check_header(path.name, reader.fieldnames or ())
        problems: list[str] = []
        rows = []
        numbered = []
        for cells in reader:
            if any(value for value in cells.values()):
                where = f"row {reader.line_num}"
                rows.append(parse_row(cells, path.parent, where, problems, verify_hashes))
                numbered.append((reader.line_num, (cells.get("image") or "").strip()))
        problems += _repeated_images([(number, image) for number, image in numbered if image])
        if not rows:
            problems.append("it has no rows; add one row for each image")
        if problems:
            raise ManifestError.of(path.name, problems)
        return cls(path.parent, tuple(row for row in rows if row is not None), path.name)

    def write(self, path: str | Path) -> Path:
        """Write the manifest as CSV; paths are rewritten to start at the new file's folder."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        moved = self if self.folder.resolve() == path.parent.resolve() else self.moved(path.parent)
        columns = list(COLUMNS)
        columns += [name for name in OPTIONAL_COLUMNS if any(getattr(r, name) for r in self.rows)]
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(row.cells() for row in moved.rows)
        return path

    def moved(self, folder: Path) -> Manifest:
        """Return the same images with paths that start at `folder`."""

        def rebase(name: str) -> str:
            target = self.path(name).resolve()
            base = folder.resolve()
            return (target.relative_to(base) if target.is_relative_to(base) else target).as_posix()

        rows = tuple(
            dataclasses.replace(
                row,
                image=rebase(row.image),
                annotation={target: rebase(name) for target, name in row.annotation.items()},
            )
            for row in self.rows
        )
        return dataclasses.replace(self, folder=folder, rows=rows)

    def content_hash(self) -> str:
        """Return the SHA-256 over all that a build depends on: cells, images, annotations.

        Where the files lie does not matter, what they hold and how rows describe them does.
        """
        digest = hashlib.sha256()
        for row in self.rows:
            described = row.cells() | {
                "image": file_sha256(self.path(row.image)),
                "annotation": ";".join(
                    f"{target}={file_sha256(self.path(name))}"
                    for target, name in sorted(row.annotation.items())
                ),
            }
            digest.update(json.dumps(described, sort_keys=True).encode())
        return digest.hexdigest()

    def files(self) -> set[Path]:
        """Return where all images and annotations lie."""
        names = {row.image for row in self.rows}
        names.update(name for row in self.rows for name in row.annotation.values())
        return {self.path(name) for name in names}

    def path(self, name: str) -> Path:
        """Return where the file `name` of a row lies."""
        return self.folder / name


def _separator(text: str) -> str:
    """Return what separates cells: that which makes most known names of the first line."""
    head = text.partition("\n")[0]
    known = {*COLUMNS, *OPTIONAL_COLUMNS}

    def found(mark: str) -> int:
        return len(known & {name.strip('" \r') for name in head.split(mark)})

    return max((",", ";", "\t"), key=found)  # of equals the first


def _check_header(name: str, columns: Sequence[str]) -> None:
    if not columns:
        raise ManifestError.of(name, [f"it is empty; begin with the header {','.join(COLUMNS)}"])
    problems = [
        f"column {column!r} is missing; add it"
        + ("" if column in FILLED_COLUMNS else "; its cells may be empty")
        for column in COLUMNS
        if column not in columns
    ]
    problems += [
        f"column {column!r} is unknown; remove it, or use one of {', '.join(COLUMNS)}, channels"
        for column in columns
        if column not in (*COLUMNS, *OPTIONAL_COLUMNS)
    ]
    problems += [
        f"column {column!r} is there twice; remove one of them"
        for column in sorted({column for column in columns if columns.count(column) > 1})
    ]
    if problems:
        raise ManifestError.of(name, problems)


def _repeated_images(numbered: Sequence[tuple[int, str]]) -> list[str]:
    first: dict[str, int] = {}
    problems = []
    for number, image in numbered:
        name = os.path.normpath(image)
        if name in first:
            problems.append(
                f"row {number}, image: {image!r} is also in row {first[name]}; "
                "give every image one row"
            )
        first.setdefault(name, number)
    return problems
