"""The life of an analysis: received, measured by a worker, stored, answered."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from starlette.requests import ClientDisconnect, Request

from service import worker
from service.engine import Engine
from service.errors import (
    DiskFullError,
    KeyBusyError,
    KeyReusedError,
    NotFoundError,
)
from service.exporter import Exporter
from service.form import AnalysisRequest, parse_form
from service.form_reader import Upload
from service.models import ModelRegistry
from service.settings import Settings
from service.store import FILES, Store
from service.uploads import Body, boundary_of, declared_size, receive_form

_log = structlog.get_logger("angiometry.analyses")


@dataclass(frozen=True)
class Received:
    """A whole request on disk, ready to be measured."""

    analysis_id: uuid.UUID
    folder: Path
    upload: Upload
    request: AnalysisRequest
    digest: str


class Analyses:
    """All analyses of one data directory, and the engine that makes them."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        engine: Engine,
        models: ModelRegistry,
        exporter: Exporter,
    ) -> None:
        self._settings = settings
        self._store = store
        self._engine = engine
        self._models = models
        self._exporter = exporter
        # Digest of the body that is being measured under a key, None while it still arrives.
        self._busy_keys: dict[str, str | None] = {}
        self._runs: set[asyncio.Task[dict[str, Any]]] = set()

    async def create(self, request: Request, key: str | None = None) -> dict[str, Any]:
        """Receive, measure and store one image; return the envelope of its analysis."""
        limit_bytes = self._settings.max_upload_bytes
        body = Body(request.receive, self._settings.upload_idle_limit_s)
        async with body.drained(limit_bytes):
            boundary = boundary_of(request.headers.get("content-type"))
            length = declared_size(request.headers.get("content-length"), limit_bytes)
            self._check_disk(length)
            async with AsyncExitStack() as held:
                await held.enter_async_context(self._engine.place())
                if key is not None:
                    held.enter_context(_KeyHeld(self._busy_keys, key))
                analysis_id, folder = self._store.new_folder()
                held.callback(self._store.discard, analysis_id)
                received = await self._receive(body, boundary, analysis_id, folder)
                if key is not None:
                    stored = self._answered_before(key, received.digest)
                    if stored is not None:
                        return stored
                    self._busy_keys[key] = received.digest
                run = asyncio.create_task(self._run(received, key, held.pop_all()))
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)
        return await _unless_disconnected(request, run, keep=key is not None)

    def get(self, analysis_id: uuid.UUID) -> dict[str, Any]:
        """Return the envelope of a stored analysis."""
        envelope = self._store.read(analysis_id)
        if envelope is None:
            raise _no_analysis(analysis_id)
        return envelope

    async def file(self, analysis_id: uuid.UUID, name: str) -> Path:
        """Return where a file of an analysis lies; it is drawn now if it is not there yet."""
        envelope = self.get(analysis_id)
        path = self._store.folder(analysis_id) / name
        if name in envelope["links"] and not path.is_file():
            await self._exporter.write_now(analysis_id)
        if name not in envelope["links"] or not path.is_file():
            raise NotFoundError(f"The analysis {analysis_id} has no file {name}.")
        return path

    def delete(self, analysis_id: uuid.UUID) -> None:
        """Remove an analysis and all its files."""
        if not self._store.delete(analysis_id):
            raise _no_analysis(analysis_id)
        _log.info("deleted", analysis_id=str(analysis_id))

    async def close(self) -> None:
        """Wait for what still runs; the engine has to be closed before."""
        await asyncio.gather(*self._runs, return_exceptions=True)

    async def _receive(
        self, body: Body, boundary: bytes, analysis_id: uuid.UUID, folder: Path
    ) -> Received:
        limit_bytes = self._settings.max_upload_bytes
        upload = await receive_form(body, boundary, folder, limit_bytes=limit_bytes)
        parsed = parse_form(upload.fields)
        self._models.path_of(parsed.model)
        return Received(analysis_id, folder, upload, parsed, digest_of(upload))

    async def _run(
        self, received: Received, key: str | None, held: AsyncExitStack
    ) -> dict[str, Any]:
        """Measure and publish; `held` is let go whatever happens."""
        async with held:
            measured = await self._engine.call(worker.measure, self._job(received))
            envelope = succeeded(received.analysis_id, measured)
            await asyncio.to_thread(self._publish, received, envelope)
            if key is not None:
                self._store.write_key(key, received.analysis_id, received.digest)
        self._exporter.add(received.analysis_id)
        _log.info(
            "measured",
            analysis_id=str(received.analysis_id),
            seconds=measured.record["timings_s"].get("total"),
        )
        return envelope

    def _job(self, received: Received) -> worker.Job:
        return worker.Job(
            analysis_id=str(received.analysis_id),
            folder=received.folder,
            request=received.request,
            bundle=self._models.path_of(received.request.model),
            threads=self._settings.threads_per_worker,
            limit_px=self._settings.sync_limit_px,
            memory_limit_bytes=self._settings.memory_limit_bytes,
        )

    def _publish(self, received: Received, envelope: dict[str, Any]) -> None:
        labels = json.dumps(dict(received.request.labels), ensure_ascii=False)
        (received.folder / "labels.json").write_text(labels, encoding="utf-8")
        self._store.publish(received.analysis_id, envelope)

    def _answered_before(self, key: str, digest: str) -> dict[str, Any] | None:
        """Return the stored answer to the same key and body, if there is one."""
        entry = self._store.read_key(key)
        if entry is None:
            return None
        envelope = self._store.read(uuid.UUID(entry["id"]))
        if envelope is not None and entry["digest"] != digest:
            raise KeyReusedError(
                "This Idempotency-Key was used with another image or other fields; "
                "use a new key for a new request.",
                field="Idempotency-Key",
            )
        return envelope

    def _check_disk(self, incoming_bytes: int) -> None:
        free, floor = self._store.free_bytes(), self._settings.disk_floor_bytes
        if free - incoming_bytes < floor:
            raise DiskFullError(
                f"The disk has {free} bytes free and {floor} are to stay so; "
                "delete analyses, or make room.",
                limit=floor,
                value=free,
                unit="byte",
            )


