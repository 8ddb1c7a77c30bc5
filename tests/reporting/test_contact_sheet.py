import numpy as np
import pytest
from PIL import ImageOps

from learned_augment.reporting import contact_sheet as sheet
from learned_augment.reporting.contact_sheet import CELL, contact_sheet
from learned_augment.reporting.image_files import find_images
from tests.reporting.test_image_files import save


def test_a_sheet_has_a_row_for_each_image_and_a_column_for_each_copy(tmp_path):
    paths = [save(tmp_path / "a.png"), save(tmp_path / "b.png", (300, 200), "blue")]
    files = find_images(paths)
    page = np.asarray(contact_sheet(files, ImageOps.invert, 2, "inverted"))
    red = (page == (255, 0, 0)).all(2)
    assert red.sum() == CELL * CELL
    assert (page == (0, 255, 255)).all(2).sum() == 2 * CELL * CELL
    blue = (page == (0, 0, 255)).all(2)
    assert blue.sum() == CELL * round(CELL * 200 / 300)
    assert red.nonzero()[1].min() == blue.nonzero()[1].min()
    assert red.nonzero()[0].max() < blue.nonzero()[0].min()


def test_a_sheet_has_no_row_for_a_skipped_file(tmp_path):
    paths = [save(tmp_path / "a.png"), tmp_path / "b.png", save(tmp_path / "c.png")]
    paths[1].write_text("no image")
    skipped = []
    page = contact_sheet(find_images(paths), ImageOps.invert, 1, "inverted", skipped)
    whole = contact_sheet(find_images([paths[0], paths[2]]), ImageOps.invert, 1, "inverted")
    red = (np.asarray(page)[..., :3] == (255, 0, 0)).all(2)
    assert red.sum() == 2 * CELL * CELL
    assert page.size == whole.size
    assert len(skipped) == 1


def test_the_numbers_of_rows_and_copies_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(sheet, "LONGEST", 1)
    files = find_images([save(tmp_path / "a.png"), save(tmp_path / "b.png")])
    with pytest.raises(ValueError, match="room for 1 images, got 2"):
        contact_sheet(files, ImageOps.invert, 1, "")
    with pytest.raises(ValueError, match=r"room for 50 copies .* got 100000; .* with --out FOLDER"):
        contact_sheet(files[:1], ImageOps.invert, 100_000, "")
