import dataclasses
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from learned_augment.builders import from_layers
from learned_augment.evaluation import runner as rooms
from learned_augment.evaluation.compare import compare
from learned_augment.evaluation.result import ComparisonResult
from learned_augment.runtime import process_pool
from learned_augment.runtime.process_pool import WorkerError
from tests.training.test_training import linear, made_data

INVERT = from_layers([[("Invert", 1.0, 0.0)]], {"name": "invert", "placement": "replaces"})
QUICK = {"seeds": 2, "epochs": 3, "network": linear, "batch_size": 16}
QUICK |= {"progress": False, "workers": 1}


def compared(policies=("none", INVERT), data=None, **changes):
    return compare(data or made_data(), policies, **(QUICK | changes))


def called(policies):
    """Return the names of the policies that a training applies."""
    return "+".join(policy.name for policy in policies) or "none"


def test_a_harmful_policy_is_found_out():
    result = compared(seeds=3, epochs=10)
    assert result.sentence("invert").startswith("invert: worse than none")
    assert result.placements == {"none": "nothing", "invert": "alone"}


def test_a_policy_that_changes_nothing_shows_no_difference():
    result = compared(("none", "identity"), base="none")
    assert result.accuracies("none") == result.accuracies("identity")
    assert "no difference" in result.sentence("identity")


def test_the_same_arguments_give_the_same_result():
    first = compared(("none", "none+trivialaugment"), train_size=30)
    torch.rand(3)
    again = compared(("none", "none+trivialaugment"), train_size=30)
    assert first == again
    assert first.to_json() == again.to_json()


def test_other_policies_and_seeds_change_no_number_of_a_training():
    # What other policies and seeds take part changes no number.
    alone = compared(("none", "none+trivialaugment"))
    more = compared(("crop", "none", INVERT, "trivialaugment"), seeds=3)
    for policy in ("none", "trivialaugment"):
        accuracies = more.accuracies(policy)
        assert accuracies.pop(2) >= 0
        assert alone.accuracies(policy) == accuracies


def test_the_training_images_of_a_seed_are_shared_and_change_with_the_seed(monkeypatch):
    seen = {}
    real = rooms.train_network

    def spy(data, policies, network, recipe, seed, *rest):
        seen[called(policies), seed] = data.train_images
        return real(data, policies, network, recipe, seed, *rest)

    monkeypatch.setattr(rooms, "train_network", spy)
    result = compared(train_size=12)
    assert result.settings["train_images"] == 12
    assert torch.equal(seen["none", 0], seen["invert", 0])
    assert not torch.equal(seen["none", 0], seen["none", 1])


def test_policies_are_shown_alone_and_after_the_base_augmentation_of_the_data():
    photographs = made_data()
    digits = dataclasses.replace(photographs, flip_keeps_class=False)
    policies = ("none", "identity")
    assert compared(policies, photographs, epochs=1).placements == {
        "none": "nothing",
        "crop-flip": "crop-flip only",
        "identity": "alone",
        "crop-flip+identity": "after crop-flip",
    }
    names = ["none", "crop", "identity", "crop+identity"]
    assert list(compared(policies, digits, epochs=1).placements) == names
    assert list(compared(policies, digits, epochs=1, base="none").placements) == [
        "none",
        "identity",
    ]
    names = ["none", "flip", "identity", "flip+identity"]
    assert list(compared(policies, digits, epochs=1, base="flip").placements) == names


@pytest.mark.parametrize(
    ("policies", "base", "names"),
    [
        # A policy that names a base augmentation leaves the list as it is.
        (("none", "crop", "identity"), None, ["none", "crop", "identity"]),
        (("none", "flip+identity"), None, ["none", "flip+identity"]),
        (("none", "none+identity"), None, ["none", "identity"]),
        # Policies that replace the base augmentation ask for none, unless the user does.
        (("none", INVERT), None, ["none", "invert"]),
        (("none", INVERT), "crop", ["none", "invert", "crop"]),
        ((INVERT, "identity"), None, ["invert", "crop-flip", "identity", "crop-flip+identity"]),
        # Nothing is trained twice.
        (("crop", "identity"), "crop", ["crop", "identity", "crop+identity"]),
        (("crop+identity", "identity"), "crop", ["crop+identity", "crop", "identity"]),
        ({"a": "none", "b": "identity"}, "flip", ["a", "flip", "b", "flip+b"]),
        (
            ("none", "random:dada-cifar10"),
            "crop",
            ["none", "crop", "random:dada-cifar10", "crop+random:dada-cifar10"],
        ),
    ],
    ids=str,
)
def test_the_base_augmentation_joins_where_both_make_sense(policies, base, names, monkeypatch):
    monkeypatch.setattr(rooms.Comparison, "run", lambda comparison, *given: comparison.result())
    result = compared(policies, base=base)
    assert list(result.placements) == names
    assert result.reference == ("none" if "none" in names else names[0])


