from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from service.errors import (
    BadMultipartError,
    InvalidRequestError,
    NotMultipartError,
    ServiceError,
    UploadStalledError,
    UploadTooLargeError,
)
from service.form_reader import Upload, UploadedFile, clean_name
from service.uploads import Body, boundary_of, declared_size, receive_form

IMAGE = bytes(range(256)) * 20


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    shown = f'; filename="{filename}"' if filename is not None else ""
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'
    return head.encode() + value + b"\r\n"


WHOLE = part("marker", b"CD31") + part("image", IMAGE, "a.png") + b"--b--\r\n"


def receive(content: bytes, folder: Path, *, step: int = 7, limit_bytes: int = 10**6) -> Upload:
    pieces = [content[i : i + step] for i in range(0, len(content), step)]
    messages: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": i < len(pieces) - 1}
        for i, piece in enumerate(pieces)
    ]
    return run(messages, folder, limit_bytes)


def run(messages: list[Message], folder: Path, limit_bytes: int = 10**6) -> Upload:
    waiting = iter(messages)

    async def take() -> Message:
        message = next(waiting, None)
        return message if message is not None else await asyncio.Event().wait()  # type: ignore[return-value]

    return asyncio.run(receive_form(Body(take, 0.2), b"b", folder, limit_bytes=limit_bytes))


@pytest.mark.parametrize("step", [1, 7, 10**6])
def test_image_goes_to_disk(tmp_path: Path, step: int) -> None:
    """However the body is cut, the image lies on disk byte for byte and the text in memory."""
    upload = receive(WHOLE, tmp_path, step=step)
    assert (tmp_path / "upload" / "a.png").read_bytes() == IMAGE
    image = UploadedFile("a.png", hashlib.sha256(IMAGE).hexdigest(), len(IMAGE))
    assert upload == Upload({"marker": "CD31"}, image)


@pytest.mark.parametrize("step", [1, 7, 10**6])
def test_a_tissue_mask_lies_beside_the_image(tmp_path: Path, step: int) -> None:
    """A file in the field tissue goes to disk as well, whichever of the two comes first."""
    mask = part("tissue", IMAGE[:99], "../m.png")
    for number, body in enumerate((mask + WHOLE, WHOLE[:-7] + mask + b"--b--\r\n")):
        folder = tmp_path / str(number)
        folder.mkdir()
        upload = receive(body, folder, step=step)
        assert (folder / "upload" / "a.png").read_bytes() == IMAGE
        assert (folder / "tissue" / "m.png").read_bytes() == IMAGE[:99]
        assert upload.tissue == UploadedFile("m.png", hashlib.sha256(IMAGE[:99]).hexdigest(), 99)
        assert upload.image.sha256 == hashlib.sha256(IMAGE).hexdigest()
        assert upload.fields == {"marker": "CD31"}


def test_tissue_as_text_is_no_file(tmp_path: Path) -> None:
    """The words auto and frame are text, and so is the nothing that a browser sends unasked."""
    for value, filename in ((b"frame", None), (b"", "")):
        upload = receive(part("tissue", value, filename) + WHOLE, tmp_path)
        assert upload.fields["tissue"] == value.decode()
        assert upload.tissue is None
        assert not (tmp_path / "tissue").exists()


def test_an_image_without_a_file_is_told_how_files_are_sent(tmp_path: Path) -> None:
    """What ``curl -F image=path`` sends is the path: the error names the field and the @."""
    with pytest.raises(InvalidRequestError, match="-F image=@section") as caught:
        receive(part("image", b"/data/section.png") + WHOLE, tmp_path)
    assert caught.value.errors[0]["field"] == "image"
    assert not (tmp_path / "upload").exists()


