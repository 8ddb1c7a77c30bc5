"""Every row of the papers has a place on the page, and a command that means something."""

import json
import re
import shlex
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import record
from benchmarks.detection import train as detect
from benchmarks.detection.models import MODELS
from benchmarks.papers import costs as papers_costs
from benchmarks.papers import page as papers
from benchmarks.papers import policies as papers_policies
from benchmarks.papers import train
from benchmarks.papers.figures import DETECTION, TABLES
from benchmarks.papers.methods import METHODS
from benchmarks.papers.networks import NETWORKS
from benchmarks.papers.presets import DATASETS, PRESETS, DataFacts
from benchmarks.papers.recipe import PaperRecipe
from learned_augment import Policy, cli, list_policies
from learned_augment.datasets.load import load_images
from learned_augment.evaluation.named_policies import named_policy
from learned_augment.search_spaces import SPACES

TEXT = papers.PAGE.read_text(encoding="utf-8")
COMMANDS = re.findall(r"^(?:python|torchrun|learned-augment) .*$", TEXT, re.MULTILINE)


def test_the_page_is_up_to_date(capsys, tmp_path, monkeypatch):
    assert papers.main(["--check"]) == 0
    (tmp_path / "papers.md").write_text("old")
    monkeypatch.setattr(papers, "PAGE", tmp_path / "papers.md")
    assert papers.main(["--check"]) == 1
    assert "papers.md is out of date" in capsys.readouterr().err
    assert papers.main([]) == 0
    assert (tmp_path / "papers.md").read_text() == TEXT


def test_every_figure_stands_on_the_page():
    figures = 0
    for table in TABLES:
        [section] = [part for part in TEXT.split("\n## ") if part.startswith(f"{table.source}: ")]
        assert f"| recipe | {' | '.join(table.heads)} |" in section
        for recipe, row in table.rows.items():
            assert recipe in PRESETS
            figures += sum(figure != "-" for figure in row.split())
            cells = [
                "" if figure == "-" else figure.replace("±", " ± ").replace("/", " / ")
                for figure in row.split()
            ]
            assert f"| {recipe} | {' | '.join(cells)} |" in section
    assert figures == 173
    first = [line.split(" | ")[0].removeprefix("| ") for line in TEXT.splitlines()]
    assert sum(cell in MODELS for cell in first) == len(DETECTION) == 6


def test_figures_of_both_papers():
    # A row of each paper's main table and one detector, typed again.
    for row in (
        "| cifar10-wrn-28-10 | 3.9 | 3.1 | 2.6 | 2.6 | 2.7 | 2.7 |",
        "| imagenet-resnet200 | 78.5 | 80.0 | 80.6 |  |  |  | 80.4 |  |  |  | 81.32 ± 0.17 |",
        "| maskrcnn | `dada-imagenet` | 37.8 (59.6, 41.1, 22.4, 40.9, 46.6); masks 34.5 |",
    ):
        assert row in TEXT


def test_hours_worked_by_hand():
    # 10 G multiply-adds, 3 passes of 2 operations, 50,000 images, 200 epochs: 6e17 in 12,000 s.
    assert papers.hours(10e9, 50_000, 200) == pytest.approx(12_000 / 3600)
    assert papers.hours(10e9, 50_000, 100, copies=8) == pytest.approx(4 * 12_000 / 3600)
    assert [papers.short(n) for n in (0.1186, 1.984, 47.3, 134.7)] == [
        "0.12", "2", "47", "130",
    ]  # fmt: skip


def test_built_policies_draw_as_their_papers_say():
    built = papers_policies.unshipped()
    trivial = built["trivialaugment-ra.safetensors"]
    assert (trivial.depth, set(trivial.ops)) == (1, set(SPACES["randaugment"]))
    drawn = dict.fromkeys(trivial.ops, 0.0)
    rotations = set()
    for weight, place, value in zip(
        trivial.weights[0, 0].tolist(), trivial.op[0, 0], trivial.value[0, 0].tolist(), strict=True
    ):
        drawn[trivial.ops[place]] += weight
        if trivial.ops[place] == "Rotate":
            rotations.add(value)
    assert list(drawn.values()) == pytest.approx([1 / 14] * 14)
    assert rotations == {float(degrees) for degrees in range(-30, 31)}
    uniform = built["uniformaugment.safetensors"]
    identity = uniform.op[0, :, :] == uniform.ops.index("Identity")
    assert (uniform.weights[0] * identity).sum(-1).tolist() == pytest.approx([0.5, 0.5])
    assert set(uniform.ops) == {"Identity", *SPACES["fast-autoaugment"]}
    simple, whole = built["deepaa-imagenet-simple.safetensors"], Policy.load("deepaa-imagenet")
    assert simple.about["placement"] == "replaces"
    last = [[simple.ops[place] for place in layer[:1]] for layer in simple.op[0, 1:]]
    assert last == [["ResizedCrop"], ["Flip"]]
    torch.testing.assert_close(simple.weights[0, 0], whole.weights[0, 0])