def test_a_harmful_base_augmentation_is_warned_of():
    rows = made_data()
    turned = {name: getattr(rows, name).transpose(2, 3) for name in ("train_images", "test_images")}
    # The class is the column of a bright stripe: a mirrored image belongs to another class.
    columns = dataclasses.replace(rows, **turned)
    warning = "flip alone is worse than no augmentation by "
    for data, warned in ((columns, True), (rows, False)):
        result = compared(("none", "identity"), data, base="flip", seeds=5, epochs=10)
        assert result.sentence("flip").startswith("flip: worse than none") == warned
        assert any(note.startswith(warning) for note in result.notes()) == warned


def test_the_reference_is_none_or_the_first_or_the_one_asked_for():
    assert compared((INVERT, "none")).reference == "none"
    assert compared((INVERT, "identity")).reference == "invert"
    assert compared((INVERT, "none"), reference="invert").reference == "invert"
    with pytest.raises(ValueError, match="No policy 'other' to compare with among invert, none"):
        compared((INVERT, "none"), reference="other")


def test_a_mapping_names_the_policies():
    result = compared({"plain": "none", "first": INVERT, "second": INVERT})
    assert list(result.placements) == ["plain", "first", "second"]
    assert result.accuracies("first") == result.accuracies("second")


def test_an_interrupt_keeps_the_finished_trainings(monkeypatch):
    real, calls = rooms.train_network, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(rooms, "train_network", interrupted)
    result = compared(seeds=3)
    assert len(result.runs) == 3
    assert result.missing() == (("invert", 1), ("none", 2), ("invert", 2))
    assert "3 of 6 trainings are missing" in result.table()


@pytest.mark.parametrize("error", [KeyboardInterrupt, WorkerError, MemoryError])
def test_what_ends_a_comparison_before_anything_has_finished_goes_through(monkeypatch, error):
    def ends(*arguments):
        raise error

    monkeypatch.setattr(rooms, "train_network", ends)
    with pytest.raises(error):
        compared()


def lose_process():
    raise WorkerError("A process ended.")