def digest_of(upload: Upload) -> str:
    """Return a digest of a form that does not depend on its boundary or the order of fields."""
    image, tissue = upload.image, upload.tissue
    parts: dict[str, Any] = {
        "image": image.sha256, "name": image.name, "fields": dict(upload.fields)
    }  # fmt: skip
    if tissue is not None:
        parts["tissue"] = {"sha256": tissue.sha256, "name": tissue.name}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def succeeded(analysis_id: uuid.UUID, measured: worker.Measured) -> dict[str, Any]:
    """Return the envelope of a finished analysis, with links to the files it has."""
    here = f"/v1/analyses/{analysis_id}"
    names = [name for name in FILES if name not in measured.absent_files]
    files = {name: f"{here}/files/{name}" for name in names}
    return {
        "id": str(analysis_id),
        "state": "succeeded",
        "progress_fraction": 1.0,
        "tiles_done": measured.tiles,
        "tiles_total": measured.tiles,
        "eta_s": 0.0,
        "record": dict(measured.record),
        "problem": None,
        "links": {"self": here} | files,
    }


class _KeyHeld:
    """An Idempotency-Key that is in use from the first byte of its request to its answer."""

    def __init__(self, busy: dict[str, str | None], key: str) -> None:
        self._busy = busy
        self._key = key

    def __enter__(self) -> None:
        if self._key in self._busy:
            raise KeyBusyError(
                "A request with this Idempotency-Key is still running; ask again later.",
                field="Idempotency-Key",
                headers={"Retry-After": "5"},
            )
        self._busy[self._key] = None

    def __exit__(self, *exception: object) -> None:
        del self._busy[self._key]


async def _unless_disconnected(
    request: Request, run: asyncio.Task[dict[str, Any]], *, keep: bool
) -> dict[str, Any]:
    """Wait for a run; drop it if the client leaves and can't come back for it with its key."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    watch = asyncio.create_task(gone())
    await asyncio.wait({run, watch}, return_when=asyncio.FIRST_COMPLETED)
    watch.cancel()
    if run.done():
        return run.result()
    if not keep:
        run.cancel()
    raise ClientDisconnect


def _no_analysis(analysis_id: uuid.UUID) -> NotFoundError:
    return NotFoundError(f"There is no analysis {analysis_id}; it may have been deleted.")