def test_costs_are_those_of_the_networks():
    stored = papers._madds()
    # The DADA and DeepAA codes state 0.356 G for WRN-40-2; ResNet-50 has 4.09 G.
    assert stored["wrn-40-2", 10] == pytest.approx(0.356e9, rel=2e-3)
    for name in ("cifar10-wrn-40-2", "imagenet-resnet50"):
        preset = PRESETS[name]
        counted = papers_costs.classifier_cost(preset)
        assert counted == stored[preset.network, preset.facts.classes]
        assert papers_costs.kept_bytes(preset) == next(
            row["kept_bytes"]
            for row in record.load_result("papers_costs")["rows"]
            if row["network"] == preset.network
        )
    assert {(preset.network, preset.facts.classes) for preset in PRESETS.values()} <= set(stored)
    assert {(name, 80) for name in MODELS} <= set(stored)


def test_what_a_step_keeps_counted_by_hand(monkeypatch):
    def build(classes):
        layers = nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, classes)
        return nn.Sequential(nn.Flatten(), *layers)

    monkeypatch.setitem(NETWORKS, "wrn-40-2", build)
    # Of an image: pixels, activations, the cross-entropy's logits, all float32, and the label; of
    # the batch of two the sum of its weights.
    preset = replace(PRESETS["cifar10-wrn-40-2"], data="two")
    monkeypatch.setitem(DATASETS, "two", DataFacts(10, 2, 2, "nothing"))
    assert papers_costs.kept_bytes(preset) == 4 * (12 + 5 + 10) + 8 + 4 // 2


def test_steps_are_shared_out_where_one_gpu_does_not_hold_them():
    counts = {recipe: papers.processes(recipe) for recipe in PRESETS}
    assert {recipe: count for recipe, count in counts.items() if count > 1} == {
        "imagenet-resnet50": 2,
        "imagenet-resnet50-deepaa": 4,
        "imagenet-resnet200": 4,
    }
    for recipe, count in counts.items():
        assert papers.kept(recipe) / count < 70
        assert PRESETS[recipe].recipe.batch_size % count == 0
    command = papers.train_command("imagenet-resnet200", "cutout")
    assert command.startswith(
        "torchrun --nproc-per-node 4 -m benchmarks.papers.train --preset imagenet-r"
    )


def test_policies_are_shipped_built_or_written_by_the_script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    papers_policies.main()
    named = {
        (data, policy) for method in METHODS.values() for data, policy in method.policies.items()
    }
    used = {
        (PRESETS[recipe].data, METHODS[head].policies.get(PRESETS[recipe].data))
        for table in TABLES
        for recipe, figures in table.rows.items()
        for head, figure in zip(table.heads, figures.split(), strict=True)
        if figure != "-"
    }
    for data, policy in named & used:
        if policy == "cutout":  # a word of train.py: the recipe's own
            continue
        assert named_policy("crop-flip" if policy == "default" else policy).policies, (data, policy)
    assert Policy.load("deepaa-cifar10-2-first-3.safetensors").depth == 3
    assert {policy for _, policy in named} >= {path.name for path in tmp_path.iterdir()}
    assert Policy.load("deepta-8.safetensors").depth == 8
    # Nothing shipped is forgotten, but for the policies that the papers' tables were not made with.
    assert set(list_policies()) - {policy for _, policy in used} == {
        "deepaa-cifar10",
        "deepaa-imagenet-2",
    }


