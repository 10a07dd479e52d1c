"""How much a served upload costs above the network itself."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from datasets.synth import make_section
from datasets.synth_brightfield import render_brightfield
from datasets.synth_params import SectionParams
from imaging.markers import brightfield_scaling, marker_channels
from model.bundle import find_bundle, load_bundle
from model.predictor import Predictor
from tests.live_server import Start

pytestmark = pytest.mark.benchmark
RUNS = 15


def seconds(run: Callable[[], object]) -> tuple[float, float]:
    """Return median and 95th percentile of `RUNS` runs after two that warm up."""
    taken = []
    for number in range(RUNS + 2):
        start = time.perf_counter()
        run()
        if number >= 2:
            taken.append(time.perf_counter() - start)
    return float(np.median(taken)), float(np.percentile(taken, 95))


def test_upload_against_the_bare_network(start_server: Start):
    """A 1024² upload, from the first byte sent to the record, against ONNX Runtime alone."""
    parameters = SectionParams.draw(np.random.default_rng(3), size_px=1024, markers=("CD31",))
    pixels = render_brightfield(make_section(3, parameters))
    channels = marker_channels(pixels, brightfield_scaling("CD31"))
    predictor = Predictor(load_bundle(find_bundle()), threads=2)
    bare = seconds(lambda: predictor.predict(channels))
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    upload = {"image": ("section.png", stream.getvalue(), "image/png")}
    form = {"marker": "CD31", "mpp_um": "0.5"}
    with start_server(model="angiometry", threads=2) as server, server.client() as client:

        def post() -> None:
            assert client.post("/v1/analyses", files=upload, data=form).status_code == 200

        served = seconds(post)
    for name, mine, other in zip(("p50", "p95"), served, bare, strict=True):
        print(f"\n{name}: upload {mine:.3f} s, bare {other:.3f} s, ratio {mine / other:.2f}")
