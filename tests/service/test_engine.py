from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import psutil
import pytest

from model.bundle import Bundle
from service.engine import Engine
from service.errors import (
    QueueFullError,
    WorkerCrashedError,
    WorkerLimitError,
    WorkerUnavailableError,
)
from service.settings import Settings
from tests.live_server import Start

# Sent to worker processes, which can import only what the service can: the standard library.
PID = os.getpid


def run(bundle: Bundle, story: Callable[[Engine], Coroutine[Any, Any, None]], **more: Any) -> None:
    settings = Settings(model=str(bundle.path), threads=1, **more)

    async def play() -> None:
        async with started(settings) as engine:
            await story(engine)

    asyncio.run(play())


@contextlib.asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Engine]:
    engine = Engine(settings)
    engine.start()
    try:
        await ready(engine)
        yield engine
    finally:
        await engine.close()


async def ready(engine: Engine) -> None:
    async with asyncio.timeout(30):
        while not engine.model_state()[0]:
            await asyncio.sleep(0.05)


def test_outlives_its_workers(standin_bundle: Bundle) -> None:
    """A worker that dies, is killed or hangs fails its own request only; the next one works."""

    async def story(engine: Engine) -> None:
        first = await engine.call(PID)
        with pytest.raises(WorkerCrashedError, match="died"):
            await engine.call(os.abort)
        second = await engine.call(PID)
        with pytest.raises(WorkerUnavailableError) as caught:
            await engine.call(signal.raise_signal, signal.SIGKILL)
        assert int(caught.value.headers["Retry-After"]) > 0
        third = await engine.call(PID)
        with pytest.raises(WorkerLimitError) as limited:
            await engine.call(time.sleep, 60)
        assert limited.value.limit == 1.0
        assert len({first, second, third, await engine.call(PID)}) == 4

    run(standin_bundle, story, time_limit_s=1.0)


def test_memory_is_limited(standin_bundle: Bundle) -> None:
    """An image that wants more memory than a worker may use gets no further than its worker."""

    async def story(engine: Engine) -> None:
        with pytest.raises(MemoryError):
            await engine.call(bytes, 2**30)
        assert await engine.call(len, b"abc") == 3

    run(standin_bundle, story, memory_limit_bytes=2**30)


def test_queue_is_bounded(standin_bundle: Bundle) -> None:
    """Beyond the workers and the queue a request is refused with a time to come back."""

    async def story(engine: Engine) -> None:
        async with engine.place(), engine.place():
            assert engine.is_full
            assert engine.waiting == 1
            with pytest.raises(QueueFullError) as caught:
                async with engine.place():
                    pass
            assert int(caught.value.headers["Retry-After"]) >= 1
        async with engine.place():
            assert not engine.is_full

    run(standin_bundle, story, queue_limit=1)


def test_a_cancelled_call_frees_its_worker_when_done(standin_bundle: Bundle) -> None:
    """A call whose client left keeps its worker until the process is done, then frees it."""

    async def story(engine: Engine) -> None:
        left = asyncio.create_task(engine.call(time.sleep, 0.5))
        await asyncio.sleep(0.1)
        left.cancel()
        start_s = time.monotonic()
        await engine.call(PID)
        assert time.monotonic() - start_s > 0.3

    run(standin_bundle, story)


def test_a_missing_model_is_told(standin_bundle: Bundle) -> None:
    """Without a usable model nothing is accepted, and the reason is there to read."""

    async def story() -> None:
        engine = Engine(Settings(model="absent"))
        engine.start()
        try:
            async with asyncio.timeout(20):
                while "absent" not in engine.model_state()[1]:
                    await asyncio.sleep(0.05)
            with pytest.raises(WorkerUnavailableError, match="absent"):
                async with engine.place():
                    pass
        finally:
            await engine.close()

    asyncio.run(story())


@pytest.mark.parametrize("ready", [True, False])
def test_the_service_stops_quietly(start_server: Start, ready: bool) -> None:
    """SIGTERM leaves no semaphore of a worker behind, be it ready or still loading its model."""
    with start_server(ready=ready) as running:
        helpers = psutil.Process(running.process.pid).children(recursive=True)
    _, alive = psutil.wait_procs(helpers, timeout=10)
    assert not alive
    said = running.log.read_text()
    assert "leaked" not in said
    assert "Traceback" not in said
