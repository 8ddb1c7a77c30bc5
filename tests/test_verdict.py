import pytest
import torch
from test_training import linear, made_data

from learned_augment import comparison as rooms
from learned_augment.builders import from_layers
from learned_augment.verdict import Verdict, compare

INVERT = from_layers([[("Invert", 1.0, 0.0)]], {"name": "invert", "placement": "replaces"})
QUICK = {"seeds": 2, "epochs": 3, "network": linear, "batch_size": 16, "progress": False}


def compared(policies=("none", INVERT), data=None, **changes):
    return compare(data or made_data(), policies, **(QUICK | changes))


def test_a_harmful_policy_is_found_out():
    verdict = compared(seeds=3, epochs=10)
    assert verdict.sentence("invert").startswith("invert: worse than none")
    assert verdict.placements == {"none": "nothing", "invert": "alone"}


def test_a_policy_that_changes_nothing_shows_no_difference():
    verdict = compared(("none", "identity"), beside="nothing")
    assert verdict.accuracies("none") == verdict.accuracies("identity")
    assert "no difference" in verdict.sentence("identity")


def test_the_same_arguments_give_the_same_verdict():
    first = compared(("none", "trivialaugment"), train_size=30)
    torch.rand(3)
    again = compared(("none", "trivialaugment"), train_size=30)
    assert first == again
    assert first.to_json() == again.to_json()


def test_each_training_stands_for_itself():
    # What other policies and seeds take part changes no number.
    alone = compared(("none", "trivialaugment"))
    more = compared(("default", "none", INVERT, "trivialaugment"), seeds=3)
    for policy in ("none", "trivialaugment"):
        accuracies = more.accuracies(policy)
        assert accuracies.pop(2) >= 0
        assert alone.accuracies(policy) == accuracies


def test_the_training_images_of_a_seed_are_shared_and_change_with_the_seed(monkeypatch):
    seen = {}
    real = rooms.train_network

    def spy(data, contender, network, recipe, seed, *rest):
        seen[contender.name, seed] = data.train_images
        return real(data, contender, network, recipe, seed, *rest)

    monkeypatch.setattr(rooms, "train_network", spy)
    verdict = compared(train_size=12)
    assert verdict.settings["train_images"] == 12
    assert torch.equal(seen["none", 0], seen["invert", 0])
    assert not torch.equal(seen["none", 0], seen["none", 1])


def test_the_default_augmentation_follows_the_data():
    import dataclasses

    photographs = made_data()
    digits = dataclasses.replace(photographs, mirrors=False)
    policies = ("none", "trivialaugment")
    assert compared(policies, photographs).placements["trivialaugment"] == "after crop-flip"
    assert compared(policies, digits).placements["trivialaugment"] == "after crop"
    assert compared(policies, digits, beside="nothing").placements["trivialaugment"] == "alone"


def test_the_reference_is_none_or_the_first_or_the_one_asked_for():
    assert compared((INVERT, "none")).reference == "none"
    assert compared((INVERT, "default")).reference == "invert"
    assert compared((INVERT, "none"), reference="invert").reference == "invert"
    with pytest.raises(ValueError, match="No policy 'other' to compare with among invert, none"):
        compared((INVERT, "none"), reference="other")


def test_a_mapping_names_the_policies():
    verdict = compared({"plain": "none", "first": INVERT, "second": INVERT})
    assert list(verdict.placements) == ["plain", "first", "second"]
    assert verdict.accuracies("first") == verdict.accuracies("second")


def test_an_interrupt_keeps_what_has_finished(monkeypatch):
    real, calls = rooms.train_network, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(rooms, "train_network", interrupted)
    verdict = compared(seeds=3)
    assert len(verdict.runs) == 3
    assert verdict.missing() == (("invert", 1), ("none", 2), ("invert", 2))
    assert "3 of 6 trainings are missing" in verdict.table()


def test_an_interrupt_before_anything_has_finished_goes_through(monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(rooms, "train_network", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compared()


def test_progress_names_policy_seed_and_epoch(capsys):
    compared(progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "invert, seed 2 of 2, epoch 3 of 3, 0 min 00 s left" in err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 1}, "seeds must be 2 or more, got 1"),
        ({"epochs": 0}, "epochs must be 1 or more"),
        ({"batch_size": 1}, "batch_size must be 2 or more"),
        ({"learning_rate": 0.0}, "learning_rate > 0"),
        ({"network": "vgg"}, "No network named 'vgg'"),
        ({"network": lambda classes: linear(classes + 1)}, "Expected logits"),
        ({"train_size": 2}, "a subset needs 3"),
        ({"device": "cuda:99"}, "Device 'cuda:99' cannot be used"),
        ({"beside": "flop"}, "No default augmentation named 'flop'"),
        ({"policies": ("none", "deepa")}, "No policy named 'deepa'"),
        ({"policies": ("none", "none")}, "Policies need different names"),
        ({"policies": ("none",)}, "two or more policies"),
        ({"data": "digit"}, "No data source 'digit'"),
    ],
)
def test_wrong_arguments_fail_before_any_training(changes, message, monkeypatch):
    monkeypatch.setattr(rooms, "train_network", lambda *arguments: pytest.fail("it trained"))
    with pytest.raises(ValueError, match=message):
        compared(**changes)


def test_a_single_name_is_no_list_of_policies():
    with pytest.raises(TypeError, match="sequence of two or more policies, got 'none'"):
        compared("none")


def test_names_are_checked_before_the_data_are_loaded(tmp_path):
    with pytest.raises(ValueError, match="No policy named 'deepa'"):
        compared(("none", "deepa"), f"folder:{tmp_path}/missing")


def test_unreadable_files_left_out_are_reported(tmp_path):
    from torchvision.transforms.v2.functional import to_pil_image

    data = made_data()
    for number, (image, label) in enumerate(zip(data.train_images, data.train_labels, strict=True)):
        folder = tmp_path / f"class{label}"
        folder.mkdir(exist_ok=True)
        to_pil_image(image).save(folder / f"{number}.png")
    (tmp_path / "class0" / "broken.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"broken\.png"):
        compared(data=f"folder:{tmp_path}")
    verdict = compared(data=f"folder:{tmp_path}", skip_unreadable=True)
    assert "1 unreadable files were left out" in verdict.table()


@pytest.mark.slow
def test_digits_are_learned_and_judged():
    pytest.importorskip("sklearn")
    verdict = compare("digits", ("none", "trivialaugment"), seeds=2, progress=False)
    assert min(verdict.accuracies("none").values()) > 97
    assert min(verdict.accuracies("trivialaugment").values()) > 97
    assert Verdict.from_json(verdict.to_json()) == verdict
