import dataclasses
import json
import re
import sys
from functools import cache
from html.parser import HTMLParser

import pytest

from learned_augment import Policy
from learned_augment.builders import from_layers
from learned_augment.evaluation.result import Run
from learned_augment.reporting import example_images
from learned_augment.reporting.html import DRAWS, policy_page, result_page, write_report
from tests.evaluation.test_result import CLEAR, comparison_result
from tests.reporting.test_effects import made_effects

OPS = {
    "none": {"sha256": "", "ops": {}},
    "up": {
        "sha256": "u",
        "ops": {"Identity": [0.5, 0.0], "Rotate": [0.25, 1.0], "Solarize": [0.25, 0.0]},
    },
}
MEASURED = from_layers(
    [[("Rotate", 0.5, 8.0), ("TranslateX", 0.5, 0.1)]],
    {
        "name": "mine",
        "method": "screening",
        "dataset": "hands",
        "placement": "replaces",
        "effects": made_effects(),
        "train_epochs": 60,
    },
)
HOSTILE = '<script>alert("x")</script>&\'"<img src=x onerror=alert(1)>$a_b$\x1b\ud800漢字'
VOID = {"meta", "img"}


def curved():
    """CLEAR with learning curves: each seed's accuracies at epochs 2 and 3, losses of 3."""
    runs = [
        dataclasses.replace(
            run, losses=(2.0, 1.0, 0.5), accuracies=((2, run.accuracy - 20), (3, run.accuracy))
        )
        for run in CLEAR.runs
    ]
    return dataclasses.replace(CLEAR, runs=tuple(runs), policies=OPS)