def test_commands_are_understood(capsys):
    assert len(COMMANDS) == 6
    recipe = next(name for name, preset in PRESETS.items() if preset.data == "cifar10")
    words = {"RECIPE": recipe, "POLICY": "default", "DETECTOR": "retinanet", "DATA": "cifar10"}
    for command in COMMANDS:
        parts = shlex.split(command.partition("#")[0])
        named = [words.get(part, part.replace("DATA:", "cifar10:")) for part in parts]
        if "benchmarks.papers.train" in named:
            options = train._parser().parse_args(
                named[named.index("benchmarks.papers.train") + 1 :]
            )
            assert options.data.partition(":")[0] in ("cifar10", "folder")
        elif "benchmarks.detection.train" in named:
            assert detect._parser().parse_args(named[3:]).policy == "none"
        elif "benchmarks.papers.policies" not in named:
            assert cli.build_parser().parse_args([*named[1:], "--out", "x"]).method in (
                "dada",
                "deepaa",
            )
    for recipe in PRESETS:
        parts = shlex.split(papers.train_command(recipe, "cutout"))
        options = train._parser().parse_args(parts[parts.index("benchmarks.papers.train") + 1 :])
        assert options.data.startswith(PRESETS[recipe].data.replace("imagenet", "folder"))


def write_result(folder, name, settings, rows):
    document = {"name": name, "settings": settings, "rows": rows}
    (folder / f"{name}.json").write_text(json.dumps(document))


