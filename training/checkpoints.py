"""How checkpoints come to the disk, whole or not at all, and what a run that goes on makes of them.

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
from lightning.pytorch.callbacks import ModelCheckpoint

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


class MovableCheckpoint(ModelCheckpoint):
    """Lightning's, which forgets the best score where the run's folder has moved since."""

    @property
    def state_key(self) -> str:
        """The name of its state in a checkpoint: Lightning's own."""
        return super().state_key.replace(type(self).__name__, ModelCheckpoint.__name__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what was kept, under the names that its files have here, if they are here."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        if not Path(here(state_dict["best_model_path"])).is_file():
            return  # the next epoch is then the best
        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        moved = {name: here(state_dict[name]) for name in paths}
        super().load_state_dict(
            state_dict | moved | {"dirpath": self.dirpath, "best_k_models": best}
        )


def check_whole(path: Path) -> None:
    """Raise BadZipFile if a part of a checkpoint is not what was written, by its CRC-32."""
    with zipfile.ZipFile(path) as archive:
        if (altered := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"{altered} was altered")
