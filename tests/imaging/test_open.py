"""Every format and oddity: measured properly or refused clearly."""

from __future__ import annotations

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from imaging.errors import (
    ImageTooLargeError,
    ImagingError,
    PixelSizeError,
    UnreadableImageError,
    UnsupportedFormatError,
)
from imaging.open import open_image


def read_all(path, **options):
    with open_image(path, 0.5, **options) as image:
        return image, image.read_region(0, 0, image.width_px, image.height_px)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


# Formats


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_rgb_comes_back_exactly(write_png, stained, name) -> None:
    """Lossless RGB is returned as stored, with its size and modality."""
    image, pixels = read_all(write_png(stained, name))
    np.testing.assert_array_equal(pixels, stained)
    assert (image.width_px, image.height_px, image.channel_count) == (80, 60, 3)
    assert (image.name, image.modality, image.full_scale) == (name, "brightfield", 255)
    assert (image.mpp_um, image.mpp_source) == (0.5, "request")


def test_jpeg_comes_back_nearly(write_png, stained) -> None:
    """A JPEG is a brightfield image like any other."""
    image, pixels = read_all(write_png(stained, "a.jpg", quality=95))
    assert image.modality == "brightfield"
    assert np.abs(pixels.astype(int) - stained).mean() < 4


@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
@pytest.mark.parametrize("layout", [{}, {"tile": (32, 16)}, {"rowsperstrip": 7}])
def test_tiff_layouts_are_read_alike(write_tiff, noisy, compression, layout) -> None:
    """Strips, tiles and compressions change no pixel, wherever a region lies."""
    path = write_tiff(noisy, compression=compression, **layout)
    with open_image(path, 0.5) as image:
        assert image.full_scale == 65535
        np.testing.assert_array_equal(image.read_region(0, 0, 90, 70)[..., 0], noisy)
        np.testing.assert_array_equal(
            image.read_region(13, 29, 40, 35)[..., 0], noisy[29:64, 13:53]
        )


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"compression": "zlib"}])
def test_rgb_tiff_planes_are_interleaved(write_tiff, stained, planar, layout) -> None:
    """RGB comes back as (H, W, 3) whether stored by pixel or by plane."""
    data = stained if planar == "contig" else np.moveaxis(stained, 2, 0)
    path = write_tiff(np.ascontiguousarray(data), photometric="rgb", planarconfig=planar, **layout)
    np.testing.assert_array_equal(read_all(path)[1], stained)


@pytest.mark.parametrize("kind", [{"ome": True}, {"imagej": True}])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_multichannel_tiff(write_tiff, noisy, kind, options) -> None:
    """OME and ImageJ channels become the last axis, in order."""
    if kind.get("imagej") and options:
        pytest.skip("ImageJ writes hyperstacks uncompressed")
    stack = np.stack([noisy, noisy[::-1], noisy[:, ::-1]])
    name = "a.ome.tif" if "ome" in kind else "a.tif"
    path = write_tiff(stack, name, metadata={"axes": "CYX"}, **kind, **options)
    image, pixels = read_all(path, channels={"CD31": 2})
    assert image.channel_count == 3
    assert dict(image.channels) == {"CD31": 2}
    np.testing.assert_array_equal(pixels, np.moveaxis(stack, 0, 2))


def test_big_endian_and_inverted_tiff(write_tiff, noisy) -> None:
    """Byte order does not matter, and where 0 is white the values are turned round."""
    np.testing.assert_array_equal(
        read_all(write_tiff(noisy, "be.tif", byteorder=">"))[1][..., 0], noisy
    )
    path = write_tiff(65535 - noisy, "inv.tif", photometric="miniswhite")
    np.testing.assert_array_equal(read_all(path)[1][..., 0], noisy)


def test_first_series_of_an_ome_tiff_is_the_image(tmp_path, noisy) -> None:
    """An OME-TIFF of several images is read as its first."""
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(noisy, metadata={"axes": "YX"})
        tiff.write(np.zeros((200, 300), dtype=np.uint16), metadata={"axes": "YX"})
    np.testing.assert_array_equal(read_all(path)[1][..., 0], noisy)


def test_16_bit_png_keeps_its_values(write_png, noisy) -> None:
    """16-bit grey and RGB PNG are not rounded to 8 bit."""
    image, pixels = read_all(write_png(noisy))
    np.testing.assert_array_equal(pixels[..., 0], noisy)
    assert image.full_scale == 65535


