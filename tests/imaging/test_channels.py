"""Modality and channels: taken from the pixels where that is safe, asked for where it is not."""

from __future__ import annotations

import numpy as np
import pytest

from imaging.errors import ChannelsError, ModalityError
from imaging.open import open_image, parse_channels


def modality(path, **options) -> tuple[str, int]:
    with open_image(path, 0.5, **options) as image:
        return image.modality, image.channel_count


def test_channels_are_written_as_pairs() -> None:
    """Names are matched without regard to case, spaces are free, nothing is no mapping."""
    assert parse_channels("CD31=1, vegf=2,Nuclei=0") == {"CD31": 1, "VEGF": 2, "nuclei": 0}
    assert parse_channels(None) == parse_channels(" ") == {}


@pytest.mark.parametrize(
    "text", ["CD31", "CD31=", "CD31=x", "CD31=-1", "CD31=1.5", "GFAP=0", "CD31=1,CD31=2", "=1", ","]
)
def test_malformed_channels_are_refused(text) -> None:
    """Anything but name=index with known names is an error that shows an example."""
    with pytest.raises(ChannelsError):
        parse_channels(text)


def test_bright_rgb_is_brightfield_and_dark_rgb_fluorescence(write_png, stained) -> None:
    """Light that comes through is brightfield, light in the dark is fluorescence."""
    assert modality(write_png(stained)) == ("brightfield", 3)
    dark = np.zeros_like(stained)
    dark[10:20, 10:30, 1] = 200
    assert modality(write_png(dark)) == ("fluorescence", 3)


def test_equal_rgb_channels_are_one_grey_channel(write_png, noisy) -> None:
    """A grey image saved as RGB has one channel, also after JPEG."""
    grey = (noisy // 8).astype(np.uint8)
    for name in ("a.png", "a.jpg"):
        assert modality(write_png(np.dstack([grey] * 3), name)) == ("fluorescence", 1)


def test_a_grey_image_is_never_brightfield(write_png, noisy, stained) -> None:
    """Stains cannot be told apart without colour: asked for or guessed."""
    grey = (noisy // 8).astype(np.uint8)
    for pixels in (grey, noisy, np.dstack([grey] * 3)):
        with pytest.raises(ModalityError, match="colour"):
            modality(write_png(pixels), modality="brightfield")
    photograph = write_png(stained[..., 1].copy())
    with pytest.raises(ModalityError, match="grey photograph"):
        modality(photograph)
    assert modality(photograph, modality="fluorescence") == ("fluorescence", 1)


def test_an_unknown_modality_is_refused(write_png, stained) -> None:
    """Only auto, brightfield and fluorescence exist."""
    with pytest.raises(ModalityError, match="choose"):
        modality(write_png(stained), modality="confocal")


def test_several_channels_with_signal_need_a_mapping(write_tiff, noisy) -> None:
    """The error lists the file's channels by name; one channel with signal needs no mapping."""
    stack = np.stack([noisy, noisy[::-1]])
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "Cy3"]}}
    path = write_tiff(stack, "a.ome.tif", metadata=metadata)
    with pytest.raises(ChannelsError, match=r"0 \(DAPI\), 1 \(Cy3\)"):
        modality(path)
    random = np.random.default_rng(0)
    stack[0] = random.normal(100, 5, noisy.shape).astype(np.uint16)
    with open_image(write_tiff(stack, "b.ome.tif", metadata=metadata), 0.5) as image:
        assert image.channel_of("CD31") == 1
        assert dict(image.channels) == {}


def test_a_dark_photograph_of_a_stained_section_is_told_its_mend(write_png, stained) -> None:
    """Underexposed RGB is taken for fluorescence; the error names modality, which then works."""
    dark = write_png((0.35 * stained).astype(np.uint8))
    with pytest.raises(ChannelsError, match="--modality brightfield") as caught:
        modality(dark)
    assert "CD31=" in str(caught.value)
    assert modality(dark, modality="brightfield") == ("brightfield", 3)
    # Who says fluorescence means it.
    with pytest.raises(ChannelsError) as caught:
        modality(dark, modality="fluorescence")
    assert "brightfield" not in str(caught.value)


def test_black_channels_need_no_mapping(write_tiff) -> None:
    """Where no channel holds signal, the first stands for all."""
    stack = np.zeros((3, 40, 40), dtype=np.uint16)
    with open_image(write_tiff(stack, "a.ome.tif", metadata={"axes": "CYX"}), 0.5) as image:
        assert image.channel_of("VEGF") == 0


@pytest.mark.parametrize(
    ("mapping", "word"),
    [
        ({"CD31": 2}, "does not exist"),
        ({"CD31": -1}, "does not exist"),
        ({"GFAP": 0}, "unknown"),
        ({"CD31": 1, "nuclei": 1}, "share"),
        ({"CD31": True}, "whole number"),
    ],
)
def test_impossible_mappings_are_refused(write_tiff, noisy, mapping, word) -> None:
    """Channels that do not exist, unknown names and shared channels are errors."""
    path = write_tiff(np.stack([noisy, noisy]), "a.ome.tif", metadata={"axes": "CYX"})
    with pytest.raises(ChannelsError, match=word):
        open_image(path, 0.5, channels=mapping)


def test_brightfield_has_no_channels(write_png, stained) -> None:
    """A mapping for a brightfield image is an error, never ignored."""
    with pytest.raises(ChannelsError, match="stains"):
        open_image(write_png(stained), 0.5, channels={"CD31": 0})


def test_a_marker_that_the_mapping_leaves_out_is_an_error(write_tiff, noisy) -> None:
    """Asking for VEGF where only CD31 was located says what to add."""
    path = write_tiff(np.stack([noisy, noisy]), "a.ome.tif", metadata={"axes": "CYX"})
    with (
        open_image(path, 0.5, channels={"CD31": 0}) as image,
        pytest.raises(ChannelsError, match="add VEGF=index"),
    ):
        image.channel_of("VEGF")


def test_real_fields_get_the_right_modality(shared_data) -> None:
    """Every real IHC field is brightfield and every fluorescence field fluorescence."""
    for path in sorted((shared_data / "ki67_dab" / "images").glob("*.jpg"))[:6]:
        assert modality(path) == ("brightfield", 3)
    for path in sorted((shared_data / "cortex_fields").glob("*.tiff")):
        assert modality(path) == ("fluorescence", 1)
    for path in sorted((shared_data / "neurons_if" / "images").glob("*.png"))[::20]:
        assert modality(path, channels={"VEGF": 0}) == ("fluorescence", 3)
