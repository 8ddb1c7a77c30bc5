import io
from pathlib import Path, PurePath

import pytest
from PIL import Image

from learned_augment.reporting.image_files import (
    ImageFile,
    copy_paths,
    encode_image,
    find_images,
    read_images,
)


def save(path, size=(32, 32), color="red", mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)
    return path


def read(path):
    [(_, image)] = read_images(find_images([path]))
    return image


def test_folders_are_searched_with_their_sub_folders(tmp_path):
    save(tmp_path / "b.png")
    save(tmp_path / "a" / "c.JPG")
    (tmp_path / "notes.txt").write_text("no image")
    found = find_images([tmp_path])
    assert [str(file.name) for file in found] == ["a/c.JPG", "b.png"]


def test_hidden_files_and_folders_with_image_names_are_left_out(tmp_path):
    save(tmp_path / "sub.png" / "a.png")
    hidden = save(tmp_path / "._a.jpg")
    assert [str(file.name) for file in find_images([tmp_path])] == ["sub.png/a.png"]
    assert [file.path for file in find_images([hidden])] == [hidden]


def test_missing_paths_and_empty_folders_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="No image or folder at 'nowhere'"):
        find_images(["nowhere"])
    with pytest.raises(ValueError, match="No images in the folder"):
        find_images([tmp_path])


def test_unreadable_files_are_refused_by_name(tmp_path):
    text = tmp_path / "text.png"
    text.write_text("no image")
    with pytest.raises(ValueError, match=r"text.png is not an image"):
        read(text)
    whole = save(tmp_path / "whole.png", (64, 64)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut.png cannot be read"):
        read(tmp_path / "cut.png")
    deep = save(tmp_path / "deep.png", mode="I;16", color=70)
    with pytest.raises(ValueError, match=r"deep.png is of mode I;16; convert it"):
        read(deep)


def test_any_error_of_a_decoder_makes_the_file_unreadable(tmp_path, monkeypatch):
    def broken(image):
        raise KeyError

    path = save(tmp_path / "a.png")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", broken)
    with pytest.raises(ValueError, match=r"a.png cannot be read: KeyError\."):
        read(path)


def test_unreadable_files_are_left_out_on_request(tmp_path):
    save(tmp_path / "b.png")
    (tmp_path / "a.png").write_text("no image")
    files, skipped = find_images([tmp_path]), []
    with pytest.raises(ValueError, match=r"a.png is not an image .* out with --skip-unreadable"):
        list(read_images(files))
    assert [place for place, _ in read_images(files, skipped)] == [1]
    assert skipped == [f"{tmp_path / 'a.png'} is not an image that Pillow can read"]
    with pytest.raises(ValueError, match=r"None of 1 image files can be read: .*a.png is not"):
        list(read_images(files[:1], []))


def test_photographs_are_turned_upright(tmp_path):
    image = Image.new("RGB", (40, 20))
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert read(tmp_path / "turned.jpg").size == (20, 40)


def test_copies_keep_folders_and_have_different_names(tmp_path):
    names = ["x/a.png", "x/a.jpg", "b.png"]
    files = [ImageFile(tmp_path / name, Path(name)) for name in names]
    paths = copy_paths(files, Path("out"), "p", 2)
    assert [str(path) for path in paths] == [
        "out/x/a.png-p-1.png",
        "out/x/a.png-p-2.png",
        "out/x/a.jpg-p-1.png",
        "out/x/a.jpg-p-2.png",
        "out/b-p-1.png",
        "out/b-p-2.png",
    ]
    twins = [
        ImageFile(Path("one/a.png"), Path("a.png")),
        ImageFile(Path("two/a.png"), Path("a.png")),
    ]
    with pytest.raises(ValueError, match=r"one/a.png and two/a.png would have copies of the same"):
        copy_paths(twins, Path("out"), "p", 1)


def test_the_time_to_name_copies_is_linear_in_the_images(monkeypatch):
    asked, same = [], PurePath.__eq__

    def counted(one, other):
        asked.append(one)
        return same(one, other)

    names = [Path("one", f"{index}.png") for index in range(1000)]
    monkeypatch.setattr(PurePath, "__eq__", counted)
    assert len(copy_paths([ImageFile(name, name) for name in names], Path("out"), "p", 1)) == 1000
    assert len(asked) < 10_000


def test_a_copy_never_replaces_an_original(tmp_path):
    files = [ImageFile(tmp_path / name, Path(name)) for name in ("a.png", "a-p-1.png")]
    with pytest.raises(ValueError, match="is one of the images to augment"):
        copy_paths(files, tmp_path, "p", 1)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
def test_every_mode_can_be_written(mode):
    data = encode_image(Image.new("RGB", (4, 4), "blue").convert(mode))
    assert data.startswith(b"\x89PNG")


@pytest.mark.parametrize(("mode", "kept"), [("RGB", b"profile"), ("CMYK", None)])
def test_a_color_profile_is_kept_with_its_pixels(mode, kept):
    image = Image.new(mode, (4, 4))
    image.info["icc_profile"] = b"profile"
    with Image.open(io.BytesIO(encode_image(image))) as written:
        assert written.info.get("icc_profile") == kept
    assert image.info == {"icc_profile": b"profile"}
