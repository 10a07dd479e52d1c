"""A live server with a real network: the marker channel itself, smoothed and thresholded."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image, ImageDraw

from model.bundle import INPUT_NAME, OUTPUT_NAME, Bundle, BundleMetadata, write_bundle
from model.predictor import Predictor, self_test_pattern
from model.targets import CHANNELS

ROOT = Path(__file__).resolve().parents[1]
METADATA = BundleMetadata(
    name="standin",
    version="0.0.1",
    description="the smoothed marker channel, for tests",
    targets=CHANNELS,
    mpp_um=0.5,
    depth=2,
    tile_px=256,
    halo_px=16,
    channel_mean=(0.0, 0.0, 0.0),
    channel_std=(1.0, 1.0, 1.0),
    thresholds={"vessel": 0.5, "vegf_cell": 0.5},
    temperature=dict.fromkeys(CHANNELS, 1.0),
    training_data_sha256="0" * 63 + "1",
    data_licence="none",
    library_versions={},
    git_revision="unknown",
    created_at="2026-01-01T00:00:00+00:00",
    validation_scores={"synthetic": {"vessel_dice": 0.5}},
    self_test=(0.5, 0.5, 0.5),
    recipe={},
)


def standin_network() -> onnx.ModelProto:
    """Return a network whose vessel and cell channels are bright where the marker is."""
    shape = ["N", 3, "H", "W"]
    constants = [
        helper.make_tensor("starts", TensorProto.INT64, [1], [0]),
        helper.make_tensor("ends", TensorProto.INT64, [1], [1]),
        helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        helper.make_tensor("gain", TensorProto.FLOAT, [], [20.0]),
        helper.make_tensor("shift", TensorProto.FLOAT, [], [-5.0]),
    ]
    nodes = [
        helper.make_node("Slice", [INPUT_NAME, "starts", "ends", "axes"], ["marker"]),
        helper.make_node("AveragePool", ["marker"], ["fine"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("AveragePool", ["marker"], ["wide"], kernel_shape=[9, 9], pads=[4] * 4),
        helper.make_node("Concat", ["fine", "fine", "wide"], ["stacked"], axis=1),
        helper.make_node("Mul", ["stacked", "gain"], ["steep"]),
        helper.make_node("Add", ["steep", "shift"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], [OUTPUT_NAME]),
    ]
    graph = helper.make_graph(
        nodes,
        "standin",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, shape)],
        constants,
    )
    opset = helper.make_opsetid("", 20)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10)


@pytest.fixture(scope="session")
def standin_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return the stand-in as a bundle whose self-test is right."""
    path = tmp_path_factory.mktemp("bundle") / "standin.onnx"
    first = write_bundle(standin_network(), METADATA, path)
    answer = Predictor(first, threads=1).predict(self_test_pattern())
    measured = tuple(float(mean) / 255 for mean in answer.mean(axis=(1, 2)))
    return write_bundle(standin_network(), dataclasses.replace(METADATA, self_test=measured), path)


@dataclasses.dataclass(frozen=True)
class Server:
    """A running server of this checkout."""

    url: str
    data_dir: Path
    process: subprocess.Popen[bytes]
    log: Path

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60.0)


Start = Callable[..., contextlib.AbstractContextManager[Server]]


@pytest.fixture(scope="session")
def start_server(standin_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Return a context manager that runs ``angiometry serve`` with the settings given."""

    @contextlib.contextmanager
    def start(*, ready: bool = True, **settings: object) -> Iterator[Server]:
        folder = tmp_path_factory.mktemp("server")
        port = free_port()
        chosen = {
            "data_dir": folder / "data",
            "model": standin_bundle.path,
            "port": port,
            "threads": 1,
        }
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ANGIOMETRY_")}
        for name, value in (chosen | settings).items():
            environment[f"ANGIOMETRY_{name.upper()}"] = str(value)
        log = folder / "log.txt"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "angiometry", "serve"],
                cwd=ROOT,
                env=environment,
                stdout=stream,
                stderr=stream,
            )
        server = Server(f"http://127.0.0.1:{port}", folder / "data", process, log)
        try:
            wait_until(server, "/readyz" if ready else "/healthz")
            yield server
        finally:
            process.terminate()
            process.wait(30)

    return start


@pytest.fixture(scope="session")
def server(start_server: Start) -> Iterator[Server]:
    """Return one server that most tests share."""
    with start_server() as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """Return a client of the shared server."""
    with server.client() as made:
        yield made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(server: Server, path: str, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            pytest.fail(f"the server ended: {server.log.read_text()}")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{server.url}{path}").status_code == 200:
                return
        time.sleep(0.1)
    pytest.fail(f"{path} is not 200 after {limit_s} s: {server.log.read_text()}")


def section(side_px: int = 256) -> Image.Image:
    """Return an H-DAB section: two brown bars, 16 px wide, on pale background."""
    image = Image.new("RGB", (side_px, side_px), (238, 236, 240))
    draw = ImageDraw.Draw(image)
    draw.rectangle((40, 20, 55, side_px - 40), fill=(120, 72, 30))
    draw.rectangle((100, 100, side_px - 30, 115), fill=(120, 72, 30))
    draw.ellipse((150, 160, 185, 195), fill=(120, 72, 30))
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def fluorescence(side_px: int = 256) -> np.ndarray:
    """Return one channel: a bright bar over camera noise, 16 bit."""
    noise = np.random.default_rng(0).normal(300.0, 12.0, (side_px, side_px))
    noise[40:200, 90:106] += 9000.0
    return np.clip(noise, 0, 65535).astype(np.uint16)
