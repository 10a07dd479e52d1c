"""Write the exports of measured images: when somebody asks for one, or when nothing else waits."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress

import structlog

from service import worker
from service.engine import Engine
from service.store import Store

_IDLE_S = 1.0
_POLL_S = 0.2
# Beyond this many images the exports no longer wait for a quiet moment: uploads lie on disk.
_BACKLOG = 16
_log = structlog.get_logger("angiometry.exporter")


class Exporter:
    """Exports of one store, each analysis at most once at a time."""

    def __init__(self, store: Store, engine: Engine, *, keep_uploads: bool) -> None:
        self._store = store
        self._engine = engine
        self._keep_uploads = keep_uploads
        self._waiting: asyncio.Queue[uuid.UUID] = asyncio.Queue()
        self._running: dict[uuid.UUID, asyncio.Task[None]] = {}
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Take up what an earlier process left, and go on in the background."""
        for analysis_id in self._store.pending():
            self.add(analysis_id)
        self._loop = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Stop; what is not written stays pending for the next start."""
        tasks = [task for task in (self._loop, *self._running.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def add(self, analysis_id: uuid.UUID) -> None:
        """Write the exports of an analysis in a quiet moment."""
        self._waiting.put_nowait(analysis_id)

    async def write_now(self, analysis_id: uuid.UUID) -> None:
        """Write the exports of an analysis, unless they are there."""
        task = self._running.get(analysis_id)
        if task is None:
            if not self._store.is_pending(analysis_id):
                return
            task = asyncio.create_task(self._write(analysis_id))
            self._running[analysis_id] = task
            task.add_done_callback(lambda _: self._running.pop(analysis_id, None))
        # The client that asked first may leave; others wait for the same task.
        await asyncio.shield(task)

    async def _work(self) -> None:
        while True:
            analysis_id = await self._waiting.get()
            while self._engine.idle_s < _IDLE_S and self._waiting.qsize() < _BACKLOG:
                await asyncio.sleep(_POLL_S)
            await self.write_now(analysis_id)

    async def _write(self, analysis_id: uuid.UUID) -> None:
        folder = self._store.folder(analysis_id)
        try:
            await self._engine.call(worker.finish, folder, keep_upload=self._keep_uploads)
        except Exception as error:  # noqa: BLE001 - named in the log; the record is safe
            with suppress(OSError):
                self._store.give_up(analysis_id)
            if folder.is_dir():
                _log.error("no exports", analysis_id=str(analysis_id), exc_info=error)