def test_palette_png_and_tiff(tmp_path, stained) -> None:
    """Palette images come back in their colours."""
    palette = Image.fromarray(stained).quantize(8)
    expected = np.asarray(palette.convert("RGB"))
    for name in ("a.png", "a.tif"):
        palette.save(tmp_path / name)
        np.testing.assert_array_equal(read_all(tmp_path / name)[1], expected)


def test_palette_with_transparency_is_composited_over_white(tmp_path, stained) -> None:
    """A transparent palette colour of a brightfield image is white."""
    palette = Image.fromarray(stained).quantize(4)
    clear = int(np.asarray(palette)[0, 0])
    palette.save(tmp_path / "a.png", transparency=clear)
    assert (read_all(tmp_path / "a.png")[1][0, 0] == 255).all()


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_alpha_is_white_in_brightfield_and_ignored_in_fluorescence(
    write_png, stained, name
) -> None:
    """What is transparent shows white glass; fluorescence keeps its values."""
    rgba = np.dstack([stained, np.full((60, 80), 255, dtype=np.uint8)])
    rgba[:5, :, 3] = 0
    image, pixels = read_all(write_png(rgba, name))
    assert image.channel_count == 3
    assert (pixels[:5] == 255).all()
    np.testing.assert_array_equal(pixels[5:], stained[5:])
    _, dark = read_all(write_png(rgba, name), modality="fluorescence", channels={"CD31": 0})
    np.testing.assert_array_equal(dark, stained)


