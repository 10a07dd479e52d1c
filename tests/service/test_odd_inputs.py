from __future__ import annotations

import io
import struct
import zlib

import httpx
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.live_server import encoded, fluorescence, section


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def huge_tiff() -> bytes:
    """Return a 183-byte TIFF whose header claims 100 000 × 100 000 pixels."""
    tags = [
        (256, 4, 1, 100_000),
        (257, 4, 1, 100_000),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, 1),
        (278, 4, 1, 100_000),
        (279, 4, 1, 10),
    ]
    body = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    whole = b"II*\0" + struct.pack("<I", 18) + b"\0" * 10 + body + b"\0" * 4
    return whole + b"\0" * (183 - len(whole))


def png_bomb(side_px: int = 30_000) -> bytes:
    """Return a small PNG that unpacks to 900 Mpx."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    packer = zlib.compressobj(9)
    row = bytes(1 + side_px // 8)
    packed = b"".join(packer.compress(row) for _ in range(side_px)) + packer.flush()
    header = struct.pack(">IIBBBBB", side_px, side_px, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*part) for part in ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    )


def animated() -> bytes:
    stream = io.BytesIO()
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(stream, "PNG", save_all=True, append_images=frames[1:])
    return stream.getvalue()


COMPOSITE = tiff(np.stack([fluorescence(), fluorescence().T]), ome=True, metadata={"axes": "CYX"})
PALETTE = section().quantize(8)
RGBA = section().convert("RGBA")
OME_UM = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}

MEASURED = {
    "16-bit grey": tiff(fluorescence()),
    "16-bit png": encoded(Image.fromarray(fluorescence())),
    "RGBA": encoded(RGBA),
    "palette": encoded(PALETTE),
    "one pixel": encoded(Image.new("RGB", (1, 1), (200, 180, 160))),
    "all black": encoded(Image.new("RGB", (64, 64), "black")),
    "all white": encoded(Image.new("RGB", (64, 64), "white")),
    "two channels named": COMPOSITE,
    "jpeg": encoded(section(), "JPEG", quality=95),
}


@pytest.mark.parametrize("name", MEASURED)
def test_is_measured(client: httpx.Client, name: str) -> None:
    """Every kind of pixels that shows a section is measured; what has no value has a reason."""
    channels = "CD31=0,nuclei=1" if MEASURED[name] is COMPOSITE else ""
    answer = post(client, MEASURED[name], channels=channels)
    assert answer.status_code == 200, answer.text
    region = answer.json()["record"]["regions"][0]
    values = region["vessels"]
    missing = [key for key, value in values.items() if value is None]
    missing += ["diameter_um"] if values["diameter_um"]["mean"] is None else []
    assert all(f"vessels.{key}" in " ".join(region["reasons"]) for key in missing)


OUTSIDE = (
    '{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": '
    "[[[9000, 9000], [9100, 9000], [9100, 9100], [9000, 9000]]]}}"
)
REFUSED = {
    "empty file": (b"", {}, 422, "image"),
    "text as PNG": (b"this is no picture", {}, 415, "image"),
    "GIF": (encoded(PALETTE, "GIF"), {}, 415, "image"),
    "truncated JPEG": (encoded(section(), "JPEG")[:2000], {}, 422, "image"),
    "truncated PNG": (encoded(section())[:600], {}, 422, "image"),
    "huge TIFF": (huge_tiff(), {}, 413, "image"),
    "PNG bomb": (png_bomb(), {}, 413, "image"),
    "CMYK": (encoded(section().convert("CMYK"), "JPEG"), {}, 422, "image"),
    "animated": (animated(), {}, 422, "image"),
    "no mpp": (encoded(section()), {"mpp_um": ""}, 422, "mpp_um"),
    "mpp zero": (encoded(section()), {"mpp_um": "0"}, 422, "mpp_um"),
    "mpp negative": (encoded(section()), {"mpp_um": "-0.5"}, 422, "mpp_um"),
    "mpp NaN": (encoded(section()), {"mpp_um": "NaN"}, 422, "mpp_um"),
    "mpp infinite": (encoded(section()), {"mpp_um": "inf"}, 422, "mpp_um"),
    "mpp no number": (encoded(section()), {"mpp_um": "half"}, 422, "mpp_um"),
    "mpp of no microscope": (encoded(section()), {"mpp_um": "1e-9"}, 422, "mpp_um"),
    "immense at the model's µm/px": (encoded(section()), {"mpp_um": "19"}, 413, "image"),
    "conflicting mpp": (tiff(fluorescence(), ome=True, metadata=OME_UM), {}, 422, "mpp_um"),
    "marker unknown": (encoded(section()), {"marker": "CD34"}, 422, "marker"),
    "marker missing": (encoded(section()), {"marker": ""}, 422, "marker"),
    "both on DAB": (encoded(section()), {"marker": "CD31+VEGF"}, 422, "marker"),
    "pages": (tiff(np.zeros((5, 64, 64), np.uint8), photometric="minisblack"), {}, 422, "image"),
    "several channels": (COMPOSITE, {}, 422, "channels"),
    "channels odd": (COMPOSITE, {"channels": "CD31=x"}, 422, "channels"),
    "channels beyond": (COMPOSITE, {"channels": "CD31=7"}, 422, "channels"),
    "regions broken": (encoded(section()), {"regions": "{"}, 422, "regions"),
    "regions without geometry": (encoded(section()), {"regions": "{}"}, 422, "regions"),
    "regions outside": (encoded(section()), {"regions": OUTSIDE}, 422, "regions"),
    "band zero": (encoded(section()), {"band_um": "0"}, 422, "band_um"),
    "profile negative": (
        encoded(section()),
        {"min_profile_area_um2": "-1"},
        422,
        "min_profile_area_um2",
    ),
    "gap NaN": (encoded(section()), {"gap_um": "nan"}, 422, "gap_um"),
    "gap of a field's width": (encoded(section()), {"gap_um": "500"}, 422, "gap_um"),
    "radius infinite": (
        encoded(section()),
        {"max_vessel_radius_um": "inf"},
        422,
        "max_vessel_radius_um",
    ),
    "radius zero": (
        encoded(section()),
        {"max_vessel_radius_um": "0"},
        422,
        "max_vessel_radius_um",
    ),
    "cell of a brain's size": (
        encoded(section()),
        {"min_cell_area_um2": "1e9"},
        422,
        "min_cell_area_um2",
    ),
    "unknown field": (encoded(section()), {"treshold": "0.4"}, 422, "treshold"),
    "threshold one": (encoded(section()), {"threshold_vessel": "1"}, 422, "threshold_vessel"),
    "threshold unused": (
        encoded(section()),
        {"threshold_vegf_cell": "0.4"},
        422,
        "threshold_vegf_cell",
    ),
    "tissue mask": (encoded(section()), {"tissue": "/etc/passwd"}, 422, "tissue"),
    "model unknown": (encoded(section()), {"model": "best"}, 422, "model"),
    "model path": (encoded(section()), {"model": "../standin"}, 422, "model"),
    "thickness": (encoded(section()), {"section_thickness_um": "-1"}, 422, "section_thickness_um"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused(client: httpx.Client, name: str) -> None:
    """What cannot be measured is refused with its status, the field at fault and the mend."""
    content, fields, status, field = REFUSED[name]
    # The TIFF with its own 0.5 µm/px conflicts with another value.
    mpp = {"mpp_um": "0.7"} if name == "conflicting mpp" else {}
    answer = post(client, content, **(mpp | fields))
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert field in {entry["field"] for entry in problem["errors"]}
    assert problem["status"] == status
    assert len(problem["detail"]) > 20
    if status == 413:
        assert problem["value"] > problem["limit"] > 0


def test_messages_name_the_file(client: httpx.Client) -> None:
    """A refusal speaks of the file by the name that its sender knows, and never of a path here."""
    detail = post(client, huge_tiff()).json()["detail"]
    assert detail.startswith("odd.bin has 100000 × 100000")


def post(client: httpx.Client, content: bytes, **fields: str) -> httpx.Response:
    form = {"marker": "CD31", "mpp_um": "0.5"} | fields
    return client.post("/v1/analyses", data=form, files={"image": ("odd.bin", content)})


def test_the_claim_has_its_size() -> None:
    """The TIFF that claims 10 Gpx is 183 bytes long."""
    assert len(huge_tiff()) == 183


def test_a_saturated_grey_image_shows_nothing(client: httpx.Client) -> None:
    """Where every pixel is at the greatest value no density exists, and the record says why."""
    answer = post(client, encoded(Image.new("L", (512, 512), 255)))
    region = answer.json()["record"]["regions"][0]
    assert region["vessels"]["area_fraction"] is None
    assert region["reasons"]["vessels.area_fraction"] == "the region holds no tissue"


def test_several_faults_are_told_at_once(client: httpx.Client) -> None:
    """One answer names every field that is wrong."""
    answer = post(client, encoded(section()), marker="x", mpp_um="-1", tta="maybe", foo="1")
    fields = {entry["field"] for entry in answer.json()["errors"]}
    assert fields == {"marker", "mpp_um", "tta", "foo"}


def test_a_text_field_is_no_file(client: httpx.Client) -> None:
    """A file sent as the field `channels` is refused by name, not read as text."""
    files = {"image": ("a.png", encoded(section())), "channels": ("c.txt", b"CD31=0")}
    answer = client.post("/v1/analyses", data={"marker": "CD31", "mpp_um": "0.5"}, files=files)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "channels"
    assert "came as a file" in answer.json()["detail"]


RAMP = np.arange(256, dtype=np.uint8)[:, None].repeat(256, axis=1)
NO_MASKS = {
    "too small": encoded(Image.new("L", (128, 256), 255)),
    "grey": encoded(Image.fromarray(RAMP)),
    "text": b"frame",
    "nothing": b"",
    "truncated": encoded(Image.fromarray(RAMP > 90))[:60],
    "huge": huge_tiff(),
    "bomb": png_bomb(),
    "white is zero": tiff(RAMP & 128, photometric="miniswhite"),
    "animated": animated(),
}


@pytest.mark.parametrize("name", NO_MASKS)
def test_what_is_no_tissue_mask_is_refused(client: httpx.Client, name: str) -> None:
    """A mask of another size, or no mask at all, is 422 and named as its sender calls it."""
    files = {"image": ("a.png", encoded(section())), "tissue": ("mask 1.png", NO_MASKS[name])}
    answer = client.post("/v1/analyses", data={"marker": "CD31", "mpp_um": "0.5"}, files=files)
    assert answer.status_code == 422, answer.text
    assert [entry["field"] for entry in answer.json()["errors"]] == ["tissue"]
    assert len(answer.json()["detail"]) > 20
    assert "/" not in answer.json()["detail"]


def test_two_images_are_refused(client: httpx.Client) -> None:
    """A request with two images is refused rather than half done."""
    files = [("image", ("a.png", encoded(section()))), ("image", ("b.png", encoded(section())))]
    answer = client.post("/v1/analyses", data={"marker": "CD31"}, files=files)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "image"
