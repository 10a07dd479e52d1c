"""Promises about images put together from their tiles again."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.errors import BuildError
from datasets.tiles import TileDataset
from tests.training.drawn import HEIGHT, WIDTH, cell_labels, vessel_mask, write_tiles
from training.fields import images_of


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Return the tiles of two images, six each: the last ones overlap those before."""
    return write_tiles(tmp_path, "vessel", ["a", "b"], "vessmap")


def test_an_image_is_whole_again(tiles: Path):
    """Tiles that touch or overlap make one field, pixel by pixel what was drawn."""
    first, second = images_of([TileDataset(tiles, "val")])
    assert (first.animal, second.animal) == ("a", "b")
    (field,) = first.fields()
    assert field.seen.all()
    assert field.channels.shape == (HEIGHT, WIDTH, 3)
    assert np.array_equal(field.labels["vessel"] > 0, vessel_mask(0) > 0)


def test_places_far_apart_are_fields_of_their_own(tiles: Path):
    """Without the tiles between them, left and right are two fields, each as small as its tiles."""
    table = tiles / "tiles.csv"
    rows = list(csv.DictReader(table.read_text().splitlines()))
    for row in rows:
        row["x_px"] = str(int(row["x_px"]) * 1000)
    with table.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    fields = list(images_of([TileDataset(tiles, "val")])[0].fields())
    assert [field.seen.shape for field in fields] == [(HEIGHT, 48), (HEIGHT, 48)]


def test_cells_keep_their_numbers(tmp_path: Path):
    """Cells of a tile stay apart from one another on the canvas."""
    tiles = write_tiles(tmp_path, "vegf_cell", ["a"], "synthetic_brightfield_cells")
    (field,) = images_of([TileDataset(tiles, "val")])[0].fields()
    assert np.array_equal(field.labels["vegf_cell"] > 0, cell_labels(0) > 0)
    first = field.tiles[0].window.slices()
    assert len(np.unique(field.labels["vegf_cell"][first])) == 3  # background and two cells


def test_overlapping_tiles_share_no_pixel(tiles: Path):
    """Each annotated pixel belongs to one tile, the first that was annotated there."""
    (field,) = images_of([TileDataset(tiles, "val")])[0].fields()
    corners = [(place.window.y, place.window.x) for place in field.tiles]
    assert corners == [(0, 0), (0, 48), (16, 0), (16, 48)]
    assert [int((field.owner == number).sum()) for number in range(4)] == [48 * 48] * 2 + [
        16 * 48
    ] * 2


def test_what_one_tile_leaves_open_another_may_say(tiles: Path):
    """A tile that is annotated in part takes nothing from the one that it overlaps."""
    name = sorted(path.name for path in (tiles / "vessel").glob("vessel0*_0_16.png"))[0]
    below = np.zeros((48, 48), np.uint8)
    below[32:] = 255
    (tiles / "annotated").mkdir()
    Image.fromarray(below).save(tiles / "annotated" / name)
    (field,) = images_of([TileDataset(tiles, "val")])[0].fields()
    assert field.seen.all()
    assert np.array_equal(field.labels["vessel"] > 0, vessel_mask(0) > 0)


def test_a_mask_of_another_size_is_refused(tiles: Path):
    """A mask that does not match its image is one clear error that names both and the mend."""
    mask = sorted((tiles / "vessel").glob("*.png"))[0]
    Image.fromarray(np.zeros((10, 12), np.uint8)).save(mask)
    with pytest.raises(BuildError, match=r"has 12 × 10 px, the image 48 × 48 px.*build vessmap"):
        [list(image.fields()) for image in images_of([TileDataset(tiles, "val")])]
