"""Whether an analysis would be accepted now, and if not, why."""

from __future__ import annotations

from typing import Any

from service.engine import Engine
from service.settings import Settings
from service.store import Store


def check_readiness(settings: Settings, store: Store, engine: Engine) -> list[dict[str, Any]]:
    """Check model, data directory, disk and queue; each check says what it found."""
    model_ok, model_detail = engine.model_state()
    writable = store.is_writable()
    free, floor = store.free_bytes(), settings.disk_floor_bytes
    return [
        _check("model", model_ok, model_detail),
        _check(
            "data_dir",
            writable,
            "files can be written" if writable else "ANGIOMETRY_DATA_DIR cannot be written to",
        ),
        _check("disk", free >= floor, f"{free} bytes are free, the floor is {floor}"),
        _check(
            "queue",
            not engine.is_full,
            f"{engine.waiting} requests wait, {settings.queue_limit} may",
        ),
    ]


def _check(name: str, ok: bool, detail: str) -> dict[str, Any]:
    return {"name": name, "ok": ok, "detail": detail}
