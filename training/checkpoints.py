"""How checkpoints come to the disk, whole or not at all, and whether they are still whole.

Lightning writes to the system's temporary folder and moves the file over, which copies it where
that folder is on another disk: a process killed meanwhile leaves half a checkpoint and no other.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from model.files import write_whole


class WholeFiles(TorchCheckpointIO):
    """Writes each checkpoint beside the last one, and puts it in its place when it is complete."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint; raise StorageError if there is no room."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_whole(Path(path), content.getbuffer())


def check_whole(path: Path) -> None:
    """Raise BadZipFile if a part of a checkpoint is not what was written, by its CRC-32."""
    with zipfile.ZipFile(path) as archive:
        if (altered := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"{altered} was altered")
