import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
)
from torchvision import datasets as torchvision_datasets

from learned_augment.datasets.load import load_all_images, load_images


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
        color = (level + i,) * len(Image.new(mode, (1, 1)).getbands())
        Image.new(mode, size, color if len(color) > 1 else color[0]).save(
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
    assert not data.flip_keeps_class
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
    assert data.flip_keeps_class


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


def test_image_size_resizes_the_shorter_side_and_crops_the_center(tmp_path):
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
    with pytest.raises(
        ValueError,
        match=r"2 of 8 .*cat/01\.png is not an image.*dog/00\.png is not.*skip_unreadable",
    ):
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
    with pytest.raises(ValueError, match=r"other' holds images too.*name the other part train"):
        load_images(f"folder:{split_folder}")
    (split_folder / "other").rename(split_folder / ".other")
    with pytest.raises(FileNotFoundError, match="no train/ beside it; add it"):
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
    with pytest.raises(ValueError, match=r"image_size= works for .* not for ImageData"):
        load_images(load_images("digits"), image_size=16)


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


def test_gray_tensors_become_rgb_and_follow_image_size():
    gray = Pictures([(torch.full((1, 9, 9), i, dtype=torch.uint8), i % 2) for i in range(8)])
    assert load_images(gray).train_images.shape[1:] == (3, 9, 9)
    assert load_images(gray, image_size=8).train_images.shape[1:] == (3, 8, 8)


def test_an_image_of_another_size_in_a_data_set_is_named():
    dataset = pictures(8)
    dataset.items[3] = (Image.new("RGB", (5, 5)), 1)
    with pytest.raises(ValueError, match=r"item 3 of the data set is \(3, 5, 5\).*image_size="):
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
        ((np.zeros((9, 9, 3), np.uint8), "cat"), TypeError, "got 2 parts, the second 'cat'"),
        ((Image.new("RGB", (9, 9)), 0, "a.png"), TypeError, "got 3 parts, the second 0"),
        ((np.zeros((9, 9, 4), np.uint8), 0), TypeError, "and an alpha channel"),
        ((Image.new("RGB", (9, 9)), "cat"), TypeError, "the class a whole number"),
        ((Image.new("RGB", (9, 9)), 0.5), TypeError, "the class a whole number"),
        ((Image.new("RGB", (9, 9)), -1), ValueError, "classes from 0, got -1 at item 0"),
        ((Image.new("RGB", (9, 9)), float("inf")), TypeError, "item 0 .* the class a whole number"),
        ((Image.new("RGB", (9, 9)), 2**70), TypeError, "item 0 .* the class a whole number"),
        (
            (np.zeros((0, 9, 3), np.uint8), 0),
            ValueError,
            r"item 0 .* with pixels, got .* \(0, 9, 3\)",
        ),
    ],
)
def test_items_that_are_no_labeled_images_are_refused(item, error, message):
    with pytest.raises(error, match=message):
        load_images(Pictures([item]))


def test_a_data_set_without_a_length_is_refused():
    class Endless(IterableDataset):
        def __iter__(self):
            yield from ()

    with pytest.raises(TypeError, match="a data set with a length and items by number"):
        load_images(Endless())