@pytest.mark.parametrize("end", [lose_process, lambda: torch.empty(2**60)])
def test_a_lost_process_or_too_little_memory_keeps_the_finished_trainings(monkeypatch, end):
    real, calls = rooms.train_network, []

    def ends(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            end()
        return real(*arguments)

    monkeypatch.setattr(rooms, "train_network", ends)
    with pytest.warns(RuntimeWarning, match=r"finished so far\. (A process ended|There is)"):
        result = compared(seeds=3)
    assert len(result.runs) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_kill_keeps_the_finished_trainings_and_leaves_the_handler(monkeypatch, number):
    real, calls = rooms.train_network, []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            signal.raise_signal(number)
        return real(*arguments)

    monkeypatch.setattr(rooms, "train_network", killed)
    assert len(compared(seeds=3).runs) == 1
    assert signal.getsignal(number) is signal.SIG_DFL


def counted(monkeypatch):
    """Return a list that gets a (policy, seed) for each training from now on."""
    real, calls = rooms.train_network, []

    def spy(data, policies, network, recipe, seed, *rest):
        calls.append((called(policies), seed))
        return real(data, policies, network, recipe, seed, *rest)

    monkeypatch.setattr(rooms, "train_network", spy)
    return calls


def test_a_cache_trains_only_the_missing(tmp_path, monkeypatch):
    calls = counted(monkeypatch)
    whole = compared(seeds=3)
    assert calls.pop() == ("invert", 2)
    calls.clear()
    with pytest.raises(TypeError, match="cache as the path of a folder, got 3"):
        compared(cache=3)
    first = compared(cache=tmp_path / "runs")
    assert len(calls) == 4
    assert compared(cache=tmp_path / "runs") == first
    assert len(calls) == 4
    assert compared(cache=tmp_path / "runs", seeds=3) == whole
    assert calls[4:] == [("none", 2), ("invert", 2)]
    more = compared({"plain": "none", "other": "none+identity"}, cache=tmp_path / "runs")
    assert calls[6:] == [("identity", 0), ("identity", 1)]
    assert more.accuracies("plain") == first.accuracies("none")
    compared(cache=tmp_path / "runs", epochs=4)
    assert len(calls) == 12


def test_equal_policies_are_trained_once(tmp_path, monkeypatch):
    calls = counted(monkeypatch)
    found = dataclasses.replace(INVERT, about={"name": "found", "placement": "replaces"})
    both = compared(("none", INVERT, found), cache=tmp_path)
    assert calls == [("none", 0), ("invert", 0), ("none", 1), ("invert", 1)]
    assert both.missing() == ()
    assert both.accuracies("found") == both.accuracies("invert")
    assert "invert and found are the same policy, so their trainings are the same." in both.notes()
    assert compared(("none", INVERT, found), cache=tmp_path) == both
    assert len(calls) == 4
    assert not any("same policy" in note for note in compared().notes())


def test_a_comparison_cut_anywhere_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    whole = compared(("none", "none+random:dada-cifar10"), test_every=1)
    for finished in range(4):
        folder = tmp_path / str(finished)
        with monkeypatch.context() as patch:
            real, calls = rooms.train_network, []

            def cut(*given, real=real, calls=calls, finished=finished):
                calls.append(given)
                if len(calls) > finished:
                    raise KeyboardInterrupt
                return real(*given)

            patch.setattr(rooms, "train_network", cut)
            try:
                assert (
                    len(
                        compared(
                            ("none", "none+random:dada-cifar10"), test_every=1, cache=folder
                        ).runs
                    )
                    == finished
                )
            except KeyboardInterrupt:
                assert finished == 0
        assert len(list(folder.iterdir())) == finished
        assert compared(("none", "none+random:dada-cifar10"), test_every=1, cache=folder) == whole


def test_a_full_disk_loses_no_training(tmp_path, monkeypatch):
    whole = compared()

    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(rooms, "write_atomically", full)
    with pytest.warns(RuntimeWarning, match=r"at seed \d is not kept .*No space left"):
        assert compared(cache=tmp_path) == whole
    assert list(tmp_path.iterdir()) == []


def test_a_broken_cache_is_noticed_before_any_training(tmp_path, monkeypatch):
    compared(cache=tmp_path)
    broken = sorted(tmp_path.iterdir())[-1]
    broken.write_text("{")
    monkeypatch.setattr(rooms, "train_network", lambda *arguments: pytest.fail("it trained"))
    with pytest.raises(ValueError, match="is not a finished training; delete it"):
        compared(cache=tmp_path, seeds=3)


def test_processes_give_the_numbers_of_one_process(tmp_path, monkeypatch):
    policies = ("none", "none+random:dada-cifar10")
    alone = compared(policies, test_every=2, train_size=20)
    calls = counted(monkeypatch)
    assert compared(policies, test_every=2, train_size=20, workers=2, cache=tmp_path) == alone
    assert calls == []  # all of it happened elsewhere
    assert compared(policies, test_every=2, train_size=20, cache=tmp_path) == alone
    assert calls == []


def test_even_a_last_training_runs_with_the_threads_that_its_record_names(tmp_path, monkeypatch):
    compared(cache=tmp_path)
    (seen, *_), jobs_seen = sorted(tmp_path.iterdir()), []
    seen.unlink()

    def elsewhere(function, jobs, workers):
        jobs_seen.extend(jobs)
        yield from ((place, function(*job)) for place, job in enumerate(jobs))

    monkeypatch.setattr(rooms, "in_processes", elsewhere)
    compared(workers=2, cache=tmp_path)
    assert len(jobs_seen) == 1
    compared(workers=2, cache=tmp_path)
    assert len(jobs_seen) == 1


@pytest.mark.parametrize(
    ("cores", "seeds", "network", "workers"),
    [(8, 2, "small-cnn", 4), (3, 2, linear, 3), (1, 2, linear, 1), (8, 2, lambda n: linear(n), 1)],
    ids=["name", "function", "one core", "lambda"],
)
def test_by_default_there_is_a_process_for_each_core_and_training(
    monkeypatch, cores, seeds, network, workers
):
    seen = []

    def elsewhere(function, jobs, count):
        seen.append(count)
        yield from ((place, function(*job)) for place, job in enumerate(jobs))

    monkeypatch.setattr(rooms, "in_processes", elsewhere)
    monkeypatch.setattr(process_pool, "core_count", lambda: cores)
    compared(network=network, workers=None, seeds=seeds, epochs=1)
    assert seen == ([workers] if workers > 1 else [])


def test_a_training_has_one_thread_and_the_callers_number_is_restored(monkeypatch):
    seen, real = [], rooms.train_network

    def spy(*given):
        seen.append(torch.get_num_threads())
        return real(*given)

    monkeypatch.setattr(rooms, "train_network", spy)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        two = compared()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [1] * 4
    assert two == compared()


def test_an_interrupt_of_several_processes_keeps_the_finished_trainings(tmp_path, monkeypatch):
    def cut(function, jobs, workers):
        yield 2, function(*jobs[2])
        raise KeyboardInterrupt

    monkeypatch.setattr(rooms, "in_processes", cut)
    result = compared(workers=2, cache=tmp_path)
    assert [(run.policy, run.seed) for run in result.runs] == [("none", 1)]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_result_of_another_configuration_is_not_extended(monkeypatch):
    earlier = compared()
    assert compared(extends=earlier, seeds=3).seeds == (0, 1, 2)
    monkeypatch.setattr(rooms, "train_network", lambda *arguments: pytest.fail("it trained"))
    with pytest.raises(ValueError, match="do not mix: epochs 3 there, 4 here"):
        compared(extends=earlier, epochs=4)
    other = from_layers([[("Solarize", 1.0, 0.0)]], {"name": "invert", "placement": "replaces"})
    with pytest.raises(ValueError, match="do not mix: policy invert"):
        compared(("none", other), extends=earlier)
    with pytest.raises(ValueError, match="do not mix: images_sha256"):
        compared(data=made_data(noise=61), extends=earlier)


def test_no_training_of_an_earlier_result_is_lost(monkeypatch):
    earlier = compared(("none", "identity", "crop"), seeds=3)
    monkeypatch.setattr(rooms, "train_network", lambda *arguments: pytest.fail("it trained"))
    with pytest.raises(ValueError, match=r"holds 3 trainings .*\(of crop; seeds up to 2\)"):
        compared(("none", "identity"), seeds=3, extends=earlier)
    with pytest.raises(ValueError, match=r"holds 3 trainings .*\(of none, identity, crop;"):
        compared(("none", "identity", "crop"), seeds=2, extends=earlier)


def test_an_interrupted_repeat_keeps_the_earlier_trainings(monkeypatch):
    earlier, real, seen = compared(seeds=2), rooms.train_network, []

    def interrupted(*arguments):
        seen.append(arguments)
        if len(seen) > 1:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(rooms, "train_network", interrupted)
    again = compared(seeds=2, extends=earlier)
    assert not again.missing()
    assert again.table() == earlier.table()


def test_a_network_that_other_processes_cannot_be_sent_is_refused():
    with pytest.raises(ValueError, match="a lambda or inner function cannot"):
        compared(network=lambda classes: linear(classes), workers=2)


def test_a_random_baseline_is_another_one_for_each_seed(monkeypatch):
    seen = {}
    real = rooms.train_network

    def spy(data, policies, network, recipe, seed, *rest):
        seen[called(policies), seed] = policies[-1]
        return real(data, policies, network, recipe, seed, *rest)

    monkeypatch.setattr(rooms, "train_network", spy)
    compared(("dada-cifar10", "random:dada-cifar10"), base="none")
    assert seen["random:dada-cifar10", 0] != seen["random:dada-cifar10", 1]
    assert seen["dada-cifar10", 0] == seen["dada-cifar10", 1]


def test_runs_keep_their_learning_curves():
    result = compared(epochs=5, test_every=2, precision="bfloat16", channels_last=True)
    for run in result.runs:
        assert [epoch for epoch, _ in run.accuracies] == [2, 4, 5]
        assert run.accuracies[-1][1] == run.accuracy
        assert run.best == max(accuracy for _, accuracy in run.accuracies)
        assert len(run.losses) == 5
        assert run.losses[-1] == run.loss
    assert result.settings["precision"] == "bfloat16"
    assert result.settings["channels_last"] is True
    assert ComparisonResult.from_json(result.to_json()) == result


def test_a_result_holds_the_policies_figures():
    figures = compared(("none", "crop-flip+dada-cifar10", INVERT)).policies
    assert figures["none"] == {"sha256": "", "ops": {}}
    assert figures["invert"]["ops"] == {"Invert": [1.0]}
    placed = figures["crop-flip+dada-cifar10"]["ops"]
    assert placed["PadCrop"] == [1.0, 0.0, 0.0, 0.0]
    assert placed["Flip"] == [0.0, 1.0, 0.0, 0.0]
    layers = zip(*placed.values(), strict=True)
    assert [sum(layer) for layer in layers] == pytest.approx([1.0] * 4, abs=1e-5)


def test_a_diverged_training_keeps_no_infinite_loss(tmp_path):
    result = compared(("none", "none+identity"), learning_rate=1e30, cache=tmp_path)
    assert {run.loss for run in result.runs} == {None}
    assert compared(("none", "none+identity"), learning_rate=1e30, cache=tmp_path) == result


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
        ({"interest": 0.0}, "interest is a difference in points"),
        ({"workers": 0}, "workers must be 1 or more, or None"),
        ({"precision": "half"}, "precision must be one of"),
        ({"test_every": -1}, "test_every must be 0 or more"),
        ({"policies": ("none", "random:none")}, ".none. is a base augmentation"),
        ({"cache": "no/where"}, "Expected cache= to name a folder"),
        ({"device": "cuda:99"}, "Device 'cuda:99' cannot be used"),
        ({"base": ["flip"]}, r"No base augmentation named \['flip'\]"),
        ({"base": "flop"}, "No base augmentation named 'flop'"),
        ({"policies": ("none", "deepa")}, "No policy named 'deepa'"),
        ({"policies": ("none", "none")}, "Policies need different names"),
        ({"policies": ("none",)}, "two or more policies"),
        ({"interest": float("nan")}, "interest is a difference in points, .* got nan"),
        ({"learning_rate": float("nan")}, "Expected learning_rate > 0 .* got nan"),
        ({"data": "digit"}, "No data source 'digit'"),
    ],
)
def test_wrong_arguments_fail_before_any_training(changes, message, monkeypatch):
    monkeypatch.setattr(rooms, "train_network", lambda *arguments: pytest.fail("it trained"))
    with pytest.raises(ValueError, match=message):
        compared(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policies": {0: "none", 1: "flip"}}, "Expected texts as the names of policies, got 0"),
        ({"epoch": 3}, r"compare has no argument 'epoch'\. It takes: policies, seeds, epochs, "),
        ({"seeds": 2.0}, "Expected seeds as a whole number, got 2.0"),
        ({"epochs": True}, "Expected epochs as a whole number, got True"),
        ({"workers": "2"}, "Expected workers as a whole number, got '2'"),
        ({"learning_rate": "fast"}, "Expected learning_rate as a number, got 'fast'"),
        ({"interest": "1"}, "Expected interest as a number, got '1'"),
        ({"extends": "result.json"}, r"extends as a ComparisonResult, .*ComparisonResult\.load"),
        ({"channels_last": 1}, "Expected channels_last to be True or False, got 1"),
    ],
)
def test_arguments_of_another_kind_are_refused(changes, message):
    with pytest.raises(TypeError, match=message):
        compared(**changes)


