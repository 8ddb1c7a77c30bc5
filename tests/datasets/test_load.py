import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset
from torchvision import datasets as torchvision_datasets

from learned_augment.datasets.load import load_images


class Pictures(Dataset):
    def __init__(self, items, classes=None):
        self.items = items
        self.classes = classes

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def pictures(count, size=(10, 8), classes=2):
    return Pictures([(Image.new("RGB", size, (i, 0, 0)), i % classes) for i in range(count)])


def write_images(folder, count, size=(10, 8), mode="RGB", suffix="png", level=0):
    folder.mkdir(parents=True)
    for i in range(count):
        colour = (level + i,) * len(Image.new(mode, (1, 1)).getbands())
        Image.new(mode, size, colour if len(colour) > 1 else colour[0]).save(
            folder / f"{i:02}.{suffix}"
        )


@pytest.fixture
def split_folder(tmp_path):
    for part, count in (("train", 4), ("test", 2)):
        write_images(tmp_path / part / "cat", count, level=10)
        write_images(tmp_path / part / "dog", count, level=50)
    return tmp_path


def test_digits_are_real_scans_half_of_them_to_test():
    pytest.importorskip("sklearn")
    data = load_images("digits")
    assert data.train_images.shape == (899, 3, 32, 32)
    assert data.test_images.shape == (898, 3, 32, 32)
    assert data.classes == tuple("0123456789")
    assert not data.mirrors
    assert data.train_labels.bincount().min() > 80
    zeros = data.train_images[data.train_labels == 0].float().mean((0, 1))
    assert zeros[16, 16] < 20 < 150 < zeros[16, 8]  # a ring: dark inside, bright at its side


def test_a_folder_with_parts_reads_levels_labels_and_order(split_folder):
    data = load_images(f"folder:{split_folder}")
    assert data.classes == ("cat", "dog")
    assert data.train_images.shape == (8, 3, 8, 10)
    assert data.train_images[:, 0, 0, 0].tolist() == [10, 11, 12, 13, 50, 51, 52, 53]
    assert data.train_labels.tolist() == [0] * 4 + [1] * 4
    assert data.test_images[:, 2, 7, 9].tolist() == [10, 11, 50, 51]
    assert data.mirrors


def test_hidden_files_are_no_images(split_folder):
    (split_folder / "train" / "cat" / "._0.png").write_bytes(b"a fork of resources")
    assert len(load_images(f"folder:{split_folder}").train_labels) == 8


def test_val_stands_in_for_test(split_folder):
    (split_folder / "test").rename(split_folder / "val")
    assert len(load_images(f"folder:{split_folder}").test_labels) == 4


def test_a_folder_without_parts_is_split_by_the_seed(split_folder):
    first, again, other = (
        load_images(f"folder:{split_folder}/train", seed=s).test_images[:, 0, 0, 0].tolist()
        for s in (0, 0, 5)
    )
    assert first == again != other
    assert len(first) == 2


def test_every_mode_of_8_bits_becomes_rgb(tmp_path):
    for mode in ("RGB", "L", "RGBA", "LA", "P", "1"):
        write_images(tmp_path / mode, 2, mode=mode, level=0)
    write_images(tmp_path / "CMYK", 2, mode="CMYK", suffix="jpg")
    assert load_images(f"folder:{tmp_path}").train_images.shape[1:] == (3, 8, 10)


def test_image_size_resizes_the_shorter_side_and_crops_the_centre(tmp_path):
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[:, 40:80] = 200
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    images = load_images(f"folder:{tmp_path}", image_size=20).train_images
    assert images.shape[1:] == (3, 20, 20)
    assert images[:, :, :, 1:-1].unique().tolist() == [200]


def test_large_jpegs_are_resized_like_other_files(tmp_path):
    ramp = np.linspace(0, 255, 512).astype(np.uint8)
    picture = Image.fromarray(np.broadcast_to(ramp[None, :, None], (512, 512, 3)).copy())
    for name, suffix in (("jpg", "jpg"), ("png", "png")):
        (tmp_path / name).mkdir()
        for i in range(2):
            picture.save(tmp_path / name / f"{i}.{suffix}")
    data = load_images(f"folder:{tmp_path}", image_size=32)
    jpeg, png = (data.train_images[data.train_labels == label][0].float() for label in (0, 1))
    assert (jpeg - png).abs().mean() < 2


def test_different_sizes_name_the_first_offender_and_the_way_out(split_folder):
    Image.new("RGB", (9, 8)).save(split_folder / "train" / "cat" / "01.png")
    with pytest.raises(ValueError, match=r"cat/01\.png is 9 x 8 pixels.*image_size=8"):
        load_images(f"folder:{split_folder}")