def save(path, size=(40, 40), orientation=None):
    """Write an image whose upper left quarter is white, stored as a camera of that orientation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", size)
    image.paste(255, (0, 0, size[0] // 2, size[1] // 2))
    exif = Image.Exif()
    if orientation is not None:
        image = image.transpose(orientation[1])
        exif[0x0112] = orientation[0]
    image.save(path, exif=exif, quality=95)


STORED = {  # EXIF orientation: what the camera did, which reading undoes
    3: Image.Transpose.ROTATE_180,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", STORED.items())
@pytest.mark.parametrize("image_size", [None, 12])
def test_photographs_are_read_upright(tmp_path, suffix, orientation, image_size):
    for name in "ab":
        for number in range(2):
            save(tmp_path / name / f"{number}.{suffix}", size=(60, 40), orientation=orientation)
    images = load_images(f"folder:{tmp_path}", image_size=image_size).train_images.float()
    height, width = images.shape[2:]
    assert (height, width) == ((40, 60) if image_size is None else (12, 12))
    assert images[..., : height // 2 - 1, : width // 3].min() > 180
    assert images[..., height // 2 + 2 :, :].max() < 75


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_a_photograph_with_broken_exif_is_read_as_stored(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(2):
            path = tmp_path / name / f"{number}.jpg"
            Image.new("L", (16, 8), 99).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    assert load_images(f"folder:{tmp_path}").train_images.shape[2:] == (8, 16)


PART_NAMES = [("Training", "Test"), ("TRAIN", "Validation"), ("train", "valid"), ("Train", "VAL")]


@pytest.mark.parametrize(("train", "test"), PART_NAMES)
def test_parts_have_other_names_and_any_case(tmp_path, train, test):
    for part, count in ((train, 4), (test, 2)):
        for level, name in enumerate(("pear", "apple")):
            write_images(tmp_path / part / name, count, level=90 * level)
    data = load_images(f"folder:{tmp_path}")
    assert data.classes == ("apple", "pear")
    assert data.train_images[:, 0, 0, 0].tolist() == [90, 91, 92, 93, 0, 1, 2, 3]
    assert data.test_images[:, 0, 0, 0].tolist() == [90, 91, 0, 1]


def test_two_folders_of_one_part_are_refused(split_folder):
    write_images(split_folder / "Training" / "cat", 1)
    with pytest.raises(ValueError, match=r"one folder for the train part, got .*Training'.*train'"):
        load_images(f"folder:{split_folder}")


def test_parts_of_names_that_nobody_knows_are_no_classes(tmp_path):
    for part in ("fold-1", "fold-2"):
        for name in ("pear", "apple"):
            write_images(tmp_path / part / name, 2)
    with pytest.raises(
        FileNotFoundError, match=r"only sub-folders in .*fold-1.*fold-2.*train/ and"
    ):
        load_images(f"folder:{tmp_path}")


def test_a_class_named_like_a_part_is_a_class(tmp_path):
    for name in ("training", "resting"):
        write_images(tmp_path / name, 4)
    assert load_images(f"folder:{tmp_path}").classes == ("resting", "training")


def test_a_folder_that_may_be_a_part_or_a_class_is_refused(tmp_path):
    write_images(tmp_path / "train" / "fast", 2)
    write_images(tmp_path / "bus", 2)
    with pytest.raises(ValueError, match=r"train' may be a part of the data set or one of its cla"):
        load_images(f"folder:{tmp_path}")
    write_images(tmp_path / "train" / "slow", 2)
    write_images(tmp_path / "dev" / "fast", 2)
    (tmp_path / "bus").rename(tmp_path / "val")  # a part, whose images have no class
    with pytest.raises(ValueError, match=r"dev' holds images too.*name the other part train, test"):
        load_images(f"folder:{tmp_path}")
    (tmp_path / "dev").rename(tmp_path / ".dev")
    assert load_images(f"folder:{tmp_path}").classes == ("fast", "slow")
    (tmp_path / "val").rename(tmp_path / "bus")
    write_images(tmp_path / "test" / "fast", 2)
    write_images(tmp_path / "test" / "slow", 2)
    assert load_images(f"folder:{tmp_path}").classes == ("fast", "slow")


def test_parts_without_class_folders_are_refused(tmp_path):
    for name in ("train", "val"):
        write_images(tmp_path / name, 4)
    with pytest.raises(FileNotFoundError, match=r"train' has no sub-folders"):
        load_images(f"folder:{tmp_path}")


def test_hidden_folders_are_left_out_and_linked_ones_followed(split_folder, tmp_path_factory):
    cat = split_folder / "train" / "cat"
    for hidden in (".ipynb_checkpoints", "more/.cache"):
        write_images(cat / hidden, 2, level=200)
    write_images(cat / "more" / "deep", 1, level=30)
    write_images(split_folder / ".trash", 2)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write_images(elsewhere / "photos", 2, level=40)
    (cat / "linked").symlink_to(elsewhere / "photos")
    (cat / "more" / "again").symlink_to(cat)  # a circle
    data = load_images(f"folder:{split_folder}")
    cats = data.train_images[data.train_labels == 0][:, 0, 0, 0].tolist()
    assert cats == [10, 11, 12, 13, 40, 41, 30]


def test_a_link_to_nothing_is_an_unreadable_image(split_folder):
    (split_folder / "train" / "cat" / "away.png").symlink_to("/nowhere/away.png")
    with pytest.raises(ValueError, match=r"1 of 9 image files cannot be read: .*away\.png"):
        load_images(f"folder:{split_folder}")
    (skipped,) = load_images(f"folder:{split_folder}", skip_unreadable=True).skipped
    assert "away.png" in skipped


def test_a_link_to_all_classes_gives_a_class_no_images_of_others(split_folder):
    (split_folder / "train" / "cat" / "up").symlink_to("..")
    assert load_images(f"folder:{split_folder}").train_labels.bincount().tolist() == [4, 4]


def test_of_a_very_long_image_the_center_is_resized():
    long, level = Image.new("RGB", (60_000, 2)), 200
    long.paste((level, level, level), (29_990, 0, 30_010, 2))
    data = load_images([(long, i % 2) for i in range(4)], image_size=224)
    assert data.train_images.shape[1:] == (3, 224, 224)
    assert data.train_images.unique().tolist() == [level]


def test_a_hidden_folder_may_hold_the_data(tmp_path):
    for name in "ab":
        write_images(tmp_path / ".cache" / name, 2)
    assert len(load_images(f"folder:{tmp_path}/.cache").train_labels) == 2


def test_class_folders_may_be_links(split_folder, tmp_path):
    write_images(tmp_path / "elsewhere", 3, level=90)
    for part in ("train", "test"):
        (split_folder / part / "owl").symlink_to(tmp_path / "elsewhere")
    assert load_images(f"folder:{split_folder}").train_labels.bincount().tolist() == [4, 4, 3]


def image_folder(path, classes, count=3):
    for level, name in enumerate(classes):
        write_images(path / name, count, level=80 * level)
    return torchvision_datasets.ImageFolder(path)


def test_a_pair_of_data_sets_must_name_the_same_classes(tmp_path):
    train = image_folder(tmp_path / "train", ("oak", "elm", "ash"))
    test = image_folder(tmp_path / "test", ("oak", "fir", "ash"))
    with pytest.raises(
        ValueError, match="only in the training set: elm; only in the test set: fir"
    ):
        load_images((train, test))
    with pytest.raises(ValueError, match="only in the training set: elm"):
        load_images((train, Subset(test, range(4))))
    same = image_folder(tmp_path / "again", ("oak", "elm", "ash"))
    assert load_images((train, same)).classes == ("ash", "elm", "oak")
    same.classes = ["oak", "elm", "ash"]
    with pytest.raises(ValueError, match="in the same order; they differ in order"):
        load_images((train, same))


def test_a_subset_keeps_the_names_of_its_classes(tmp_path):
    whole = image_folder(tmp_path, ("ash", "elm", "oak"), count=5)
    data = load_images((Subset(whole, range(12)), Subset(whole, range(8))))
    assert data.classes == ("ash", "elm", "oak")
    assert load_images(Subset(whole, range(9))).classes == ("ash", "elm")
    joined = ConcatDataset([whole, Subset(whole, [0])])
    assert load_images(joined).classes == ("ash", "elm", "oak")
    with pytest.raises(ValueError, match="data sets of the same classes to join"):
        load_images(ConcatDataset([whole, pictures(4)]))


class Plain:
    """A data set that is no subclass of torch's."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


