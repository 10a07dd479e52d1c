from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openpyxl
import psutil
import pytest
from PIL import Image

from analysis.settings import load_settings
from model.bundle import Bundle
from tests.live_server import Server, Start, encoded, section

PNG = encoded(section())
FORM = {"marker": "CD31", "mpp_um": "0.5"}


def post(client: httpx.Client, content: bytes = PNG, **headers: str) -> httpx.Response:
    files = {"image": ("section 1.png", content)}
    return client.post("/v1/analyses", data=FORM, files=files, headers=headers)


def test_answers_with_the_envelope(client: httpx.Client) -> None:
    """An upload is answered with its finished analysis, and the same can be had again."""
    answer = post(client)
    assert answer.status_code == 200
    envelope = answer.json()
    assert list(envelope) == [
        "id", "state", "progress_fraction", "tiles_done", "tiles_total", "eta_s", "record",
        "problem", "links",
    ]  # fmt: skip
    assert (envelope["state"], envelope["progress_fraction"]) == ("succeeded", 1.0)
    assert envelope["tiles_done"] == envelope["tiles_total"] == 1
    record = envelope["record"]
    assert record["analysis_id"] == envelope["id"]
    assert record["image"]["name"] == "section 1.png"
    assert record["image"]["sha256"] == hashlib.sha256(PNG).hexdigest()
    # Two bars and a disc on 128 × 128 µm.
    assert record["regions"][0]["area_mm2"] == pytest.approx(0.128**2)
    assert record["regions"][0]["vessels"]["profile_count"] == 3
    assert answer.headers["content-location"] == envelope["links"]["self"]
    assert client.get(envelope["links"]["self"]).json() == envelope


@pytest.mark.parametrize("as_file", [False, True])
def test_regions_are_measured_one_by_one(client: httpx.Client, as_file: bool) -> None:
    """GeoJSON as a text field, or as the file that curl makes of it, gives a region more."""
    outline = [[[0, 0], [128, 0], [128, 256], [0, 256], [0, 0]]]
    drawn = json.dumps(
        {
            "type": "Feature",
            "properties": {"name": "left"},
            "geometry": {"type": "Polygon", "coordinates": outline},
        }
    )
    files: dict[str, Any] = {"image": ("section 1.png", PNG, "image/png")}
    fields = dict(FORM) | {"parity": "true"}
    if as_file:
        files["regions"] = ("left.geojson", drawn, "application/geo+json")
    else:
        fields["regions"] = drawn
    record = client.post("/v1/analyses", data=fields, files=files).json()["record"]
    assert [region["name"] for region in record["regions"]] == ["tissue", "left"]
    assert record["regions"][1]["area_mm2"] == pytest.approx(0.064 * 0.128)
    assert [entry["region"] for entry in record["parity"]] == ["tissue", "left"]
    assert record["settings"]["regions"]["features"][0]["geometry"]["coordinates"] == outline


def test_sizes_decide_what_is_counted(client: httpx.Client) -> None:
    """The form's sizes change the numbers and stand in the record's settings."""
    # Two bars of 800 and more µm², and a disc of 260 µm² (36 px at 0.5 µm/px).
    sizes = {"min_profile_area_um2": 400.0, "max_vessel_radius_um": 1.0, "min_cell_area_um2": 9.0}
    fields = dict(FORM) | {name: str(size) for name, size in sizes.items()} | {"gap_um": "0"}
    files = {"image": ("section 1.png", PNG)}
    record = client.post("/v1/analyses", data=fields, files=files).json()["record"]
    assert record["settings"].items() >= (sizes | {"gap_um": 0.0}).items()
    vessels = record["regions"][0]["vessels"]
    assert (vessels["profile_count"], vessels["length_mm"]) == (2, 0)


def half(columns: int = 64) -> bytes:
    """Return a mask of the section whose first columns are tissue."""
    mask = Image.new("L", (256, 256), 0)
    mask.paste(255, (0, 0, columns, 256))
    return encoded(mask)


