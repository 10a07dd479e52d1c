"""What surrounds every request: an id, one log line, security headers, and the origin check."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Collection
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import CrossOriginError, ServiceError, WrongHostError
from service.problems import problem_response

REQUEST_ID_HEADER = "X-Request-ID"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_UNSAFE_METHODS = {"POST", "PUT", "PATCH", "DELETE"}
_QUIET_PATHS = {"/healthz", "/readyz"}

SECURITY_HEADERS = {
    # blob: shows the picture that the user chose before it is sent.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

_log = structlog.get_logger("angiometry.request")


class RequestContext:
    """Give each request an id and security headers, and log it once when it is answered."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope).get(REQUEST_ID_HEADER))
        scope.setdefault("state", {})["request_id"] = request_id
        started_s, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID_HEADER] = request_id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, send_with_headers)
            finally:
                _log_request(scope, status, time.perf_counter() - started_s)


class OriginGuard:
    """Refuse requests that were addressed to another host, or sent by another site's page.

    A page anywhere on the web can let its visitor's browser talk to this machine: by a name of its
    own that resolves to 127.0.0.1 (DNS rebinding) or by posting a form.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Collection[str]) -> None:
        self.app = app
        self.allowed_hosts = frozenset(allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or answer it with a problem."""
        error = self._fault(scope) if scope["type"] == "http" else None
        if error is None:
            await self.app(scope, receive, send)
        else:
            await problem_response(Request(scope), error)(scope, receive, send)

    def _fault(self, scope: Scope) -> ServiceError | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        name = _host_name(host)
        if "*" not in self.allowed_hosts and name not in self.allowed_hosts:
            return WrongHostError(
                f"This service does not answer for the host {name[:100]!r}; the operator can add "
                "it to ANGIOMETRY_ALLOWED_HOSTS.",
            )
        origin = headers.get("origin")
        if scope["method"] in _UNSAFE_METHODS and origin and _netloc(origin) != host.lower():
            return CrossOriginError(
                f"Pages of {origin[:100]!r} may not send requests here; use the page at / or a "
                "client outside the browser.",
            )
        return None


def _request_id(given: str | None) -> str:
    return given if given and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _host_name(host: str) -> str:
    """Return the Host header's name without its port, in lower case; brackets stay."""
    return re.sub(r":\d*$", "", host.strip().lower())


def _netloc(origin: str) -> str:
    return urlsplit(origin).netloc.lower() if "://" in origin else origin


def _log_request(scope: Scope, status: int, duration_s: float) -> None:
    # Asked every few seconds by whatever watches the service.
    log = _log.debug if scope["path"] in _QUIET_PATHS else _log.info
    log(
        "request",
        method=scope["method"],
        path=scope["path"],
        status=status,
        duration_ms=round(duration_s * 1000, 1),
    )
