"""Annotated fluorescence images as brightfield H-DAB sections, opened as any upload is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from datasets.annotations import TargetAnnotation
from datasets.errors import BuildError
from datasets.splits import draw
from datasets.synth_rerender import rerender_as_hdab
from imaging.open import SectionImage, open_image
from imaging.polygons import Grid

# A rendering holds some twenty float planes of the whole image at once: 1.3 GB at 16 Mpx.
_LIMIT_PX = 4096 * 4096


def hdab_sections(
    image: SectionImage, marker: str, annotation: TargetAnnotation, count: int, key: str
) -> Iterator[SectionImage]:
    """Render one marker of a fluorescence image `count` times as a brightfield section.

    Each rendering is written as PNG and opened again, so that its tiles come from the path that
    a served image takes. It is closed and removed when the next one is asked for.

    Parameters
    ----------
    annotation
        The vessels' outlines; pixels outside of an annotated area hold no vessel in a rendering.
    key
        What the seeds are drawn from, with the number of the rendering.

    Raises
    ------
    BuildError
        If the image is over 16 Mpx.
    """
    if image.width_px * image.height_px > _LIMIT_PX:
        raise BuildError(
            f"{image.name} has more than {_LIMIT_PX} px, too many to be rendered as H-DAB; "
            "crop it, or build without renderings",
            field="image",
        )
    found = annotation.read(Grid(0, 0, image.width_px, image.height_px))
    pixels = image.read_region(0, 0, image.width_px, image.height_px)
    plane = pixels[..., image.channel_of(marker)]
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            seed = int(draw(number, key)[:8], 16)
            rgb = rerender_as_hdab(found.labels > 0, plane, seed, mpp_um=image.mpp_um)
            path = Path(folder) / f"{number}.png"
            Image.fromarray(rgb).save(path, format="PNG", compress_level=1)
            with open_image(path, image.mpp_um, modality="brightfield") as section:
                yield section