LEVELS = torch.arange(12, dtype=torch.uint8)[:, None, None, None].expand(12, 3, 9, 10)
LABELS = torch.arange(12) % 2
ITEMS = [(Image.new("RGB", (10, 9), (i, i, i)), i % 2) for i in range(12)]
GRAY = LEVELS[:, 0].numpy()
NAMES = np.array(["cat", "cat", "dog"] * 4)

FORMS = {
    "no subclass": Plain(ITEMS),
    "list": ITEMS,
    "mappings": Plain([{"image": image, "label": label} for image, label in ITEMS]),
    "other keys": Plain([{"photo": image, "kind": k, "by": "me"} for image, k in ITEMS]),
    "arrays as items": Plain([(np.asarray(image), np.int64(k)) for image, k in ITEMS]),
    "gray arrays as items": Plain(list(zip(GRAY, LABELS.numpy(), strict=True))),
    "tensors": (LEVELS, LABELS),
    "arrays, channels last": (LEVELS.permute(0, 2, 3, 1).numpy(), LABELS.numpy()),
    "arrays, channels first": (LEVELS.numpy(), LABELS.numpy()),
    "gray arrays": (GRAY, LABELS.numpy()),
    "gray arrays with a channel": (GRAY[..., None], LABELS),
    "labels in a list": (LEVELS, LABELS.tolist()),
    "read only": (np.frombuffer(LEVELS.numpy().tobytes(), np.uint8).reshape(LEVELS.shape), LABELS),
    "mirrored in memory": (LEVELS.flip(3).numpy()[..., ::-1], LABELS),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_data_set_gives_the_same_images(form):
    given = FORMS[form]
    data = load_images((given, given))
    assert torch.equal(data.train_images, LEVELS)
    assert torch.equal(data.test_labels, LABELS)
    assert data.classes == ("0", "1")
    assert len(load_images(given).train_labels) == 10
    assert load_images(given, image_size=8).train_images.shape[1:] == (3, 8, 8)
    for test in ("test", "testing", "val", "valid", "validation"):
        parts = {"train": given, test: given, "other": 3}
        assert torch.equal(load_images(parts).test_images, LEVELS)


def test_data_sets_of_hugging_face_are_read_with_their_class_names():
    datasets = pytest.importorskip("datasets")
    names = ["heron", "crane"]
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=names))
    rows = {"image": [image for image, _ in ITEMS], "label": [label for _, label in ITEMS]}
    birds = datasets.Dataset.from_dict(rows, features=features)
    for given in (birds, birds.rename_columns({"image": "scan", "label": "bird"})):
        data = load_images(datasets.DatasetDict(train=given, test=given))
        assert data.classes == ("heron", "crane")
        assert torch.equal(data.train_images, LEVELS)
        assert torch.equal(data.test_labels, LABELS)
    other = birds.cast_column("label", datasets.ClassLabel(names=["crane", "heron"]))
    with pytest.raises(ValueError, match="they differ in order"):
        load_images((birds, other))


