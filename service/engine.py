"""Worker processes that decode and measure, each replaceable: the server outlives any of them.

Every worker is a process pool of one, so that a death or a time limit ends exactly one request.
"""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from multiprocessing.process import BaseProcess
from typing import ParamSpec, TypeVar

import structlog

from model.bundle import find_bundle
from service import worker
from service.errors import (
    QueueFullError,
    WorkerCrashedError,
    WorkerLimitError,
    WorkerUnavailableError,
)
from service.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

_RETRY_AFTER_LOADING_S = 2
_RETRY_AFTER_CRASH_S = 5
_RETRY_START_S = 10
# Signals by which an operator or the system's memory guard ends a process; the image may be fine.
_OUTSIDE_SIGNALS = {9, 15}
_log = structlog.get_logger("angiometry.engine")


class Slot:
    """One worker process, its warm-up, and its replacement after a death."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: BaseProcess | None = None
        self.warmth: worker.Warmth | None = None
        self.failure: Exception | None = None
        self._executor: ProcessPoolExecutor | None = None

    async def warm(self) -> None:
        """Start the process and load the model in it; keep the reason if that fails."""
        self.close()
        self._executor = self._new_executor()
        loop = asyncio.get_running_loop()
        settings = self._settings
        others = set(multiprocessing.active_children())
        answer = loop.run_in_executor(
            self._executor, worker.warm, find_bundle(settings.model), settings.threads_per_worker
        )
        # Known from its start on, so that it can be ended while it loads.
        self._process = next(iter(set(multiprocessing.active_children()) - others), None)
        self.warmth, self.failure = await answer, None
        warmth = self.warmth
        _log.info("worker ready", pid=warmth.pid, model=warmth.model_name)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` in the process, within the time limit.

        Raises
        ------
        WorkerLimitError, WorkerCrashedError, WorkerUnavailableError
            If the process took too long, died of its work, or was ended from outside.
        """
        assert self._executor is not None
        limit_s = self._settings.time_limit_s
        answer = asyncio.wrap_future(self._executor.submit(function, *args, **kwargs))
        # Past the time limit nobody waits for how it ends.
        answer.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        try:
            async with asyncio.timeout(limit_s):
                return await asyncio.shield(answer)
        except TimeoutError as error:
            self.close()
            raise WorkerLimitError(
                f"Measuring took longer than {limit_s:g} s; crop the image, or have "
                "ANGIOMETRY_TIME_LIMIT_S raised.",
                field="image",
                limit=limit_s,
                value=limit_s,
                unit="s",
            ) from error
        except BrokenProcessPool as error:
            raise await self._explain_death() from error

    def close(self, *, wait: bool = False) -> None:
        """End the process, whatever it does; `wait` until its pool's semaphores are gone too."""
        self.warmth = None
        if self._process is not None and self._process.is_alive():
            self._process.kill()
        if self._executor is not None:
            self._executor.shutdown(wait=wait, cancel_futures=True)
            self._executor = None

    async def _explain_death(self) -> WorkerCrashedError | WorkerUnavailableError:
        process = self._process
        if process is not None:
            await asyncio.to_thread(process.join, 5.0)
        signal_number = -(process.exitcode or 0) if process is not None else 0
        _log.error("worker died", signal=signal_number)
        self.close()
        if signal_number in _OUTSIDE_SIGNALS:
            return WorkerUnavailableError(
                "The worker was stopped from outside while it measured, most likely because the "
                "machine ran out of memory; send the image again.",
                headers={"Retry-After": str(_RETRY_AFTER_CRASH_S)},
            )
        return WorkerCrashedError(
            "The process that read this image died of it; the file is damaged or needs more "
            "memory than a worker may use. Save it anew, as PNG or uncompressed TIFF.",
            field="image",
        )

    def _new_executor(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=worker.start,
            initargs=(self._settings.memory_limit_bytes,),
        )


class Engine:
    """All workers with the bounded queue in front of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._slots = [Slot(settings) for _ in range(settings.workers)]
        self._free: asyncio.Queue[Slot] = asyncio.Queue()
        self._accepted = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._mean_duration_s = 5.0
        self._idle_since_s = 0.0

    def start(self) -> None:
        """Start all workers without waiting for them."""
        for slot in self._slots:
            self._bring_up_soon(slot)

    async def close(self) -> None:
        """End all workers."""
        for task in tuple(self._tasks):
            task.cancel()
        for slot in self._slots:
            await asyncio.to_thread(slot.close, wait=True)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def slots(self) -> Iterable[Slot]:
        """The workers, for /readyz."""
        return tuple(self._slots)

    @property
    def waiting(self) -> int:
        """How many accepted requests have no worker yet."""
        return max(0, self._accepted - len(self._slots))

    @property
    def idle_s(self) -> float:
        """For how long no request has been measured or waited."""
        return 0.0 if self._accepted else time.monotonic() - self._idle_since_s

    @property
    def is_full(self) -> bool:
        """Whether the next request would be refused."""
        return self._accepted >= len(self._slots) + self._settings.queue_limit

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place in the queue from the first byte of a request to its answer.

        Raises
        ------
        QueueFullError, WorkerUnavailableError
            If too many requests wait, or no worker has a model yet.
        """
        self._check_available()
        if self.is_full:
            retry_after_s = math.ceil(self._mean_duration_s * (1 + self.waiting))
            raise QueueFullError(
                f"{self._accepted} requests are being measured or wait, as many as may; try again.",
                limit=self._settings.queue_limit,
                value=self.waiting,
                unit="request",
                headers={"Retry-After": str(retry_after_s)},
            )
        self._accepted += 1
        try:
            yield
        finally:
            self._accepted -= 1
            self._idle_since_s = time.monotonic()

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` in the next free worker; a worker that it ended is replaced."""
        loop = asyncio.get_running_loop()
        slot = await self._free.get()
        started_s = loop.time()
        work = asyncio.ensure_future(slot.call(function, *args, **kwargs))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # A process cannot be interrupted, and its folder must not vanish under it.
            await asyncio.wait({work})
            raise
        finally:
            self._mean_duration_s += 0.2 * (loop.time() - started_s - self._mean_duration_s)
            if slot.warmth is None:
                self._bring_up_soon(slot)
            else:
                self._free.put_nowait(slot)

    def _bring_up_soon(self, slot: Slot) -> None:
        task = asyncio.create_task(self._bring_up(slot))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bring_up(self, slot: Slot) -> None:
        while True:
            try:
                await slot.warm()
            except Exception as error:  # noqa: BLE001 - told by /readyz, and tried again
                slot.failure = error
                _log.error("worker cannot start", reason=str(error) or type(error).__name__)
                await asyncio.sleep(_RETRY_START_S)
            else:
                self._free.put_nowait(slot)
                return

    def model_state(self) -> tuple[bool, str]:
        """Tell whether a worker has a model that passed its self-test, and what there is to say."""
        for slot in self._slots:
            if slot.warmth is not None and slot.warmth.self_test_passed:
                warmth = slot.warmth
                return True, f"{warmth.model_name} {warmth.model_version} ({warmth.model_sha256})"
        if any(slot.warmth is not None for slot in self._slots):
            return False, "the model does not answer its self-test as when it was exported"
        failures = [str(slot.failure) for slot in self._slots if slot.failure is not None]
        return False, failures[0] if failures else "the model is still loading"

    def _check_available(self) -> None:
        is_available, reason = self.model_state()
        if not is_available:
            raise WorkerUnavailableError(
                f"Nothing can be measured now: {reason}. Try again shortly.",
                headers={"Retry-After": str(_RETRY_AFTER_LOADING_S)},
            )
