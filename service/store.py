"""Stored analyses: one folder each under ``<data dir>/analyses/<id>/``.

A folder is made under ``<data dir>/incoming/`` and renamed when its record is complete, so that a
reader sees a whole analysis or none, and what a crash left behind is swept at the next start.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

ENVELOPE_NAME = "envelope.json"
UPLOAD_DIR = "upload"
"""Holds the uploaded image under its cleaned name, which error messages repeat."""

TISSUE_DIR = "tissue"
"""Holds the uploaded tissue mask, if one came with the image, likewise."""

STORE_NAME = "probabilities.npy"
PENDING_NAME = "pending.pickle"
"""What the exports of a measured image are drawn from, until they are there."""

SKELETON_NAME = "skeleton.png"
SECOND_MASK = "mask_vegf_cell.ome.tif"
FILES = {
    "measurements.csv": "text/csv; charset=utf-8",
    "measurements.xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "objects.geojson": "application/geo+json",
    "objects.csv": "text/csv; charset=utf-8",
    "mask.ome.tif": "image/tiff",
    SECOND_MASK: "image/tiff",
    "labels.ome.tif": "image/tiff",
    "overlay.png": "image/png",
    SKELETON_NAME: "image/png",
}
"""Every file of an analysis that may be asked for, with its media type."""


class Store:
    """The folders of one data directory; ids are random UUIDs and the only names in paths."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.analyses = data_dir / "analyses"
        self.incoming = data_dir / "incoming"
        self.keys = data_dir / "idempotency"

    def prepare(self) -> None:
        """Make the folders and sweep what an earlier process left unfinished."""
        for folder in (self.analyses, self.incoming, self.keys):
            folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.incoming.iterdir():
            shutil.rmtree(leftover, ignore_errors=True)

    def new_folder(self) -> tuple[uuid.UUID, Path]:
        """Make a folder for an analysis that is about to arrive."""
        analysis_id = uuid.uuid4()
        folder = self.incoming / str(analysis_id)
        folder.mkdir(parents=True)
        return analysis_id, folder

    def publish(self, analysis_id: uuid.UUID, envelope: dict[str, Any]) -> Path:
        """Make a finished analysis visible, all at once."""
        source = self.incoming / str(analysis_id)
        write_json(source / ENVELOPE_NAME, envelope)
        target = self.folder(analysis_id)
        source.rename(target)
        return target

    def folder(self, analysis_id: uuid.UUID) -> Path:
        """Return where an analysis lies, or would lie."""
        return self.analyses / str(analysis_id)

    def read(self, analysis_id: uuid.UUID) -> dict[str, Any] | None:
        """Return the envelope of an analysis, or None if there is none."""
        return read_json(self.folder(analysis_id) / ENVELOPE_NAME)

    def delete(self, analysis_id: uuid.UUID) -> bool:
        """Remove an analysis with all its files; tell whether there was one."""
        doomed = self.incoming / f"deleted-{uuid.uuid4()}"
        try:
            self.folder(analysis_id).rename(doomed)
        except FileNotFoundError:
            return False
        shutil.rmtree(doomed, ignore_errors=True)
        return True

    def discard(self, analysis_id: uuid.UUID) -> None:
        """Remove an analysis that never became visible."""
        shutil.rmtree(self.incoming / str(analysis_id), ignore_errors=True)

    def pending(self) -> list[uuid.UUID]:
        """Return the analyses whose exports an earlier process left unwritten."""
        found = sorted(self.analyses.glob(f"*/{PENDING_NAME}"))
        return [uuid.UUID(path.parent.name) for path in found]

    def is_pending(self, analysis_id: uuid.UUID) -> bool:
        """Tell whether the exports of an analysis are still to be written."""
        return (self.folder(analysis_id) / PENDING_NAME).is_file()

    def give_up(self, analysis_id: uuid.UUID) -> None:
        """Remove what exports would have been drawn from; the record stays."""
        folder = self.folder(analysis_id)
        for name in (UPLOAD_DIR, TISSUE_DIR):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in (STORE_NAME, PENDING_NAME):
            (folder / name).unlink(missing_ok=True)

    def read_key(self, key: str) -> dict[str, Any] | None:
        """Return what was stored under an Idempotency-Key: the analysis and the body's digest."""
        return read_json(self._key_path(key))

    def write_key(self, key: str, analysis_id: uuid.UUID, digest: str) -> None:
        """Remember which analysis answered an Idempotency-Key."""
        write_json(self._key_path(key), {"id": str(analysis_id), "digest": digest})

    def is_writable(self) -> bool:
        """Tell whether a file can be made in the data directory."""
        probe = self.incoming / f"probe-{uuid.uuid4()}"
        try:
            probe.touch()
            probe.unlink()
        except OSError:
            return False
        return True

    def free_bytes(self) -> int:
        """Return the free space of the disk that holds the data directory."""
        return shutil.disk_usage(self.data_dir).free

    def _key_path(self, key: str) -> Path:
        # A key is any text a client likes: only its hash may become part of a path.
        return self.keys / f"{hashlib.sha256(key.encode()).hexdigest()}.json"


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a stored JSON object, or None if the file is not there."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object so that the file is there whole or not at all."""
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    with partial.open("w", encoding="utf-8") as stream:
        json.dump(content, stream, ensure_ascii=False, allow_nan=False)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