def test_unreadable_files_are_named_and_counted(split_folder):
    (split_folder / "train" / "cat" / "01.png").write_bytes(b"no picture")
    whole = (split_folder / "train" / "dog" / "00.png").read_bytes()
    (split_folder / "train" / "dog" / "00.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"2 of 8 .*cat/01\.png: .*dog/00\.png.*skip_unreadable"):
        load_images(f"folder:{split_folder}")
    data = load_images(f"folder:{split_folder}", skip_unreadable=True)
    assert data.train_images[:, 0, 0, 0].tolist() == [10, 12, 13, 51, 52, 53]
    assert data.train_labels.tolist() == [0] * 3 + [1] * 3
    assert len(data.skipped) == 2


def test_16_bit_images_are_refused_rather_than_clipped(split_folder):
    deep = Image.fromarray(np.full((8, 10), 40000, np.uint16))
    deep.save(split_folder / "train" / "cat" / "01.png")
    with pytest.raises(ValueError, match="more than 8 bits"):
        load_images(f"folder:{split_folder}")


def test_classes_must_agree_between_the_parts(split_folder):
    write_images(split_folder / "train" / "cow", 1)
    write_images(split_folder / "test" / "ant", 1)
    with pytest.raises(ValueError, match=r"only in train/: cow; only in test/: ant"):
        load_images(f"folder:{split_folder}")


def test_a_class_folder_without_images_is_named(split_folder):
    (split_folder / "train" / "ant").mkdir()
    with pytest.raises(FileNotFoundError, match=r"No images in .*train/ant"):
        load_images(f"folder:{split_folder}")


def test_one_class_is_too_few(tmp_path):
    write_images(tmp_path / "cat", 6)
    with pytest.raises(ValueError, match="at least 2 classes, got 1: cat"):
        load_images(f"folder:{tmp_path}")


def test_a_test_part_alone_is_refused(split_folder):
    (split_folder / "train").rename(split_folder / "other")
    with pytest.raises(FileNotFoundError, match="no train/ beside it"):
        load_images(f"folder:{split_folder}")


def test_empty_and_missing_folders_say_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match="one sub-folder of images per class"):
        load_images(f"folder:{tmp_path}")
    with pytest.raises(FileNotFoundError, match="No folder"):
        load_images(f"folder:{tmp_path}/nowhere")


@pytest.mark.parametrize("source", ["digit", "cifar10", "folder:", "mnist:/x", ""])
def test_unknown_sources_list_the_valid_forms(source):
    with pytest.raises(ValueError, match=r"Expected one of: digits, cifar10:ROOT, .*folder:PATH"):
        load_images(source)


def test_a_bare_folder_gets_a_hint(tmp_path):
    with pytest.raises(ValueError, match=f"Did you mean folder:{tmp_path}"):
        load_images(str(tmp_path))


def test_image_size_is_refused_where_it_does_nothing():
    with pytest.raises(ValueError, match="image_size= works for"):
        load_images("digits", image_size=16)


@pytest.mark.parametrize("kind", ["cifar10", "cifar100", "svhn"])
def test_missing_torchvision_data_say_what_was_expected(kind, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is missing or damaged\. Expected .* inside"):
        load_images(f"{kind}:{tmp_path}")


def test_cifar10_is_read_as_torchvision_stores_it(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision_datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(
        torchvision_datasets.CIFAR10,
        "_load_meta",
        lambda self: setattr(self, "classes", "abcdefghij"),
    )
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.zeros((10, 3, 32, 32), np.uint8)
    pixels[:, 1, 0, 5] = 77  # green, first row, sixth column
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        content = {"data": pixels.reshape(10, -1), "labels": list(range(10))}
        (folder / name).write_bytes(pickle.dumps(content))
    data = load_images(f"cifar10:{tmp_path}")
    assert data.train_images.shape == (50, 3, 32, 32)
    assert torch.equal(data.test_images, torch.from_numpy(pixels))
    assert data.train_labels.tolist() == list(range(10)) * 5


def test_data_sets_of_pil_images_and_of_tensors_agree():
    from_pil = load_images((pictures(8), pictures(4)))
    tensors = TensorDataset(from_pil.train_images, from_pil.train_labels)
    assert from_pil.train_images.shape == (8, 3, 8, 10)
    assert torch.equal(load_images((tensors, tensors)).train_images, from_pil.train_images)


def test_one_data_set_is_split_and_keeps_its_class_names():
    dataset = pictures(20)
    dataset.classes = ["left", "right"]
    data = load_images(dataset)
    assert data.classes == ("left", "right")
    assert (len(data.train_labels), len(data.test_labels)) == (16, 4)


def test_grey_tensors_become_rgb_and_follow_image_size():
    grey = Pictures([(torch.full((1, 9, 9), i, dtype=torch.uint8), i % 2) for i in range(8)])
    assert load_images(grey).train_images.shape[1:] == (3, 9, 9)
    assert load_images(grey, image_size=8).train_images.shape[1:] == (3, 8, 8)


def test_an_image_of_another_size_in_a_data_set_is_named():
    dataset = pictures(8)
    dataset.items[3] = (Image.new("RGB", (5, 5)), 1)
    with pytest.raises(ValueError, match=r"item 3 is \(3, 5, 5\).*image_size="):
        load_images(dataset)


@pytest.mark.parametrize("image", [torch.zeros(3, 8, 8), torch.zeros(8, 8), "picture"])
def test_floats_and_other_things_in_a_data_set_are_refused(image):
    with pytest.raises(TypeError, match="item 0 of the data set"):
        load_images(Pictures([(image, 0), (image, 1)]))


@pytest.mark.parametrize("source", [3, None, (pictures(4),) * 3])
def test_other_kinds_of_sources_are_refused(source):
    with pytest.raises(TypeError, match="Expected the data as"):
        load_images(source)


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        (Image.new("RGB", (9, 9)), TypeError, r"item 0 .* as \(image, class\)"),
        ((Image.new("RGB", (9, 9)), "cat"), TypeError, "the class a whole number"),
        ((Image.new("RGB", (9, 9)), 0.5), TypeError, "the class a whole number"),
        ((Image.new("RGB", (9, 9)), -1), ValueError, "classes from 0, got -1 at item 0"),
    ],
)
def test_items_that_are_no_labelled_images_are_refused(item, error, message):
    with pytest.raises(error, match=message):
        load_images(Pictures([item]))


def test_a_data_set_without_a_length_is_refused():
    class Endless(IterableDataset):
        def __iter__(self):
            yield from ()

    with pytest.raises(TypeError, match="a torch Dataset with a length"):
        load_images(Endless())
