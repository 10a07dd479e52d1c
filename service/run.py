"""Run the service in this process until it is told to stop."""

from __future__ import annotations

import os
import socket
import tempfile

# ONNX Runtime reports use over the network on Linux unless told so before its import; worker
# processes inherit this.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import structlog
import uvicorn

from model.bundle import find_bundle
from service.app import create_app
from service.logs import configure_logging
from service.settings import Settings, SettingsError

_GRACE_S = 30
_log = structlog.get_logger("angiometry.service")


def serve(settings: Settings, *, insecure: bool = False) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises
    ------
    SettingsError
        If the host can be reached from other machines and `insecure` is not set, if another program
        listens at the port, or if nothing can be written into the data folder.
    model.errors.BundleError
        If there is no bundle of the default's name.
    """
    check_host(settings, insecure=insecure)
    find_bundle(settings.model)  # a damaged bundle can be replaced while running, a wrong name not
    check_port(settings)
    check_data_dir(settings)
    configure_logging()
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    _log.info("starting", url=f"http://{shown}:{settings.port}", data_dir=str(settings.data_dir))
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )


def check_port(settings: Settings) -> None:
    """Refuse a port that is taken, before anything is started."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host.strip("[]"), settings.port))
        except OSError as error:
            raise SettingsError(
                f"nothing can listen on {settings.host} port {settings.port} ({error.strerror}); "
                "choose another with --port or ANGIOMETRY_PORT"
            ) from error


def check_data_dir(settings: Settings) -> None:
    """Refuse a data folder into which nothing can be written."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.data_dir):
            pass
    except OSError as error:
        raise SettingsError(
            f"nothing can be written into {settings.data_dir} ({error.strerror}); name a folder of "
            "your own with ANGIOMETRY_DATA_DIR"
        ) from error


def check_host(settings: Settings, *, insecure: bool) -> None:
    """Refuse to be reachable from other machines, where nothing asks who is there."""
    if not (settings.is_loopback or insecure):
        raise SettingsError(
            f"{settings.host} can be reached from other machines, and this version has no keys to "
            "ask for: serve on 127.0.0.1 behind a proxy that authenticates, or add --insecure if "
            "everyone on that network may use it"
        )