def test_image_and_mask_share_the_limit(tmp_path: Path) -> None:
    """The mask's bytes count with the image's, and the error names the field that was too much."""
    body = WHOLE[:-7] + part("tissue", bytes(100), "m.png") + b"--b--\r\n"
    with pytest.raises(UploadTooLargeError) as caught:
        receive(body, tmp_path, limit_bytes=len(IMAGE) + 99)
    assert (caught.value.limit, caught.value.errors[0]["field"]) == (len(IMAGE) + 99, "tissue")
    receive(body, tmp_path, limit_bytes=len(IMAGE) + 100)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (part("marker", b"CD31") + b"--b--\r\n", InvalidRequestError),
        (part("image", b"1", "a") + part("image", b"2", "b") + b"--b--\r\n", InvalidRequestError),
        (part("marker", b"1") + part("marker", b"2") + b"--b--\r\n", InvalidRequestError),
        (
            part("marker", b"\xff\xfe") + part("image", b"1", "a") + b"--b--\r\n",
            InvalidRequestError,
        ),
        (WHOLE[:-20], BadMultipartError),
        (b"no multipart at all", BadMultipartError),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", BadMultipartError),
        (part("tissue", b"1", "m") + part("tissue", b"2", "m") + WHOLE, InvalidRequestError),
        (part("tissue", b"auto") + part("tissue", b"2", "m") + WHOLE, InvalidRequestError),
        (part("tissue", b"2", "m") + part("tissue", b"auto") + WHOLE, InvalidRequestError),
        (part("tissue", b"", "m.png") + WHOLE, InvalidRequestError),
        (part("channels", b"CD31=0", "m.txt") + WHOLE, InvalidRequestError),
        (part("note", b"x" * 4_200_000) + b"--b--\r\n", UploadTooLargeError),
    ],
    ids=[
        "none",
        "two",
        "twice",
        "latin",
        "cut",
        "text",
        "nameless",
        "masks",
        "word and mask",
        "mask and word",
        "empty mask",
        "file",
        "long",
    ],
)
def test_refuses_broken_forms(tmp_path: Path, body: bytes, kind: type[ServiceError]) -> None:
    """A form without an image, with two, malformed or cut short is refused as what it is."""
    with pytest.raises(kind):
        receive(body, tmp_path)


def test_stops_at_the_limit(tmp_path: Path) -> None:
    """The byte after the limit ends the upload, and the error tells limit and value."""
    with pytest.raises(UploadTooLargeError) as caught:
        receive(WHOLE, tmp_path, limit_bytes=len(IMAGE) - 1)
    assert caught.value.limit == len(IMAGE) - 1
    receive(WHOLE, tmp_path, limit_bytes=len(IMAGE))


def test_silence_and_departure_end_an_upload(tmp_path: Path) -> None:
    """A client that goes silent or away does not hold the server."""
    first: Message = {"type": "http.request", "body": WHOLE[:50], "more_body": True}
    with pytest.raises(UploadStalledError):
        run([first], tmp_path)
    with pytest.raises(ClientDisconnect):
        run([first, {"type": "http.disconnect"}], tmp_path)


def test_declared_size_is_checked_first() -> None:
    """A Content-Length beyond the limit is refused; a missing or odd one waits for the bytes."""
    with pytest.raises(UploadTooLargeError) as caught:
        declared_size("99999999", 1000)
    assert (caught.value.limit, caught.value.value) == (1000, 99999999)
    assert declared_size(None, 1000) == 0
    assert declared_size("-5", 1000) == 0


def test_content_type_must_be_multipart() -> None:
    """Another content type is 415, a missing boundary 400."""
    assert boundary_of('multipart/form-data; boundary="x y"') == b"x y"
    for other in (None, "", "application/json", "multipart/mixed; boundary=x"):
        with pytest.raises(NotMultipartError):
            boundary_of(other)
    with pytest.raises(BadMultipartError):
        boundary_of("multipart/form-data")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("section 1.tif", "section 1.tif"),
        ("C:\\scans\\a.tif", "a.tif"),
        ("../../etc/passwd", "passwd"),
        ("a\r\nb\x00.png", "ab.png"),
        ("..", "image"),
        (".hidden", "hidden"),
        (".ome.tif", "ome.tif"),
        ("", "image"),
        ("x" * 500 + ".tif", "x" * 200 + ".tif"),
        ("µ" * 500, "µ" * 100),
    ],
)
def test_names_are_for_the_record(given: str, kept: str) -> None:
    """A client's file name is reduced to a last part of bounded length; it never leads away."""
    assert clean_name(given) == kept
