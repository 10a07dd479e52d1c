"""Build the application from its settings; nothing happens when this module is imported."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.staticfiles import StaticFiles

from analysis.version import software
from service import routes_analyses, routes_system
from service.analyses import Analyses
from service.engine import Engine
from service.exporter import Exporter
from service.middleware import OriginGuard, RequestContext
from service.models import ModelRegistry
from service.openapi import DESCRIPTION, add_envelope_example, add_problem_schema
from service.problems import install_problem_handlers
from service.settings import LOOPBACK_NAMES, Settings, load_settings
from service.store import Store


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application; its workers start with the server and end with it.

    Parameters
    ----------
    settings
        Read from the environment if None, as ``uvicorn --factory service.app:create_app`` does.
    """
    settings = settings or load_settings()
    store, engine = Store(settings.data_dir), Engine(settings)
    models = ModelRegistry(settings.model)
    exporter = Exporter(store, engine, keep_uploads=settings.keep_uploads)
    analyses = Analyses(settings, store, engine, models, exporter)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        store.prepare()
        engine.start()
        exporter.start()
        try:
            yield
        finally:
            await exporter.close()
            await engine.close()
            await analyses.close()

    app = _Application(
        title="Angiometry",
        version=software().version,
        description=DESCRIPTION,
        lifespan=lifespan,
        # The framework's own documentation pages load scripts from another host.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(RequestContext),
            Middleware(OriginGuard, allowed_hosts=_allowed_hosts(settings)),
        ],
    )
    app.state.settings, app.state.store, app.state.engine = settings, store, engine
    app.state.models, app.state.analyses = models, analyses
    install_problem_handlers(app)
    app.include_router(routes_analyses.router)
    app.include_router(routes_system.router)
    app.mount("/static", StaticFiles(directory=routes_system.STATIC), name="static")
    return app


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Return the document, complete with the schema of problems."""
        if self.openapi_schema is None:
            self.openapi_schema = add_envelope_example(add_problem_schema(super().openapi()))
        return self.openapi_schema


def _allowed_hosts(settings: Settings) -> set[str]:
    host = settings.host.lower()
    bound = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return {*settings.allowed_hosts, bound, *LOOPBACK_NAMES} - {"0.0.0.0", "[::]"}
