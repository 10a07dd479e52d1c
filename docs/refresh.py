"""Measure examples/section.png with the shipped model and put the real answer where it is shown.

    python docs/refresh.py

writes service/example_envelope.json (the example in OpenAPI), docs/images/overlay.png and the
answer in README.md. A test fails where they no longer say what the service says.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
ENVELOPE = ROOT / "service" / "example_envelope.json"
OVERLAY = ROOT / "docs" / "images" / "overlay.png"
README = ROOT / "README.md"
BLOCK = re.compile(r"(?<=```json\n).*?(?=\n```)", re.DOTALL)


def shown(envelope: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an answer that the README shows, numbers to four decimals."""
    record = envelope["record"]
    region = record["regions"][0]
    vessels = region["vessels"]
    names = (
        "area_fraction", "profile_count", "profile_density_per_mm2", "length_mm",
        "length_density_mm_per_mm2", "branchpoint_count",
    )  # fmt: skip
    return {
        "id": envelope["id"][:8] + "…",
        "state": envelope["state"],
        "record": {
            "image": {k: record["image"][k] for k in ("name", "mpp_um", "mpp_source", "modality")},
            "model": {
                "name": record["model"]["name"],
                "version": record["model"]["version"],
                "sha256": record["model"]["sha256"][:8] + "…",
            },
            "regions": [
                {
                    "name": region["name"],
                    "area_mm2": region["area_mm2"],
                    "vessels": {name: _short(vessels[name]) for name in names}
                    | {"diameter_um": {k: _short(v) for k, v in vessels["diameter_um"].items()}},
                }
            ],
        },
    }


def _short(value: float | None) -> float | None:
    return round(value, 4) if isinstance(value, float) else value


@contextmanager
def service() -> Iterator[str]:
    """Run the service with the shipped model and give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ANGIOMETRY_")}
    with tempfile.TemporaryDirectory() as folder:
        environment |= {"ANGIOMETRY_DATA_DIR": folder, "ANGIOMETRY_PORT": str(port)}
        command = [sys.executable, "-m", "angiometry", "serve"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def measured(url: str) -> tuple[dict[str, Any], bytes]:
    """Return the envelope of the example section, and its overlay."""
    with httpx.Client(base_url=url, timeout=120) as client:
        for _ in range(300):
            try:
                if client.get("/readyz").is_success:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        image = (ROOT / "examples" / "section.png").read_bytes()
        form = {"marker": "CD31", "mpp_um": "0.5"}
        answer = client.post("/v1/analyses", data=form, files={"image": ("section.png", image)})
        envelope: dict[str, Any] = answer.raise_for_status().json()
        return envelope, client.get(envelope["links"]["overlay.png"]).raise_for_status().content


def main() -> None:
    """Measure, and write what was measured where it is shown."""
    with service() as url:
        envelope, overlay = measured(url)
    text = json.dumps(envelope, indent=1, ensure_ascii=False)
    ENVELOPE.write_text(text + "\n", encoding="utf-8")
    OVERLAY.write_bytes(overlay)
    block = json.dumps(shown(envelope), indent=1, ensure_ascii=False)
    readme = README.read_text(encoding="utf-8")
    README.write_text(BLOCK.sub(lambda _: block, readme, count=1), encoding="utf-8")


if __name__ == "__main__":
    main()