@pytest.fixture
def results(tmp_path, monkeypatch):
    for path in Path(record.RESULTS).glob("papers_costs.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    return tmp_path


def rows(*accuracies):
    return [
        {"last_epoch_accuracy_percent": each, "best_epoch_accuracy_percent": each + 1}
        for each in accuracies
    ]


def cell(recipe, head):
    """Return what the page says was run; "" for nothing."""
    found = [line for line in papers.page().splitlines() if f" | {recipe} | {head} | " in line]
    assert len({line.split(" | ")[4] for line in found}) <= 1
    return found[0].split(" | ")[4].removesuffix(" |") if found else ""


def settings_of(recipe, policy, **changed):
    """The settings that train.py writes for a recipe as it is, but for what is changed."""
    preset = PRESETS[recipe]
    placed = papers_policies.placed_policy(policy, preset)
    return {
        "preset": recipe,
        "policy": f"{recipe}-{policy.removesuffix('.safetensors')}" if "." in policy else policy,
        "placement": placed.named_policy.placement,
        "policy_sha256": placed.sha256,
        "network": preset.network,
        "norm_momentum": preset.norm_momentum,
        **asdict(placed.recipe),
        "data": f"{preset.data}:ROOT",
        "classes": preset.facts.classes,
        "training_images": preset.facts.images,
        **changed,
    }


def test_every_recipe_has_its_cost_and_every_method_a_policy_or_a_reason():
    lines = [line[2:-2].split(" | ") for line in TEXT.splitlines() if line.startswith("| ")]
    costs = {
        row[0]: row[1:] for row in lines if len(row) == 6 and row[0] in PRESETS and "(" in row[1]
    }
    assert set(costs) == {recipe for table in TABLES for recipe in table.rows}
    assert costs["cifar10-wrn-40-2"] == ["CIFAR-10 (60,000 images)", "200", "0.12", "3", "1"]
    asked = {
        (head, PRESETS[recipe].data)
        for table in TABLES
        for recipe, figures in table.rows.items()
        for head, figure in zip(table.heads, figures.split(), strict=True)
        if figure != "-"
    }
    rows = {row[0]: row[1:] for row in lines if row[0] in METHODS}
    assert set(rows) == {head for head, _ in asked} | set(METHODS)
    for head, data in asked:
        *cells, reason = rows[head]
        assert dict(zip(papers.DATA, cells, strict=True))[data] or reason, (head, data)


def test_what_was_measured_is_shown(results):
    recipe = "cifar10-wrn-40-2"
    assert cell(recipe, "DADA") == ""
    assert "None yet" in papers.page()
    settings = settings_of(recipe, "dada-cifar10")
    write_result(results, f"train-{recipe}-dada-cifar10", settings, rows(96.0, 96.2))
    found = [line for line in papers.page().splitlines() if f" | {recipe} | DADA | " in line]
    here = "3.90 ± 0.14, best epoch 2.90 ± 0.14, 2 runs on cifar10:ROOT"
    assert found == [
        f"| DADA, Table 2 | {recipe} | DADA | 3.6 | {here} |",
        f"| DADA, Table 6 | {recipe} | DADA | 3.61 | {here} |",
    ]
    # The same under a name of its own: some other setting was changed.
    write_result(results, f"train-{recipe}-fastaa-cifar10", settings, rows(90.0))
    assert cell(recipe, "Fast AA") == ""


def test_anything_but_the_recipe_says_so(results):
    recipe, file = "cifar10-wrn-28-10-deepaa", "deepta-3.safetensors"
    changed = {"epochs": 20, "training_images": 4000, "data": "folder:x"}
    settings = settings_of(recipe, file, **changed)
    write_result(results, f"train-{recipe}-deepta-3", settings, rows(80.0))
    assert cell(recipe, "DeepTA, depth 3") == (
        "80.00, best epoch 81.00, 1 run on folder:x, but with data folder instead of cifar10, "
        "training_images 4000 instead of 50000, epochs 20 instead of 200"
    )


@pytest.mark.parametrize(
    "changed",
    [
        *({field: "other"} for field in PaperRecipe.__dataclass_fields__),
        *({name: 0} for name in ("classes", "norm_momentum", "network", "placement")),
        {"data": "digits"},
        {"policy_sha256": "of another file of this name"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_every_setting_of_a_recipe_counts(results, changed):
    recipe = "cifar10-wrn-40-2"
    settings = settings_of(recipe, "dada-cifar10", **changed)
    write_result(results, f"train-{recipe}-dada-cifar10", settings, rows(96.0))
    [(name, value)] = changed.items()
    assert f", but with {name} {value} instead of " in cell(recipe, "DADA")


def test_what_train_py_records_is_compared(results):
    train, recipe = pytest.importorskip("benchmarks.papers.train"), "cifar10-wrn-40-2"
    options = train._parser().parse_args(["--preset", recipe, "--policy", "dada-cifar10"])
    configuration = train._configuration(
        train.read_run(options), load_images("digits"), torch.device("cpu")
    )
    write_result(results, f"train-{recipe}-dada-cifar10", configuration, rows(96.0))
    found = re.search(", but with (.*)", cell(recipe, "DADA"))[1]
    assert re.fullmatch(
        r"data digits instead of cifar10, training_images \d+ instead of 50000", found
    )


def test_recipes_of_imagenet_and_of_no_policy_are_recognized(results):
    for recipe, policy, head in (
        ("imagenet-resnet50", "dada-imagenet", "DADA"),
        ("imagenet-resnet50", "default", "baseline"),
        ("cifar10-wrn-40-2", "default", "baseline"),
        ("cifar10-wrn-40-2", "cutout", "Cutout"),
    ):
        data = {"data": "folder:ROOT"} if recipe.startswith("imagenet") else {}
        write_result(
            results, f"train-{recipe}-{policy}", settings_of(recipe, policy, **data), rows(90.0)
        )
        assert re.fullmatch(r"10\.00, best epoch 9\.00, 1 run on \S+", cell(recipe, head))


def test_a_measured_detector(results):
    boxes = {"AP": 30.1, "AP50": 50.2, "AP75": 31.0, "AP small": 1.0, "AP medium": 2.0}
    boxes["AP large"] = 3.0
    backbone = "benchmarks/checkpoints/imagenet-resnet50-default-seed0.pt"
    detect = pytest.importorskip("benchmarks.detection.train")
    given = ["--data", "x", "--model", "retinanet", "--backbone", backbone]
    settings = vars(detect._parser().parse_args(given)) | {"backbone": backbone, "data": "x"}
    settings["training_images"] = papers.COCO_IMAGES
    del settings["time_budget"]
    row = {"model": "retinanet", "policy": "none", "boxes": boxes}
    write_result(results, "detect-x", settings, [row])
    figure = "30.1 (50.2, 31.0, 1.0, 2.0, 3.0)"
    assert cell("retinanet", "`default`") == figure
    write_result(results, "detect-x", settings | {"epochs": 3, "batch_size": 2}, [row])
    assert cell("retinanet", "`default`") == (
        f"{figure}, but with epochs 3 instead of 26, batch_size 2 instead of 16"
    )
    write_result(results, "detect-x", settings, [row | {"policy": "dada-imagenet"}])
    assert cell("retinanet", "`default`") == ""