def test_numbers_of_numpy_are_those_of_python(tmp_path):
    plain = compared(learning_rate=0.125, train_size=30, channels_last=True, interest=2.0)
    given = {"seeds": np.int64(2), "epochs": np.int32(3), "batch_size": np.uint8(16)}
    given |= {"learning_rate": np.float32(0.125), "train_size": np.array(30), "workers": np.int8(1)}
    given |= {"channels_last": np.True_, "interest": np.float64(2), "test_every": np.int64(0)}
    assert compared(**given, cache=tmp_path).to_json() == plain.to_json()
    assert len(list(tmp_path.iterdir())) == 4


SETTINGS_OF_TORCH = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("name", SETTINGS_OF_TORCH)
def test_the_callers_settings_of_torch_change_nothing(name, tmp_path):
    data, policies = made_data(), ("none", "none+random:dada-cifar10")
    plain = compared(policies, data, train_size=30)
    state = torch.get_rng_state()
    with SETTINGS_OF_TORCH[name]():
        found = compared(policies, data, train_size=30, cache=tmp_path)
        after = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        assert after == (name not in ("no_grad", "inference_mode"), name == "inference_mode")
        assert torch.is_autocast_enabled("cpu") == (name == "autocast")
        assert torch.get_default_device().type == ("meta" if name == "device" else "cpu")
    assert found == plain
    assert torch.equal(torch.get_rng_state(), state)