def test_exif_orientation_is_not_applied(tmp_path, stained) -> None:
    """Pixels are taken as stored, so masks and overlays fit the file."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stained).save(tmp_path / "a.jpg", exif=exif)
    image, _ = read_all(tmp_path / "a.jpg")
    assert (image.width_px, image.height_px) == (80, 60)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (1, 9), (50, 50), (50, 50, 3)])
@pytest.mark.parametrize("value", [0, 255])
def test_one_pixel_black_and_white_are_accepted(write_png, name, shape, value) -> None:
    """The plainest images open, whatever their size."""
    image, pixels = read_all(write_png(np.full(shape, value, dtype=np.uint8), name))
    assert pixels.shape[:2] == shape[:2]
    assert (pixels == value).all()
    assert image.modality == ("brightfield" if value and len(shape) == 3 else "fluorescence")


def test_reads_are_thread_safe(write_tiff, noisy) -> None:
    """Many threads may read one image at once."""
    big = np.tile(noisy, (6, 6))
    path = write_tiff(big, compression="zlib", tile=(64, 64))
    with open_image(path, 0.5) as image, ThreadPoolExecutor(4) as pool:
        boxes = [(x, y, 100, 100) for x in range(0, 400, 40) for y in range(0, 300, 40)]
        for (x, y, w, h), pixels in zip(
            boxes, pool.map(lambda box: image.read_region(*box), boxes), strict=True
        ):
            np.testing.assert_array_equal(pixels[..., 0], big[y : y + h, x : x + w])


# Refusals


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", UnreadableImageError),
        (b"sample,value\n1,2\n" * 20, UnsupportedFormatError),
        (b"GIF89a" + b"\0" * 200, UnsupportedFormatError),
        (b"\x89PNG\r\n\x1a\n", UnreadableImageError),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, UnreadableImageError),
        (b"\xff\xd8\xff\xe0", UnreadableImageError),
        (b"II*\x00", UnreadableImageError),
        (b"II*\x00\x08\0\0\0\0\0\0\0\0\0", UnreadableImageError),
        (b"MM\x00+" + b"\xff" * 60, UnreadableImageError),
        (b"\0" * 128 + b"DICM" + b"\0" * 40, UnreadableImageError),
    ],
)
def test_files_that_are_no_images(tmp_path, content, kind) -> None:
    """The first bytes decide, not the name; an empty or hollow file says what it is."""
    path = tmp_path / "section.png"
    path.write_bytes(content)
    with pytest.raises(kind, match=r"section\.png"):
        open_image(path, 0.5)


def test_a_missing_file_is_unreadable(tmp_path) -> None:
    """A path that leads nowhere, or to a folder, is an error that names it."""
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(UnreadableImageError, match="cannot be read"):
            open_image(path, 0.5)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_files_are_refused(write_png, name, share) -> None:
    """A file that was cut short is refused, never measured as far as it goes."""
    pixels = np.random.default_rng(2).integers(0, 256, (120, 120, 3)).astype(np.uint8)
    whole = write_png(pixels, name).read_bytes()
    cut = write_png(pixels, name)
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UnreadableImageError, match=name):
        read_all(cut)


def test_a_png_that_lies_about_its_colours_is_refused(write_png, stained) -> None:
    """Damage inside the pixels is refused too."""
    path = write_png(stained)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(UnreadableImageError):
        read_all(path)


def test_cmyk_is_refused(tmp_path) -> None:
    """CMYK is print, as JPEG and as TIFF."""
    for name in ("a.jpg", "a.tif"):
        Image.new("CMYK", (20, 20)).save(tmp_path / name)
        with pytest.raises(UnreadableImageError, match="RGB"):
            open_image(tmp_path / name, 0.5)


def test_animated_png_is_refused(tmp_path, stained) -> None:
    """Several frames are not one section."""
    first = Image.fromarray(stained)
    second = Image.fromarray(stained[::-1].copy())
    first.save(tmp_path / "a.png", save_all=True, append_images=[second])
    with pytest.raises(UnreadableImageError, match="animated"):
        open_image(tmp_path / "a.png", 0.5)


@pytest.mark.parametrize(
    ("shape", "options", "word"),
    [
        ((4, 30, 40), {"metadata": {"axes": "ZYX"}, "imagej": True}, "focal planes"),
        ((4, 30, 40), {"metadata": {"axes": "TYX"}, "ome": True}, "time points"),
        ((4, 30, 40), {"photometric": "minisblack", "metadata": None}, "pages"),
    ],
)
def test_stacks_are_refused(write_tiff, shape, options, word) -> None:
    """A stack says what it is a stack of, and what to save instead."""
    with pytest.raises(UnreadableImageError, match=word):
        open_image(write_tiff(np.zeros(shape, dtype=np.uint8), **options), 0.5)


def test_black_and_white_is_read_as_8_bit(write_tiff) -> None:
    """One bit a pixel, as masks are often saved, is 0 and 255, as in a PNG."""
    mask = np.random.default_rng(0).random((50, 70)) < 0.4
    with open_image(write_tiff(mask, photometric="minisblack"), 0.5) as image:
        pixels = image.read_region(0, 0, 70, 50)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels[..., 0], mask * 255)


@pytest.mark.parametrize("kind", ["ome", "imagej"])
@pytest.mark.parametrize("share", [0.5, 0.7, 0.95])
def test_a_multichannel_file_cut_short_is_refused(
    tmp_path: Path, kind: str, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    """It must not be read as an image of the channels that are left."""
    planes = np.random.default_rng(0).integers(0, 60000, (3, 300, 300)).astype(np.uint16)
    whole = tmp_path / ("whole.ome.tif" if kind == "ome" else "whole.tif")
    tifffile.imwrite(whole, planes, metadata={"axes": "CYX"}, **{kind: True})
    channels = {"CD31": 0, "VEGF": 1}
    with open_image(whole, 0.5, modality="fluorescence", channels=channels) as image:
        assert image.channel_count == 3
    content = whole.read_bytes()
    cut = whole.with_name("cut" + "".join(whole.suffixes))
    cut.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UnreadableImageError, match="damaged"):
        open_image(cut, 0.5, modality="fluorescence", channels=channels)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "int16", "uint32"])
def test_pixels_that_are_no_intensities_are_refused(write_tiff, dtype) -> None:
    """Floating, complex, signed and 32-bit pixels ask for 8 or 16 bit."""
    with pytest.raises(UnreadableImageError, match="8 or 16 bit"):
        open_image(write_tiff(np.ones((20, 20), dtype=dtype)), 0.5)


# Size, from the header


def tiny_tiff(width: int, height: int) -> bytes:
    """Return a TIFF of a few bytes that claims a size."""
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, 10),
    ]
    body = struct.pack("<H", len(tags))
    for tag, kind, value in tags:
        body += struct.pack("<HHII", tag, kind, 1, value)
    return b"II*\x00" + struct.pack("<I", 8) + body + struct.pack("<I", 0)


def tiny_png(width: int, height: int, *extra: bytes) -> bytes:
    """Return a PNG of a few bytes that claims a size."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = b"".join(extra) or png_chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + header + body + png_chunk(b"IEND", b"")


