"""The average of weights over the steps of a run: what is validated, kept and exported."""

from __future__ import annotations

from typing import Any

import lightning
from lightning.pytorch.callbacks import EMAWeightAveraging


class AverageFrom(EMAWeightAveraging):
    """An exponential moving average that begins at a step, and until then is the last weights.

    Lightning's own keeps the weights from before the first step until it begins: these would be
    validated, and kept as the best.
    """

    def __init__(self, decay: float, first_step: int) -> None:
        super().__init__(decay=decay)
        self._first_step = first_step

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Take in the weights after a step; the average begins with those after `first_step`."""
        if trainer.global_step <= self._first_step + 1 and self._average_model is not None:
            self._average_model.n_averaged.zero_()  # torch copies the first weights of an average
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
