"""How checkpoints come to the disk: whole or not at all.

Lightning writes to the system's temporary folder and moves the file over, which copies it where
that folder is on another disk: a process killed meanwhile leaves half a checkpoint and no other.
"""

from __future__ import annotations

import io
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