@pytest.mark.parametrize("make", [tiny_tiff, tiny_png])
def test_bombs_are_refused_by_their_header(tmp_path, make) -> None:
    """A file of a hundred bytes that claims 100,000² pixels is refused before decoding."""
    path = tmp_path / "bomb"
    path.write_bytes(make(100_000, 100_000))
    with pytest.raises(ImageTooLargeError) as caught:
        open_image(path, 0.5)
    assert caught.value.value_px == 10**10
    assert caught.value.limit_px < 10**10


def test_a_small_file_that_claims_much_within_the_limit_is_damaged(tmp_path) -> None:
    """A claim within the limit that the bytes do not hold is an unreadable image."""
    path = tmp_path / "hollow"
    for content in (tiny_tiff(5000, 5000), tiny_png(500, 500)):
        path.write_bytes(content)
        with pytest.raises(UnreadableImageError):
            open_image(path, 0.5)


def test_pillows_own_limit_is_no_limit_here(tmp_path) -> None:
    """An image of 96 million pixels, for which Pillow would warn, opens."""
    Image.new("L", (12_000, 8_000)).save(tmp_path / "large.png")
    with open_image(tmp_path / "large.png", 0.5) as image:
        assert image.read_region(11_000, 7_000, 10, 10).shape == (10, 10, 1)


def test_limit_is_the_callers(write_png, stained) -> None:
    """`limit_px` pixels pass and one fewer does not."""
    path = write_png(stained)
    open_image(path, 0.5, limit_px=4800).close()
    with pytest.raises(ImageTooLargeError, match=r"4,800 pixels and at most 4,799") as caught:
        open_image(path, 0.5, limit_px=4799)
    assert (caught.value.limit_px, caught.value.value_px) == (4799, 4800)


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt"])
def test_metadata_bombs_do_no_harm(tmp_path, kind) -> None:
    """A chunk that expands to 200 MB is passed over, not expanded."""
    bomb = png_chunk(kind, b"name\0\0" + zlib.compress(b"\0" * 200_000_000))
    rows = png_chunk(b"IDAT", zlib.compress((b"\0" + b"\x30" * 20) * 20))
    path = tmp_path / "bomb.png"
    path.write_bytes(tiny_png(20, 20, bomb, rows))
    assert (read_all(path)[1] == 0x30).all()


def test_refusals_leave_no_file_open(write_tiff, noisy) -> None:
    """A file whose pixel size is missing can be removed at once (open files warn in tests)."""
    path = write_tiff(noisy)
    with pytest.raises(PixelSizeError):
        open_image(path)
    path.unlink()


def test_random_damage_never_escapes_as_another_error(
    write_png, write_tiff, stained, noisy
) -> None:
    """Whatever bytes are flipped, an image is read or refused by one of our own errors."""
    random = np.random.default_rng(3)
    files = [
        write_png(stained, "a.png"),
        write_png(stained, "a.jpg"),
        write_tiff(noisy, "b.tif", compression="zlib", tile=(32, 32)),
        write_tiff(np.stack([noisy, noisy]), "c.ome.tif", metadata={"axes": "CYX"}),
    ]
    for path in files:
        original = path.read_bytes()
        for _ in range(60):
            data = bytearray(original)
            for _ in range(3):
                head = min(300, len(data))
                place = random.integers(len(data) if random.random() < 0.3 else head)
                data[place] = random.integers(256)
            path.write_bytes(bytes(data))
            try:
                read_all(path, limit_px=10**6)
            except ImagingError as error:
                assert len(str(error)) > 20


def test_16_bit_colour_png(tmp_path) -> None:
    """A 16-bit RGB PNG keeps its values (Pillow alone would round them)."""
    pixels = np.full((6, 8, 3), (60_001, 50_003, 40_007), dtype=np.uint16)
    pixels[2:3] = (20_001, 10_003, 5_007)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    buffer = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    buffer.seek(0, 2)
    buffer.write(png_chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 6, 16, 2, 0, 0, 0)))
    buffer.write(png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b""))
    path = tmp_path / "deep.png"
    path.write_bytes(buffer.getvalue())
    image, found = read_all(path)
    np.testing.assert_array_equal(found, pixels)
    assert (image.modality, image.full_scale) == ("brightfield", 65535)