def post_masked(client: httpx.Client, mask: bytes, name: str, **headers: str) -> httpx.Response:
    files = {"image": ("section 1.png", PNG), "tissue": (name, mask)}
    return client.post("/v1/analyses", data=FORM, files=files, headers=headers)


@pytest.mark.parametrize("name", ["mask.png", "auto", "../../frame"])
def test_a_tissue_mask_may_come_as_a_file(
    client: httpx.Client, server: Server, name: str, tmp_path: Path
) -> None:
    """Ω is what the mask says; the record names mask and hash, so that it can be repeated."""
    envelope = post_masked(client, half(), name).json()
    record = envelope["record"]
    # A quarter of 128 × 128 µm, and one bar of 16 px that it holds.
    region = record["regions"][0]
    assert region["area_mm2"] == pytest.approx(0.128**2 / 4)
    assert region["vessels"]["profile_count"] == 1
    kept = {"mask.png": "mask.png", "auto": "./auto", "../../frame": "./frame"}[name]
    assert record["settings"]["tissue"] == kept
    assert record["settings"]["tissue_sha256"] == hashlib.sha256(half()).hexdigest()
    assert str(server.data_dir) not in json.dumps(envelope)
    book = openpyxl.load_workbook(
        io.BytesIO(client.get(envelope["links"]["measurements.xlsx"]).content)
    )
    assert ("tissue", kept) in list(book["settings"].values)
    assert not (server.data_dir / "analyses" / envelope["id"] / "tissue").exists()
    (tmp_path / Path(kept).name).write_bytes(half())
    earlier = tmp_path / "record.json"
    earlier.write_text(json.dumps(envelope))
    repeated = load_settings(earlier)
    with contextlib.chdir(tmp_path):
        assert repeated.settings.tissue_file is not None
        assert repeated.settings.tissue_file.read_bytes() == half()


def test_a_tissue_mask_belongs_to_the_request(client: httpx.Client) -> None:
    """With the same key another mask is another request, and so is none."""
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = post_masked(client, half(), "mask.png", **key)
    assert first.status_code == 200
    assert post_masked(client, half(), "mask.png", **key).json() == first.json()
    for answer in (post_masked(client, half(65), "mask.png", **key), post(client, **key)):
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