def test_the_callers_default_dtype_changes_nothing():
    plain = compared()
    torch.set_default_dtype(torch.float64)
    try:
        assert compared() == plain
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


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
    result = compared(data=f"folder:{tmp_path}", skip_unreadable=True)
    assert "1 unreadable files were left out" in result.table()


@pytest.mark.slow
def test_digits_are_learned_and_compared():
    pytest.importorskip("sklearn")
    result = compare("digits", ("none", "trivialaugment"), seeds=2, progress=False)
    assert min(result.accuracies("none").values()) > 97
    assert min(result.accuracies("trivialaugment").values()) > 97
    assert ComparisonResult.from_json(result.to_json()) == result


SCRIPT = """
import os, signal, sys, threading, time
from pathlib import Path
from learned_augment import compare
from tests.evaluation.test_compare import INVERT, QUICK, linear, made_data

cache = Path(sys.argv[1])

def press():
    while not list(cache.glob("*.json")):
        time.sleep(0.05)
    os.killpg(0, signal.SIGINT)  # as a terminal does: this process and its workers

if __name__ == "__main__":
    os.setpgid(0, 0)
    threading.Thread(target=press, daemon=True).start()
    given = QUICK | {"seeds": 40, "epochs": 200, "workers": 2}
    result = compare(made_data(), ("none", INVERT), **given, cache=cache)
    print(len(result.runs), len(result.missing()))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="presses Ctrl-C as terminals of Unix do")
def test_ctrl_c_ends_real_processes_and_keeps_the_finished_trainings(tmp_path):
    (tmp_path / "runs").mkdir()
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(path), str(tmp_path / "runs")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    finished, missing = map(int, done.stdout.split())
    assert 1 <= finished < 80
    assert finished + missing == 80
    assert (done.returncode, done.stderr) == (0, "")
    assert finished == len(list((tmp_path / "runs").glob("*.json")))


@pytest.mark.slow
def test_by_default_a_script_needs_no_main_line(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(
        "from learned_augment import compare\n"
        "print('run')\n"
        "result = compare('digits', ['none', 'flip'], seeds=2, epochs=1, train_size=40)\n"
        "print(len(result.runs))\n"
    )
    done = subprocess.run(
        [sys.executable, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.stdout, done.returncode) == ("run\n4\n", 0), done.stderr


@pytest.mark.slow
def test_with_workers_a_script_without_the_main_line_ends_with_a_sentence(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(
        "from torch import nn\n"
        "from learned_augment import compare\n"
        "def network(classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, classes))\n"
        "from tests.training.test_training import made_data\n"
        "data = made_data(count=3000)\n"  # larger than a pipe holds
        "compare(data, ['none', 'flip'], network=network, seeds=2, epochs=1, workers=2)\n"
    )
    done = subprocess.run(
        [sys.executable, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert 'lacks `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]