class Tags(HTMLParser):
    """Collects tags and texts; an end tag must close the innermost open one."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data.strip())


def read(page):
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    return tags


@cache
def measured_page():
    return policy_page(MEASURED)


@cache
def curved_page():
    return result_page(curved())


def headings(page):
    return re.findall(r"<h2>(.*?)</h2>", page)


def test_the_page_of_a_comparison_holds_table_sentences_notes_and_figures():
    page = curved_page()
    assert headings(page) == [
        "Result",
        "Accuracies",
        "Differences",
        "Learning curves",
        "Ops by layer",
        "How to use it",
        "Settings",
    ]
    found = read(page)
    tags = [tag for tag, _ in found.tags]
    assert tags.count("tr") == 5
    assert tags.count("svg") == 2 * 3  # each for desktops and phones
    for pair in CLEAR.pairs():
        assert CLEAR.sentence(*pair) in found.texts
    assert all(note in found.texts for note in CLEAR.notes())


def test_the_page_of_a_policy_holds_effects_ops_examples_and_provenance():
    page = measured_page()
    assert headings(page) == [
        "Measured effects",
        "Ops by layer",
        "Examples",
        "How to use it",
        "Settings",
    ]
    found = read(page)
    assert "mine is a policy (screening, for hands)." in found.texts
    assert "Flip 0.5 hurts: -3.1 points [-3.9, -2.3]." in found.texts
    assert [tag for tag, _ in found.tags].count("svg") == 2 * 2
    assert found.texts[found.texts.index("train_epochs") + 1] == "60"
    assert "LearnedAugment('mine.safetensors')" in "".join(found.texts)
    shipped = policy_page(Policy.load("dada-cifar10"), "dada-cifar10")
    assert "Measured effects" not in headings(shipped)
    assert "Provenance" in headings(shipped)
    assert "arXiv:2003.03780" in shipped
    sized = read(policy_page(Policy.load("deepaa-imagenet"), "deepaa-imagenet"))
    assert "LearnedAugment('deepaa-imagenet', size=224)" in "".join(sized.texts)


def test_the_page_of_a_search_shows_its_race():
    race = [
        {"name": "none", "found": False, "errors": {"0": 0.2, "1": 0.4, "2": 0.25}},
        {"name": "early", "found": True, "errors": {}},
        {"name": "crop", "found": False, "errors": {"0": 0.5}},
        {"name": "best", "found": True, "errors": {"0": 0.1, "1": 0.2, "2": 0.1}},
    ]
    sentence = "best makes fewer errors than the best policy that needs no search, none."
    about = {"name": "mine", "chosen": "best", "race": race, "sentence": sentence}
    page = policy_page(dataclasses.replace(MEASURED, about=about))
    assert "Against other policies" in headings(page)
    texts = read(page).texts
    assert sentence in texts
    start = texts.index("best", texts.index("95 % interval"))
    assert texts[start : start + 4] == ["best", "yes", "3", "12.6 %"]
    assert texts[start + 4 : start + 8] == ["none", "no", "3", "27.1 %"]
    assert texts[start + 8 : start + 10] == ["-124 %", "-823 % to +46 %"]  # without the first round
    assert texts[start + 10 : start + 14] == ["crop", "no", "1", "50.0 %"]
    assert "early" not in texts
    none, *others = race
    for other in (
        {"name": 3},
        {**none, "errors": {"0": 1e-300}},
        {**none, "errors": {"0": 10**400}},
        {**none, "errors": {"9" * 5000: 0.5}},
    ):
        unlike = dataclasses.replace(MEASURED, about={**about, "race": [other, *others]})
        assert "Against other policies" not in headings(policy_page(unlike))


def test_examples_show_the_original_and_draws_with_the_names_of_their_ops():
    found = read(measured_page())
    images = [attributes for tag, attributes in found.tags if tag == "img"]
    assert len(images) == len(example_images.example_images()) * (DRAWS + 1)
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in images)
    alts = [image["alt"] for image in images]
    assert len({image["src"] for image in images}) > 2
    assert alts[0].endswith(", the original")
    assert {re.sub(r".* after ", "", alt) for alt in alts if " after " in alt} == {
        "Rotate 8",
        "TranslateX 0.1",
    }


def test_without_scikit_learn_the_program_draws_an_example(monkeypatch):
    example_images.example_images.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    try:
        (drawing,) = example_images.example_images()
        assert drawing.credit == "made by the program"
        flipped = example_images.op_example("Flip", 0.5)
        assert flipped.tobytes() != drawing.image.tobytes()
    finally:
        example_images.example_images.cache_clear()


@pytest.mark.parametrize("page", ["policy", "comparison"])
def test_the_page_stands_alone_and_runs_nothing(page):
    text = measured_page() if page == "policy" else curved_page()
    for tag, attributes in read(text).tags:
        assert tag not in {"script", "link", "iframe", "object"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name.split(":")[-1] in {"href", "src"}:
                assert value.startswith(("#", "data:image/"))
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_everything_that_comes_from_outside_is_escaped():
    bad = comparison_result({"none": [90.0, 91.0], HOSTILE: [91.0, 92.5]}, seeds=2, network=HOSTILE)
    runs = [dataclasses.replace(run, losses=(2.0, 1.0)) for run in bad.runs]
    policies = {HOSTILE: {"sha256": "", "ops": {HOSTILE: [1.0], "Flip": [0.0]}}}
    bad = dataclasses.replace(bad, data=HOSTILE, policies=policies, runs=tuple(runs))
    effects = made_effects(settings={HOSTILE: HOSTILE})
    effects["rows"][0]["op"] = HOSTILE
    about = {"name": HOSTILE, "paper": HOSTILE, "effects": effects, HOSTILE: {HOSTILE: HOSTILE}}
    policy = dataclasses.replace(MEASURED, about=about)
    for page in (result_page(bad, HOSTILE), policy_page(policy)):
        found = read(page)
        assert not {"script"} & {tag for tag, _ in found.tags}
        assert not any(attributes.get("src") == "x" for _, attributes in found.tags)
        assert page.count("&lt;script&gt;") > 5
        assert any("$a_b$" in text for text in found.texts)
        assert page.encode(errors="replace")


def test_every_figure_has_an_alternative_text():
    charts = [attributes for tag, attributes in read(curved_page()).tags if tag == "svg"]
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)
    assert charts[-1]["aria-label"] == (
        "Probabilities of ops under up. layer 1: Identity 50.0 %, Rotate 25.0 %, "
        "Solarize 25.0 %; layer 2: Rotate 100.0 %"
    )
    assert "up: +1.00 [+0.91, +1.09]" in charts[0]["aria-label"]


def test_figures_share_no_id():
    ids = [a["id"] for _, a in read(curved_page()).tags if "id" in a]
    assert ids
    assert len(set(ids)) == len(ids)


def test_without_tests_between_epochs_the_losses_are_drawn():
    runs = [dataclasses.replace(run, losses=(2.0, None, 0.5)) for run in CLEAR.runs]
    page = result_page(dataclasses.replace(CLEAR, runs=tuple(runs)))
    assert "Training loss by epoch" in page
    assert "nan" not in page


def test_results_without_curves_policies_or_pairs_have_a_page():
    page = result_page(CLEAR)
    assert "Learning curves" not in page
    assert "Ops by layer" not in page
    part = dataclasses.replace(CLEAR, runs=(Run("none", 0, 50.0, None),))
    assert "not compared, fewer than 2 seeds" in result_page(part)
    read(result_page(dataclasses.replace(CLEAR, runs=())))


def test_random_controls_have_a_chart_of_their_own():
    values = [90.0, 91.0, 92.0]
    controlled = comparison_result(
        {"none": values, "a": [93.0, 94.0, 95.5], "random:a": values}, seeds=3
    )
    assert controlled.pairs() == (("a", "none"), ("random:a", "none"), ("a", "random:a"))
    page = result_page(controlled)
    assert "Accuracy of each policy less that of its random baseline" in page
    assert "a: better than random:a by 3.17 points" in page
    assert "random baseline" not in result_page(CLEAR)


def test_reports_are_written_for_policies_and_results(tmp_path):
    MEASURED.save(tmp_path / "mine.safetensors")
    (tmp_path / "result.json").write_text(curved().to_json())
    page = write_report(tmp_path / "mine.safetensors", tmp_path / "a.html")
    assert page.read_text() == measured_page()
    page = write_report(tmp_path / "result.json", tmp_path / "b.html")
    assert page.read_text() == curved_page()
    (tmp_path / "result").write_text(curved().to_json())  # `compare --out` takes any name
    page = write_report(tmp_path / "result", tmp_path / "b.html")
    assert page.read_text() == result_page(curved(), "result")
    page = write_report("dada-svhn", tmp_path / "c.html")
    assert page.read_text() == policy_page(Policy.load("dada-svhn"), "dada-svhn")
    assert "LearnedAugment('dada-svhn')" in "".join(read(page.read_text()).texts)


MISTAKES = {
    "not a page": ("dada-svhn", "a.txt", "ending in .html, .htm, got '.*a.txt'"),
    "no folder": ("dada-svhn", "no/a.html", "No folder '.*no' to write 'a.html' into"),
    "unknown policy": ("frob", "a.html", "No pretrained policy named 'frob'"),
    "not a result": ("bad.json", "a.html", "bad.json: Expected a "),
    "not text": ("binary.json", "a.html", "binary.json: "),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_source_or_page_is_refused_and_nothing_is_written(tmp_path, mistake):
    source, out, message = MISTAKES[mistake]
    (tmp_path / "bad.json").write_text(json.dumps({"format": 2}))
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    if source.endswith(".json"):
        source = tmp_path / source
    with pytest.raises(ValueError, match=message):
        write_report(source, tmp_path / out)
    assert not (tmp_path / out).exists()


def test_a_report_without_matplotlib_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "learned-augment\[plot\]"'):
        write_report("dada-svhn", tmp_path / "a.html")