@pytest.mark.parametrize(
    "item",
    [
        {"image": ITEMS[0][0], "fine": 1, "coarse": 0},
        {"left": ITEMS[0][0], "right": ITEMS[1][0], "label": 0},
        {"image": ITEMS[0][0], "label": None},
    ],
)
def test_a_mapping_that_could_mean_several_things_is_refused(item):
    with pytest.raises(TypeError, match=r"item 0 of .* mapping with the keys 'image' and 'label'"):
        load_images(Plain([item, item]))


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ((LEVELS / 255, LABELS), TypeError, r"uint8 .* got torch.float32 \(12, 3, 9, 10\).*255"),
        ((LEVELS.numpy() / 255, LABELS), TypeError, r"got float64 \(12, 3, 9, 10\). Convert"),
        ((LEVELS[0], LABELS[:3]), TypeError, None),
        ((LEVELS, LABELS[1:]), ValueError, "a label for each of 12 images, got 11"),
        ((LEVELS, LABELS / 2), TypeError, "labels as whole numbers from 0, .* Number the classes"),
        ((LEVELS, LABELS / 0), TypeError, "labels as whole numbers"),
        ((LEVELS, NAMES), TypeError, r"begins with \['cat', 'cat', 'dog'\].*np.unique"),
        ((LEVELS, list(NAMES)), TypeError, "labels as whole numbers"),
        ((LEVELS, LABELS[:, None]), TypeError, r"got an array \(12, 1\)"),
        ((LEVELS, LABELS + 1), ValueError, "no image of 0. .*number classes from 0 without gaps"),
        (
            (LEVELS, LABELS * 10**9),
            ValueError,
            "of class 1000000000. Number classes from 0 without",
        ),
        ((LEVELS[:, :, :0], LABELS), ValueError, "item 0 .* with pixels"),
        ((LEVELS, LABELS - 1), ValueError, "got -1 at .* Number classes from 0 without gaps"),
        ((LEVELS[:0], LABELS[:0]), ValueError, "a data set of images, got one without any"),
        ((LEVELS[:, :2], LABELS), TypeError, r"got torch.uint8 \("),
    ],
)
def test_arrays_that_are_no_labeled_images_are_refused(arrays, error, message):
    if message is None:  # (3, 9, 10) are three gray images, which is too few for a split
        error, message = ValueError, "2 or more images of every class"
    with pytest.raises(error, match=message):
        load_images(arrays)


def test_an_item_that_cannot_be_read_is_named_with_its_file(tmp_path):
    folder = image_folder(tmp_path, ("ash", "elm"))
    victim = tmp_path / "elm" / "01.png"
    victim.write_bytes(victim.read_bytes()[:45])
    for given, index in ((folder, 4), (Subset(folder, [5, 4]), 1)):
        with pytest.raises(ValueError, match=rf"item {index} \(.*elm/01\.png\) of .*, but "):
            load_images(given)

    class Broken(Plain):
        def __getitem__(self, index):
            return self.items[index] if index < 7 else 1 / 0

    with pytest.raises(ValueError, match=r"item 7 of .*, but ZeroDivisionError: division by zero"):
        load_images(Broken(ITEMS))