def test_answers_with_csv_if_asked(client: httpx.Client) -> None:
    """The same address gives the measurements as CSV, and says so to caches."""
    here = post(client).json()["links"]["self"]
    answer = client.get(here, headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["vary"] == "Accept"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    counted = [row for row in rows if row["measurement"] == "vessels.profile_count"]
    assert [row["value"] for row in counted] == ["3"]
    assert client.get(here, headers={"Accept": "image/png"}).status_code == 406


def test_an_empty_file_of_regions_is_refused(client: httpx.Client) -> None:
    """A file that was sent is never left out without a word."""
    files = {"image": ("section.png", PNG), "regions": ("r.geojson", b"", "application/geo+json")}
    answer = client.post("/v1/analyses", data=FORM, files=files)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "regions"


def test_files_are_immutable_downloads(client: httpx.Client) -> None:
    """Every link leads to a file that may be kept, under its own media type, as a download."""
    links = post(client).json()["links"]
    assert set(links) == {
        "self", "measurements.csv", "measurements.xlsx", "objects.geojson", "objects.csv",
        "mask.ome.tif", "labels.ome.tif", "overlay.png", "skeleton.png",
    }  # fmt: skip
    for name in set(links) - {"self"}:
        answer = client.get(links[name])
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        kind = "inline" if name == "overlay.png" else "attachment"
        assert answer.headers["content-disposition"].startswith(kind)
        again = client.get(links[name], headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    mask = Image.open(io.BytesIO(client.get(links["mask.ome.tif"]).content))
    assert mask.size == (256, 256)
    assert set(mask.get_flattened_data()) == {0, 255}
    assert json.loads(client.get(links["objects.geojson"]).content)["type"] == "FeatureCollection"


def test_uploads_do_not_stay(client: httpx.Client, server: Server) -> None:
    """Once the files are drawn, the image and what they were drawn from are gone."""
    envelope = post(client).json()
    client.get(envelope["links"]["overlay.png"])
    folder = server.data_dir / "analyses" / envelope["id"]
    names = {path.name for path in folder.iterdir()}
    assert not names & {"upload", "probabilities.npy", "pending.pickle"}
    assert {"envelope.json", "measurements.csv", "mask.ome.tif"} <= names


def test_files_are_drawn_in_a_quiet_moment(client: httpx.Client, server: Server) -> None:
    """Nobody has to ask: soon after an upload its image is drawn and removed."""
    folder = server.data_dir / "analyses" / post(client).json()["id"]
    with patience(20):
        while (folder / "upload").exists():
            time.sleep(0.1)
    assert (folder / "overlay.png").is_file()


def test_delete_leaves_nothing(client: httpx.Client, server: Server) -> None:
    """A deleted analysis is gone with its files, whether they were drawn or not."""
    envelope = post(client).json()
    assert client.delete(envelope["links"]["self"]).status_code == 204
    for address in envelope["links"].values():
        assert client.get(address).status_code == 404
    assert client.delete(envelope["links"]["self"]).status_code == 404
    assert not (server.data_dir / "analyses" / envelope["id"]).exists()


@pytest.mark.parametrize(
    "name", ["../envelope.json", "..%2Fenvelope.json", "envelope.json", "pending.pickle", "upload"]
)
def test_paths_lead_nowhere(client: httpx.Client, name: str) -> None:
    """Only the files that are offered can be had, whatever a path looks like."""
    here = post(client).json()["links"]["self"]
    assert client.get(f"{here}/files/{name}").status_code in {404, 405}
    assert client.get("/v1/analyses/..%2f..%2fetc").status_code == 404
    assert client.get("/static/..%2fapp.py").status_code == 404


def test_idempotency(client: httpx.Client) -> None:
    """The same key and request give the stored answer; the same key with another is refused."""
    key = str(uuid.uuid4())
    first = post(client, **{"Idempotency-Key": key})
    again = post(client, **{"Idempotency-Key": key})
    assert again.json() == first.json()
    other = post(client, encoded(section(300)), **{"Idempotency-Key": key})
    assert other.status_code == 422
    assert other.json()["errors"][0]["field"] == "Idempotency-Key"
    client.delete(first.json()["links"]["self"])
    anew = post(client, **{"Idempotency-Key": key})
    assert anew.json()["id"] != first.json()["id"]


def test_a_failed_request_leaves_its_key_free(client: httpx.Client) -> None:
    """A key whose request was refused can be used for the mended one."""
    key = {"Idempotency-Key": str(uuid.uuid4())}
    assert post(client, b"no image", **key).status_code == 415
    assert post(client, **key).status_code == 200


@pytest.fixture(scope="module")
def small(start_server: Start) -> Iterator[Server]:
    """Return a server with small limits."""
    limits = {"max_upload_bytes": 100_000, "sync_limit_px": 70_000, "queue_limit": 0}
    with start_server(**limits) as running:
        yield running


def test_limits_are_told(small: Server) -> None:
    """Too many pixels and too many bytes are 413, with limit and value."""
    with small.client() as client:
        assert post(client).status_code == 200
        pixels = post(client, encoded(section(265)))
        assert pixels.status_code == 413
        assert (pixels.json()["limit"], pixels.json()["value"]) == (70_000, 265**2)
        assert "have ANGIOMETRY_SYNC_LIMIT_PX raised" in pixels.json()["detail"]
        coarse = FORM | {"mpp_um": "19"}
        grid = client.post("/v1/analyses", data=coarse, files={"image": ("a.png", PNG)})
        assert grid.status_code == 413
        assert "have ANGIOMETRY_SYNC_LIMIT_PX raised" in grid.json()["detail"]
        many = post(client, b"\x89PNG" + bytes(5_000_000))
        assert many.status_code == 413
        assert many.json()["limit"] == 100_000
        assert many.json()["value"] >= 5_000_000


def test_bytes_are_counted_as_they_come(small: Server) -> None:
    """A body without length, or with a wrong one, is stopped at the limit all the same."""
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'

    def endless() -> Iterator[bytes]:
        yield head
        for _ in range(10):
            yield bytes(30_000)
        yield b"\r\n--b--\r\n"

    with small.client() as client:
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = client.post("/v1/analyses", content=endless(), headers=kind)
    assert answer.status_code == 413
    assert list((small.data_dir / "incoming").iterdir()) == []


def test_a_full_queue_says_when_to_come_back(small: Server) -> None:
    """With no place to wait a second request is 503 with Retry-After, and leaves no junk."""
    with open_request(small, b'--b\r\nContent-Disposition: form-data; name="marker"\r\n\r\n'):
        time.sleep(0.3)
        with small.client() as client:
            answer = post(client)
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json()["type"].endswith("queue-full")
            assert client.get("/readyz").status_code == 503
    with small.client() as client, patience(10):
        while client.get("/readyz").status_code != 200:
            time.sleep(0.1)
        assert post(client).status_code == 200


def test_a_client_that_leaves_leaves_no_junk(server: Server) -> None:
    """An upload broken off half way is swept at once."""
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nabc'
    incoming = server.data_dir / "incoming"
    with open_request(server, head), patience(10):
        while not list(incoming.iterdir()):
            time.sleep(0.05)
    with patience(10):
        while list(incoming.iterdir()):
            time.sleep(0.05)


def test_survives_a_restart(start_server: Start, tmp_path: Path) -> None:
    """What was answered before the server was killed is there after, its files included."""
    with start_server(data_dir=tmp_path) as first:
        with first.client() as client:
            envelope = post(client).json()
            masked = post_masked(client, half(), "mask.png").json()
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
    (tmp_path / "incoming" / "leftover").mkdir()
    with start_server(data_dir=tmp_path) as second, second.client() as client:
        assert list((tmp_path / "incoming").iterdir()) == []
        assert client.get(envelope["links"]["self"]).json() == envelope
        assert client.get(envelope["links"]["overlay.png"]).content.startswith(b"\x89PNG")
        assert client.get(masked["links"]["self"]).json() == masked
        objects = client.get(masked["links"]["objects.geojson"]).json()["features"]
        assert objects[0]["properties"]["classification"]["name"] == "Tissue"


def test_workers_end_with_the_server(start_server: Start) -> None:
    """A server that is killed leaves no worker behind."""
    with start_server() as running:
        pids = children(running.process.pid)
        assert pids
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
        with patience(10):
            while any(is_alive(pid) for pid in pids):
                time.sleep(0.1)


def test_a_changed_bundle_is_not_served(
    start_server: Start, standin_bundle: Bundle, tmp_path: Path
) -> None:
    """With a flipped byte in its bundle the service is not ready, measures nothing, says why."""
    content = bytearray(standin_bundle.path.read_bytes())
    content[len(content) // 2] ^= 1
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(content)
    with start_server(model=broken, ready=False) as running, running.client() as client:
        with patience(20):
            while "changed" not in client.get("/readyz").json()["detail"]:
                time.sleep(0.1)
        assert client.get("/readyz").status_code == 503
        answer = post(client)
        assert answer.status_code == 503
        assert "changed" in answer.json()["detail"]
        assert client.get("/healthz").status_code == 200


@contextlib.contextmanager
def open_request(server: Server, start: bytes) -> Iterator[None]:
    """Hold a request open that has sent its beginning only."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /v1/analyses HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000\r\n\r\n" + start
        )
        yield


@contextlib.contextmanager
def patience(limit_s: float) -> Iterator[None]:
    """Fail instead of waiting for ever."""

    def give_up(*_: object) -> None:
        pytest.fail(f"still not so after {limit_s} s")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
