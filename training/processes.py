"""Train one batch in several processes of one machine, with the result that one process has.

Each process takes every W-th tile of a batch, W being their number. What depends on the whole batch
is added up over all: the sums that losses are ratios of, and the statistics of normalisations. A
mean of each process's own loss would weigh a pixel by how little its neighbours were annotated.

Notation: on each process the loss L is the same function of sums S = Σ s over processes. The
gradient of such a sum adds up the gradients of all copies of L, so a process has W · ∂L/∂s of its
own part; the mean over processes, which is what DistributedDataParallel takes, is ∂L/∂θ.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.plugins.layer_sync import LayerSync
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import ProcessException, start_processes

from training.errors import TrainingError

Total = Callable[[Tensor], Tensor]
Job = TypeVar("Job")


def place() -> tuple[int, int]:
    """Return the number of this process, from 0, and how many train together."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def total(value: Tensor) -> Tensor:
    """Return the sum of `value` over all processes, differentiable; all of them have to call it."""
    _, count = place()
    return value if count == 1 else cast(Tensor, _Sum.apply(value))


class _Sum(torch.autograd.Function):
    """A sum over processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        summed = value.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        return _Sum.forward(_, gradients[0])


class SharedBatchNorm2d(nn.BatchNorm2d):
    """A batch normalisation over the tiles of all processes, which hold equally many.

    torch's own, SyncBatchNorm, does not run on processors.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, H, W) by the statistics of all processes' tiles, or as learnt."""
        if not self.training:
            return super().forward(input)
        _, processes = place()
        values = input if input.dtype == torch.float64 else input.float()
        count = values.numel() // values.shape[1] * processes
        mean = total(values.sum((0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = total((centred**2).sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * count / max(count - 1, 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        cast(Tensor, self.running_mean).lerp_(mean, cast(float, self.momentum))
        cast(Tensor, self.running_var).lerp_(variance, cast(float, self.momentum))
        cast(Tensor, self.num_batches_tracked).add_(1)


class ShareNormalisation(LayerSync):
    """Lets every batch normalisation of a network see all processes' tiles."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace the normalisations in place; their weights keep their names."""
        return _replace(model, nn.BatchNorm2d, SharedBatchNorm2d)

    def revert(self, model: nn.Module) -> nn.Module:
        """Put ordinary ones back."""
        return _replace(model, SharedBatchNorm2d, nn.BatchNorm2d)


def _replace(model: nn.Module, old: type[nn.BatchNorm2d], new: type[nn.BatchNorm2d]) -> nn.Module:
    for name, layer in model.named_children():
        if type(layer) is old:
            other = new(layer.num_features, layer.eps, cast(float, layer.momentum))
            other.__dict__.update(layer.__dict__)  # weights, statistics, mode
            setattr(model, name, other)
        else:
            _replace(layer, old, new)
    return model


class OneMachine(DDPStrategy):
    """Processes that meet through a file, and on a processor speak through the loopback alone.

    Lightning's own way opens a port to every network that the machine is on, without a password.
    """

    def __init__(self, meeting: Path) -> None:
        super().__init__(cluster_environment=LightningEnvironment())
        self._meeting = meeting

    def setup_distributed(self) -> None:
        """Join the other processes."""
        self.set_world_ranks()
        backend = "nccl" if self.root_device.type == "cuda" else "gloo"
        if backend == "gloo":
            os.environ["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
        distributed.init_process_group(
            backend,
            init_method=self._meeting.as_uri(),
            rank=self.global_rank,
            world_size=self.world_size,
        )
        super().setup_distributed()  # seeds; it joins nothing where processes have met


def together(work: Callable[[Job, Path], None], job: Job, processes: int) -> None:
    """Do `work` in so many new processes, each told where they meet.

    Raises
    ------
    TrainingError
        If a process is killed; whatever ValueError or OSError one raises is raised here again.
    """
    failures: SimpleQueue[Exception] = get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="angiometry-") as folder:
        arguments = (work, job, Path(folder) / "meeting", processes, failures)
        try:
            start_processes(  # type: ignore[no-untyped-call]
                _one, arguments, processes, start_method="spawn"
            )
        except ProcessException as error:
            if not failures.empty():
                raise failures.get() from error
            *_, line = str(error).strip().splitlines()
            raise TrainingError(f"a process stopped: {line}", "devices") from error


def _one(
    number: int,
    work: Callable[[Job, Path], None],
    job: Job,
    meeting: Path,
    processes: int,
    failures: SimpleQueue[Exception],
) -> None:
    # So Lightning knows that it need start no process itself; it names an address, unused here.
    os.environ |= {"LOCAL_RANK": str(number), "MASTER_ADDR": "127.0.0.1"}
    torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    try:
        work(job, meeting)
    except (ValueError, OSError) as error:
        failures.put(error)
        raise