def test_an_error_that_is_quoted_gives_its_period_to_the_sentence_around_it():
    class Closed(Plain):
        def __getitem__(self, index):
            raise OSError("The archive is closed.\nOpen it.")

    with pytest.raises(ValueError, match=r"but OSError: The archive is closed\. Repair it"):
        load_images(Closed(ITEMS))


def test_an_item_of_16_bits_is_named():
    items = [*ITEMS[:5], (Image.new("I;16", (10, 9)), 0)]
    with pytest.raises(ValueError, match=r"item 5 of .*mode I;16 has more than 8 bits"):
        load_images(items)


def test_a_file_that_is_opened_only_is_named_by_its_item(tmp_path):
    Image.new("RGB", (10, 9)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:45])
    with Image.open(tmp_path / "cut.png") as image, pytest.raises(ValueError, match="item 1 of"):
        load_images([ITEMS[0], (image, 1)])


@pytest.mark.parametrize("source", [LEVELS, LEVELS.numpy(), {"images": 1}, b"digits", ("a", "b")])
def test_images_without_labels_and_streams_are_refused(source):
    with pytest.raises(TypeError, match="Expected the data as a string"):
        load_images(source)


@pytest.mark.parametrize(
    "wrap", [lambda one: one, lambda one: (one, one), lambda one: {"train": one}]
)
def test_a_loader_is_refused_with_the_way_out(wrap):
    loader = DataLoader(ITEMS)
    with pytest.raises(TypeError, match=r"got a DataLoader.*pass loader\.dataset"):
        load_images(wrap(loader))
    assert len(load_images(loader.dataset).train_labels) > 0


def test_an_item_of_a_joined_data_set_is_named_with_its_file(tmp_path):
    first = image_folder(tmp_path / "a", ("ash", "elm"))
    second = image_folder(tmp_path / "b", ("ash", "elm"))
    (tmp_path / "b" / "elm" / "01.png").write_bytes(b"no image")
    joined = ConcatDataset([first, Subset(second, [5, 4])])
    message = r"item 7 \(item 4 of ImageFolder, .*b/elm/01\.png\) of the data set"
    with pytest.raises(ValueError, match=message):
        load_images(joined)
    with pytest.raises(ValueError, match=r"item 0 \(item 3 of list\) of the data set"):
        load_images(Subset([*ITEMS[:3], (Image.new("I;16", (10, 9)), 0)], [3]))


def test_a_file_of_hugging_face_is_named(tmp_path):
    datasets = pytest.importorskip("datasets")
    write_images(tmp_path / "scans", 6)
    files = sorted(map(str, (tmp_path / "scans").iterdir()))
    features = datasets.Features(image=datasets.Image(), label=datasets.Value("int64"))
    scans = datasets.Dataset.from_dict({"image": files, "label": [0, 1] * 3}, features=features)
    assert len(load_images(scans).train_labels) > 0
    (tmp_path / "scans" / "04.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"item 4 \(.*04\.png\) of the data set"):
        load_images(scans)


def test_all_images_of_a_source_are_loaded_without_a_split(split_folder):
    whole = load_all_images(f"folder:{split_folder}")
    assert whole.labels.bincount().tolist() == [6, 6]
    alone = [*ITEMS[::2], ITEMS[1]]  # one image of the second class
    assert load_all_images(alone).labels.bincount().tolist() == [6, 1]
    with pytest.raises(ValueError, match="2 or more images of every class"):
        load_images(alone)
    data = load_images(f"folder:{split_folder}")
    assert torch.equal(load_all_images(data).images, whole.images)


def test_a_mapping_without_a_part_to_test_on_is_refused():
    with pytest.raises(ValueError, match=r"'train' and 'test' .*, got \['train', 'dev'\]. Rename"):
        load_images({"train": (LEVELS, LABELS), "dev": (LEVELS, LABELS)})
    assert len(load_images({"train": (LEVELS, LABELS)}).train_labels) == 10


@pytest.mark.parametrize("size", ["32", 32.5])
def test_an_image_size_is_a_whole_number(size):
    with pytest.raises(TypeError, match="Expected image_size as a whole number, got"):
        load_images((LEVELS, LABELS), image_size=size)


@pytest.mark.parametrize("source", ["folder", "data set"])
def test_images_that_no_memory_holds_are_refused_before_one_is_made(tmp_path, source):
    for name in "ab":
        write_images(tmp_path / name, 2)
    data = f"folder:{tmp_path}" if source == "folder" else pictures(4)
    with pytest.raises(ValueError, match=r"4 images of 1000000 x 1000000 pixels need 12000 GB"):
        load_images(data, image_size=1_000_000)
