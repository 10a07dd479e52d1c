"""What the service says of itself, and how it answers what it does not serve."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from model.bundle import CARD_NAME, WEIGHTS_DIR, Bundle
from service.models import ModelRegistry
from tests.live_server import Server, Start

PROBLEM = "application/problem+json"
MEMBERS = {"type", "title", "status", "detail", "instance", "request_id", "errors"}


def test_health_and_version_are_told(client: httpx.Client) -> None:
    """The process answers, and says its version and its limits."""
    assert client.get("/healthz").json() == {"status": "ok"}
    version = client.get("/version").json()
    assert version["version"]
    assert version["limits"]["sync_limit_px"] == 4_000_000


def test_readiness_names_the_bundle(client: httpx.Client, standin_bundle: Bundle) -> None:
    """Ready means: bundle loaded and tested, data folder writable, disk and queue below limits."""
    ready = client.get("/readyz").json()
    assert {check["name"] for check in ready["checks"]} == {"model", "data_dir", "disk", "queue"}
    assert all(check["ok"] for check in ready["checks"])
    assert standin_bundle.sha256 in ready["checks"][0]["detail"]


def test_models_are_listed_with_their_hash(client: httpx.Client, standin_bundle: Bundle) -> None:
    """A client can see which bundles there are and what they score."""
    (default,) = [m for m in client.get("/v1/models").json()["models"] if m["is_default"]]
    assert default["sha256"] == standin_bundle.sha256
    assert default["thresholds"] == {"vessel": 0.5, "vegf_cell": 0.5}
    detail = client.get(f"/v1/models/{default['name']}").json()
    assert detail["metadata"]["training_data_sha256"]
    assert client.get("/v1/models/nosuch").status_code == 404


def test_a_card_is_shown_with_its_own_bundle_only(
    client: httpx.Client, standin_bundle: Bundle, tmp_path: Path
) -> None:
    """The shipped bundle's card is told word by word; beside another bundle it is not its card."""
    card = (WEIGHTS_DIR / CARD_NAME).read_text(encoding="utf-8")
    assert client.get("/v1/models/angiometry").json()["card"] == card
    assert client.get(f"/v1/models/{standin_bundle.path.stem}").json()["card"] is None
    other = shutil.copy(standin_bundle.path, tmp_path / "other.onnx")
    shutil.copy(WEIGHTS_DIR / CARD_NAME, tmp_path)
    assert ModelRegistry(str(other)).detail("other")["card"] is None


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nosuch", 404),
        ("GET", "/v1/analyses/no-id", 404),
        ("GET", "/v1/analyses/00000000-0000-4000-8000-000000000000", 404),
        ("PUT", "/v1/analyses", 405),
        ("POST", "/healthz", 405),
        ("POST", "/v1/analyses", 415),
    ],
)
def test_what_the_framework_refuses_is_a_problem_too(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    """Unknown addresses, wrong methods and bodies are answered as every other error."""
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == PROBLEM
    assert set(answer.json()) >= MEMBERS
    assert answer.json()["status"] == status
    if status == 405:
        assert answer.headers["allow"]


def test_other_hosts_and_origins_are_refused(client: httpx.Client) -> None:
    """A page of another site can neither read nor change anything here."""
    renamed = client.get("/v1/models", headers={"Host": "evil.example"})
    assert (renamed.status_code, renamed.headers["content-type"]) == (421, PROBLEM)
    foreign = client.post("/v1/analyses", headers={"Origin": "https://evil.example"})
    assert (foreign.status_code, foreign.headers["content-type"]) == (403, PROBLEM)


def test_a_damaged_default_bundle_is_the_services_fault(
    start_server: Start, standin_bundle: Bundle, tmp_path: object
) -> None:
    """With a flipped byte in its bundle the service runs, and says that it is not ready."""
    damaged = standin_bundle.path.with_name("damaged.onnx")
    content = bytearray(standin_bundle.path.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with start_server(ready=False, model=damaged) as running, running.client() as client:
        assert client.get("/readyz").status_code == 503
        models = client.get("/v1/models")
        assert models.status_code == 503
        assert "digest" in models.json()["detail"] or "damaged" in models.json()["detail"]


def test_every_answer_is_as_openapi_says(server: Server) -> None:
    """Requests drawn from the document itself get only documented answers, never a 500."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
    ]
    for result in schema.get_all_operations():
        operation = result.ok()
        strategy = operation.as_strategy()

        @settings(
            max_examples=12,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def conforms(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=checks, timeout=60)

        conforms()
